//! Seeds that once broke something, each named for what broke. A change of the scenarios gives
//! their numbers another meaning; then the sweep still looks for what they found.

use crate::handover;
use crate::mutation::Mutation;
use crate::postgres;
use crate::run::run;
use crate::secure;

fn holds(seed: u64) {
    if let Err(message) = run(seed, Mutation::None, false) {
        panic!("{}", crate::failure(seed, &message));
    }
}

fn hands_over(nth: u64) {
    let seed = handover::SEEDS | nth;
    if let Err(message) = handover::run(seed, Mutation::None, false) {
        panic!("{}", crate::failure(seed, &message));
    }
}

#[test]
fn a_lane_that_starves_when_a_timeout_ends_it_is_cut_by_a_reset() {
    holds(0);
    holds(10);
}

#[test]
fn data_that_beats_the_cancel_of_an_ending_turns_it_into_a_reset() {
    holds(21);
}

#[test]
fn a_hangup_after_both_fins_does_not_hurry_a_reset_past_the_last_bytes() {
    holds(22);
    holds(173);
    holds(182);
}

#[test]
fn credits_that_do_not_divide_evenly_among_listeners_do_not_spin() {
    holds(8375);
}

#[test]
fn a_rest_of_one_listener_does_not_let_the_others_accept_beyond_the_slots() {
    holds(4016);
}

#[test]
fn a_rest_leaves_no_accept_without_a_permit() {
    holds(16_878);
}

#[test]
fn credits_that_hold_every_slot_do_not_starve_a_listener_with_a_quota() {
    holds(1);
    holds(14);
}

#[test]
fn accepts_for_clients_to_be_reset_leave_multishot_its_slots() {
    holds(3836);
}

#[test]
fn an_id_that_is_named_twice_leaves_no_asker_without_an_answer() {
    holds(34_926);
    holds(37_289);
}

#[test]
fn an_id_that_is_named_twice_leaves_no_scan_behind_for_an_asker_who_has_left() {
    holds(78);
}

#[test]
fn what_came_before_a_pause_is_read_before_its_connection_counts_as_idle() {
    holds(213);
    holds(418);
}

#[test]
fn the_last_bytes_before_a_reset_may_make_no_way_for_so_long_and_no_longer() {
    holds(56);
}

#[test]
fn a_reset_that_came_long_before_the_gateways_own_end_is_passed_on() {
    holds(26_336);
    holds(32_465);
}

#[test]
fn an_unanswered_send_is_no_silence_of_the_peer() {
    holds(6766);
    holds(8896);
}

#[test]
fn a_refused_client_leaves_no_permit_of_a_quota_at_a_gate_that_nobody_comes_to() {
    holds(152_150);
    holds(271_524);
}

#[test]
fn a_client_that_is_reset_while_it_waits_for_room_leaves_its_place() {
    holds(14_009);
    holds(66_826);
}

#[test]
fn a_silent_client_is_told_of_as_the_config_was_when_it_came() {
    holds(176);
}

#[test]
fn a_header_longer_than_a_buffer_waits_for_no_word_of_its_client() {
    holds(233);
}

#[test]
fn the_address_of_a_client_that_lets_others_go_first_is_no_other_clients() {
    holds(263);
}

#[test]
fn a_client_in_its_preface_outlives_a_change_of_how_it_is_read() {
    holds(220);
    holds(365);
}

#[test]
fn what_a_first_decoder_has_said_is_in_the_header_that_the_route_of_a_second_asks_for() {
    holds(8464);
    holds(8904);
}

#[test]
fn a_header_that_a_server_does_not_read_is_owed_to_it() {
    holds(8521);
    holds(9835);
}

#[test]
fn a_client_that_waited_for_its_source_in_vain_is_reset_however_long_nothing_moved() {
    holds(40);
    holds(1840);
}

#[test]
fn a_tarpit_has_an_end_when_a_change_takes_its_limits_away() {
    holds(722);
}

#[test]
fn a_client_that_was_held_has_its_time_to_say_a_preface() {
    holds(533);
    holds(1337);
}

#[test]
fn an_opening_is_noted_once_where_a_change_makes_clients_be_met_that_were_not() {
    holds(264);
}

#[test]
fn a_client_that_ended_while_it_was_held_does_not_stay_at_a_builtin_that_holds() {
    holds(postgres::SEEDS | 2429);
}

#[test]
fn a_completion_of_an_earlier_life_is_not_taken_for_a_sessions() {
    holds(secure::SEEDS | 114);
}

#[test]
fn a_handshake_does_not_begin_when_its_client_is_being_ended() {
    holds(secure::SEEDS | 1366);
}

#[test]
fn a_close_waits_until_there_is_memory_for_close_notify() {
    holds(secure::SEEDS | 25);
    holds(secure::SEEDS | 366);
}

#[test]
fn who_is_on_the_way_to_a_successor_counts_until_it_is_there() {
    hands_over(2);
    hands_over(4);
}

#[test]
fn what_ended_in_a_successor_that_failed_is_counted_once() {
    hands_over(44);
    hands_over(50);
}

#[test]
fn a_handover_that_a_drain_came_before_is_taken_back() {
    hands_over(64);
    hands_over(163);
}

#[test]
fn who_arrives_in_a_slot_waits_until_its_last_connection_has_ended() {
    hands_over(37);
}

#[test]
fn what_a_client_sent_to_nobody_does_not_come_back_from_a_successor() {
    hands_over(297);
}

#[test]
fn a_stop_waits_for_whom_the_kernel_is_putting_into_slots() {
    hands_over(2318);
}

#[test]
fn a_stop_ends_whom_a_takeback_brings() {
    hands_over(148);
    hands_over(248);
}

#[test]
fn what_a_dead_predecessor_sent_comes_before_its_permits_are_free() {
    hands_over(4062);
    hands_over(5708);
}

#[test]
fn a_takeback_opens_no_door_of_a_worker_that_leaves() {
    hands_over(10_152);
}

#[test]
fn who_was_shut_in_a_successor_and_hangs_up_was_not_reset() {
    hands_over(4327);
    hands_over(13_034);
}

#[test]
fn who_was_accepted_into_a_slot_that_is_still_closing_counts_at_the_switch() {
    hands_over(8330);
}

#[test]
fn who_was_reset_by_a_successor_does_not_go_on() {
    hands_over(49_073);
}
