//! The stand-in itself: every trap of kata-deploy's charts that the product's own tests rely on must be there.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use klm_e2e::{Kata, Scene, Seen, Wait, is_ready, restarts};
use klm_standin::dispatch::{Standing, standing};
use klm_standin::injection::Injection;
use klm_standin::truth::Mode;
use serde_json::json;

const MINUTE: Duration = Duration::from_secs(60);
const ON_DELETE: [&str; 3] = ["--reset-then-reuse-values", "--set", "updateStrategy.type=OnDelete"];

async fn open() -> (Scene, Kata) {
    let scene = Scene::open().await.unwrap();
    let kata = Kata::clean(&scene).await.unwrap();
    (scene, kata)
}

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

// ---- DaemonSet mode ----

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn each_version_installs_and_labels_every_node_in_daemonset_mode() {
    for version in ["3.27.0", "3.31.0", "4.2.0"] {
        let (scene, kata) = open().await;
        kata.install(version, Mode::Daemonset, &[]).unwrap();
        let truth = kata.settled(version).await.unwrap();
        for (node, truth) in &truth {
            assert_eq!((truth.install_count, truth.uninstall_count), (1, 0), "{version} {node}");
            assert_eq!(truth.last_mode.as_deref(), Some("daemonset"));
            assert_eq!(kata.runtime_label(node).await.unwrap().as_deref(), Some("true"), "{version} {node}");
        }
        let marked = scene
            .kubectl(&["get", "nodes", "--selector", "kata-deploy.katacontainers.io/default=true", "--output", "name"])
            .unwrap();
        assert_eq!(marked.lines().count(), if version == "4.2.0" { truth.len() } else { 0 }, "{version}");
    }
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_removed_release_leaves_no_kata_on_any_node() {
    for (version, mode) in [("3.31.0", Mode::Daemonset), ("4.0.0", Mode::Job), ("4.1.0", Mode::Job)] {
        let (scene, kata) = open().await;
        kata.install(version, mode, &[]).unwrap();
        kata.settled(version).await.unwrap();
        scene.helm(&["uninstall", &kata.release, "--namespace", &kata.namespace]).unwrap();
        for (node, truth) in kata.truth().await.unwrap() {
            assert_eq!((truth.installed_version, truth.uninstall_count), (None, 1), "{version} {node}");
            assert_eq!(kata.runtime_label(&node).await.unwrap(), None, "{version} {node}");
        }
        let kept =
            scene.kubectl(&["get", "serviceaccounts", "--namespace", &kata.namespace, "--output", "name"]).unwrap();
        assert!(!kept.contains("kata-deploy"), "{version}: {kept}");
    }
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_deleted_pod_of_3_27_uninstalls_first_and_one_of_3_29_does_not() {
    for (version, uninstalled) in [("3.27.0", 1), ("3.29.0", 0)] {
        let (_, kata) = open().await;
        kata.install(version, Mode::Daemonset, &["--set", "updateStrategy.type=OnDelete"]).unwrap();
        let before = kata.settled(version).await.unwrap();
        kata.restart_pod("worker-1").await.unwrap();
        kata.settled(version).await.unwrap();
        let truth = Wait::new("a second installation", MINUTE)
            .until(async || {
                let truth = kata.truth_of("worker-1").await?;
                Ok(if truth.install_count == 2 { Seen::Done(truth) } else { Seen::NotYet(format!("{truth:?}")) })
            })
            .await
            .unwrap();
        assert_eq!(truth.uninstall_count, uninstalled, "{version}");
        assert_eq!(kata.runtime_label("worker-1").await.unwrap().as_deref(), Some("true"), "{version}");
        kata.unchanged_but(&["worker-1"], &before).await.unwrap();
    }
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn rolling_back_to_a_rolling_update_revision_rolls_every_node_again() {
    let (scene, kata) = open().await;
    kata.install("3.31.0", Mode::Daemonset, &[]).unwrap();
    kata.settled("3.31.0").await.unwrap();
    // A revision that only arms the release: the pod template stays, so nothing restarts.
    kata.upgrade("3.31.0", &ON_DELETE).unwrap();
    kata.upgrade("4.0.0", &ON_DELETE).unwrap();
    for node in kata.nodes().await.unwrap() {
        assert_eq!(kata.truth_of(&node).await.unwrap().install_count, 1, "OnDelete restarts nobody");
        kata.restart_pod(&node).await.unwrap();
    }
    let upgraded = kata.settled("4.0.0").await.unwrap();

    let rollback = |revision: &str| {
        scene.helm(&["rollback", &kata.release, revision, "--namespace", &kata.namespace]).unwrap();
    };
    rollback("2");
    // The controller would need a moment: so the one node whose pod is deleted tells when it has seen the old template.
    kata.restart_pod("worker-1").await.unwrap();
    assert_eq!(kata.truth_of("worker-1").await.unwrap().installed_version.as_deref(), Some("3.31.0"));
    kata.unchanged_but(&["worker-1"], &upgraded).await.unwrap();

    rollback("1");
    for (node, truth) in kata.settled("3.31.0").await.unwrap() {
        let expected = 3;
        assert_eq!((truth.install_count, truth.uninstall_count), (expected, 0), "{node}");
    }
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn the_label_alone_proves_nothing_and_before_3_31_neither_does_ready() {
    let (_, kata) = open().await;
    kata.install("3.29.0", Mode::Daemonset, &["--set", "updateStrategy.type=OnDelete"]).unwrap();
    kata.settled("3.29.0").await.unwrap();
    kata.inject("worker-1", Some("3.29.0"), &[Injection::Hang]).await.unwrap();
    kata.inject("worker-2", Some("3.29.0"), &[Injection::SilentNoop]).await.unwrap();
    for node in ["worker-1", "worker-2"] {
        kata.restart_pod(node).await.unwrap();
        assert_eq!(kata.truth_of(node).await.unwrap().install_count, 1, "Ready, but nothing happened");
        assert_eq!(
            kata.runtime_label(node).await.unwrap().as_deref(),
            Some("true"),
            "and the stale label says otherwise"
        );
    }
    kata.upgrade("4.0.0", &ON_DELETE).unwrap();
    kata.inject("worker-3", Some("4.0.0"), &[Injection::Hang]).await.unwrap();
    let old = kata.delete_pod("worker-3").await.unwrap();
    let running = |pod: &k8s_openapi::api::core::v1::Pod| {
        pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
    };
    let hangs = kata.new_pod("worker-3", &old, "running", running).await.unwrap();
    assert!(!is_ready(&hangs), "with probes a hanging installation isn't Ready");
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_crash_restarts_the_container_and_crashing_once_recovers() {
    let (_, kata) = open().await;
    kata.install("3.31.0", Mode::Daemonset, &["--set", "updateStrategy.type=OnDelete"]).unwrap();
    kata.settled("3.31.0").await.unwrap();
    kata.upgrade("4.0.0", &ON_DELETE).unwrap();
    kata.inject("worker-1", Some("4.0.0"), &[Injection::Crash]).await.unwrap();
    kata.inject("worker-2", Some("4.0.0"), &[Injection::CrashOnce]).await.unwrap();
    kata.inject("worker-3", Some("4.0.0"), &[Injection::LabelLost]).await.unwrap();
    let old = [kata.delete_pod("worker-1").await.unwrap(), kata.delete_pod("worker-2").await.unwrap()];
    kata.restart_pod("worker-3").await.unwrap();

    kata.new_pod("worker-1", &old[0], "restarted and not Ready", |pod| restarts(pod) > 0 && !is_ready(pod))
        .await
        .unwrap();
    assert_eq!(kata.truth_of("worker-1").await.unwrap().installed_version.as_deref(), Some("3.31.0"));
    kata.new_pod("worker-2", &old[1], "restarted and Ready", |pod| restarts(pod) == 1 && is_ready(pod)).await.unwrap();
    assert_eq!(kata.truth_of("worker-2").await.unwrap().installed_version.as_deref(), Some("4.0.0"));
    Wait::new("the label to be lost", MINUTE)
        .until(async || {
            let label = kata.runtime_label("worker-3").await?;
            Ok(if label.as_deref() == Some("false") { Seen::Done(()) } else { Seen::NotYet(format!("{label:?}")) })
        })
        .await
        .unwrap();
    assert_eq!(kata.truth_of("worker-3").await.unwrap().installed_version.as_deref(), Some("4.0.0"));
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_pod_deleted_from_a_tainted_node_never_comes_back() {
    let (scene, kata) = open().await;
    kata.install("3.31.0", Mode::Daemonset, &["--set", "updateStrategy.type=OnDelete"]).unwrap();
    kata.settled("3.31.0").await.unwrap();
    scene.kubectl(&["taint", "nodes", "worker-1", "kata-lifecycle-manager=pending:NoSchedule"]).unwrap();
    scene.kubectl(&["cordon", "worker-2"]).unwrap();
    let old = kata.delete_pod("worker-1").await.unwrap();
    // A cordon doesn't matter to a DaemonSet; its new pod also shows that the controller had the time to make the other.
    kata.restart_pod("worker-2").await.unwrap();
    Wait::new("the tainted node's pod to be gone", MINUTE)
        .until(async || {
            Ok(if kata.pod("worker-1").await?.is_none() { Seen::Done(()) } else { Seen::NotYet(old.clone()) })
        })
        .await
        .unwrap();
    scene.kubectl(&["taint", "nodes", "worker-1", "kata-lifecycle-manager-"]).unwrap();
    kata.new_pod("worker-1", &old, "Ready", is_ready).await.unwrap();
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn the_charts_own_verification_fails_under_on_delete() {
    let (_, kata) = open().await;
    kata.install("4.0.0", Mode::Daemonset, &["--set", "verification.pod=x"]).unwrap();
    let error = kata.upgrade("4.0.0", &ON_DELETE).unwrap_err();
    assert!(format!("{error:#}").contains("post-upgrade hooks failed"), "{error:#}");
    kata.upgrade("4.0.0", &[&ON_DELETE[..], &["--set", "verification.pod="]].concat()).unwrap();
}

// ---- values ----

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn reused_values_fail_to_render_across_versions_and_change_nothing() {
    for (old, new, cause) in [
        ("3.27.0", "3.29.0", "containerd.configFileName"),
        ("3.31.0", "3.32.0", "monitor.enabled"),
        ("3.32.0", "4.0.0", "expected string"),
        ("4.0.0", "4.1.0", "was removed in 4.1.0"),
    ] {
        let (_, kata) = open().await;
        kata.install(old, Mode::Daemonset, &[]).unwrap();
        let error = format!("{:#}", kata.upgrade(new, &["--reuse-values"]).unwrap_err());
        assert!(error.contains(cause), "{old} to {new}: {error}");
        let last = kata.last_revision().unwrap();
        assert_eq!((&last["revision"], &last["chart"]), (&json!(1), &json!(format!("kata-deploy-{old}"))));
        kata.upgrade(new, &["--reset-then-reuse-values"]).unwrap();
    }
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_mode_cannot_change_from_4_1_on_and_a_misspelt_one_deletes_the_daemonset_before() {
    let (scene, kata) = open().await;
    kata.install("4.0.0", Mode::Daemonset, &[]).unwrap();
    // There is no state of an earlier 4.1.0 yet: the release's own objects tell.
    let other = ["--reset-then-reuse-values", "--set", "deploymentMode=job"];
    let error = format!("{:#}", kata.upgrade("4.1.0", &other).unwrap_err());
    assert!(error.contains("deploymentMode can't change"), "{error}");
    kata.upgrade("4.1.0", &["--reset-then-reuse-values"]).unwrap();
    let error = format!("{:#}", kata.upgrade("4.2.0", &other).unwrap_err());
    assert!(error.contains("deploymentMode can't change"), "{error}");
    let suffix = ["--reset-then-reuse-values", "--set", "env.multiInstallSuffix=x"];
    assert!(kata.upgrade("4.2.0", &suffix).is_err());
    let typo = ["--reset-then-reuse-values", "--set", "deploymentMode=deamonset"];
    assert!(kata.upgrade("4.2.0", &typo).is_err());

    kata.upgrade("4.0.0", &typo).unwrap();
    let left = scene.kubectl(&["get", "daemonsets", "--namespace", &kata.namespace, "--output", "name"]).unwrap();
    assert!(!left.contains("kata-deploy"), "{left}");
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn the_default_class_blocks_the_way_to_4_0() {
    let (_, kata) = open().await;
    kata.install("3.32.0", Mode::Daemonset, &["--set", "runtimeClasses.createDefault=true"]).unwrap();
    let error = format!("{:#}", kata.upgrade("4.0.0", &["--reset-then-reuse-values"]).unwrap_err());
    assert!(error.contains("handler") && error.contains("immutable"), "{error}");
    kata.upgrade("4.0.0", &["--reset-then-reuse-values", "--set", "defaultShim.amd64=qemu"]).unwrap();
}

// ---- job mode ----

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
    assert!(kata.node_job("worker-1").await.unwrap().is_none());
    assert!(kata.dispatcher_log().unwrap().contains("the Job isn't there, waiting"), "and it still runs");

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
    let pods = scene
        .kubectl(&["get", "pods", "--namespace", &kata.namespace, "--selector", "kata-deploy/dispatcher=install"])
        .unwrap();
    assert!(pods.contains("Pending"), "{pods}");
    let tolerant =
        ["--set", "tolerations[0].key=node.kubernetes.io/unschedulable", "--set", "tolerations[0].operator=Exists"];
    wave(&kata, "4.0.0", "worker-1", &tolerant).unwrap();
    assert_eq!(kata.truth_of("worker-1").await.unwrap().installed_version.as_deref(), Some("4.0.0"));
}
