//! A helm that gets nowhere for a moment, at the begin of a wave: that costs time, and no node.

use std::time::Duration;

use http::Method;
use klm_step::exit::StepError;
use klm_testkit::fixtures::Fleet;
use klm_testkit::helm::Stage;
use klm_testkit::{Fault, HelmFault, Injection, PodFate};
use serde_json::json;
use tokio::time::Instant;

use crate::bed::{Bed, NAMESPACE, RELEASE, unverified};

const ALL: [&str; 3] = ["worker-1", "worker-2", "worker-3"];

const UNREACHABLE: &str =
    "UPGRADE FAILED: kubernetes cluster unreachable: Get \"https://10.0.0.1/version\": dial tcp: connection refused";

/// What helm says of an API server that is away, starts, or is busy, and of another helm.
const PASSING: [&str; 6] = [
    UNREACHABLE,
    "UPGRADE FAILED: another operation (install/upgrade/rollback) is in progress",
    "UPGRADE FAILED: query: failed to query with labels: secrets is forbidden: User \"a\" cannot list resource",
    "UPGRADE FAILED: the server has received too many requests and has asked us to try again later",
    "UPGRADE FAILED: the server was unable to return a response in the time allotted, but may still be processing",
    "UPGRADE FAILED: post-upgrade hooks failed: Post \"https://10.0.0.1/apis/batch/v1/jobs\": dial tcp: i/o timeout",
];

/// When it may say so.
const STAGES: [Stage; 3] = [Stage::Start, Stage::Stored, Stage::Applied];

/// Calls that were meant.
fn upgrades(bed: &Bed) -> usize {
    let rehearsed = |call: &&Vec<String>| call.iter().any(|arg| arg.starts_with("--dry-run"));
    bed.helm.calls_of("upgrade").iter().filter(|call| !rehearsed(call)).count()
}

