//! What the book shows of this milestone happens as it stands there.

use shared_testkit::book;

#[test]
fn the_transcripts_come_true() {
    book::replay(
        env!("CARGO_PKG_NAME"),
        env!("CARGO_BIN_EXE_milestone-3-broadcast"),
    );
}
