//! Runs the chapters' tests against servers that fail them, or that a learner starts in another way. Much
//! of that is waiting for a deadline, so these files are one program and wait at the same time.

mod mistakes;
mod new_tests_start_red;
mod own_server;
