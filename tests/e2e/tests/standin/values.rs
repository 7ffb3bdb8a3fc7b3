//! What an upgrade's values and modes can break, and another helm.

use klm_e2e::unique;
use klm_standin::truth::Mode;
use serde_json::json;

use crate::kata::open;

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

/// Two helms that look at the same moment make the same revision. What the other one stored is here without the labels
/// that a look goes by, so ours always comes second.
#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_helm_that_comes_second_to_a_revision_is_told_that_it_exists() {
    let (scene, mut kata) = open().await;
    kata.release = unique("overtaken");
    kata.install("4.0.0", Mode::Daemonset, &[]).unwrap();
    let theirs = format!("sh.helm.release.v1.{}.v2", kata.release);
    let stored = ["--type=helm.sh/release.v1", "--namespace", &kata.namespace];
    scene.kubectl(&[&["create", "secret", "generic", &theirs], stored.as_slice()].concat()).unwrap();
    let back = ["rollback", &kata.release, "1", "--namespace", &kata.namespace];
    let errors = [kata.upgrade("4.0.0", &["--reset-then-reuse-values"]).unwrap_err(), scene.helm(&back).unwrap_err()];
    for error in errors.map(|error| format!("{error:#}")) {
        assert!(error.contains("release: already exists"), "{error}");
    }
}
