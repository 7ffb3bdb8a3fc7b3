//! What an upgrade's values and modes can break.

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
