//! What came instead of what a client expected.

/// How many bytes after the first difference say what kind it is.
const NEAR: usize = 64 << 10;

/// What came instead of what a client expected.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Talk {
    /// No bytes are compared, or none is missing.
    #[default]
    Silent,
    /// Bytes are missing at the end.
    TailMissing,
    /// Bytes are missing in the middle, after this many.
    Hole(usize),
    /// The same bytes in another order.
    Order,
    /// This line came in front of others, and it is none of them.
    Inserted(Vec<u8>),
    /// White space at the ends of lines is missing.
    Trimmed,
    /// Bytes that are not text have become U+FFFD.
    Replaced,
    /// Anything else.
    Other,
}

/// Classifies what came. A pure function: it knows nothing but the bytes.
pub(crate) fn classify(expected: &[u8], received: &[u8]) -> Talk {
    const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();
    let has = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    if received.is_empty() || received == expected {
        return Talk::Silent;
    }
    if expected.starts_with(received) {
        return Talk::TailMissing;
    }
    let pairs = expected.iter().zip(received);
    let equal = pairs.take_while(|(e, r)| e == r).count();
    // Messages of many megabytes are compared near the first difference only.
    let near =
        |bytes: &'_ [u8]| bytes[equal.saturating_sub(3)..bytes.len().min(equal + NEAR)].to_vec();
    let (wanted, came) = (near(expected), near(received));
    if has(&came, REPLACEMENT) && !has(&wanted, REPLACEMENT) {
        return Talk::Replaced;
    }
    if expected.len() < NEAR && trimmed(expected) == trimmed(received) {
        return Talk::Trimmed;
    }
    if histogram(expected) == histogram(received) {
        return Talk::Order;
    }
    // A few bytes could be anywhere.
    if is_reordered(expected, received, equal) {
        return Talk::Order;
    }
    if let Some(line) = inserted(expected, received, equal) {
        return Talk::Inserted(line.to_vec());
    }
    let after = &received[equal..received.len().min(equal + 16)];
    match equal > 0 && after.len() > 3 && has(&wanted, after) {
        true => Talk::Hole(equal),
        false => Talk::Other,
    }
}

/// Whether one of the lines that came after the first difference is expected only before the line
/// that came in front of it. Lines that are merely missing leave the others in their order.
fn is_reordered(expected: &[u8], received: &[u8], equal: usize) -> bool {
    let wanted: Vec<_> = lines_from(expected, equal).collect();
    let came: Vec<_> = lines_from(received, equal).take(4).collect();
    came.windows(2).any(|pair| {
        let first = wanted.iter().position(|line| *line == pair[0]);
        let last = wanted.iter().rposition(|line| *line == pair[1]);
        matches!((first, last), (Some(first), Some(last)) if last < first)
    })
}

/// The line at the first difference, if it is none of those expected from there on.
fn inserted<'a>(expected: &[u8], received: &'a [u8], equal: usize) -> Option<&'a [u8]> {
    let line = lines_from(received, equal).next()?;
    let is_expected = lines_from(expected, equal).any(|wanted| wanted == line);
    (!is_expected).then_some(line)
}

/// The complete lines from the one on that has this place.
fn lines_from(bytes: &[u8], place: usize) -> impl Iterator<Item = &[u8]> {
    let newline = bytes[..place].iter().rposition(|&byte| byte == b'\n');
    let lines =
        bytes[newline.map_or(0, |place| place + 1)..].split_inclusive(|&byte| byte == b'\n');
    lines.filter(|line| line.ends_with(b"\n"))
}

fn histogram(bytes: &[u8]) -> [usize; 256] {
    let mut counts = [0; 256];
    for &byte in bytes {
        counts[usize::from(byte)] += 1;
    }
    counts
}

/// The lines without white space at their ends.
pub(crate) fn trimmed(bytes: &[u8]) -> Vec<u8> {
    let lines = bytes.split_inclusive(|&byte| byte == b'\n');
    let trimmed = lines.map(|line| {
        [
            line.trim_ascii(),
            b"\n".repeat(usize::from(line.ends_with(b"\n"))).as_slice(),
        ]
        .concat()
    });
    trimmed.collect::<Vec<_>>().concat()
}
