//! Where a rollback goes when more than one run, or somebody else, had a hand in the release.

use std::time::Duration;

use klm_step::exit::StepError;
use klm_testkit::fixtures::{Fleet, node};
use klm_testkit::{Injection, Invocation, PodFate};
use serde_json::{Value, json};

use crate::bed::{Bed, Flow, NAMESPACE, RELEASE, unverified};

const ALL: [&str; 3] = ["worker-1", "worker-2", "worker-3"];

fn fleets(version: &str) -> [Fleet; 2] {
    [Fleet::new().version(version), Fleet::new().version(version).job()]
}

/// Somebody's own `helm upgrade` of values alone.
async fn by_hand(bed: &Bed, version: &str, more: &str) {
    let line = format!("upgrade kata-deploy oci://x/kata-deploy -n kube-system --version {version} --no-hooks {more}");
    let ended = bed.helm.process().run(Invocation::of(line.split_whitespace())).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

/// A run of which only the first item is done.
async fn half_a_run(bed: &Bed, target: &str, given: &[(&str, &str)]) {
    let flow = bed.flow("half", given);
    bed.plan(&flow, target, &ALL).await;
    bed.item(&flow, 1).await.unwrap();
    bed.step(&flow, &["finish", "--workflow-status", "Failed"]).await.unwrap();
    bed.end(&flow, "Failed");
}

async fn whole_run(bed: &Bed, name: &str, target: &str) {
    let flow = bed.flow(name, &[("batch-size", "3")]);
    bed.plan(&flow, target, &ALL).await;
    bed.rollout(&flow, 1).await.unwrap();
}

/// What a run ends as whose first node, `worker-2`, fails at the target.
async fn rest_fails(bed: &Bed, target: &str) {
    bed.cluster.misbehave_at("worker-2", target, Injection::Verification(PodFate::Exits(7)));
    let flow = bed.flow("rest", &[]);
    bed.plan(&flow, target, &ALL[1..]).await;
    assert_eq!(unverified(bed.rollout(&flow, 2).await).len(), 1);
}

fn last(bed: &Bed) -> (String, Value) {
    let last = bed.helm.last(NAMESPACE, RELEASE);
    assert_eq!(last.status, "deployed", "{:?}", bed.revisions());
    (last.chart, json!(last.config))
}

#[tokio::test(start_paused = true)]
async fn values_that_somebody_changed_between_two_runs_are_there_after_a_rollback() {
    for fleet in fleets("3.32.0") {
        let bed = Bed::new(fleet.values(json!({"logLevel": "warn", "podLabels": {"team": "blue"}})));
        half_a_run(&bed, "4.0.0", &[("helm-set-values", "imagePullPolicy=Never")]).await;
        by_hand(&bed, "4.0.0", "--reset-then-reuse-values --set debug=true,logLevel=trace").await;
        rest_fails(&bed, "4.0.0").await;
        let (chart, values) = last(&bed);
        assert_eq!((chart.as_str(), bed.installed("worker-2").as_str()), ("3.32.0", "3.32.0"));
        assert_eq!((&values["debug"], &values["logLevel"]), (&json!(true), &json!("trace")), "{values}");
        assert_eq!(values["podLabels"], json!({"team": "blue"}), "{values}");
        assert_eq!(values.get("imagePullPolicy"), None, "that was the run's own, for the target: {values}");
        assert_eq!(values["job"].get("nodes"), None, "{values}");
        bed.assert_nothing_uninstalled();
        bed.assert_tidy();
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_killed_after_somebody_changed_values_is_taken_back_to_the_changed_ones() {
    for fleet in fleets("3.32.0") {
        let bed = Bed::new(fleet);
        half_a_run(&bed, "4.0.0", &[]).await;
        by_hand(&bed, "4.0.0", "--reset-then-reuse-values --set debug=true").await;
        let flow = bed.flow("killed", &[]);
        bed.plan(&flow, "4.0.0", &ALL[1..]).await;
        bed.step(&flow, &["apply-wave", "--item", "1"]).await.unwrap();
        bed.end(&flow, "Failed");
        bed.step(&bed.flow("recovery", &[]), &["recover"]).await.unwrap();
        let (chart, values) = last(&bed);
        assert_eq!((chart.as_str(), bed.installed("worker-2").as_str()), ("3.32.0", "3.32.0"));
        assert_eq!(values["debug"], true, "{values}");
        bed.assert_tidy();
    }
}

#[tokio::test(start_paused = true)]
async fn a_rollback_that_is_asked_for_keeps_what_somebody_changed_since_the_run() {
    for fleet in fleets("3.32.0") {
        let bed = Bed::new(fleet);
        whole_run(&bed, "first", "4.0.0").await;
        by_hand(&bed, "4.0.0", "--reset-then-reuse-values --set debug=true").await;
        // Wherever other nodes went before.
        let elsewhere = ["rollback-node", "--node-name", "worker-3", "--rollback-version", "4.1.0"];
        for (name, asked, version) in [
            ("elsewhere", &elsewhere[..], "4.1.0"),
            ("back", &["rollback-node", "--node-name", "worker-2"], "3.32.0"),
            ("too", &["rollback-node", "--node-name", "worker-1"], "3.32.0"),
        ] {
            bed.step(&bed.flow(name, &[]), asked).await.unwrap();
            let (chart, values) = last(&bed);
            assert_eq!((chart.as_str(), &values["debug"]), (version, &json!(true)), "{name}: {values}");
        }
        assert_taken_back(&bed, "3.32.0");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_recorded_of_a_release_that_is_gone_is_no_way_back() {
    for fleet in fleets("3.32.0") {
        let bed = Bed::new(fleet);
        whole_run(&bed, "first", "4.0.0").await;
        for revision in 1..=bed.revisions().len() {
            let name = format!("sh.helm.release.v1.{RELEASE}.v{revision}");
            bed.cluster.remove("secrets", NAMESPACE, &name).unwrap();
        }
        by_hand(&bed, "4.0.0", "--install").await;
        let before = last(&bed);
        let outcome = bed.step(&bed.flow("back", &[]), &["rollback-node", "--node-name", "worker-2"]).await;
        let Err(StepError::Refused(refusals)) = outcome else { panic!("{outcome:?}") };
        assert!(format!("{refusals:?}").contains("isn't recorded"), "{refusals:?}");
        assert_eq!(last(&bed), before);
    }
}

#[tokio::test(start_paused = true)]
async fn a_rollback_goes_without_values_that_the_old_chart_refuses() {
    // Charts from 4.1.0 on refuse `job.nodeSelector`, in both modes.
    for fleet in fleets("4.1.0") {
        let bed = Bed::new(fleet.values(json!({"logLevel": "warn"})));
        half_a_run(&bed, "4.0.0", &[]).await;
        by_hand(&bed, "4.0.0", "--reset-then-reuse-values --set job.nodeSelector.pool=kata,logLevel=trace").await;
        rest_fails(&bed, "4.0.0").await;
        let (chart, values) = last(&bed);
        assert_eq!((chart.as_str(), bed.installed("worker-2").as_str()), ("4.1.0", "4.1.0"));
        assert_eq!(values["logLevel"], "warn", "what the old chart is known to take: {values}");
        assert_eq!(values["job"].get("nodeSelector"), None, "{values}");
        bed.assert_tidy();
    }
}

#[tokio::test(start_paused = true)]
async fn without_its_old_chart_a_release_with_changed_values_still_goes_back() {
    let bed = Bed::new(Fleet::new().values(json!({"logLevel": "warn"})));
    half_a_run(&bed, "4.0.0", &[]).await;
    by_hand(&bed, "4.0.0", "--reset-then-reuse-values --set logLevel=trace").await;
    bed.helm.set_versions(&["4.0.0"]);
    rest_fails(&bed, "4.0.0").await;
    let (chart, values) = last(&bed);
    assert_eq!((chart.as_str(), bed.installed("worker-2").as_str()), ("3.31.0", "3.31.0"));
    assert_eq!(values["logLevel"], "warn", "{values}");
    bed.assert_tidy();
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_only_submitted_again_goes_back_as_the_first_one_would() {
    let bed = Bed::new(Fleet::new());
    half_a_run(&bed, "4.0.0", &[]).await;
    rest_fails(&bed, "4.0.0").await;
    assert_eq!(bed.helm.calls_of("rollback").len(), 1, "to the revision that was armed");
    assert_eq!(bed.revisions().last().unwrap(), "3.31.0 deployed");
    bed.assert_tidy();
}

#[tokio::test(start_paused = true)]
async fn recover_leaves_a_release_alone_whose_run_has_ended_whatever_became_of_its_nodes() {
    let bed = Bed::new(Fleet::new());
    whole_run(&bed, "first", "4.0.0").await;
    for (old, new) in ALL.into_iter().zip(["worker-4", "worker-5", "worker-6"]) {
        bed.cluster.remove("nodes", "", old).unwrap();
        bed.cluster.add(node(new));
    }
    let before = bed.revisions();
    bed.step(&bed.flow("recovery", &[]), &["recover"]).await.unwrap();
    assert_eq!(bed.revisions(), before, "its nodes were replaced");

    let bed = Bed::new(Fleet::new());
    whole_run(&bed, "first", "4.0.0").await;
    for node in ALL {
        let elsewhere = ["rollback-node", "--node-name", node, "--rollback-version", "4.1.0"];
        bed.step(&bed.flow(&format!("back-{node}"), &[]), &elsewhere).await.unwrap();
    }
    let before = bed.revisions();
    bed.step(&bed.flow("recovery", &[]), &["recover"]).await.unwrap();
    assert_eq!((bed.revisions(), last(&bed).0.as_str()), (before, "4.1.0"), "they were taken elsewhere");
}

#[tokio::test(start_paused = true)]
async fn recover_takes_a_release_back_that_a_terminated_run_moved_for_nothing() {
    let bed = Bed::new(Fleet::new());
    let flow = bed.flow("dead", &[]);
    bed.plan(&flow, "4.0.0", &ALL).await;
    bed.cluster.misbehave("worker-1", Injection::Slow(Duration::from_secs(600)));
    let (world, switch) = bed.world();
    let stopper = async {
        while last_chart(&bed) != "4.0.0" {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        switch.stop();
    };
    let (outcome, ()) = tokio::join!(bed.step_in(&world, &flow, &["apply-wave", "--item", "1"]), stopper);
    assert!(matches!(outcome, Err(StepError::Stopped)), "{outcome:?}");
    bed.end(&flow, "Failed");
    bed.step(&bed.flow("recovery", &[]), &["recover"]).await.unwrap();
    assert_eq!(last(&bed).0, "3.31.0");
    bed.assert_tidy();
    let before = bed.revisions();
    bed.step(&bed.flow("again", &[]), &["recover"]).await.unwrap();
    assert_eq!(bed.revisions(), before);
}

fn last_chart(bed: &Bed) -> String {
    bed.helm.last(NAMESPACE, RELEASE).chart
}

#[tokio::test(start_paused = true)]
async fn a_second_run_goes_back_to_where_the_first_one_went() {
    for fleet in fleets("3.32.0") {
        let bed = Bed::new(fleet);
        whole_run(&bed, "first", "4.0.0").await;
        bed.cluster.misbehave_at("worker-1", "4.1.0", Injection::Verification(PodFate::Exits(7)));
        let flow = bed.flow("second", &[]);
        bed.plan(&flow, "4.1.0", &ALL).await;
        assert_eq!(unverified(bed.rollout(&flow, 3).await).len(), 1);
        assert_eq!(bed.installed("worker-1"), "4.0.0");
        bed.assert_tidy();
    }
}

/// A fleet that two runs have moved from 3.32.0, and a `rollback-node` of `worker-2` to there that fails.
async fn failed_rollback(fleet: Fleet) -> (Bed, Flow) {
    let bed = Bed::new(fleet);
    whole_run(&bed, "first", "4.0.0").await;
    whole_run(&bed, "second", "4.1.0").await;
    bed.cluster.misbehave_at("worker-2", "3.32.0", Injection::Verification(PodFate::Exits(7)));
    let flow = bed.flow("back", &[]);
    let outcome = rollback_node(&bed, &flow, "3.32.0").await;
    assert!(matches!(outcome, Err(StepError::Stuck(_))), "{outcome:?}");
    bed.cluster.world(|world| world.kata.heal("worker-2"));
    (bed, flow)
}

async fn rollback_node(bed: &Bed, flow: &Flow, version: &str) -> Result<(), StepError> {
    bed.step(flow, &["rollback-node", "--node-name", "worker-2", "--rollback-version", version]).await
}

/// The alert of a failed rollback ends only when no other node is stuck.
#[tokio::test(start_paused = true)]
async fn a_rollback_that_was_asked_for_says_how_many_other_nodes_are_stuck() {
    for (stuck, left_behind) in [("", "0"), ("worker-1", "1")] {
        let bed = Bed::new(Fleet::new());
        whole_run(&bed, "first", "4.0.0").await;
        if !stuck.is_empty() {
            bed.cluster.misbehave_at(stuck, "3.31.0", Injection::Verification(PodFate::Exits(7)));
            let args = ["rollback-node", "--node-name", stuck, "--rollback-version", "3.31.0"];
            let failed = bed.flow("failed", &[]);
            let outcome = bed.step(&failed, &args).await;
            assert!(matches!(outcome, Err(StepError::Stuck(_))), "{outcome:?}");
            bed.step(&failed, &["finish", "--workflow-status", "Failed"]).await.unwrap_err();
            bed.end(&failed, "Failed");
        }
        rollback_node(&bed, &bed.flow("back", &[]), "3.31.0").await.unwrap();
        assert_eq!(std::fs::read_to_string(bed.outputs.path().join("left-behind")).unwrap(), left_behind);
    }
}

fn assert_taken_back(bed: &Bed, version: &str) {
    assert_eq!((bed.status("worker-2"), bed.installed("worker-2")), ("rolled-back".to_owned(), version.to_owned()));
    assert_eq!(bed.version("worker-2"), version);
    bed.assert_nothing_uninstalled();
    bed.assert_tidy();
}

#[tokio::test(start_paused = true)]
async fn a_failed_rollback_to_a_version_that_was_asked_for_is_finished_at_that_version() {
    for fleet in fleets("3.32.0") {
        let (bed, flow) = failed_rollback(fleet).await;
        bed.step(&flow, &["finish", "--workflow-status", "Failed"]).await.unwrap();
        assert_taken_back(&bed, "3.32.0");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stopped_rollback_to_a_version_that_was_asked_for_is_finished_at_that_version() {
    for fleet in fleets("3.32.0") {
        let bed = Bed::new(fleet);
        whole_run(&bed, "first", "4.0.0").await;
        whole_run(&bed, "second", "4.1.0").await;
        bed.cluster.misbehave_at("worker-2", "3.32.0", Injection::Slow(Duration::from_secs(600)));
        let flow = bed.flow("back", &[]);
        let (world, switch) = bed.world();
        let stopper = async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            switch.stop();
        };
        let args = ["rollback-node", "--node-name", "worker-2", "--rollback-version", "3.32.0"];
        let (outcome, ()) = tokio::join!(bed.step_in(&world, &flow, &args), stopper);
        assert!(matches!(outcome, Err(StepError::Stopped)), "{outcome:?}");
        bed.cluster.world(|world| world.kata.heal("worker-2"));
        bed.step(&flow, &["finish", "--workflow-status", "Failed"]).await.unwrap();
        assert_taken_back(&bed, "3.32.0");
    }
}

#[tokio::test(start_paused = true)]
async fn recover_finishes_a_rollback_at_the_version_that_was_asked_for() {
    for fleet in fleets("3.32.0") {
        let (bed, flow) = failed_rollback(fleet).await;
        bed.end(&flow, "Failed");
        let recovery = bed.flow("recovery", &[]);
        bed.step(&recovery, &["recover"]).await.unwrap();
        assert_taken_back(&bed, "3.32.0");
    }
}

#[tokio::test(start_paused = true)]
async fn a_recovery_that_fails_too_still_knows_which_version_was_asked_for() {
    let (bed, flow) = failed_rollback(Fleet::new().version("3.32.0")).await;
    bed.end(&flow, "Failed");
    bed.cluster.misbehave_at("worker-2", "3.32.0", Injection::Verification(PodFate::Exits(7)));
    let recovery = bed.flow("recovery", &[]);
    let outcome = bed.step(&recovery, &["recover"]).await;
    assert!(matches!(outcome, Err(StepError::Stuck(_))), "{outcome:?}");
    bed.cluster.world(|world| world.kata.heal("worker-2"));
    bed.step(&recovery, &["finish", "--workflow-status", "Failed"]).await.unwrap();
    assert_taken_back(&bed, "3.32.0");
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_way_back_was_forgotten_stays_as_it_is_and_says_what_to_do() {
    let (bed, flow) = failed_rollback(Fleet::new().version("3.32.0")).await;
    bed.end(&flow, "Failed");
    // Another node's rollback, elsewhere, takes the place of the record.
    let other = bed.flow("other", &[]);
    bed.step(&other, &["rollback-node", "--node-name", "worker-3", "--rollback-version", "4.0.0"]).await.unwrap();
    bed.end(&other, "Succeeded");
    let before = bed.installs("worker-2");
    let recovery = bed.flow("recovery", &[]);
    let outcome = bed.step(&recovery, &["recover"]).await;
    let Err(StepError::Stuck(failures)) = outcome else { panic!("{outcome:?}") };
    assert!(failures[0].cause.contains("rollback-version=3.32.0"), "{failures:?}");
    bed.step(&recovery, &["finish", "--workflow-status", "Failed"]).await.unwrap();
    assert_eq!((bed.installs("worker-2"), bed.cluster.is_cordoned("worker-2")), (before, true));
    let again = bed.flow("again", &[]);
    rollback_node(&bed, &again, "3.32.0").await.unwrap();
    assert_taken_back(&bed, "3.32.0");
}

#[tokio::test(start_paused = true)]
async fn a_new_run_takes_a_node_along_whose_rollback_was_asked_for_and_failed() {
    let (bed, flow) = failed_rollback(Fleet::new().version("3.32.0").job()).await;
    bed.end(&flow, "Failed");
    let up = bed.flow("up", &[("batch-size", "3")]);
    bed.step(&up, &["select-nodes", "--target-version", "4.1.0"]).await.unwrap();
    bed.rollout(&up, 1).await.unwrap();
    assert_eq!((bed.status("worker-2"), bed.installed("worker-2")), ("completed".to_owned(), "4.1.0".to_owned()));
    bed.assert_tidy();
}

#[tokio::test(start_paused = true)]
async fn where_no_run_ever_was_a_failed_rollback_is_finished_all_the_same() {
    for fleet in fleets("4.0.0") {
        let bed = Bed::new(fleet);
        bed.cluster.misbehave_at("worker-2", "3.32.0", Injection::Verification(PodFate::Exits(7)));
        let flow = bed.flow("back", &[]);
        let outcome = rollback_node(&bed, &flow, "3.32.0").await;
        assert!(matches!(outcome, Err(StepError::Stuck(_))), "{outcome:?}");
        bed.cluster.world(|world| world.kata.heal("worker-2"));
        bed.step(&flow, &["finish", "--workflow-status", "Failed"]).await.unwrap();
        assert_taken_back(&bed, "3.32.0");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_wave_back_leaves_the_release_where_the_fleet_is() {
    let bed = Bed::new(Fleet::new().version("3.32.0").job().values(json!({"logLevel": "warn"})));
    whole_run(&bed, "first", "4.0.0").await;
    // Months later: by hand, on every node.
    let line = "upgrade kata-deploy oci://x/kata-deploy -n kube-system --version 4.1.0 --reset-then-reuse-values --set debug=true";
    let ended = bed.helm.process().run(Invocation::of(line.split_whitespace())).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let found = last(&bed);
    for end in ["finish", "recover"] {
        bed.cluster.misbehave_at("worker-2", "3.32.0", Injection::BadImage);
        let flow = bed.flow(&format!("back-{end}"), &[]);
        let outcome = rollback_node(&bed, &flow, "3.32.0").await;
        assert!(matches!(outcome, Err(StepError::Stuck(_))), "{outcome:?}");
        assert_eq!(last(&bed), found, "no node is at 3.32.0: {:?}", bed.revisions());
        let outcome = if end == "finish" {
            bed.step(&flow, &["finish", "--workflow-status", "Failed"]).await
        } else {
            bed.end(&flow, "Failed");
            bed.step(&bed.flow("recovery", &[]), &["recover"]).await
        };
        assert!(matches!(outcome, Err(StepError::Stuck(_))), "{outcome:?}");
        assert_eq!(last(&bed), found, "after {end}: {:?}", bed.revisions());
        bed.end(&flow, "Failed");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_wave_back_after_a_terminated_run_leaves_the_release_at_that_runs_target() {
    let bed = Bed::new(Fleet::new().version("3.32.0").job().values(json!({"job": {"parallelism": 7}})));
    let flow = bed.flow("terminated", &[("batch-size", "3")]);
    bed.plan(&flow, "4.0.0", &ALL).await;
    bed.item(&flow, 1).await.unwrap();
    bed.end(&flow, "Failed");
    bed.cluster.misbehave_at("worker-2", "3.32.0", Injection::BadImage);
    let outcome = rollback_node(&bed, &bed.flow("back", &[]), "3.32.0").await;
    assert!(matches!(outcome, Err(StepError::Stuck(_))), "{outcome:?}");
    let values = json!({"deploymentMode": "job", "job": {"parallelism": 7}});
    assert_eq!(last(&bed), ("4.0.0".to_owned(), values), "{:?}", bed.revisions());
}
