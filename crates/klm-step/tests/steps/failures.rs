//! Installs that fail in ways which helm and labels hide, and how long taking back may take.

use std::time::Duration;

use klm_step::exit::StepError;
use klm_testkit::fixtures::Fleet;
use klm_testkit::{Injection, PodFate};
use serde_json::json;

use crate::bed::{Bed, NAMESPACE, RELEASE, unverified};

const ALL: [&str; 3] = ["worker-1", "worker-2", "worker-3"];

#[tokio::test(start_paused = true)]
async fn a_dispatcher_that_died_leaves_a_good_release_with_the_users_values() {
    let bed = Bed::new(Fleet::new().version("3.32.0").job().values(json!({"debug": true})));
    // Its Jobs are made one after another; this is the last.
    bed.cluster.misbehave_at("worker-3", "4.0.0", Injection::DispatcherKilled);
    let flow = bed.flow("up", &[("batch-size", "3")]);
    bed.plan(&flow, "4.0.0", &ALL).await;
    bed.rollout(&flow, 1).await.unwrap();
    for node in ALL {
        assert_eq!((bed.installed(node), bed.installs(node)), ("4.0.0".to_owned(), 2), "{node}");
    }
    bed.assert_nothing_uninstalled();
    bed.assert_tidy();
    assert_eq!(bed.revisions().last().unwrap(), "4.0.0 deployed", "{:?}", bed.revisions());
    assert_eq!(json!(bed.helm.last(NAMESPACE, RELEASE).config), json!({"deploymentMode": "job", "debug": true}));
}

#[tokio::test(start_paused = true)]
async fn an_image_that_can_not_be_pulled_takes_the_node_back_under_every_dispatcher() {
    for (from, to) in [("3.32.0", "4.0.0"), ("4.0.0", "4.1.0")] {
        let bed = Bed::new(Fleet::new().version(from).job());
        bed.cluster.misbehave_at("worker-2", to, Injection::BadImage);
        let flow = bed.flow("up", &[("batch-size", "3")]);
        bed.plan(&flow, to, &ALL).await;
        let failed = unverified(bed.rollout(&flow, 1).await);
        assert_eq!(failed, [("worker-2".to_owned(), "upgrading".to_owned())], "{from} to {to}");
        assert_eq!(ALL.map(|node| bed.installed(node)), [to, from, to], "{from} to {to}");
        assert_eq!(bed.status("worker-2"), "rolled-back");
        bed.assert_nothing_uninstalled();
        bed.assert_tidy();
    }
}

