//! The faults that are tried one by one, and the tests that try them.

/// One fault.
pub struct Fault {
    /// What goes wrong.
    pub what: &'static str,
    /// What must come of it.
    pub outcome: &'static str,
    /// Its test.
    pub test: &'static str,
}

const fn fault(what: &'static str, outcome: &'static str, test: &'static str) -> Fault {
    Fault { what, outcome, test }
}

/// Against the fake API server.
pub const UNIT: &[Fault] = &[
    fault(
        "a node's verification fails in the second wave",
        "that node goes back; verified waves stay; no other begins",
        "daemonset::a_node_that_fails_its_verification_goes_back_and_verified_waves_stay",
    ),
    fault(
        "an install crashes, hangs, can't be pulled, does nothing, or loses its label",
        "that node goes back; its neighbours in the wave stay",
        "daemonset::an_install_that_fails_is_taken_back_and_its_neighbours_in_the_wave_stay",
    ),
    fault(
        "a pod is Ready, but nothing was installed (charts before 3.31)",
        "taken for a failure, rolled back",
        "daemonset::ready_without_the_label_proves_nothing_before_3_31",
    ),
    fault(
        "an install is slow, fails once, or its predecessor is slow to go",
        "waited for",
        "daemonset::a_slow_or_once_failing_install_is_waited_for",
    ),
    fault(
        "a node fails in a run that follows on another run's upgrade",
        "it goes back to that upgrade; so do `rollback-node` and `recover`",
        "daemonset::a_later_run_goes_back_to_what_an_earlier_one_had_upgraded_to",
    ),
    fault(
        "helm fails at the upgrade",
        "no node was changed; all are given back",
        "daemonset::a_helm_that_fails_leaves_the_nodes_untouched",
    ),
    fault(
        "somebody makes a Helm revision by hand in mid-run",
        "the run stops before its next wave; that revision stays",
        "daemonset::somebody_elses_helm_upgrade_stops_the_run_before_its_next_wave",
    ),
    fault(
        "somebody changes values of the release between two runs to one version",
        "a rollback goes back with the changed values",
        "ways_back::values_that_somebody_changed_between_two_runs_are_there_after_a_rollback",
    ),
    fault(
        "the same, and the old chart refuses them",
        "it goes back with the values that the old chart had",
        "ways_back::a_rollback_goes_without_values_that_the_old_chart_refuses",
    ),
    fault(
        "a rollback to a version that was asked for is stopped or fails",
        "it is finished at that version",
        "ways_back::a_stopped_rollback_to_a_version_that_was_asked_for_is_finished_at_that_version",
    ),
    fault(
        "a wave of Jobs fails on the way to a version that was asked for",
        "the release stays where the fleet is",
        "ways_back::a_failed_wave_back_leaves_the_release_where_the_fleet_is",
    ),
    fault(
        "a node fails in the second run of a release",
        "it goes back to where the first run went",
        "ways_back::a_second_run_goes_back_to_where_the_first_one_went",
    ),
    fault(
        "a cordoned and tainted node is upgraded",
        "it is cordoned and tainted as before",
        "daemonset::a_node_that_was_cordoned_and_tainted_is_so_again_afterwards",
    ),
    fault(
        "a node vanishes",
        "left out; nothing else fails",
        "daemonset::a_node_that_vanishes_is_left_out_and_fails_nothing",
    ),
    fault(
        "a node comes back with another UID",
        "not touched",
        "daemonset::a_node_that_comes_back_as_another_one_is_not_touched",
    ),
    fault(
        "a step is told to stop",
        "it ends at once; the exit handler gives its nodes back",
        "daemonset::a_stopped_step_ends_at_once_and_the_exit_handler_gives_its_nodes_back",
    ),
    fault(
        "the rollback fails as well",
        "the node stays cordoned and says why; `recover` does the rest",
        "daemonset::a_rollback_that_fails_leaves_the_node_cordoned_and_says_why",
    ),
    fault("`argo retry` after a rollback", "refused with advice", "daemonset::argo_retry_after_a_rollback_is_refused"),
    fault(
        "a run ends in the middle of a rollback",
        "the next run finishes it before it begins",
        "daemonset::a_rollback_that_a_dead_run_began_is_finished_before_the_next_run_begins",
    ),
    fault(
        "a dispatcher that cleans up outside the wave",
        "Kata is taken off no node",
        "job::a_chart_that_cleans_up_outside_the_wave_takes_kata_off_no_node",
    ),
    fault(
        "a node fails in the second wave in job mode",
        "it goes back alone",
        "job::a_node_that_fails_in_the_second_wave_goes_back_alone",
    ),
    fault(
        "watches break, end, or begin at what the API server has forgotten, in both modes",
        "they go on where they were, or from a new list; nothing fails",
        "watches::a_wave_survives_whatever_becomes_of_its_watches",
    ),
    fault(
        "the API server is away for a minute in the middle of a wave",
        "waited for",
        "watches::a_wave_survives_an_api_server_that_restarts",
    ),
    fault(
        "a watch is open and never says anything again",
        "no node fails: what it last said isn't relied on",
        "watches::no_node_fails_because_a_watch_fell_silent",
    ),
    fault(
        "a dispatcher dies while its Jobs go on",
        "nothing goes back; the release is good and has the user's values",
        "failures::a_dispatcher_that_died_leaves_a_good_release_with_the_users_values",
    ),
    fault(
        "taking back takes longer than its parameter allows",
        "the node stays cordoned",
        "failures::taking_back_may_take_as_long_as_its_parameter_says",
    ),
    fault(
        "Argo starts a step again after one of its nodes failed",
        "it fails again; nothing is begun",
        "failures::a_step_that_is_started_again_after_a_node_of_its_own_failed_fails_again_and_begins_nothing",
    ),
    fault(
        "a node turns NotReady in mid-wave",
        "it goes back when it is Ready again; its neighbours stay",
        "midrun::a_node_that_turns_not_ready_in_mid_wave_goes_back_when_it_can",
    ),
    fault(
        "a node turns NotReady before its wave",
        "not begun, not cordoned; the run stops",
        "midrun::a_node_that_turned_not_ready_before_its_wave_is_not_begun",
    ),
    fault(
        "a node is added in mid-run",
        "left to kata-deploy",
        "midrun::a_node_that_is_added_in_mid_run_is_left_to_kata_deploy",
    ),
    fault(
        "the release is uninstalled by hand in mid-run",
        "the run stops before its next wave; nothing is made again",
        "midrun::a_release_that_somebody_uninstalls_stops_the_run_before_its_next_wave",
    ),
    fault(
        "somebody's own helm is at work on the release in mid-run",
        "waited for; then the run stops before its next wave, and their revision stays",
        "other_helms::a_living_helm_of_somebody_else_is_waited_for_and_ends_the_run",
    ),
    fault(
        "`recover` or `rollback-node` while somebody's own helm is at work",
        "refused, nothing touched",
        "other_helms::nothing_is_put_right_beside_a_living_helm_of_somebody_else",
    ),
    fault(
        "`rollback-node` is terminated where no run ever was, job mode",
        "the next run gives back what it had lent",
        "lent::what_a_terminated_rollback_lent_is_given_back_where_no_run_ever_was",
    ),
    fault(
        "`recover` after all nodes of a run that ended well were replaced or taken elsewhere",
        "the release stays where it is",
        "ways_back::recover_leaves_a_release_alone_whose_run_has_ended_whatever_became_of_its_nodes",
    ),
    fault(
        "the registry gives another chart under the same version in mid-run, job mode",
        "refused before the next wave, both digests named",
        "midrun::a_chart_that_was_pushed_again_in_mid_run_stops_job_mode_before_its_next_wave",
    ),
    fault(
        "the registry is down",
        "waited for; if it stays down, no node was begun",
        "midrun::a_registry_that_is_away_for_a_moment_is_waited_for_and_one_that_stays_away_costs_nothing",
    ),
    fault("the registry is slow", "waited for", "midrun::a_registry_that_is_slow_is_waited_for"),
    fault(
        "the API server fails, hangs, or loses its answer while a dead run's lock is taken over",
        "taken over",
        "midrun::a_dead_holders_lock_is_taken_over_whatever_the_api_server_does_in_between",
    ),
    fault(
        "the same while the holder lives",
        "refused with the holder's name",
        "midrun::a_living_holder_keeps_its_lock_whatever_the_api_server_does_in_between",
    ),
    fault(
        "the holder ends while the API server is away and another run waits",
        "the other run gets the lock",
        "midrun::a_run_that_waits_gets_the_lock_of_one_that_ends_while_the_api_server_is_away",
    ),
    fault(
        "nobody can say whether the holder lives",
        "its lock stays",
        "midrun::while_nobody_can_say_whether_the_holder_lives_its_lock_stays",
    ),
    fault(
        "the API server is away in mid-wave, several times",
        "waited for",
        "midrun::an_api_server_that_is_away_in_mid_wave_is_waited_for",
    ),
    fault(
        "helm can't reach the API server, is denied, or finds the release locked, for a moment at the begin of a wave, job mode",
        "begun again; nothing goes back",
        "outage::a_wave_that_helm_could_not_begin_is_begun_again",
    ),
    fault("the same in daemonset mode", "waited for", "outage::in_daemonset_mode_the_same_is_waited_for"),
    fault(
        "the same on the way back",
        "waited for; the node goes back",
        "outage::a_node_on_its_way_back_waits_for_helm_too",
    ),
    fault(
        "helm can't begin a wave in job mode five times in a row",
        "the wave goes back, with helm's last words",
        "outage::a_wave_that_helm_can_never_begin_fails_with_the_last_cause",
    ),
    fault(
        "helm can't give the user's values back for a moment at the end of a run",
        "asked again; they are given back",
        "outage::values_that_helm_could_not_give_back_are_given_back_a_little_later",
    ),
    fault(
        "the same, after a dispatcher whose helm had failed before its end",
        "asked again; the release is good, with the user's values",
        "outage::a_release_that_helm_could_not_make_good_is_made_good_a_little_later",
    ),
    fault(
        "a run ends well, is rolled back, stopped or terminated, and kata-deploy's own verification was switched off for it",
        "the user's pod is in the release again, by the run or by what follows it",
        "lent::what_a_terminated_run_kept_is_given_back_by_whatever_follows",
    ),
    fault(
        "an eviction is answered by any of 13 answers that may pass",
        "waited for, the node is drained",
        "evictions::what_may_pass_is_waited_for",
    ),
    fault(
        "an eviction is answered by any of 5 answers that stay",
        "only the drain fails, pod and cause are named, the node is given back",
        "evictions::what_does_not_pass_fails_the_drain_alone_and_is_said",
    ),
];

