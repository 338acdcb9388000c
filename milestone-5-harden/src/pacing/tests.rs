//! The rules of pacing, with times that are given: none of these tests takes any.

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const FAST: u64 = limits::HIGH_WATER;
const SLOW: u64 = limits::HIGH_WATER + 1;

/// That many clients, with tokens from 1 on.
fn room(clients: usize) -> Pacing {
    let mut pacing = Pacing::default();
    (1..=clients).for_each(|number| pacing.join(Token(number)));
    pacing
}

/// A client that has sent that many bytes may have more.
fn has_sent(pacing: &mut Pacing, number: usize, bytes: u64) {
    pacing.note_read(Token(number), bytes, 0);
    pacing.add(Token(number));
}

/// Reads everybody who may be read, and each of them has sent as much as is asked for, up to that
/// many bytes, and more. Returns how many bytes each of them sent.
fn read_up_to(pacing: &mut Pacing, most: usize) -> Vec<(usize, usize)> {
    let mut read = Vec::new();
    while let Some((token, budget)) = pacing.next() {
        has_sent(pacing, token.0, budget.min(most) as u64);
        read.push((token.0, budget.min(most)));
    }
    read
}

/// Turns of 10 ms each. Returns how many bytes each client sent that may be read.
fn pass(pacing: &mut Pacing, time: Duration, clients: &[usize]) -> Vec<usize> {
    let mut sent = vec![0; clients.len()];
    let end = pacing.now + time;
    while pacing.now < end {
        pacing.begin_turn(pacing.now + Duration::from_millis(10));
        for (number, bytes) in read_up_to(pacing, usize::MAX) {
            let place = clients.iter().position(|&client| client == number);
            sent[place.expect("nobody else has bytes to read")] += bytes;
        }
    }
    sent
}

#[test]
fn talkers_come_first_the_least_and_then_the_earliest_of_them() {
    let mut pacing = room(6);
    has_sent(&mut pacing, 1, limits::TALK_BUDGET + 1);
    has_sent(&mut pacing, 2, 50);
    has_sent(&mut pacing, 3, limits::TALK_BUDGET + 2);
    for number in [6, 4, 5] {
        pacing.add(Token(number));
    }
    // A second event does not give it a second place.
    pacing.add(Token(5));
    let order = std::iter::from_fn(|| pacing.next()).map(|(token, _)| token.0);
    assert_eq!(order.collect::<Vec<_>>(), [6, 4, 5, 2, 1, 3]);
}

#[test]
fn a_turn_has_an_end_and_a_share_for_bulk_senders() {
    let mut pacing = room(102);
    has_sent(&mut pacing, 101, limits::TALK_BUDGET + 1);
    has_sent(&mut pacing, 102, limits::TALK_BUDGET + 1);
    (1..=100).for_each(|number| pacing.add(Token(number)));
    for _ in 0..3 {
        pacing.begin_turn(pacing.now);
        let read = read_up_to(&mut pacing, limits::TALK_BUDGET as usize - 1);
        let (talk, bulk): (Vec<_>, Vec<_>) =
            read.into_iter().partition(|&(number, _)| number <= 100);
        let bytes = |read: &[(usize, usize)]| read.iter().map(|&(_, bytes)| bytes as u64).sum();
        let (talk, bulk): (u64, u64) = (bytes(&talk), bytes(&bulk));
        assert!(
            talk <= limits::TALKERS_SHARE + limits::TALK_BUDGET,
            "{talk}"
        );
        assert!(bulk > 0 && talk + bulk <= 2 * limits::TURN_BUDGET, "{bulk}");
    }
}

#[test]
fn when_the_talkers_have_had_their_share_they_wait() {
    let mut pacing = room(2);
    pacing.note_read(Token(1), limits::TALKERS_SHARE - 1, 0);
    pacing.add(Token(2));
    assert_eq!(pacing.peek().map(|(_, _, token)| token), Some(Token(2)));
    pacing.note_read(Token(1), 1, 0);
    assert_eq!(pacing.next(), None);
}

#[test]
fn a_bulk_sender_has_sent_more_than_8192_bytes_lately() {
    let mut pacing = room(1);
    has_sent(&mut pacing, 1, limits::TALK_BUDGET);
    assert!(!pacing.is_bulk(&Token(1)));
    assert_eq!(
        pacing.next(),
        Some((Token(1), limits::TALK_BUDGET as usize))
    );
    has_sent(&mut pacing, 1, 1);
    assert!(pacing.is_bulk(&Token(1)));
    assert_eq!(pacing.next(), Some((Token(1), limits::READ_BUDGET)));
    // Half of it is forgiven in half a second.
    pacing.begin_turn(SECOND / 2);
    has_sent(&mut pacing, 1, limits::TALK_BUDGET / 2 - 1);
    assert!(!pacing.is_bulk(&Token(1)));
}

