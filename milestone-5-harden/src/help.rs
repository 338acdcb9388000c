//! What `--help` prints. A test in `limits.rs` compares the numbers.

pub const HELP: &str = "\
Passes every line that a client sends on to all other clients.

Usage: milestone-5-harden [ADDRESS]

ADDRESS is HOST:PORT by number, such as 127.0.0.1:8080 (the default) or [::1]:8080.
Port 0 lets the kernel choose. The first line on stderr reports the address.

Limits:
  a line                  65536 bytes; a client that sends a longer one is closed
  reading                 65536 bytes from one client before the others have their turn
  a client's queue        65536 bytes; above that, a client that sends more than 8192
                          bytes at once has to wait, and all others together may send
                          16384 bytes a second; the client is closed after 10 s of it
  lines of the log        262144 bytes if nobody reads them; more are dropped and counted
  clients                 as many as there are descriptors (ulimit -n); others stay pending

Signals:
  SIGINT, SIGTERM         accept and read no more, deliver what is queued for at most 5 s,
                          and end with status 0; a second one ends the server at once

Activity is logged to stdout, errors to stderr.
";
