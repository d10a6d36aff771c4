"""Every fault of the table, what must happen, and the tests that show it, for docs/reliability.md."""

# ruff: noqa: E501  (the names of tests are as long as they are)

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One fault.

    Args:
        fault: what happens.
        outcome: what must follow.
        tests: `file under tests/: name`, or the name of a scene.
    """

    fault: str
    outcome: str
    tests: tuple[str, ...]


SCENE = (
    "faults/test_faults.py: test_a_fault_costs_clients_no_more_than_the_table_allows_and_all_ledgers_agree"
)
CANARY, URLS = "e2e/test_e2e_canary.py", "e2e/test_e2e_urls.py"
EDITS, PROCESSES = "e2e/test_e2e_edits.py", "e2e/test_e2e_processes.py"
AWAY, CLIENTS = "e2e_control/test_control_away.py", "faults/test_clients.py"
STORE, CLIENT = "control/store/test_store.py", "router/hop/test_client.py"
HOSTS = "servers/hosts/test_hosts_apart.py"
MISBEHAVES = f"{URLS}: test_stable_answers_for_a_canary_that_misbehaves"

ROWS = (
    Row(
        "canary's sandbox killed before it answers",
        "stable answers, within the retry budget",
        (SCENE, f"{CANARY}: test_killing_the_canary_again_and_again_under_load_fails_no_request"),
    ),
    Row(
        "canary killed in the middle of its body",
        "200 from stable, never a truncated one",
        (SCENE, MISBEHAVES),
    ),
    Row(
        "canary stopped, or it accepts and never answers",
        "deadline, then stable; ejected within seconds",
        (
            SCENE,
            MISBEHAVES,
            f"{CANARY}: test_a_stopped_canary_is_ejected_and_comes_back_when_it_runs_again",
            "e2e/test_e2e_several.py: test_one_that_hangs_costs_nobody_an_answer_and_the_others_are_judged_on",
        ),
    ),
    Row(
        "canary answers 5xx, garbage, a wrong signature or length",
        "stable answers; counted; taken off",
        (
            SCENE,
            MISBEHAVES,
            f"{URLS}: test_a_canary_of_another_signature_gets_no_request",
            "e2e_evidence/test_evidence_ends.py: test_a_dead_canary_is_taken_off_within_few_requests_that_no_client_sees",
        ),
    ),
    Row(
        "stable and canary both down",
        "503 with Retry-After at once, few attempts",
        (SCENE, f"{CLIENTS}: test_with_every_target_down_each_client_is_told_at_once_and_targets_are_spared"),
    ),
    Row(
        "canary slow",
        "taken off by the latency guard; stable's latency unchanged",
        (SCENE, "faults/test_slow_canary.py: test_a_slow_canary_is_taken_off_by_its_latency"),
    ),
    Row(
        "shadow hung, slow, reset, dying, with endless replies, eating CPU",
        "no effect on clients; the queue is bounded, drops are counted",
        (
            SCENE,
            "e2e/test_e2e_shadows.py: test_a_stopped_shadow_fails_no_request_and_what_it_missed_is_counted_exactly",
            "e2e/test_e2e_shadows.py: test_a_shadow_killed_again_and_again_fails_no_request_and_what_is_lost_is_counted",
            f"{CLIENT}: test_an_endless_reply_is_given_up_at_its_limit",
            "faults/test_slow_canary.py: test_a_shadow_that_would_eat_every_core_costs_no_client_anything",
        ),
    ),
    Row(
        "shadow answers differently",
        "differences counted exactly",
        ("e2e/test_e2e_shadows.py: test_differences_of_shadow_and_mirrored_canary_are_those_of_the_models",),
    ),
    Row(
        "a target closes idle connections at the boundary",
        "no error in 100,000 POSTs",
        (f"{CLIENT}: test_no_post_is_lost_or_mixed_up_when_idle_connections_are_closed_at_the_boundary",),
    ),
    Row(
        "reset in mid-request, one-byte slices",
        "right bytes or a clean error",
        (SCENE, f"{CLIENT}: test_replies_in_one_byte_slices_are_right"),
    ),
    Row(
        "client disconnects in mid-request",
        "its slot and files come back, gauges return to 0",
        (f"{CLIENTS}: test_clients_that_leave_in_the_middle_of_a_request_give_everything_back",),
    ),
    Row(
        "client does not read its answers",
        "back-pressure; memory bounded; others unaffected",
        (f"{CLIENTS}: test_clients_that_do_not_read_cost_bounded_memory_and_nobody_else_an_answer",),
    ),
    Row(
        "500 clients trickle heads or bodies",
        "closed at an absolute deadline; others unaffected",
        (
            SCENE,
            "hostile/test_framing.py: test_a_client_that_sends_a_byte_now_and_then_is_ended_at_an_absolute_deadline",
        ),
    ),
    Row(
        "rollout file half written, bad, deleted",
        "the last good one serves; file:line:column",
        (SCENE, f"{EDITS}: test_a_bad_edit_changes_nothing_and_says_where_it_is_wrong"),
    ),
    Row(
        "rollout file replaced by rename or ConfigMap swap",
        "applied once, whole",
        (
            f"{EDITS}: test_an_edit_in_place_and_one_by_a_configmap_swap_are_applied",
            f"{EDITS}: test_every_edit_under_load_is_applied_whole_and_no_request_fails",
        ),
    ),
    Row(
        "1,000 edits in a second",
        "the last one wins",
        (f"{EDITS}: test_of_a_thousand_edits_in_a_row_the_last_one_wins",),
    ),
    Row(
        "impossible weights, unknown models, other signatures",
        "refused before anything changes",
        (
            f"{EDITS}: test_a_bad_edit_changes_nothing_and_says_where_it_is_wrong",
            "hostile/test_documents.py: test_a_document_that_is_none_is_refused_in_words",
        ),
    ),
    Row(
        "SIGTERM under load",
        "not ready, drain, exit 0; no client error",
        (f"{PROCESSES}: test_ending_under_load_loses_no_request",),
    ),
    Row(
        "worker killed",
        "replaced; only its requests in flight fail; counters stay right",
        (SCENE, f"{PROCESSES}: test_a_killed_worker_is_replaced_and_what_it_counted_stays"),
    ),
    Row(
        "control killed, its disk full, its database locked or corrupt",
        "the data plane serves; the rollout goes on where it was",
        (
            SCENE,
            "e2e_control/test_killed_control.py: test_killed_at_200_points_control_ends_where_it_would_have",
            "e2e_control/test_candidates_and_killed_control.py: test_a_test_goes_on_where_it_was_when_control_is_killed",
            f"{AWAY}: test_on_a_full_disk_edits_are_refused_in_words_and_succeed_when_there_is_room",
            f"{AWAY}: test_a_node_whose_own_disk_is_full_takes_edits_and_serves",
            f"{STORE}: test_a_locked_database_is_unavailable_until_it_is_free",
            f"{STORE}: test_a_damaged_file_is_said_to_be_damaged",
        ),
    ),
    Row(
        "two controls",
        "one leader; the other's writes are fenced off",
        (
            "faults/test_two_controls.py: test_the_second_leads_when_the_first_sleeps_and_the_first_writes_nothing_when_it_wakes",
            "control/store/test_leader.py: test_a_control_that_was_overtaken_writes_nothing_more",
        ),
    ),
    Row(
        "Prometheus down, empty or NaN",
        "undecided",
        (
            "e2e_evidence/test_evidence_prometheus.py: test_a_prometheus_that_goes_away_decides_nothing",
            "e2e_evidence/test_evidence_prometheus.py: test_a_value_that_is_none_decides_nothing",
        ),
    ),
    Row(
        "three requests an hour",
        "undecided, and says so",
        ("e2e_evidence/test_evidence_undecided.py: test_three_canary_requests_decide_nothing",),
    ),
    Row(
        "a router restarts",
        "no false verdict",
        (
            "e2e_evidence/test_evidence_undecided.py: test_a_worker_that_is_killed_takes_no_count_along_and_makes_no_verdict",
        ),
    ),
    Row(
        "the wall clock jumps an hour",
        "no step early or late",
        ("faults/test_clock.py: test_a_pause_is_not_over_because_the_wall_clock_says_so",),
    ),
    Row(
        "file descriptors run out",
        "sheds, recovers by itself, does not spin",
        (SCENE, f"{CLIENTS}: test_a_worker_without_file_descriptors_does_not_spin"),
    ),
    Row(
        "new model corrupt, truncated, or a bomb",
        "refused by a check with limits; the old one serves",
        (
            "faults/test_models_at_load.py: test_a_hostile_model_is_refused_without_a_path_and_the_old_one_serves",
            "serving/models/checking/test_verify.py: test_bombs_and_damaged_files_are_refused_and_the_others_still_checked",
        ),
    ),
    Row(
        "model file overwritten while in use",
        "the loaded one is unaffected",
        ("faults/test_models_at_load.py: test_a_file_overwritten_while_its_model_serves_changes_no_answer",),
    ),
    Row(
        "twice the peak load",
        "90% of the peak is served, the rest is refused at once",
        (
            "faults/test_overload.py: test_at_twice_the_peak_what_cannot_be_served_is_refused",
            "faults/test_overload.py: test_at_twice_the_peak_for_minutes_most_of_the_peak_is_served_and_the_rest_refused_at_once",
        ),
    ),
    Row("hours of load with reloads and rollouts", "memory, files and tasks flat", ("make soak",)),
    Row(
        "the log sink blocks",
        "lines are dropped and counted, not requests",
        ("faults/test_log_sink.py: test_a_log_whose_reader_sleeps_costs_lines_and_no_request",),
    ),
    Row(
        "control killed while outcomes are told",
        "each arrives, each once; inference goes on",
        (
            "e2e_control/test_outcomes_arrive.py: test_each_outcome_arrives_once_however_often_control_is_killed",
        ),
    ),
    Row(
        "the spool for outcomes is full, or its disk does not write",
        "503 with Retry-After, nothing of that request taken; what was taken is kept",
        (
            "e2e/test_e2e_outcome_door.py: test_a_full_spool_says_so_and_takes_nothing_of_that_request",
            "router/outcomes/test_outcome_spool.py: test_a_disk_that_does_not_write_takes_nothing_and_what_was_there_stays",
        ),
    ),
    Row(
        "workers and outcome taker killed between the answer to outcomes and their sending",
        "the successor sends them, each counts once",
        ("e2e/test_e2e_outcome_door.py: test_processes_that_are_killed_after_their_answer_lose_nothing",),
    ),
    Row(
        "control killed while outcomes enter the evidence",
        "each is in the sums once; who takes over judges by all of them",
        (
            "control/outcomes/test_entering.py: test_a_control_that_is_killed_at_any_moment_counts_nothing_twice_and_loses_nothing",
            "control/outcomes/test_arms_entering.py: test_a_control_that_is_killed_attributes_nothing_twice_and_loses_nothing",
            "control/api/test_outcomes_door.py: test_what_was_told_is_judged_when_it_is_mature_and_a_control_that_was_killed_knows_as_much",
        ),
    ),
    Row(
        "the state database gives up in the middle of outcomes, or is lost with them",
        "503 and each once when told again; of what was lost the evidence begins anew, and a log line says so",
        (
            "control/outcomes/test_desk.py: test_a_request_that_ends_in_the_middle_is_told_again_and_counts_once",
            "control/outcomes/test_book.py: test_outcomes_that_were_lost_with_the_database_are_said_to_be",
        ),
    ),
    Row(
        "preloader killed or hung",
        "what it forked runs on and is still replaced; meanwhile processes begin as fresh ones",
        (
            "understudy/test_preloader.py: test_killing_the_preloader_hurts_nobody_and_it_is_started_again",
            "understudy/test_preloader.py: test_one_that_hangs_is_replaced_and_meanwhile_processes_are_begun_afresh",
        ),
    ),
    Row(
        "store of models killed, slow, silent, or its key revoked",
        "no request fails; what was fetched serves and can be put in force, the rest is refused in words until the store is back",
        (
            "servers/objects/test_store_troubles.py: test_a_node_whose_store_is_killed_or_wants_another_key_serves_on_and_follows_when_it_can",
            "servers/objects/test_store_troubles.py: test_a_node_that_its_store_refuses_keeps_its_route_and_changes_it_when_it_may",
            "servers/objects/test_store_troubles.py: test_serve_reloads_from_a_store_that_is_slow_silent_or_away_without_missing_a_request",
            "servers/objects/test_models_in_a_bucket.py: test_with_everything_away_a_node_starts_with_what_was_accepted",
        ),
    ),
    Row(
        "MLflow killed while a version is on trial, slow over one model, its webhooks forged or sent twice; an alias moved again and again",
        "never two rollouts of one move, the newest version alone; what is on trial goes on, and MLflow is told once it is back",
        (
            "servers/mlflow/test_following_mlflow.py: test_mlflow_is_killed_meanwhile_and_told_of_the_promotion_when_it_is_back",
            "servers/mlflow/test_following_mlflow.py: test_of_ten_moves_one_after_the_other_the_newest_alone_is_tried",
            "control/follow/test_following_door.py: test_what_is_forged_late_or_replayed_is_refused_in_words_and_changes_nothing",
            "control/follow/test_following_door.py: test_a_registry_that_is_slow_over_one_model_holds_up_no_other",
            "control/follow/test_following_door.py: test_after_a_restart_of_control_and_an_absence_of_the_registry_nothing_is_tried_twice",
        ),
    ),
    Row(
        "nodes cut off from control, both ways or one; a slow or lossy way",
        "they serve on by their last snapshot; no time passes for a rollout without them; counts are whole once it is mended",
        (
            f"{HOSTS}: test_nodes_that_are_cut_off_from_control_serve_on_and_no_time_passes_without_them",
            f"{HOSTS}: test_lost_packets_and_a_slow_way_to_control_cost_no_answer_and_no_count",
        ),
    ),
    Row(
        "a host without its network, or dead with its node",
        "a balancer that sends again costs no client an answer; control names the node; at most a report's worth of counts is lost with a dead one",
        (
            f"{HOSTS}: test_nodes_whose_cable_is_pulled_or_whom_the_balancer_does_not_reach_cost_no_client_an_answer",
            f"{HOSTS}: test_a_host_that_dies_with_its_node_is_missed_and_taken_up_again",
        ),
    ),
    Row(
        "the control that leads cut off from PostgreSQL, or its host dead; both controls dead",
        "never two that say they lead; the other takes over with all counts; nodes serve meanwhile",
        (
            f"{HOSTS}: test_a_control_that_is_cut_off_from_its_database_gives_way_to_the_other",
            f"{HOSTS}: test_when_the_control_that_leads_dies_the_other_takes_over_with_all_counts",
            f"{HOSTS}: test_without_any_control_nodes_serve_and_count_and_tell_it_when_there_is_one",
        ),
    ),
)
