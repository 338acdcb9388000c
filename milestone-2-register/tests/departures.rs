//! Where this step does better than the article's listing; the rows are those of the table of
//! departures in `docs/src/departures.md`. What is staged here by stopping and continuing the server, the
//! article's listing does not live to see (row 1).

shared_testkit::behaviours! {
    start: row_1_survives_stop_and_continue, row_2_a_port_in_use_is_a_clear_error,
        refuses_a_malformed_address, refuses_a_second_argument;
    accept: accepts_a_burst_behind_one_event;
    register: row_3_small_lines_are_not_delayed;
}
