//! What a failing test teaches: what it checks, what is the likely cause, and where to read on.

use std::cell::{Cell, RefCell};
use std::panic;
use std::sync::{Arc, Once, Weak};
use std::thread;

use crate::program::SERVER_CMD;
use crate::program::is_foreign;
use crate::timeline::Timeline;

/// What there is to say about a test, beside what it has seen.
pub struct Lesson {
    /// The name of the test function.
    pub test: &'static str,
    /// What it checks, in plain words.
    pub checks: &'static str,
    /// Why it fails, most of the time.
    pub cause: &'static str,
    /// The file of the chapter that explains it.
    pub chapter: &'static str,
    /// The heading in that chapter, without the number signs.
    pub heading: &'static str,
}

const ACCEPT: &str = "docs/src/1-accept.md";
const REGISTER: &str = "docs/src/2-register.md";
const BROADCAST: &str = "docs/src/3-broadcast.md";
const WRITE: &str = "docs/src/4-write.md";
const HARDEN: &str = "docs/src/5-harden.md";

/// The likely cause, whatever the test, if its server does not even start, and where to read on.
const START: (&str, &str, &str) = (
    "The server ends at once, or cannot read the address that it gets; or it does not say \
     `Listening on`, or the line is kept back because it goes to a pipe: flush. If it takes no \
     address, name the one it listens on in SERVER_ADDR.",
    "docs/src/your-own-server.md",
    "Run a chapter's tests against it",
);

const fn lesson(
    test: &'static str,
    checks: &'static str,
    cause: &'static str,
    (chapter, heading): (&'static str, &'static str),
) -> Lesson {
    Lesson {
        test,
        checks,
        cause,
        chapter,
        heading,
    }
}

