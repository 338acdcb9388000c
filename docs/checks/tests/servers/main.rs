//! Runs the chapters' tests against other servers than the milestone's own. These tests mostly wait,
//! so they are one program and wait at the same time.

mod example_servers;
mod mistakes;
mod new_tests_start_red;
mod own_server;