#[tokio::test(start_paused = true)]
async fn taking_back_may_take_as_long_as_its_parameter_says() {
    for (timeout, goes_back) in [("3m", false), ("20m", true)] {
        let bed = Bed::new(Fleet::new());
        bed.cluster.misbehave_at("worker-1", "4.0.0", Injection::Verification(PodFate::Exits(7)));
        bed.cluster.misbehave_at("worker-1", "3.31.0", Injection::Slow(Duration::from_secs(600)));
        let flow = bed.flow("up", &[("rollback-timeout", timeout)]);
        bed.plan(&flow, "4.0.0", &ALL).await;
        let outcome = bed.item(&flow, 1).await;
        if goes_back {
            assert_eq!(unverified(outcome), [("worker-1".to_owned(), "verifying".to_owned())]);
            assert_eq!(bed.status("worker-1"), "rolled-back");
        } else {
            assert!(matches!(outcome, Err(StepError::Stuck(_))), "{outcome:?}");
            assert!(bed.cluster.is_cordoned("worker-1"), "nothing may land on it");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn in_job_mode_too_the_taint_that_selects_is_lifted_while_its_node_is_worked_on() {
    // The dispatcher is scheduled, and has no other node where all are tainted so.
    let bed = Bed::new(Fleet::new().version("4.0.0").job());
    let taints = json!([
        {"key": "team", "value": "blue", "effect": "PreferNoSchedule"},
        {"key": "upgrade", "value": "pending", "effect": "NoSchedule"},
    ]);
    for node in ALL {
        bed.cluster.edit("nodes", "", node, |node| node["spec"]["taints"] = taints.clone());
    }
    let flow = bed.flow("up", &[("node-taint-key", "upgrade"), ("batch-size", "3")]);
    bed.plan(&flow, "4.1.0", &ALL).await;
    bed.step(&flow, &["apply-wave", "--item", "1"]).await.unwrap();
    for node in ALL {
        let node = bed.cluster.node(node);
        let left: Vec<_> = node["spec"]["taints"].as_array().unwrap().iter().map(|taint| &taint["key"]).collect();
        assert!(!left.contains(&&json!("upgrade")) && left.contains(&&json!("team")), "{left:?}");
    }
    bed.step(&flow, &["verify", "--item", "1"]).await.unwrap();
    for node in ALL {
        assert_eq!(bed.cluster.node(node)["spec"]["taints"], taints, "{node}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_never_starts_is_told_apart_from_one_that_never_ends() {
    let cases = [
        (PodFate::SandboxFails, "the runtime could not start the verification pod"),
        (PodFate::ImageMissing, "image could not be pulled"),
        (PodFate::NeverEnds, "the verification pod did not end in time"),
    ];
    for (fate, cause) in cases {
        let bed = Bed::new(Fleet::new());
        bed.cluster.misbehave_at("worker-1", "4.0.0", Injection::Verification(fate));
        let flow = bed.flow("up", &[("verification-timeout", "2m")]);
        bed.plan(&flow, "4.0.0", &ALL).await;
        match bed.item(&flow, 1).await {
            Err(StepError::Unverified(failures)) => assert!(failures[0].cause.contains(cause), "{failures:?}"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_that_is_started_again_after_a_node_of_its_own_failed_fails_again_and_begins_nothing() {
    for (from, to) in [("3.31.0", "4.0.0"), ("4.0.0", "4.1.0")] {
        let fleet = Fleet::new().version(from);
        let bed = Bed::new(if to == "4.1.0" { fleet.job() } else { fleet });
        bed.cluster.misbehave_at("worker-1", to, Injection::Crash);
        let flow = bed.flow("up", &[("install-timeout", "2m")]);
        bed.plan(&flow, to, &ALL).await;
        unverified(bed.step(&flow, &["apply-wave", "--item", "1"]).await);
        assert_eq!(bed.status("worker-1"), "rolling-back");
        // What made it fail is gone: a second try would succeed and hide the first.
        bed.cluster.world(|world| world.kata.heal("worker-1"));
        let (installs, calls) = (ALL.map(|node| bed.installs(node)), bed.helm.calls_of("upgrade").len());
        let again = bed.step(&flow, &["apply-wave", "--item", "1"]).await;
        assert_eq!(unverified(again), [("worker-1".to_owned(), "rolling-back".to_owned())], "{from} to {to}");
        assert_eq!((ALL.map(|node| bed.installs(node)), bed.helm.calls_of("upgrade").len()), (installs, calls));
        bed.step(&flow, &["rollback", "--item", "1"]).await.unwrap();
        bed.step(&flow, &["finish", "--workflow-status", "Failed"]).await.unwrap();
        assert_eq!(ALL.map(|node| bed.installed(node)), [from; 3], "{from} to {to}");
        assert_eq!(bed.status("worker-1"), "rolled-back");
        bed.assert_tidy();
    }
}

/// The alert of a rollback that failed ends when the last step takes nodes back, not when it has nothing to do.
#[tokio::test(start_paused = true)]
async fn the_last_step_says_how_many_nodes_it_took_back() {
    for (items, status, taken_back) in [(0, "Failed", "2"), (2, "Succeeded", "0")] {
        let bed = Bed::new(Fleet::new());
        let flow = bed.flow("up", &[("batch-size", "2")]);
        bed.plan(&flow, "4.0.0", &["worker-1", "worker-2", "worker-3"]).await;
        // Stopped before the first wave was verified.
        bed.step(&flow, &["apply-wave", "--item", "1"]).await.unwrap();
        for item in 1..=items {
            bed.item(&flow, item).await.unwrap();
        }
        bed.step(&flow, &["finish", "--workflow-status", status]).await.unwrap();
        assert_eq!(std::fs::read_to_string(bed.outputs.path().join("taken-back")).unwrap(), taken_back);
    }
}