/// One for every test of the milestones.
#[rustfmt::skip]
pub const LESSONS: &[Lesson] = &[
    // Starting.
    lesson("reports_the_port_that_the_kernel_chose", "with port 0 the server says which port it got",
        "It prints the address it was given, not the listener's local address; or it says nothing, or does not flush.",
        (ACCEPT, "Start, or say why not")),
    lesson("listens_on_ipv6", "an address such as [::1]:0 works as well",
        "The argument is split at the first colon, or only IPv4 addresses are parsed.",
        (ACCEPT, "Start, or say why not")),
    lesson("listens_on_port_8080_by_default", "without an argument it listens on 127.0.0.1:8080",
        "A missing argument is an error, or the default is another address.",
        (ACCEPT, "Start, or say why not")),
    lesson("refuses_a_malformed_address", "an argument that is no address is a clear error, exit status 1",
        "The address is not looked at closely, and the server listens on some other (its port is at most 65535); names are looked up (`localhost`); or the error is a panic, or does not name the address.",
        (ACCEPT, "Start, or say why not")),
    lesson("refuses_a_second_argument", "two addresses are a clear error, exit status 1",
        "Only the first argument is looked at, and the second one is ignored in silence; or the error does not name it.",
        (ACCEPT, "Start, or say why not")),
    lesson("row_2_a_port_in_use_is_a_clear_error", "a port in use is a clear error, exit status 1",
        "The result of bind is unwrapped, so the error is a panic; or its text lacks the address or the cause.",
        (ACCEPT, "Start, or say why not")),
    lesson("row_1_survives_stop_and_continue", "Ctrl-Z and then `fg` do no harm",
        "Waiting for events ends with the error EINTR (\"interrupted\"), and that is taken as fatal. Just wait again.",
        (ACCEPT, "A signal is no error")),

    // Accepting.
    lesson("accepts_a_thousand_clients_in_a_row", "every client is accepted and announced, a thousand in a row",
        "A client is forgotten when the next event comes, its descriptor is never closed, or an error of accept ends the loop.",
        (ACCEPT, "The event loop")),
    lesson("a_client_sees_end_of_file", "the accepted connection is closed again: the client sees end of file",
        "The stream is kept somewhere. In this step it is dropped as soon as it was announced.",
        (ACCEPT, "The event loop")),
    lesson("three_clients_at_once_are_each_announced_once", "three clients at once are three lines",
        "Each event accepts one client only; or a line is said twice.",
        (ACCEPT, "Accept until WouldBlock")),
    lesson("accepts_a_burst_behind_one_event", "five clients who wait behind one event are all accepted",
        "Accept is called once for each event. The event comes once for all who wait: go on until WouldBlock. If the server has ended, see 'A signal is no error'.",
        (ACCEPT, "Accept until WouldBlock")),
    lesson("sleeps_when_nothing_happens", "a server with nothing to do uses no CPU",
        "The loop polls with a time-out of zero, or is told of something again and again that it does not take.",
        (ACCEPT, "Told once: edge-triggered readiness")),
    lesson("a_client_that_sends_before_it_is_accepted_does_no_harm", "bytes and resets of clients that wait do no harm",
        "Each event accepts one client only; or, if the server has ended, it was an error of accept or of EINTR (see 'A signal is no error').",
        (ACCEPT, "Accept until WouldBlock")),

    // Registering.
    lesson("tokens_count_up_from_1", "each client gets the next token, from Token(1) on",
        "The listener has Token(0), so the first client has Token(1); the counter must go up for every client.",
        (REGISTER, "A token for each client")),
    lesson("keeps_clients_open", "a registered client stays open and is watched for READABLE only",
        "The stream is dropped at the end of the accept loop (keep it in the map), or it is not registered, or WRITABLE is asked for from the start.",
        (REGISTER, "The kernel knows the descriptor")),
    lesson("three_clients_that_type_are_told_apart", "each client's event is told with its own token",
        "Clients share a token, or the streams are registered under the listener's.",
        (REGISTER, "A token for each client")),
    lesson("the_bytes_stay_unread", "this step does not read: the bytes stay in the socket",
        "The server reads already. That is the next step.",
        (REGISTER, "The kernel knows the descriptor")),
    lesson("a_second_event_comes_with_new_bytes_only", "unread bytes are told once, and again when more come",
        "The client is registered level-triggered, so the kernel tells of the same bytes again and again.",
        (REGISTER, "The kernel knows the descriptor")),
    lesson("row_3_small_lines_are_not_delayed", "TCP_NODELAY is on: small lines are sent at once",
        "The option is not set on the accepted stream, so that a small line may wait until the one before is acknowledged.",
        (REGISTER, "Small writes at once")),

    // Reading and queueing.
    lesson("keeps_half_lines", "half a line waits in the buffer until its newline comes",
        "What stands after the last newline is dropped or sent on, or each read is taken for a message.",
        (BROADCAST, "A stream has no messages")),
    lesson("takes_several_lines_at_once", "lines that come together are taken together",
        "Only the first newline of what was read is looked for, and the rest waits for more bytes.",
        (BROADCAST, "A stream has no messages")),
    lesson("reads_everything_behind_one_event", "10 KB behind one event are all read",
        "Read is called once for each event. The event comes once for all bytes: read until WouldBlock.",
        (BROADCAST, "Read until WouldBlock")),
    lesson("removes_a_client_that_disconnects", "a client that leaves is deregistered, removed and closed",
        "A read of 0 bytes is end of file: the client has to leave the map and epoll, and its descriptor must be closed.",
        (BROADCAST, "One way out")),
    lesson("never_reuses_a_token", "the token of a client that has left is not given to the next one",
        "Tokens are taken from the map's length or from a free list. An event for the old client may still be pending.",
        (BROADCAST, "Stale events")),
    lesson("takes_the_last_lines_before_end_of_file", "lines before the end of file count, half a line after them does not",
        "The client is removed before its last lines are passed on, or the half line is passed on as well, or end of file is overlooked.",
        (BROADCAST, "One way out")),
    lesson("takes_lines_and_end_of_file_from_one_event", "lines and end of file in one event: both are taken",
        "The read loop stops at end of file and forgets what it has read before. If the server has ended, see '1. Accept', 'A signal is no error'.",
        (BROADCAST, "One way out")),
    lesson("survives_every_kind_of_disconnect", "leaving, half-closing and resetting clients do not end the server",
        "An error of one client's socket (a reset, say) is unwrapped or returned, and ends the server for all.",
        (BROADCAST, "One way out")),
    lesson("row_8_an_error_closes_the_client_at_once", "a reset closes that client at once, and says so",
        "The error of read is printed, but the client stays in the map and registered.",
        (BROADCAST, "One way out")),
    lesson("row_4_accepts_pending_connections_at_the_descriptor_limit", "who waits at the descriptor limit is accepted when others leave",
        "When accept fails with EMFILE its event is spent. Try again when a client has left, without waiting for a new event.",
        (BROADCAST, "When descriptors run out")),
    lesson("row_5_a_long_line_costs_linear_time", "the time for a line grows with its length, not with the square of it",
        "After every read the whole buffer is searched for a newline, instead of the new bytes only.",
        (BROADCAST, "A stream has no messages")),
    lesson("row_10_counts_the_bytes_of_a_line", "`Hello from A` and its newline are 13 bytes",
        "The newline is not counted, or counted twice.",
        (BROADCAST, "A stream has no messages")),
    lesson("writable_is_on_where_bytes_are_queued", "WRITABLE is asked for at all clients but the sender",
        "Lines are queued but the client is not registered again with WRITABLE, or the sender gets its own line queued too.",
        (BROADCAST, "Interest in WRITABLE")),
    lesson("nothing_is_sent_yet", "this step queues lines and sends nothing",
        "The server writes already. That is the next step.",
        (BROADCAST, "To all but the sender")),
    lesson("interest_in_writable_does_not_spin", "interest in WRITABLE does not keep the server busy",
        "The client is registered level-triggered, or registered again at every event: then the kernel tells again and again that there is room.",
        (BROADCAST, "Interest in WRITABLE")),

    // Writing.
    lesson("sends_queued_bytes_after_end_of_file", "who has half-closed gets what waits for it before it is closed",
        "A client whose end of file was read is dropped together with its queue. If the server has ended, see '1. Accept', 'A signal is no error'.",
        (WRITE, "The last write")),
    lesson("three_clients_chat", "a line reaches all but its sender, and every step is said",
        "The sender gets its own line, a client is left out, or the queue is not written when WRITABLE comes.",
        (WRITE, "A write takes what fits")),
    lesson("the_others_chat_on_when_one_disconnects", "when one client leaves, the others chat on",
        "The client that has left is still in the map, or its removal ends the loop over the events.",
        (WRITE, "One event, two halves")),
    lesson("the_sender_does_not_get_its_own_line", "a sender does not get its own line back",
        "The loop that queues a line does not pass over the sender's token.",
        (BROADCAST, "To all but the sender")),
    lesson("fragments_become_lines", "pieces of lines are put together again before they are sent on",
        "Each read is taken for a message, or what follows the last newline is lost.",
        (BROADCAST, "A stream has no messages")),
    lesson("single_bytes_become_lines", "lines that come byte by byte arrive whole, and empty lines too",
        "Each read is taken for a message, or an empty line counts as nothing.",
        (BROADCAST, "A stream has no messages")),
    lesson("half_a_line_is_not_broadcast", "half a line whose sender leaves reaches nobody",
        "Bytes are sent on before their newline has come, or when their sender leaves.",
        (BROADCAST, "A stream has no messages")),
    lesson("twenty_thousand_lines_in_one_write", "twenty thousand lines sent at once all arrive, in order",
        "The read loop or the write loop stops early, or what a short write has not sent is dropped.",
        (WRITE, "A write takes what fits")),
    lesson("every_byte_value_arrives_unchanged", "bytes that are no text arrive unchanged",
        "The bytes are made a string on the way. They are bytes; only the newline means something.",
        (BROADCAST, "A stream has no messages")),
    lesson("a_long_queue_arrives_complete_and_in_order", "17 MB to a slow reader arrive whole and in order",
        "What a short write has not sent is dropped or sent twice, or WRITABLE is turned off while bytes still wait.",
        (WRITE, "A write takes what fits")),
    lesson("a_stalled_reader_does_not_hold_up_the_others", "a client that does not read holds up nobody else",
        "The server waits for the full socket (it is blocking, or the loop tries again at once), instead of going on at WouldBlock; or new lines are queued in front of older ones.",
        (WRITE, "A write takes what fits")),
    lesson("eight_writers_at_once", "lines of eight writers arrive whole, each writer's in order",
        "Half lines of several clients share a buffer, or lines are queued at the front.",
        (BROADCAST, "A stream has no messages")),
    lesson("writable_is_on_only_while_bytes_are_queued", "WRITABLE is on while bytes wait, and off again after that",
        "The client is not registered for READABLE alone when its queue is empty, or not for WRITABLE again at the next line.",
        (WRITE, "WRITABLE only while bytes wait")),
    lesson("a_hundred_idle_clients_cost_no_cpu", "after a line to a hundred clients the server sleeps",
        "WRITABLE stays on, or is asked for again at each event, and the kernel tells of room without end.",
        (WRITE, "WRITABLE only while bytes wait")),
    lesson("half_close_delivers_the_last_lines", "who half-closes after its last lines is heard, and then closed",
        "The client is removed before its lines are passed on, its half line is passed on, or its socket stays open.",
        (BROADCAST, "One way out")),
    lesson("clients_come_and_go_while_others_chat", "guests that come and leave in the middle do no harm",
        "A reset ends the server, or an event for a client that has left is not passed over.",
        (BROADCAST, "Stale events")),
    lesson("two_clients_chat_on_ipv6", "the chat works on IPv6 as well",
        "The argument is split at the first colon, or only IPv4 addresses are parsed.",
        (ACCEPT, "Start, or say why not")),
    lesson("row_6_a_client_with_a_queue_sends_and_closes", "one event can tell of a line, the end and room to write",
        "The read half removes the client, and the write half of the same event expects it. If the server has ended of EINTR, see '1. Accept', 'A signal is no error'.",
        (WRITE, "One event, two halves")),
    lesson("row_7_half_a_line_does_not_hold_up_the_queue", "half a line does not keep the same event from writing",
        "After an incomplete line the handler continues with the next event and skips the write half: that edge is spent.",
        (WRITE, "One event, two halves")),
    lesson("a_line_larger_than_the_socket_buffer_arrives_complete", "16 MB in one line fill the socket, wait, and arrive whole",
        "What a short write has not sent is dropped, WouldBlock is taken for an error, or a write that finds the socket full is not told.",
        (WRITE, "A write takes what fits")),
    lesson("a_stalled_reader_that_resets_closes_only_itself", "a client that resets with a backlog ends only itself",
        "An error of write ends the server (in C the signal SIGPIPE, 13, does), or the client is not removed. If the server has ended of EINTR, see '1. Accept', 'A signal is no error'.",
        (WRITE, "The last write")),
    lesson("row_9_turns_writable_on_once", "a client that waits for room is not registered again for each line",
        "Every line calls reregister for every client, though WRITABLE is on already.",
        (WRITE, "WRITABLE only while bytes wait")),

    // Hardening.
    lesson("a_flooder_leaves_the_others_their_share", "who speaks beside a client that never stops is heard",
        "One client is read until WouldBlock, which never comes: a read needs a budget.",
        (HARDEN, "Fair turns")),
    lesson("many_flooders_leave_the_talkers_and_each_other_their_share", "of many clients that never stop, each is read in turn",
        "The list of unfinished senders is walked in the same order each time, or is not bounded for a turn.",
        (HARDEN, "Fair turns")),
    lesson("many_flooders_do_not_close_an_honest_reader", "many bulk senders lose nothing of a slow reader, and do not close it",
        "Each of them may still add to the queue of a reader that is slow already.",
        (HARDEN, "Backpressure")),
    lesson("a_flood_arrives_whole_in_bounded_memory", "what comes faster than it can be passed on does not fill the memory",
        "Senders are read though the readers' queues are long.",
        (HARDEN, "Backpressure")),
    lesson("a_stalled_reader_is_closed_and_nobody_else_loses_anything", "who does not read for 10 s is closed, and the flood goes on",
        "A queue may stay long for ever, so everybody waits, or the memory fills.",
        (HARDEN, "Who does not read")),
    lesson("a_talker_is_heard_again_and_again_beside_a_stalled_reader", "who talks beside a stalled reader is heard as long as it stalls",
        "What one client may send while a reader is slow is not renewed.",
        (HARDEN, "Backpressure")),
    lesson("a_slow_reader_is_not_taken_for_a_stalled_one", "who reads slowly, but all the time, is not closed",
        "The server waits for WRITABLE, which the kernel tells only when a third of its buffer is free.",
        (HARDEN, "Who does not read")),
    lesson("more_senders_in_a_turn_than_a_write_takes_pieces", "1,100 clients that speak in one moment are all heard at once",
        "One write is given a piece for each sender, and the kernel takes 1,024 at the most.",
        (HARDEN, "Write first, ask later")),
    lesson("a_queue_has_a_hard_limit", "a queue of more than 1 MiB closes its reader",
        "Talkers are let through beside a stalled reader, and nobody counts what that adds up to.",
        (HARDEN, "Who does not read")),
    lesson("a_line_without_end_closes_its_sender", "64 KiB without a newline close their sender",
        "Half a line is kept however long it gets.",
        (HARDEN, "A line without end")),
    lesson("the_descriptor_limit_is_told_once", "at the descriptor limit it is said once, and who waits is accepted later",
        "Every failed accept is said, or nobody tries again.",
        (HARDEN, "Descriptors")),
    lesson("writable_is_not_asked_for_in_a_chat", "a line that fits costs no epoll_ctl",
        "WRITABLE is asked for before a write was tried.",
        (HARDEN, "Write first, ask later")),
    lesson("a_turn_is_one_write_for_each_client", "ten lines of one moment are one write for each reader",
        "Each line is written as it comes, not at the end of the turn.",
        (HARDEN, "Write first, ask later")),
    lesson("a_closed_stdout_does_no_harm", "nobody reads stdout any more: the chat goes on",
        "println! panics at a closed pipe, or each lost line is told.",
        (HARDEN, "Output never harms")),
    lesson("an_unread_stdout_does_no_harm_and_what_is_dropped_is_counted", "stdout is a full pipe: the chat goes on, and lost lines are counted",
        "println! waits for room, and everybody with it.",
        (HARDEN, "Output never harms")),
    lesson("a_stdout_that_is_never_read_does_not_hold_up_the_end", "a full stdout does not keep it from ending, and the count is right",
        "The end waits for whoever reads the log, or what waited is not counted.",
        (HARDEN, "Output never harms")),
    lesson("a_clean_end_delivers_what_is_queued", "SIGTERM: what is queued is delivered first",
        "A signal ends the program at once.",
        (HARDEN, "A clean end")),
    lesson("a_clean_end_does_not_cut_off_who_goes_on_sending", "SIGTERM: who goes on sending gets what is on its way",
        "The connection is closed with bytes unread, which resets it.",
        (HARDEN, "A clean end")),
    lesson("a_clean_end_is_quick_when_nothing_is_queued", "Ctrl-C: everybody sees end of file, exit status 0",
        "A signal ends the program at once, or it waits for clients that need nothing.",
        (HARDEN, "A clean end")),
    lesson("a_clean_end_gives_up_on_who_does_not_read", "SIGTERM with a reader that does not read: it ends after 5 s",
        "The end waits without a limit.",
        (HARDEN, "A clean end")),
    lesson("a_second_signal_ends_it_at_once", "a second signal ends it at once, exit status 1",
        "The second signal is ignored, or goes unnoticed while it delivers.",
        (HARDEN, "A clean end")),
    lesson("nine_thousand_clients_cost_less_than_a_kibibyte_each", "9,000 clients cost less than 1 KiB each",
        "Each client has a buffer of its own, full or not.",
        (HARDEN, "Memory")),
    lesson("buffers_give_back_what_a_burst_has_taken", "what a burst made the buffers take is given back",
        "An emptied buffer keeps its memory.",
        (HARDEN, "Memory")),
    lesson("help_tells_the_usage_the_limits_and_the_signals", "--help says usage, limits and signals",
        "--help is taken for an address, or a limit is missing.",
        (HARDEN, "A clean end")),
];

