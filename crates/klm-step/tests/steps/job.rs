//! Waves in job mode.

use std::time::Duration;

use klm_core::verification::pod_name;
use klm_testkit::fixtures::{Fleet, pod};
use klm_testkit::{Injection, PodFate};
use serde_json::json;

use crate::bed::{Bed, NAMESPACE, RELEASE, unverified};

const ALL: [&str; 3] = ["worker-1", "worker-2", "worker-3"];

#[tokio::test(start_paused = true)]
async fn a_fleet_is_moved_in_waves_and_the_users_values_are_as_they_were() {
    let bed = Bed::new(Fleet::new().version("3.32.0").job().values(json!({"job": {"parallelism": 9}})));
    let flow = bed.flow("up", &[("batch-size", "2")]);
    bed.plan(&flow, "4.0.0", &ALL).await;
    bed.rollout(&flow, 2).await.unwrap();
    for node in ALL {
        assert_eq!((bed.installed(node), bed.installs(node)), ("4.0.0".to_owned(), 2), "{node}");
        assert_eq!(bed.status(node), "completed");
    }
    bed.assert_nothing_uninstalled();
    bed.assert_tidy();
    let values = bed.helm.last(NAMESPACE, RELEASE).config;
    assert_eq!(json!(values), json!({"deploymentMode": "job", "job": {"parallelism": 9}}));
}