#[test]
fn a_flood_is_forgiven_after_some_seconds_and_an_unfinished_line_is_not() {
    let mut pacing = room(2);
    pacing.note_read(Token(1), 1 << 30, 0);
    pacing.note_read(Token(2), limits::TALK_BUDGET + 1, limits::TALK_BUDGET + 1);
    pacing.begin_turn(7 * SECOND);
    pacing.add(Token(1));
    pacing.add(Token(2));
    assert!(!pacing.is_bulk(&Token(1)));
    assert!(pacing.is_bulk(&Token(2)));
}

/// Client 1 is a bulk sender, 2 talks, 3 is slow. The others are quick.
fn room_with_a_slow_reader(clients: usize) -> Pacing {
    let mut pacing = room(clients);
    has_sent(&mut pacing, 1, 1 << 20);
    assert!(!pacing.note_sent(Token(3), 0, SLOW));
    pacing
}

#[test]
fn while_a_reader_is_slow_talkers_are_read_and_bulk_senders_wait() {
    let mut pacing = room_with_a_slow_reader(4);
    pacing.add(Token(2));
    let sent = pass(&mut pacing, SECOND, &[2]);
    assert_eq!(sent, [100 * limits::TALK_PIECE]);
    // That is more than is forgiven, so in time it is a bulk sender, too.
    pass(&mut pacing, 2 * SECOND, &[2]);
    assert!(pacing.is_bulk(&Token(1)) && pacing.is_bulk(&Token(2)));
    // At the mark it is not slow any more.
    pacing.note_sent(Token(3), 0, FAST);
    assert_eq!(pacing.wait_time(), Some(Duration::ZERO));
    pacing.begin_turn(pacing.now);
    assert_eq!(read_up_to(&mut pacing, usize::MAX).len(), 2);
}

#[test]
fn however_many_turns_there_are_talkers_send_at_most_24_kb_a_second() {
    let mut pacing = room_with_a_slow_reader(60);
    let mut sent = 0;
    for turn in 1..=1000 {
        pacing.begin_turn(SECOND / 1000 * turn);
        (4..=60).for_each(|number| pacing.add(Token(number)));
        sent += read_up_to(&mut pacing, usize::MAX)
            .iter()
            .map(|&(_, bytes)| bytes)
            .sum::<usize>();
    }
    assert!((8_000..=24_000).contains(&sent), "{sent}");
}

#[test]
fn a_short_line_comes_before_the_rest_of_sixty_long_ones() {
    let mut pacing = room_with_a_slow_reader(64);
    (4..=63).for_each(|number| pacing.add(Token(number)));
    // They have all shown that their lines are long.
    let long: Vec<_> = (4..=63).collect();
    pass(&mut pacing, SECOND, &long);
    pacing.add(Token(64));
    pacing.begin_turn(pacing.now + Duration::from_millis(10));
    assert_eq!(pacing.next(), Some((Token(64), limits::TALK_PIECE)));
}

#[test]
fn bulk_senders_wait_for_few_readers_until_the_patience_is_used_up() {
    let mut pacing = room_with_a_slow_reader(4);
    // A sixth comes back meanwhile.
    let sent = pass(&mut pacing, limits::PATIENCE * 6 / 5, &[1]);
    assert_eq!(sent, [0]);
    pass(&mut pacing, SECOND / 50, &[1]);
    assert_eq!(pacing.pace, Pace::Impatient);
    // Half of a period each is a turn, and a little waiting.
    let sent = pass(&mut pacing, 6 * SECOND, &[1])[0] as u64;
    let most = 6 * 125 * limits::TURN_BUDGET;
    assert!((most / 2..most).contains(&sent), "{sent}");
    // Without slow readers the patience comes back, however long nothing happens.
    pacing.note_sent(Token(3), 0, FAST);
    pacing.begin_turn(pacing.now + 60 * SECOND);
    pacing.note_sent(Token(3), 0, SLOW);
    pacing.begin_turn(pacing.now);
    assert_eq!(pass(&mut pacing, limits::PATIENCE, &[1]), [0]);
}

/// Has the slow readers receive something every second.
fn pass_with_readers(pacing: &mut Pacing, seconds: u64, slow: &[usize]) -> usize {
    (1..=seconds)
        .map(|second| {
            for &number in slow {
                pacing.note_sent(Token(number), second, SLOW);
            }
            pass(pacing, SECOND, &[1])[0]
        })
        .sum()
}

#[test]
fn bulk_senders_wait_for_most_readers_however_long() {
    let mut pacing = room_with_a_slow_reader(4);
    assert_eq!(pass_with_readers(&mut pacing, 60, &[3, 4]), 0);
    // Of a sender and a reader, the reader is most of the readers.
    let mut pacing = room_with_a_slow_reader(3);
    pacing.leave(Token(2));
    assert_eq!(pass_with_readers(&mut pacing, 60, &[3]), 0);
}

