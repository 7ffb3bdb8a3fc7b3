//! What happens to nodes, the release, the registry and the API server while a run goes on.

use std::time::Duration;

use http::Method;
use klm_core::contract::JOURNAL;
use klm_step::exit::StepError;
use klm_testkit::fixtures::{Fleet, node};
use klm_testkit::{Fault, HelmFault, Injection};
use serde_json::json;
use tokio::time::Instant;

use crate::bed::{Bed, NAMESPACE, RELEASE, unverified};

const ALL: [&str; 3] = ["worker-1", "worker-2", "worker-3"];

const LEASE: &str = "*/leases/klm-kata-deploy";
const LEASES: &str = "*/leases";

fn modes() -> [(Fleet, &'static str); 2] {
    [(Fleet::new(), "4.0.0"), (Fleet::new().version("4.0.0").job(), "4.1.0")]
}

#[tokio::test(start_paused = true)]
async fn a_node_that_turns_not_ready_in_mid_wave_goes_back_when_it_can() {
    for (fleet, target) in modes() {
        let bed = Bed::new(fleet);
        let flow = bed.flow("up", &[("batch-size", "3"), ("install-timeout", "10m"), ("rollback-timeout", "40m")]);
        bed.plan(&flow, target, &ALL).await;
        bed.cluster.after(Duration::from_secs(2), |world| world.set_node_ready("worker-2", false));
        // Longer than the install may take; the rollback sees it come back.
        bed.cluster.after(Duration::from_secs(1200), |world| world.set_node_ready("worker-2", true));
        let failed = unverified(bed.rollout(&flow, 1).await);
        assert_eq!(failed.iter().map(|(node, _)| node.as_str()).collect::<Vec<_>>(), ["worker-2"], "{target}");
        assert_eq!(["worker-1", "worker-3"].map(|node| bed.installed(node)), [target, target]);
        assert_eq!(bed.status("worker-2"), "rolled-back");
        bed.assert_nothing_uninstalled();
        bed.assert_tidy();
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_on_a_silent_node_does_not_keep_the_others_from_going_back() {
    let bed = Bed::new(Fleet::new().version("4.0.0").job().values(json!({"debug": true})));
    bed.cluster.misbehave_at("worker-2", "4.1.0", Injection::Slow(Duration::from_secs(86_400)));
    bed.cluster.misbehave_at("worker-3", "4.1.0", Injection::BadImage);
    let flow = bed.flow("up", &[("batch-size", "3"), ("install-timeout", "10m"), ("rollback-timeout", "15m")]);
    bed.plan(&flow, "4.1.0", &ALL).await;
    // Its Job's pod runs by then, and nobody is there to end it.
    bed.cluster.after(Duration::from_secs(60), |world| world.set_node_ready("worker-2", false));
    let outcome = bed.item(&flow, 1).await;
    let Err(StepError::Stuck(stuck)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(stuck.iter().map(|it| it.node.as_str()).collect::<Vec<_>>(), ["worker-2"], "{stuck:?}");
    assert!(stuck[0].cause.contains("job `kube-system/kata-deploy-install-worker-2`"), "{stuck:?}");
    assert_eq!(["worker-1", "worker-3"].map(|node| bed.status(node)), ["completed", "rolled-back"]);
    let began = Instant::now();
    let outcome = bed.step(&flow, &["finish", "--workflow-status", "Failed"]).await;
    assert!(matches!(&outcome, Err(StepError::Stuck(stuck)) if stuck.len() == 1), "{outcome:?}");
    assert!(began.elapsed() < Duration::from_secs(180), "the step before has given its Job five minutes");
    bed.end(&flow, "Failed");
    assert_eq!(json!(bed.helm.last(NAMESPACE, RELEASE).config), json!({"deploymentMode": "job", "debug": true}));
    assert!(bed.cluster.is_cordoned("worker-2"));

    bed.cluster.world(|world| world.set_node_ready("worker-2", true));
    let recovery = bed.flow("recovery", &[]);
    bed.step(&recovery, &["recover"]).await.unwrap();
    assert_eq!((bed.status("worker-2"), bed.installed("worker-2")), ("rolled-back".to_owned(), "4.0.0".to_owned()));
    bed.assert_nothing_uninstalled();
    bed.assert_tidy();
}

#[tokio::test(start_paused = true)]
async fn values_are_given_back_although_no_node_can_be_taken_back() {
    let bed = Bed::new(Fleet::new().version("4.0.0").job().values(json!({"debug": true})));
    bed.cluster.misbehave_at("worker-1", "4.1.0", Injection::BadImage);
    let flow = bed.flow("up", &[]);
    bed.plan(&flow, "4.1.0", &ALL).await;
    bed.step(&flow, &["apply-wave", "--item", "1"]).await.unwrap_err();
    bed.cluster.inject(Fault::status(Method::DELETE, "*/jobs/*", 403).always());
    let outcome = bed.step(&flow, &["finish", "--workflow-status", "Failed"]).await;
    assert!(matches!(&outcome, Err(StepError::Failed(error)) if format!("{error:#}").contains("403")), "{outcome:?}");
    assert_eq!(json!(bed.helm.last(NAMESPACE, RELEASE).config), json!({"deploymentMode": "job", "debug": true}));
    assert_eq!((bed.status("worker-1"), bed.cluster.is_cordoned("worker-1")), ("rolling-back".to_owned(), true));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_turned_not_ready_before_its_wave_is_not_begun() {
    for (fleet, target) in modes() {
        let bed = Bed::new(fleet);
        let flow = bed.flow("up", &[]);
        bed.plan(&flow, target, &ALL).await;
        bed.item(&flow, 1).await.unwrap();
        bed.cluster.world(|world| world.set_node_ready("worker-2", false));
        let installs = bed.installs("worker-2");
        let outcome = bed.item(&flow, 2).await;
        let Err(StepError::Unverified(failures)) = outcome else { panic!("{outcome:?}") };
        assert!(failures[0].cause.contains("the node is not ready, so it was not begun"), "{failures:?}");
        bed.step(&flow, &["finish", "--workflow-status", "Failed"]).await.unwrap();
        assert_eq!((bed.installs("worker-2"), bed.cluster.annotation("worker-2", JOURNAL)), (installs, None));
        assert!(!bed.cluster.is_cordoned("worker-2"));
        assert_eq!(bed.status("worker-1"), "completed");
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_added_in_mid_run_is_left_to_kata_deploy() {
    for (fleet, target) in modes() {
        let bed = Bed::new(fleet);
        let flow = bed.flow("up", &[]);
        bed.plan(&flow, target, &ALL).await;
        bed.item(&flow, 1).await.unwrap();
        bed.cluster.add(node("worker-4"));
        for item in 2..=3 {
            bed.item(&flow, item).await.unwrap();
        }
        bed.step(&flow, &["finish", "--workflow-status", "Succeeded"]).await.unwrap();
        assert_eq!(ALL.map(|node| bed.status(node)), ["completed"; 3].map(str::to_owned));
        assert_eq!((bed.status("worker-4"), bed.cluster.is_cordoned("worker-4")), (String::new(), false), "{target}");
        bed.assert_nothing_uninstalled();
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_that_somebody_uninstalls_stops_the_run_before_its_next_wave() {
    for (fleet, target) in modes() {
        let bed = Bed::new(fleet);
        let flow = bed.flow("up", &[]);
        bed.plan(&flow, target, &ALL).await;
        bed.item(&flow, 1).await.unwrap();
        let is_helms = |secret: &serde_json::Value| secret["metadata"]["labels"]["owner"] == "helm";
        for secret in bed.cluster.objects("secrets").into_iter().filter(is_helms) {
            bed.cluster.remove("secrets", NAMESPACE, secret["metadata"]["name"].as_str().unwrap());
        }
        let installs = ALL.map(|node| bed.installs(node));
        let outcome = bed.step(&flow, &["apply-wave", "--item", "2"]).await;
        let Err(StepError::Unverified(failures)) = outcome else { panic!("{outcome:?}") };
        assert!(failures[0].cause.contains("was uninstalled while this run went on"), "{failures:?}");
        bed.step(&flow, &["rollback", "--item", "2"]).await.unwrap();
        bed.step(&flow, &["finish", "--workflow-status", "Failed"]).await.unwrap();
        assert_eq!(ALL.map(|node| bed.installs(node)), installs, "nothing was done to any node");
        assert_eq!(bed.helm.revisions(NAMESPACE, RELEASE).len(), 0, "nor is the release made again");
        bed.assert_tidy();
    }
}

#[tokio::test(start_paused = true)]
async fn a_chart_that_was_pushed_again_in_mid_run_stops_job_mode_before_its_next_wave() {
    let bed = Bed::new(Fleet::new().version("4.0.0").job());
    let flow = bed.flow("up", &[]);
    bed.plan(&flow, "4.1.0", &ALL).await;
    bed.item(&flow, 1).await.unwrap();
    bed.helm.push_again();
    let upgrades = bed.helm.calls_of("upgrade").len();
    let outcome = bed.step(&flow, &["apply-wave", "--item", "2"]).await;
    let Err(StepError::Refused(refusals)) = outcome else { panic!("{outcome:?}") };
    assert!(refusals[0].what.contains("is not the one that the run was planned with"), "{refusals:?}");
    assert_eq!((bed.helm.calls_of("upgrade").len(), bed.status("worker-2")), (upgrades, String::new()));
    bed.step(&flow, &["rollback", "--item", "2"]).await.unwrap();
    bed.step(&flow, &["finish", "--workflow-status", "Failed"]).await.unwrap();
    bed.end(&flow, "Failed");
    bed.assert_tidy();
    // A run that is planned with it takes it.
    let again = bed.flow("again", &[]);
    bed.plan(&again, "4.1.0", &["worker-2", "worker-3"]).await;
    bed.rollout(&again, 2).await.unwrap();
    bed.assert_tidy();
}

#[tokio::test(start_paused = true)]
async fn in_daemonset_mode_a_chart_that_was_pushed_again_reaches_no_node() {
    let bed = Bed::new(Fleet::new());
    let flow = bed.flow("up", &[]);
    bed.plan(&flow, "4.0.0", &ALL).await;
    bed.item(&flow, 1).await.unwrap();
    bed.helm.push_again();
    for item in 2..=3 {
        bed.item(&flow, item).await.unwrap();
    }
    assert_eq!(ALL.map(|node| bed.status(node)), ["completed"; 3].map(str::to_owned));
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_is_away_for_a_moment_is_waited_for_and_one_that_stays_away_costs_nothing() {
    const DOWN: &str = "failed to do request: dial tcp: connection refused";
    for (times, comes_back) in [(3, true), (1000, false)] {
        for (fleet, target) in modes() {
            let bed = Bed::new(fleet);
            let flow = bed.flow("up", &[]);
            bed.plan(&flow, target, &ALL).await;
            bed.helm.inject(HelmFault::fail("pull", DOWN).times(times));
            let nodes = bed.cluster.node_portrait();
            let outcome = bed.step(&flow, &["apply-wave", "--item", "1"]).await;
            if comes_back {
                outcome.unwrap();
                continue;
            }
            let Err(error) = outcome else { panic!("{target}") };
            assert!(error.to_string().contains("connection refused"), "{error}");
            assert_eq!(bed.cluster.node_portrait(), nodes, "{target}: no node was begun");
            bed.step(&flow, &["rollback", "--item", "1"]).await.unwrap();
            bed.step(&flow, &["finish", "--workflow-status", "Failed"]).await.unwrap();
            bed.assert_tidy();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_is_slow_is_waited_for() {
    for (fleet, target) in modes() {
        let bed = Bed::new(fleet);
        let flow = bed.flow("up", &[("batch-size", "3")]);
        bed.plan(&flow, target, &ALL).await;
        bed.helm.inject(HelmFault::slow("pull", Duration::from_secs(150)).times(5));
        bed.rollout(&flow, 1).await.unwrap();
        bed.assert_tidy();
    }
}

fn holder(bed: &Bed) -> String {
    let lease = bed.cluster.get("leases", NAMESPACE, "klm-kata-deploy").unwrap();
    lease["spec"]["holderIdentity"].as_str().unwrap().to_owned()
}

/// Trouble with the requests by which a lock is taken.
fn trouble() -> Vec<Fault> {
    vec![
        Fault::status(Method::GET, LEASE, 503).times(3),
        Fault::status(Method::POST, LEASES, 500).times(2),
        Fault::lose_answer(Method::POST, LEASES),
        Fault::lose_answer(Method::PATCH, LEASE),
        Fault::disconnect(Method::PATCH, LEASE).times(2),
        Fault::throttled(Method::PATCH, LEASE, 7),
        Fault::status(Method::PATCH, LEASE, 409),
        Fault::status(Method::GET, "*/workflows/*", 503).times(3),
        Fault::hang(Method::GET, "*/workflows/*"),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_dead_holders_lock_is_taken_over_whatever_the_api_server_does_in_between() {
    for (number, fault) in trouble().into_iter().enumerate() {
        let bed = Bed::new(Fleet::new());
        let first = bed.flow("first", &[]);
        bed.step(&first, &["select-nodes", "--target-version", "4.0.0"]).await.unwrap();
        bed.end(&first, "Failed");
        bed.cluster.inject(fault.clone());
        let second = bed.flow("second", &[]);
        bed.step(&second, &["select-nodes", "--target-version", "4.0.0"]).await.unwrap();
        assert_eq!(holder(&bed), "flows/second/uid-of-second", "{number}: {fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_living_holder_keeps_its_lock_whatever_the_api_server_does_in_between() {
    for fault in trouble() {
        let bed = Bed::new(Fleet::new());
        let first = bed.flow("first", &[]);
        bed.step(&first, &["select-nodes", "--target-version", "4.0.0"]).await.unwrap();
        bed.cluster.inject(fault.clone());
        let second = bed.flow("second", &[]);
        let outcome = bed.step(&second, &["select-nodes", "--target-version", "4.0.0"]).await;
        assert!(matches!(&outcome, Err(StepError::Refused(why)) if why[0].what.contains("flows/first")), "{outcome:?}");
        assert_eq!(holder(&bed), "flows/first/uid-of-first", "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_waits_gets_the_lock_of_one_that_ends_while_the_api_server_is_away() {
    let bed = Bed::new(Fleet::new());
    let first = bed.flow("first", &[]);
    bed.step(&first, &["select-nodes", "--target-version", "4.0.0"]).await.unwrap();
    bed.cluster.after(Duration::from_secs(600), |world| {
        world.edit("workflows", "flows", "first", |workflow| workflow["status"]["phase"] = "Failed".into());
    });
    // Away for two minutes, twice: while it waits and when it takes the lock.
    bed.cluster.inject(Fault::status(None, "*", 503).after(40).times(14));
    bed.cluster.inject(Fault::lose_answer(Method::PATCH, LEASE));
    let second = bed.flow("second", &[("when-locked", "wait")]);
    bed.step(&second, &["select-nodes", "--target-version", "4.0.0"]).await.unwrap();
    assert_eq!(holder(&bed), "flows/second/uid-of-second");
}

#[tokio::test(start_paused = true)]
async fn while_nobody_can_say_whether_the_holder_lives_its_lock_stays() {
    let bed = Bed::new(Fleet::new());
    let first = bed.flow("first", &[]);
    bed.step(&first, &["select-nodes", "--target-version", "4.0.0"]).await.unwrap();
    bed.end(&first, "Failed");
    for code in [500, 503, 403] {
        bed.cluster.inject(Fault::status(Method::GET, "*/workflows/first", code).always());
        let second = bed.flow(&format!("second-{code}"), &[]);
        bed.step(&second, &["select-nodes", "--target-version", "4.0.0"]).await.unwrap_err();
        assert_eq!(holder(&bed), "flows/first/uid-of-first", "{code}");
        bed.cluster.clear_faults();
    }
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_away_in_mid_wave_is_waited_for() {
    for (fleet, target) in modes() {
        let bed = Bed::new(fleet);
        let flow = bed.flow("up", &[("batch-size", "3")]);
        bed.plan(&flow, target, &ALL).await;
        for after in (10..100).step_by(20) {
            bed.cluster.inject(Fault::status(None, "*/nodes*", 503).after(after).times(4));
        }
        bed.rollout(&flow, 1).await.unwrap();
        bed.assert_nothing_uninstalled();
        bed.assert_tidy();
    }
}

#[tokio::test(start_paused = true)]
async fn a_stopped_run_that_is_retried_after_another_has_moved_the_release_touches_nothing() {
    let bed = Bed::new(Fleet::new());
    let [first, second] = ["first", "second"].map(|name| bed.flow(name, &[]));
    bed.plan(&first, "4.0.0", &ALL).await;
    bed.item(&first, 1).await.unwrap();
    bed.step(&first, &["finish", "--workflow-status", "Failed"]).await.unwrap();
    bed.end(&first, "Failed");
    bed.plan(&second, "4.1.0", &ALL).await;
    for item in 1..=ALL.len() {
        bed.item(&second, item).await.unwrap();
    }
    bed.step(&second, &["finish", "--workflow-status", "Succeeded"]).await.unwrap();
    bed.end(&second, "Succeeded");

    let revisions = bed.revisions();
    let outcome = bed.step(&first, &["apply-wave", "--item", "2"]).await;
    let Err(StepError::Refused(refusals)) = outcome else { panic!("{outcome:?}") };
    assert!(refusals[0].to_string().contains("second"), "{refusals:?}");
    bed.step(&first, &["finish", "--workflow-status", "Failed"]).await.unwrap();
    assert_eq!(bed.revisions(), revisions);
    assert_eq!(
        ALL.map(|node| (bed.installed(node), bed.status(node))),
        ALL.map(|_| ("4.1.0".to_owned(), "completed".to_owned()))
    );
    bed.assert_tidy();
}