#[tokio::test(start_paused = true)]
async fn a_wave_that_helm_could_not_begin_is_begun_again() {
    for said in PASSING {
        for stage in STAGES {
            let bed = Bed::new(Fleet::new().version("3.32.0").job().values(json!({"job": {"parallelism": 9}})));
            let flow = bed.flow("up", &[("batch-size", "2")]);
            bed.plan(&flow, "4.0.0", &ALL).await;
            // Twice in the first wave, and twice in the second.
            bed.helm.inject(HelmFault::fail("upgrade", said).at(stage).times(2));
            bed.helm.inject(HelmFault::fail("upgrade", said).at(stage).after(1).times(2));
            let began = Instant::now();
            bed.rollout(&flow, 2).await.unwrap_or_else(|error| panic!("{said}, {stage:?}: {error}"));
            assert!(began.elapsed() < Duration::from_secs(300), "{said}, {stage:?}: {:?}", began.elapsed());
            for node in ALL {
                assert_eq!((bed.installed(node), bed.installs(node)), ("4.0.0".to_owned(), 2), "{said}, {stage:?}");
            }
            bed.assert_nothing_uninstalled();
            bed.assert_tidy();
            let values = bed.helm.last(NAMESPACE, RELEASE).config;
            assert_eq!(json!(values), json!({"deploymentMode": "job", "job": {"parallelism": 9}}));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn in_daemonset_mode_the_same_is_waited_for() {
    for said in PASSING {
        let bed = Bed::new(Fleet::new());
        let flow = bed.flow("up", &[("batch-size", "3")]);
        bed.plan(&flow, "4.0.0", &ALL).await;
        bed.helm.inject(HelmFault::fail("upgrade", said).times(2));
        bed.rollout(&flow, 1).await.unwrap_or_else(|error| panic!("{said}: {error}"));
        assert_eq!(ALL.map(|node| bed.installs(node)), [2; 3], "{said}");
        bed.assert_tidy();
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_on_its_way_back_waits_for_helm_too() {
    let bed = Bed::new(Fleet::new().version("4.0.0").job());
    bed.cluster.misbehave_at("worker-1", "4.1.0", Injection::Verification(PodFate::Exits(7)));
    let flow = bed.flow("up", &[]);
    bed.plan(&flow, "4.1.0", &ALL).await;
    bed.helm.inject(HelmFault::fail("upgrade", UNREACHABLE).after(1).times(2));
    assert_eq!(unverified(bed.rollout(&flow, 3).await), [("worker-1".to_owned(), "verifying".to_owned())]);
    assert_eq!((bed.installed("worker-1"), bed.status("worker-1")), ("4.0.0".to_owned(), "rolled-back".to_owned()));
    bed.assert_tidy();
}

#[tokio::test(start_paused = true)]
async fn a_wave_that_helm_can_never_begin_fails_with_the_last_cause() {
    let bed = Bed::new(Fleet::new().version("3.32.0").job());
    let flow = bed.flow("up", &[("batch-size", "3")]);
    bed.plan(&flow, "4.0.0", &ALL).await;
    bed.helm.inject(HelmFault::fail("upgrade", PASSING[3]).times(4));
    bed.helm.inject(HelmFault::fail("upgrade", UNREACHABLE).times(1));
    let began = Instant::now();
    let outcome = bed.step(&flow, &["apply-wave", "--item", "1"]).await;
    let Err(StepError::Unverified(failures)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(failures.len(), 3);
    assert!(failures.iter().all(|failure| failure.cause.contains("cluster unreachable")), "{failures:?}");
    assert!(began.elapsed() < Duration::from_secs(120), "{:?}", began.elapsed());
    assert_eq!(upgrades(&bed), 5);
    bed.step(&flow, &["rollback", "--item", "1"]).await.unwrap();
    bed.step(&flow, &["finish", "--workflow-status", "Failed"]).await.unwrap();
    assert_eq!(ALL.map(|node| bed.installed(node)), ["3.32.0"; 3]);
    bed.assert_tidy();
}

#[tokio::test(start_paused = true)]
async fn in_daemonset_mode_the_last_cause_is_said_as_well() {
    let bed = Bed::new(Fleet::new());
    let flow = bed.flow("up", &[("batch-size", "3")]);
    bed.plan(&flow, "4.0.0", &ALL).await;
    bed.helm.inject(HelmFault::fail("upgrade", UNREACHABLE).times(100));
    let outcome = bed.step(&flow, &["apply-wave", "--item", "1"]).await;
    let Err(StepError::Unverified(failures)) = outcome else { panic!("{outcome:?}") };
    assert!(failures.iter().all(|failure| failure.cause.contains("cluster unreachable")), "{failures:?}");
    assert_eq!(upgrades(&bed), 6);
    bed.step(&flow, &["rollback", "--item", "1"]).await.unwrap();
    bed.step(&flow, &["finish", "--workflow-status", "Failed"]).await.unwrap();
    assert_eq!(ALL.map(|node| bed.installs(node)), [1; 3], "nothing was done to any node");
    bed.assert_tidy();
}

#[tokio::test(start_paused = true)]
async fn what_would_not_pass_fails_the_wave_at_once() {
    let bed = Bed::new(Fleet::new().version("3.32.0").job());
    let flow = bed.flow("up", &[]);
    bed.plan(&flow, "4.0.0", &ALL).await;
    bed.helm.inject(HelmFault::fail("upgrade", "UPGRADE FAILED: no matches for kind X"));
    unverified(bed.step(&flow, &["apply-wave", "--item", "1"]).await);
    assert_eq!(upgrades(&bed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dispatcher_that_did_begin_has_the_word_and_not_its_helm() {
    let bed = Bed::new(Fleet::new().version("3.32.0").job());
    let flow = bed.flow("up", &[("batch-size", "3")]);
    bed.plan(&flow, "4.0.0", &ALL).await;
    let (world, _switch) = bed.world();
    // Helm asks for its hook again and again; once nobody answers.
    bed.cluster.inject(Fault::disconnect(Method::GET, "*/jobs").after(12).times(1));
    bed.step_in(&world, &flow, &["apply-wave", "--item", "1"]).await.unwrap();
    assert_eq!(bed.revisions().last().unwrap(), "4.0.0 failed", "{:?}", bed.revisions());
    assert_eq!(upgrades(&bed), 1);
    assert_eq!(ALL.map(|node| bed.installs(node)), [2; 3]);
}

#[tokio::test(start_paused = true)]
async fn values_that_helm_could_not_give_back_are_given_back_a_little_later() {
    let pod = json!({"verification": {"pod": "kind: Pod"}});
    let jobs = json!({"deploymentMode": "job", "job": {"parallelism": 9}});
    for (fleet, key, wanted) in [
        (Fleet::new().version("4.0.0").values(pod.clone()), "verification", &pod),
        (Fleet::new().version("4.0.0").job().values(jobs.clone()), "job", &jobs),
    ] {
        for (said, stage) in PASSING.iter().flat_map(|said| STAGES.map(|stage| (said, stage))) {
            let bed = Bed::new(fleet.clone());
            let flow = bed.flow("up", &[("batch-size", "3")]);
            bed.plan(&flow, "4.1.0", &ALL).await;
            bed.item(&flow, 1).await.unwrap();
            bed.helm.inject(HelmFault::fail("upgrade", said).at(stage).times(2));
            let finished = bed.step(&flow, &["finish", "--workflow-status", "Succeeded"]).await;
            finished.unwrap_or_else(|error| panic!("{said}, {stage:?}: {error}"));
            let last = bed.helm.last(NAMESPACE, RELEASE);
            assert_eq!(
                (last.config.get(key), last.status.as_str()),
                (wanted.get(key), "deployed"),
                "{said}, {stage:?}"
            );
            assert_eq!(ALL.map(|node| bed.installs(node)), [2; 3], "{said}, {stage:?}");
            bed.assert_tidy();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_that_helm_could_not_make_good_is_made_good_a_little_later() {
    for (said, stage) in PASSING.iter().flat_map(|said| STAGES.map(|stage| (said, stage))) {
        let bed = Bed::new(Fleet::new().version("3.32.0").job().values(json!({"job": {"parallelism": 9}})));
        let flow = bed.flow("up", &[("batch-size", "3")]);
        bed.plan(&flow, "4.0.0", &ALL).await;
        // Helm loses sight of its hook, and its dispatcher goes on.
        bed.cluster.inject(Fault::disconnect(Method::GET, "*/jobs").after(12).times(1));
        bed.step(&flow, &["apply-wave", "--item", "1"]).await.unwrap();
        assert_eq!(bed.revisions().last().unwrap(), "4.0.0 failed", "{:?}", bed.revisions());
        bed.helm.inject(HelmFault::fail("upgrade", said).at(stage).times(2));
        bed.step(&flow, &["verify", "--item", "1"]).await.unwrap();
        let finished = bed.step(&flow, &["finish", "--workflow-status", "Succeeded"]).await;
        finished.unwrap_or_else(|error| panic!("{said}, {stage:?}: {error}"));
        let last = bed.helm.last(NAMESPACE, RELEASE);
        assert_eq!((last.chart.as_str(), last.status.as_str()), ("4.0.0", "deployed"), "{said}, {stage:?}");
        assert_eq!(
            json!(last.config),
            json!({"deploymentMode": "job", "job": {"parallelism": 9}}),
            "{said}, {stage:?}"
        );
        bed.assert_tidy();
    }
}