/// On a real cluster; a test's name begins with its suite's.
pub const CLUSTER: &[Fault] = &[
    fault(
        "the pod of a step is deleted in mid-upgrade",
        "Argo starts it again; no node is done twice",
        "daemonset::a_step_that_is_killed_in_mid_upgrade_is_started_again_and_goes_on",
    ),
    fault(
        "an install hangs, crashes, or loses its label",
        "that node goes back",
        "daemonset::an_install_that_hangs_crashes_or_loses_its_label_is_taken_back",
    ),
    fault(
        "an install is slow, or stumbles once",
        "waited for",
        "daemonset::a_whole_fleet_in_one_wave_waits_for_slow_and_stumbling_installs",
    ),
    fault(
        "a pod without probes is Ready, and nothing was installed",
        "taken for a failure, rolled back",
        "daemonset::before_probes_a_ready_pod_proves_nothing_and_its_failures_are_taken_back",
    ),
    fault(
        "kata-deploy's image can't be pulled",
        "the run stops at the first node",
        "daemonset::an_image_that_can_not_be_pulled_stops_the_run_at_the_first_node",
    ),
    fault(
        "a taint would keep the new pod away",
        "refused before anything is touched",
        "daemonset::a_taint_that_would_keep_the_new_pod_away_is_found_before_anything_is_touched",
    ),
    fault(
        "a verification fails in daemonset mode",
        "that node goes back, verified ones stay",
        "rollback::in_daemonset_mode_the_failed_node_goes_back_and_verified_ones_only_by_hand",
    ),
    fault(
        "a verification fails in job mode",
        "that node goes back, verified ones stay",
        "rollback::in_job_mode_the_failed_node_goes_back_and_verified_ones_only_by_hand",
    ),
    fault(
        "a rollback with a dispatcher that cleans up outside the wave",
        "Kata is taken off no node",
        "rollback::from_4_1_on_taking_a_node_back_uninstalls_no_other",
    ),
    fault(
        "somebody changes a value of the release after a run, then a node is taken back by hand",
        "it goes back with the changed value",
        "rollback::in_daemonset_mode_the_failed_node_goes_back_and_verified_ones_only_by_hand",
    ),
    fault(
        "`argo terminate` of a `rollback-node` that goes to another version than runs do",
        "`recover` takes the node to that version",
        "rollback::from_4_1_on_taking_a_node_back_uninstalls_no_other",
    ),
    fault(
        "a rollback fails",
        "the node stays cordoned until `recover` succeeds",
        "rollback::a_node_that_can_not_be_taken_back_stays_cordoned_until_recover_succeeds",
    ),
    fault(
        "a step's pod is deleted while its helm waits for the dispatcher",
        "it goes on where it was",
        "job::a_step_that_is_killed_while_helm_waits_goes_on_where_it_was",
    ),
    fault(
        "a dispatcher gives up at a failed request",
        "no healthy node pays for it",
        "job::a_dispatcher_that_gives_up_costs_no_healthy_node_and_a_lost_label_is_noticed",
    ),
    fault(
        "a Job hangs, fails or vanishes under the first dispatcher",
        "those nodes go back",
        "job::what_fails_under_the_first_dispatcher_is_taken_back",
    ),
    fault(
        "a Job fails or vanishes, or its node isn't ready, under the second dispatcher",
        "those nodes go back",
        "job::what_fails_under_the_second_dispatcher_is_taken_back",
    ),
    fault(
        "a chart that uninstalls outside the wave",
        "Kata is taken off no node",
        "job::to_and_beyond_4_1_no_node_outside_the_wave_is_uninstalled",
    ),
    fault(
        "every node is cordoned, and the dispatcher dies while its Jobs go on",
        "the wave completes",
        "job::a_whole_fleet_in_one_wave_is_cordoned_and_its_dispatcher_still_runs",
    ),
    fault(
        "a disruption budget stays closed, or closes in mid-run",
        "only the drain fails, budget and pod are named, the node is given back",
        "drain::a_budget_that_stays_closed_is_named_and_one_that_closes_in_mid_run_fails_only_the_drain",
    ),
    fault(
        "a pod to be drained that nothing creates again",
        "refused by name; goes only by force",
        "drain::a_pod_that_nothing_creates_again_is_refused_by_name_and_goes_only_by_force",
    ),
    fault(
        "the kubelet of the node that runs the step is frozen while a wave installs",
        "the step goes on; the run hears of its end when the kubelet is back",
        "faults::in_daemonset_mode_a_run_goes_on_whatever_is_killed_around_it",
    ),
    fault(
        "the kubelet of a node in a wave is killed while that node installs",
        "waited for; no node is done twice",
        "faults::in_daemonset_mode_a_run_goes_on_whatever_is_killed_around_it",
    ),
    fault(
        "the API server is killed while a wave installs",
        "every question is asked again; no node is done twice",
        "faults::in_daemonset_mode_a_run_goes_on_whatever_is_killed_around_it",
    ),
    fault(
        "the pod of a step and the workflow controller are killed while a wave is verified",
        "the step is started again and goes on",
        "faults::in_daemonset_mode_a_run_goes_on_whatever_is_killed_around_it",
    ),
    fault(
        "the pod of a step, the API server and the workflow controller are killed in the same moment",
        "the step is started again and goes on",
        "faults::in_daemonset_mode_a_run_goes_on_whatever_is_killed_around_it",
    ),
    fault(
        "the kubelet of a node is killed while it is verified",
        "waited for",
        "faults::in_daemonset_mode_a_run_goes_on_whatever_is_killed_around_it",
    ),
    fault(
        "helm is killed in job mode while the dispatcher works",
        "the step goes on where it was",
        "faults::in_job_mode_a_run_goes_on_whatever_is_killed_around_it",
    ),
    fault(
        "the node that runs the step loses power, job mode",
        "the step is started again and goes on; Argo may have to be made to look ([operations](operations.md))",
        "faults::in_job_mode_a_run_goes_on_whatever_is_killed_around_it",
    ),
    fault(
        "the API server and the workflow controller are killed as helm begins a wave in job mode",
        "the wave is begun; no node goes back",
        "faults::in_job_mode_a_run_goes_on_whatever_is_killed_around_it",
    ),
    fault(
        "a node in a wave falls silent while its Job runs, job mode",
        "the others go back; that node stays cordoned until `recover` succeeds",
        "silent::a_job_on_a_silent_node_does_not_keep_the_other_from_going_back",
    ),
    fault(
        "helm is killed in daemonset mode",
        "no node is changed, all are given back",
        "faults::a_run_that_fails_or_is_stopped_gives_its_nodes_back_and_the_next_one_goes_on_where_a_dead_one_was",
    ),
    fault(
        "`argo stop` while a wave installs",
        "its nodes go back",
        "faults::a_run_that_fails_or_is_stopped_gives_its_nodes_back_and_the_next_one_goes_on_where_a_dead_one_was",
    ),
    fault(
        "`argo terminate` while a wave installs, and a run that waits for the lock",
        "that run takes the lock over and goes on where the dead one was",
        "faults::a_run_that_fails_or_is_stopped_gives_its_nodes_back_and_the_next_one_goes_on_where_a_dead_one_was",
    ),
    fault(
        "the Workflow is deleted while a wave is verified",
        "the next run goes on there; no node is done twice",
        "faults::a_run_that_fails_or_is_stopped_gives_its_nodes_back_and_the_next_one_goes_on_where_a_dead_one_was",
    ),
    fault(
        "`argo terminate` while helm waits for its dispatcher",
        "`recover` takes the wave back and releases the lock",
        "faults::recover_puts_right_what_a_terminated_run_left",
    ),
    fault(
        "a second run is submitted while one is at work",
        "refused, and the holder is named",
        "faults::a_living_run_keeps_its_lock_and_people_keep_their_say",
    ),
    fault(
        "somebody makes a Helm revision by hand in mid-run",
        "the run stops before its next wave; that revision stays",
        "faults::a_living_run_keeps_its_lock_and_people_keep_their_say",
    ),
    fault(
        "somebody uncordons a node that is being verified",
        "it stays so, and the run says it",
        "faults::a_living_run_keeps_its_lock_and_people_keep_their_say",
    ),
    fault(
        "somebody cordons a node before its turn",
        "it is cordoned afterwards too",
        "faults::a_living_run_keeps_its_lock_and_people_keep_their_say",
    ),
    fault(
        "`argo retry` of a run that has failed",
        "refused with advice, nothing is touched",
        "faults::a_living_run_keeps_its_lock_and_people_keep_their_say",
    ),
];