#[tokio::test(start_paused = true)]
async fn a_chart_that_cleans_up_outside_the_wave_takes_kata_off_no_node() {
    for (from, to) in [("4.0.0", "4.1.0"), ("4.1.0", "4.2.0")] {
        let bed = Bed::new(Fleet::new().version(from).job());
        bed.helm.set_versions(&["4.0.0", "4.1.0", "4.2.0"]);
        let flow = bed.flow("up", &[]);
        bed.plan(&flow, to, &ALL).await;
        bed.rollout(&flow, 3).await.unwrap();
        for node in ALL {
            assert_eq!((bed.installed(node), bed.installs(node)), (to.to_owned(), 2), "{from} to {to}, {node}");
        }
        bed.assert_nothing_uninstalled();
        bed.assert_tidy();
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_fails_in_the_second_wave_goes_back_alone() {
    let bed = Bed::new(Fleet::new().version("3.32.0").job());
    bed.cluster.misbehave_at("worker-2", "4.0.0", Injection::Verification(PodFate::Exits(7)));
    let flow = bed.flow("up", &[]);
    bed.plan(&flow, "4.0.0", &ALL).await;
    assert_eq!(unverified(bed.rollout(&flow, 3).await), [("worker-2".to_owned(), "verifying".to_owned())]);
    assert_eq!((bed.installed("worker-1"), bed.installs("worker-1")), ("4.0.0".to_owned(), 2));
    assert_eq!((bed.installed("worker-2"), bed.installs("worker-2")), ("3.32.0".to_owned(), 3));
    assert_eq!((bed.installed("worker-3"), bed.installs("worker-3")), ("3.32.0".to_owned(), 1));
    assert_eq!((bed.status("worker-2"), bed.version("worker-2")), ("rolled-back".to_owned(), "3.32.0".to_owned()));
    bed.assert_nothing_uninstalled();
    bed.assert_tidy();
    assert_eq!(json!(bed.helm.last(NAMESPACE, RELEASE).config), json!({"deploymentMode": "job"}));
}

#[tokio::test(start_paused = true)]
async fn a_wave_is_verified_while_helm_waits_for_its_dispatcher_and_settled_when_helm_is_done() {
    let bed = Bed::new(Fleet::new().version("3.32.0").job());
    let flow = bed.flow("up", &[("waves-per-step", "3")]);
    bed.plan(&flow, "4.0.0", &ALL).await;
    bed.rollout(&flow, 1).await.unwrap();
    let transcript = bed.cluster.transcript();
    let at = |parts: &[&str]| transcript.iter().position(|line| parts.iter().all(|part| line.contains(part))).unwrap();
    let helm_done = at(&["PUT", "/secrets/sh.helm.release.v1.kata-deploy.v1"]);
    assert!(at(&["DELETE", "/pods/klm-verify-uidofup-worker-1"]) < helm_done, "{transcript:#?}");
    assert!(helm_done < at(&["DELETE", "/jobs/kata-deploy-install-worker-1"]), "{transcript:#?}");
    assert!(helm_done < at(&["PATCH", "/nodes/worker-1", "kata-current-version"]), "{transcript:#?}");
    assert!(at(&["PATCH", "/nodes/worker-1", "kata-current-version"]) < at(&["PATCH", "/nodes/worker-2"]));
    bed.assert_tidy();
}

#[tokio::test(start_paused = true)]
async fn the_jobs_of_a_wave_go_while_it_is_verified_and_those_of_the_last_one_stay() {
    let bed = Bed::new(Fleet::new().version("3.32.0").job());
    let long = PodFate::ExitsAfter(Duration::from_secs(60), 0);
    bed.cluster.misbehave_at("worker-1", "4.0.0", Injection::Verification(long));
    let flow = bed.flow("up", &[("waves-per-step", "3")]);
    bed.plan(&flow, "4.0.0", &ALL).await;
    bed.rollout(&flow, 1).await.unwrap();
    let transcript = bed.cluster.transcript();
    let gone = |what: &str| transcript.iter().position(|line| line.starts_with("DELETE") && line.contains(what));
    let [job, probe] = ["/jobs/kata-deploy-install-worker-1", "/pods/klm-verify-"].map(gone);
    assert!(job.is_some() && job < probe, "{transcript:#?}");
    assert_eq!(gone("/jobs/kata-deploy-install-worker-3"), None, "for whoever looks");
    bed.assert_tidy();
}

#[tokio::test(start_paused = true)]
async fn a_node_that_fails_its_early_verification_goes_back_alone_and_the_release_is_whole() {
    let bed = Bed::new(Fleet::new().version("3.32.0").job());
    bed.cluster.misbehave_at("worker-2", "4.0.0", Injection::Verification(PodFate::ExitsAfter(Duration::ZERO, 7)));
    let flow = bed.flow("up", &[("batch-size", "2"), ("waves-per-step", "2")]);
    bed.plan(&flow, "4.0.0", &ALL).await;
    assert_eq!(unverified(bed.rollout(&flow, 1).await), [("worker-2".to_owned(), "verifying".to_owned())]);
    assert_eq!(ALL.map(|node| bed.installed(node)), ["4.0.0", "3.32.0", "3.32.0"]);
    assert_eq!(ALL.map(|node| bed.status(node)), ["completed", "rolled-back", ""]);
    assert_eq!(bed.helm.last(NAMESPACE, RELEASE).status, "deployed");
    bed.assert_nothing_uninstalled();
    bed.assert_tidy();
}

#[tokio::test(start_paused = true)]
async fn a_job_that_still_runs_goes_after_its_pods_and_one_that_is_complete_at_once() {
    let bed = Bed::new(Fleet::new().version("3.32.0").job());
    bed.cluster.misbehave_at("worker-2", "4.0.0", Injection::Hang);
    let flow = bed.flow("up", &[("batch-size", "2"), ("install-timeout", "2m")]);
    bed.plan(&flow, "4.0.0", &ALL).await;
    bed.rollout(&flow, 2).await.unwrap_err();
    let transcript = bed.cluster.transcript();
    let how = |job: &str| {
        let line = transcript.iter().find(|line| line.starts_with("DELETE") && line.contains(job)).unwrap();
        if line.contains("Foreground") { "after its pods" } else { "at once" }
    };
    assert_eq!(how("/jobs/kata-deploy-install-worker-1"), "at once", "{transcript:#?}");
    assert_eq!(how("/jobs/kata-deploy-install-worker-2"), "after its pods", "{transcript:#?}");
    bed.assert_tidy();
}

#[tokio::test(start_paused = true)]
async fn a_verification_pod_of_an_earlier_rollback_says_nothing_about_this_one() {
    let bed = Bed::new(Fleet::new().version("3.32.0").job());
    bed.cluster.misbehave_at("worker-1", "4.0.0", Injection::Verification(PodFate::Exits(7)));
    let flow = bed.flow("up", &[]);
    bed.plan(&flow, "4.0.0", &ALL).await;
    let earlier = pod_name(&flow.id, &"worker-1".try_into().unwrap(), 1);
    bed.cluster.add(pod(&earlier).on("worker-1").phase("Failed"));
    assert_eq!(unverified(bed.rollout(&flow, 3).await), [("worker-1".to_owned(), "verifying".to_owned())]);
    assert_eq!((bed.installed("worker-1"), bed.status("worker-1")), ("3.32.0".to_owned(), "rolled-back".to_owned()));
}
