//! Where to read on: the pages of the book, and those of their headings that several lessons and causes name.

/// A page, and a heading on it without the number signs.
pub(super) type Heading = (&'static str, &'static str);

const ACCEPT: &str = "docs/src/1-accept.md";
const REGISTER: &str = "docs/src/2-register.md";
const BROADCAST: &str = "docs/src/3-broadcast.md";
const WRITE: &str = "docs/src/4-write.md";
pub(super) const LIMITS: &str = "docs/src/5-1-limits.md";
pub(super) const FAIR_TURNS: &str = "docs/src/5-2-fair-turns.md";
pub(super) const WRITE_FIRST: &str = "docs/src/5-3-write-first.md";
pub(super) const ONE_FEED: &str = "docs/src/5-4-one-feed.md";
const BACKPRESSURE: &str = "docs/src/5-5-backpressure.md";
pub(super) const SLOW: &str = "docs/src/5-6-slow-stalled-half-closed.md";
pub(super) const SHUTDOWN: &str = "docs/src/5-7-graceful-shutdown.md";
pub(super) const LOG: &str = "docs/src/5-8-a-log-that-never-blocks.md";
pub(super) const STRANGERS: &str = "docs/src/5-9-strangers.md";
const OWN_SERVER: &str = "docs/src/your-own-server.md";
const WITHOUT_MIO: &str = "docs/src/without-mio.md";

pub(super) const A_SIGNAL: Heading = (ACCEPT, "A signal is not an error");
pub(super) const ACCEPT_ALL: Heading = (ACCEPT, "Accept until WouldBlock");
pub(super) const EDGE: Heading = (ACCEPT, "Reported once: edge-triggered readiness");
pub(super) const START: Heading = (ACCEPT, "Start, or say why not");
pub(super) const EVENT_LOOP: Heading = (ACCEPT, "The event loop");
pub(super) const TOKENS: Heading = (REGISTER, "A token for each client");
pub(super) const NO_DELAY: Heading = (REGISTER, "Small writes without delay");
pub(super) const DESCRIPTOR: Heading = (REGISTER, "The kernel knows the descriptor");
pub(super) const STREAM: Heading = (BROADCAST, "A stream has no messages");
pub(super) const INTEREST: Heading = (BROADCAST, "Interest in WRITABLE");
pub(super) const ONE_WAY_OUT: Heading = (BROADCAST, "One way out");
pub(super) const READ_ALL: Heading = (BROADCAST, "Read until WouldBlock");
pub(super) const STALE: Heading = (BROADCAST, "Stale events");
pub(super) const OTHERS: Heading = (BROADCAST, "To everyone but the sender");
pub(super) const RUN_OUT: Heading = (BROADCAST, "When descriptors run out");
pub(super) const SHORT_WRITE: Heading = (WRITE, "A write takes what fits");
pub(super) const TWO_HALVES: Heading = (WRITE, "One event, two halves");
pub(super) const LAST_WRITE: Heading = (WRITE, "The last write");
pub(super) const WRITABLE_OFF: Heading = (WRITE, "WRITABLE only while bytes are queued");
pub(super) const LONG_LINE: Heading = (LIMITS, "A line without end");
pub(super) const NO_DESCRIPTOR: Heading = (LIMITS, "No descriptor left");
pub(super) const POSITION: Heading = (ONE_FEED, "A queue is a position");
pub(super) const MARK: Heading = (BACKPRESSURE, "The mark");
pub(super) const TALK: Heading = (BACKPRESSURE, "Talk goes on");
pub(super) const HALF_CLOSED: Heading = (SLOW, "Half-closed");
pub(super) const STALLED: Heading = (SLOW, "Slow or stalled");
pub(super) const DELIVER: Heading = (SHUTDOWN, "Deliver, then end");
pub(super) const SECOND_SIGNAL: Heading = (SHUTDOWN, "The second signal");
pub(super) const LOG_THREAD: Heading = (LOG, "A thread that may block");
pub(super) const NO_READER: Heading = (LOG, "Nobody reads the log");
pub(super) const RUN_TESTS: Heading = (OWN_SERVER, "Run a chapter's tests against it");
pub(super) const OWN_SERVER_IS: Heading = (OWN_SERVER, "What your server must be");
pub(super) const ADDRESS_IN_USE: Heading = (WITHOUT_MIO, "An address that was in use");
pub(super) const NON_BLOCKING: Heading = (WITHOUT_MIO, "Both sides must be non-blocking");
pub(super) const SIGNALS: Heading = (WITHOUT_MIO, "Signals");
