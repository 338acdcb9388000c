//! Runs the chapters' tests against servers that fail them, or that a learner starts in another way. Much
//! of that is waiting for a deadline, so these files are one program and wait at the same
//! time. Tests start in the order of their names: those that wait longest come first.

mod chapters_start_red;
mod mistakes;
mod own_server;
