//! What the dispatchers do, version by version.

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use klm_e2e::{Seen, Wait};
use klm_standin::dispatch::{Standing, standing};
use klm_standin::injection::Injection;
use klm_standin::truth::Mode;

use crate::kata::{Kata, open};

const MINUTE: Duration = Duration::from_secs(60);

/// Arguments for one wave of a careless upgrade in job mode.
fn naive_wave(node: &str) -> [String; 5] {
    let nodes = format!("job.nodes={{{node}}}");
    ["--reset-then-reuse-values", "--set", &nodes, "--set", "job.parallelism=1"].map(str::to_owned)
}

fn wave(kata: &Kata, version: &str, node: &str, more: &[&str]) -> anyhow::Result<String> {
    let arguments = naive_wave(node);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain(more.iter().copied()).collect();
    kata.upgrade(version, &arguments)
}

fn one_node(node: &str) -> [String; 2] {
    ["--set".to_owned(), format!("job.nodes={{{node}}}")]
}

fn install_on_one(kata: &Kata, version: &str, node: &str) {
    let nodes = one_node(node);
    kata.install(version, Mode::Job, &[&nodes[0], &nodes[1]]).unwrap();
}

async fn node_job_ends(kata: &Kata, node: &str) -> (Job, Standing) {
    Wait::new(format!("the Job of {node} to end"), 2 * MINUTE)
        .until(async || {
            let Some(job) = kata.node_job(node).await? else {
                return Ok(Seen::NotYet("there is none".to_owned()));
            };
            Ok(match standing(&job) {
                Standing::Open => Seen::NotYet("it runs".to_owned()),
                end => Seen::Done((job, end)),
            })
        })
        .await
        .unwrap()
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_careless_wave_of_4_1_uninstalls_the_rest_of_the_fleet_and_one_of_4_0_does_not() {
    let (_, kata) = open().await;
    kata.install("3.32.0", Mode::Job, &[]).unwrap();
    let before = kata.settled("3.32.0").await.unwrap();
    wave(&kata, "4.0.0", "worker-1", &[]).unwrap();
    assert_eq!(kata.truth_of("worker-1").await.unwrap().installed_version.as_deref(), Some("4.0.0"));
    kata.unchanged_but(&["worker-1"], &before).await.unwrap();

    // Nobody is marked yet, so the first wave of 4.1.0 does no harm …
    let before = kata.truth().await.unwrap();
    wave(&kata, "4.1.0", "worker-1", &[]).unwrap();
    kata.unchanged_but(&["worker-1"], &before).await.unwrap();
    // … and the second one undoes the first.
    wave(&kata, "4.1.0", "worker-2", &[]).unwrap();
    let first = kata.truth_of("worker-1").await.unwrap();
    assert_eq!((first.installed_version, first.uninstall_count), (None, 1));
    assert_eq!(kata.runtime_label("worker-1").await.unwrap(), None);
    assert_eq!(kata.truth_of("worker-2").await.unwrap().installed_version.as_deref(), Some("4.1.0"));
    assert_eq!(kata.truth_of("worker-3").await.unwrap(), before["worker-3"], "it has no marker");
    assert!(kata.dispatcher_log().unwrap().contains("owned but not desired"));

    // An empty wave, as `--set` reads it, names nobody: everybody marked loses Kata.
    kata.upgrade("4.2.0", &["--reset-then-reuse-values", "--set", "job.nodes={}"]).unwrap();
    assert_eq!(kata.truth_of("worker-2").await.unwrap().uninstall_count, 1);
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_stale_job_is_adopted_by_4_0_and_replaced_by_4_1() {
    let (_, kata) = open().await;
    install_on_one(&kata, "3.32.0", "worker-1");
    kata.leave_stale_job("worker-1").await.unwrap();
    wave(&kata, "4.0.0", "worker-1", &[]).unwrap();
    let truth = kata.truth_of("worker-1").await.unwrap();
    assert_eq!(
        truth.installed_version.as_deref(),
        Some("3.32.0"),
        "helm was told of success, and nothing was installed"
    );
    assert_eq!(truth.install_count, 1);
    assert_eq!(kata.last_revision().unwrap()["status"], "deployed");
    assert!(kata.dispatcher_log().unwrap().contains("adopting"));

    wave(&kata, "4.1.0", "worker-1", &[]).unwrap();
    assert_eq!(kata.truth_of("worker-1").await.unwrap().installed_version.as_deref(), Some("4.1.0"));
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn one_failing_node_fails_the_upgrade_and_the_others_are_done() {
    let (_, kata) = open().await;
    kata.install("3.32.0", Mode::Job, &[]).unwrap();
    kata.settled("3.32.0").await.unwrap();
    kata.inject("worker-1", Some("4.0.0"), &[Injection::CrashOnce]).await.unwrap();
    kata.inject("worker-2", Some("4.0.0"), &[Injection::Crash]).await.unwrap();
    kata.inject("worker-3", Some("4.0.0"), &[Injection::Slow(Duration::from_secs(3))]).await.unwrap();
    // Without retries the failure is there at once; they would take a minute of back-off.
    let error = kata.upgrade("4.0.0", &["--reset-then-reuse-values", "--set", "job.backoffLimit=1"]).unwrap_err();
    assert!(format!("{error:#}").contains("post-upgrade hooks failed"), "{error:#}");
    assert_eq!(kata.last_revision().unwrap()["status"], "failed");
    assert!(kata.dispatcher_log().unwrap().contains("1 node(s) failed: worker-2."));
    let versions: Vec<_> =
        kata.truth().await.unwrap().into_values().map(|truth| truth.installed_version.unwrap()).collect();
    assert_eq!(versions, ["4.0.0", "3.32.0", "4.0.0"]);
    let once = kata.node_job("worker-1").await.unwrap().unwrap();
    assert_eq!(once.status.unwrap().failed, Some(1));
    assert_eq!(
        kata.runtime_label("worker-2").await.unwrap().as_deref(),
        Some("true"),
        "the stale label says otherwise"
    );
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_dispatcher_that_dies_leaves_jobs_that_go_on() {
    for (version, injection) in [("4.0.0", Injection::DispatcherKilled), ("3.32.0", Injection::ApiBlip)] {
        let (_, kata) = open().await;
        kata.inject("worker-1", None, &[injection, Injection::Slow(Duration::from_secs(5))]).await.unwrap();
        let nodes = one_node("worker-1");
        let error = kata.install(version, Mode::Job, &[&nodes[0], &nodes[1]]).unwrap_err();
        assert!(format!("{error:#}").contains("failed post-install"), "{error:#}");
        let (_, end) = node_job_ends(&kata, "worker-1").await;
        assert_eq!(end, Standing::Complete, "{version}");
        assert_eq!(kata.truth_of("worker-1").await.unwrap().installed_version.as_deref(), Some(version));
    }
    // The next version shrugs it off.
    let (_, kata) = open().await;
    kata.inject("worker-1", None, &[Injection::ApiBlip]).await.unwrap();
    install_on_one(&kata, "4.0.0", "worker-1");
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_job_that_vanishes_hangs_4_0_and_fails_the_node_from_4_1_on() {
    let (_, kata) = open().await;
    kata.inject("worker-1", None, &[Injection::Vanish]).await.unwrap();
    let nodes = one_node("worker-1");
    let error = kata.install("4.0.0", Mode::Job, &[&nodes[0], &nodes[1], "--timeout", "25s"]).unwrap_err();
    assert!(format!("{error:#}").contains("failed post-install"), "{error:#}");
    Wait::new("the dispatcher to miss the Job", Duration::from_secs(120))
        .until(async || {
            let log = kata.dispatcher_log()?;
            Ok(if log.contains("the Job isn't there, waiting") { Seen::Done(()) } else { Seen::NotYet(log) })
        })
        .await
        .unwrap();
    assert!(kata.node_job("worker-1").await.unwrap().is_none());

    let (_, kata) = open().await;
    kata.inject("worker-1", None, &[Injection::Vanish]).await.unwrap();
    kata.install("4.1.0", Mode::Job, &[&nodes[0], &nodes[1]]).unwrap_err();
    assert!(kata.dispatcher_log().unwrap().contains("1 node(s) failed: worker-1."));
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn from_4_1_on_a_node_can_fail_although_its_job_is_complete() {
    let (_, kata) = open().await;
    kata.inject("worker-1", None, &[Injection::NodeNotReady]).await.unwrap();
    kata.inject("worker-2", None, &[Injection::LabelLost]).await.unwrap();
    let nodes = ["--set", "job.nodes={worker-1,worker-2}", "--set", "job.waitNodeReadySeconds=3"];
    kata.install("4.1.0", Mode::Job, &nodes).unwrap_err();
    let (_, end) = node_job_ends(&kata, "worker-1").await;
    assert_eq!(end, Standing::Complete);
    assert_eq!(kata.runtime_label("worker-1").await.unwrap().as_deref(), Some("false"), "claimed, and never confirmed");
    assert_eq!(kata.runtime_label("worker-2").await.unwrap().as_deref(), Some("true"), "lost, and put back");
    assert!(kata.dispatcher_log().unwrap().contains("1 node(s) failed: worker-1."));
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_dispatcher_has_nowhere_to_run_when_every_node_is_cordoned() {
    let (scene, kata) = open().await;
    for node in kata.nodes().await.unwrap() {
        scene.kubectl(&["cordon", &node]).unwrap();
    }
    let nodes = one_node("worker-1");
    kata.install("4.0.0", Mode::Job, &[&nodes[0], &nodes[1], "--timeout", "10s"]).unwrap_err();
    Wait::new("the dispatcher's pod to be pending", Duration::from_secs(120))
        .until_blocking(|| {
            let which = ["--namespace", &kata.namespace, "--selector", "kata-deploy/dispatcher=install"];
            let pods = scene.kubectl(&[&["get", "pods"], which.as_slice()].concat())?;
            Ok(if pods.contains("Pending") { Seen::Done(()) } else { Seen::NotYet(pods) })
        })
        .unwrap();
    let tolerant =
        ["--set", "tolerations[0].key=node.kubernetes.io/unschedulable", "--set", "tolerations[0].operator=Exists"];
    wave(&kata, "4.0.0", "worker-1", &tolerant).unwrap();
    assert_eq!(kata.truth_of("worker-1").await.unwrap().installed_version.as_deref(), Some("4.0.0"));
}