thread_local! {
    /// What this test's server and clients do, to be shown if it fails.
    static HERE: RefCell<Weak<Timeline>> = const { RefCell::new(Weak::new()) };

    /// Whether this test's server is started and is not ready yet.
    static IS_STARTING: Cell<bool> = const { Cell::new(false) };
}

/// From now on, and until [`server_is_ready`], a failure in this thread tells why a server may not
/// start.
pub(crate) fn server_starts() {
    IS_STARTING.set(true);
    teach();
}

pub(crate) fn server_is_ready() {
    IS_STARTING.set(false);
}

/// From now on a failure in this thread shows this timeline.
pub(crate) fn watch(timeline: &Arc<Timeline>) {
    HERE.set(Arc::downgrade(timeline));
}

/// From now on every failure of a test that has a [`Lesson`] ends with it: a plain `assert_eq!`
/// just as the assertions of this crate.
pub(crate) fn teach() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            before(info);
            let timeline = HERE.with_borrow(Weak::upgrade);
            if let Some(timeline) = timeline {
                timeline.show_unless_shown();
            }
            if let Some(lesson) = thread::current().name().and_then(find) {
                eprint!("{}", lesson.text());
            }
        }));
    });
}

fn find(test: &str) -> Option<&'static Lesson> {
    LESSONS.iter().find(|lesson| lesson.test == test)
}

impl Lesson {
    /// What a failure shows of it.
    fn text(&self) -> String {
        let (cause, chapter, heading) = match IS_STARTING.get() {
            true => START,
            false => (self.cause, self.chapter, self.heading),
        };
        let mut text = paragraph("the test", self.checks);
        text += &paragraph("a likely cause", cause);
        let place = format!("{chapter}, '{heading}'");
        text += &paragraph("read", &place);
        if is_foreign() {
            text += &paragraph("tested", &std::env::var(SERVER_CMD).unwrap_or_default());
        }
        text
    }
}

/// A name and what belongs to it, in lines of at most 80 columns.
fn paragraph(name: &str, text: &str) -> String {
    let mut lines = String::new();
    let mut line = format!("{name}:");
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > 80 {
            lines += &line;
            lines += "\n";
            line = " ".repeat(3);
        }
        line += " ";
        line += word;
    }
    lines + &line + "\n"
}
