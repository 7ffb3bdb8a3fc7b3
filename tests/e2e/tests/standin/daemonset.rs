//! What a `DaemonSet`'s pods do, and when their being Ready means nothing.

use std::time::Duration;

use klm_e2e::{Seen, Wait};
use klm_standin::injection::Injection;
use klm_standin::truth::Mode;

use crate::kata::{ON_DELETE, is_ready, open, restarts};

const MINUTE: Duration = Duration::from_secs(60);

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
            // Before there were probes a pod is Ready while it installs, and the label comes last.
            kata.label_becomes(node, "true").await.unwrap();
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
        kata.set_runtime_label(&node, "false").await.unwrap();
        kata.restart_pod(&node).await.unwrap();
        assert_eq!(
            kata.runtime_label(&node).await.unwrap().as_deref(),
            Some("true"),
            "an installer overwrites `false`"
        );
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
    kata.label_becomes("worker-3", "false").await.unwrap();
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