/// Each of them is slow for a moment only, again and again, and none of them loses its patience with it.
#[test]
fn readers_that_are_all_a_little_slow_are_waited_for() {
    let mut pacing = room(9);
    has_sent(&mut pacing, 1, 1 << 20);
    for round in 0..300 {
        for number in 2..=9 {
            pacing.note_sent(Token(number), round, SLOW);
        }
        assert_eq!(pass(&mut pacing, SECOND / 5, &[1]), [0]);
        for number in 2..=9 {
            pacing.note_sent(Token(number), round + 1, FAST);
        }
        assert_ne!(pass(&mut pacing, SECOND / 50, &[1]), [0]);
    }
}

#[test]
fn half_of_the_readers_are_not_most_of_them() {
    let mut pacing = room_with_a_slow_reader(3);
    pacing.begin_turn(pacing.now);
    assert_eq!(pacing.pace, Pace::Patient);
}

#[test]
fn readers_that_have_stopped_reading_have_no_say() {
    let mut pacing = room_with_a_slow_reader(9);
    for number in 4..=9 {
        pacing.note_sent(Token(number), 0, SLOW);
    }
    pass(&mut pacing, SECOND, &[1]);
    assert_eq!(pacing.pace, Pace::Together);
    pass(&mut pacing, limits::READING_TIME, &[1]);
    assert_eq!(pacing.pace, Pace::Patient);
    pass(&mut pacing, 12 * SECOND, &[1]);
    assert_eq!(pacing.pace, Pace::Impatient);
}

#[test]
fn a_slow_reader_that_receives_nothing_for_ten_seconds_is_closed() {
    let mut pacing = room_with_a_slow_reader(3);
    pass(&mut pacing, limits::STALL_TIME, &[1]);
    assert!(!pacing.note_sent(Token(3), 0, SLOW));
    pass(&mut pacing, SECOND / 50, &[1]);
    assert!(pacing.note_sent(Token(3), 0, SLOW));
    // Whatever it receives begins it anew, and so does a break.
    assert!(!pacing.note_sent(Token(3), 1, SLOW));
    pass(&mut pacing, 11 * SECOND, &[1]);
    assert!(pacing.note_sent(Token(3), 1, SLOW));
    pacing.note_sent(Token(3), 1, FAST);
    assert!(!pacing.note_sent(Token(3), 1, SLOW));
}

#[test]
fn a_pause_of_the_server_is_no_clients_fault() {
    let mut pacing = room_with_a_slow_reader(4);
    for _ in 0..20 {
        pacing.begin_turn(pacing.now + 11 * SECOND);
        assert!(!pacing.note_sent(Token(3), 0, SLOW));
        assert_eq!(pacing.pace, Pace::Patient);
    }
}

#[test]
fn slow_readers_are_retried_four_times_a_second() {
    let mut pacing = room_with_a_slow_reader(4);
    let mut retries = 0;
    for _ in 0..100 {
        let retried = pacing.begin_turn(pacing.now + SECOND / 100);
        assert!(retried.is_empty() || retried == [Token(3)]);
        retries += retried.len();
    }
    assert_eq!(retries, 4);
}

#[test]
fn poll_waits_for_what_is_due_and_for_nothing_else() {
    let mut pacing = room(4);
    assert_eq!(pacing.wait_time(), None);
    has_sent(&mut pacing, 1, 1 << 20);
    assert_eq!(pacing.wait_time(), Some(Duration::ZERO));
    // The turn has had its budget, and the next one has another.
    pacing.begin_turn(SECOND);
    read_up_to(&mut pacing, usize::MAX);
    assert_eq!(pacing.wait_time(), Some(Duration::ZERO));
    pacing.note_sent(Token(3), 0, SLOW);
    assert_eq!(pacing.wait_time(), Some(Duration::ZERO));
    pacing.begin_turn(pacing.now);
    assert_eq!(pacing.wait_time(), Some(limits::PERIOD));
    pacing.leave(Token(1));
    assert_eq!(pacing.wait_time(), Some(TICK));
    pacing.leave(Token(3));
    assert_eq!(pacing.wait_time(), None);
}

#[test]
fn the_longest_of_too_many_unfinished_lines_is_found() {
    let mut pacing = room(130);
    let line = limits::MAX_LINE as u64;
    for number in 1..=127 {
        assert_eq!(pacing.note_read(Token(number), line, line - 1), None);
    }
    // One grows, one is finished, and one goes with its client.
    assert_eq!(pacing.note_read(Token(1), 1, line), None);
    assert_eq!(pacing.note_read(Token(2), 1, 0), None);
    pacing.leave(Token(3));
    for number in 128..=130 {
        assert_eq!(pacing.note_read(Token(number), line, line - 1), None);
    }
    assert_eq!(pacing.note_read(Token(2), 127, 127), None);
    assert_eq!(pacing.note_read(Token(2), 1, 128), Some(Token(1)));
}
