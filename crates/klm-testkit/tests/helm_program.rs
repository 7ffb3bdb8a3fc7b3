//! The fake helm as a real process: its record, its script, its state with and without a cluster.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::path::Path;
use std::process::{Command, Output};

use klm_testkit::helm::HelmDirectory;
use klm_testkit::{FakeCluster, FakeHelm, HelmFault};
use serde_json::{Value, json};

const CHART: &str = "oci://ghcr.io/kata-containers/kata-deploy-charts/kata-deploy";

fn helm(directory: &Path, kubeconfig: Option<&Path>, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fake-helm"));
    command.args(arguments).env_clear().env("FAKE_HELM_DIR", directory).env("HELM_CACHE_HOME", "/cache");
    if let Some(path) = kubeconfig {
        command.env("KUBECONFIG", path);
    }
    command.output().unwrap()
}

#[test]
fn calls_are_recorded_word_for_word_with_their_environment() {
    let directory = tempfile::tempdir().unwrap();
    let strange = r"image.tag=a b,nodeSelector.kubernetes\.io/os=linux";
    let output = helm(directory.path(), None, &["install", "kata", CHART, "-n", "kata-ns", "--set", strange]);
    assert!(output.status.success(), "{output:?}");
    let calls = HelmDirectory::new(directory.path()).calls().unwrap();
    assert_eq!(calls[0]["arguments"][6], strange);
    assert_eq!(calls[0]["env"], json!({"HELM_CACHE_HOME": "/cache"}));
    let values = helm(directory.path(), None, &["get", "values", "kata", "-n", "kata-ns", "-o", "json"]);
    let values: Value = serde_json::from_slice(&values.stdout).unwrap();
    assert_eq!(values, json!({"image": {"tag": "a b"}, "nodeSelector": {"kubernetes.io/os": "linux"}}));
}

#[test]
fn the_script_makes_it_fail_once_and_die_once() {
    let directory = tempfile::tempdir().unwrap();
    let upgrade = ["upgrade", "kata", CHART, "-n", "kata-ns", "--version", "3.31.0"];
    assert!(
        helm(directory.path(), None, &["install", "kata", CHART, "-n", "kata-ns", "--version", "3.29.0"])
            .status
            .success()
    );
    let handle = HelmDirectory::new(directory.path());
    handle
        .inject(&[
            HelmFault::fail("upgrade", "UPGRADE FAILED: kubernetes cluster unreachable"),
            HelmFault::die("upgrade"),
        ])
        .unwrap();
    let failed = helm(directory.path(), None, &upgrade);
    assert_eq!(failed.status.code(), Some(1));
    assert_eq!(String::from_utf8(failed.stderr).unwrap(), "Error: UPGRADE FAILED: kubernetes cluster unreachable\n");
    assert_eq!(helm(directory.path(), None, &upgrade).status.code(), None, "killed by a signal");
    let locked = helm(directory.path(), None, &upgrade);
    assert!(
        String::from_utf8(locked.stderr)
            .unwrap()
            .contains("another operation (install/upgrade/rollback) is in progress")
    );
}

#[tokio::test]
async fn with_a_kubeconfig_it_works_on_the_cluster() {
    let cluster = FakeCluster::new();
    cluster.world(|world| world.ensure_namespace("kata-ns"));
    let server = cluster.listen().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = server.write_kubeconfig(directory.path()).unwrap();
    let path = directory.path().to_owned();
    let output = tokio::task::spawn_blocking(move || {
        helm(&path, Some(&kubeconfig), &["install", "kata", CHART, "-n", "kata-ns", "--version", "3.31.0"])
    });
    let output = output.await.unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(cluster.get("daemonsets", "kata-ns", "kata-deploy").is_some());
    assert_eq!(FakeHelm::new(&cluster).last("kata-ns", "kata").status, "deployed");
}

#[test]
fn a_post_renderer_plugin_is_run_for_real() {
    let directory = tempfile::tempdir().unwrap();
    let plugin = directory.path().join("plugins/upper");
    std::fs::create_dir_all(&plugin).unwrap();
    let manifest = json!({"apiVersion": "v1", "type": "postrenderer/v1", "name": "upper", "version": "0.1.0", "runtime": "subprocess",
        "runtimeConfig": {"platformCommand": [{"command": "/usr/bin/sed", "args": ["s/OnDelete/RollingUpdate/"]}]}});
    std::fs::write(plugin.join("plugin.yaml"), manifest.to_string()).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_fake-helm"))
        .args([
            "install",
            "kata",
            CHART,
            "-n",
            "kata-ns",
            "--set",
            "updateStrategy.type=OnDelete",
            "--post-renderer",
            "upper",
        ])
        .env("FAKE_HELM_DIR", directory.path())
        .env("HELM_PLUGINS", directory.path().join("plugins"))
        .env_remove("KUBECONFIG")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let rendered = helm(directory.path(), None, &["get", "manifest", "kata", "-n", "kata-ns"]);
    let rendered = String::from_utf8(rendered.stdout).unwrap();
    assert!(rendered.contains("type: RollingUpdate") && !rendered.contains("OnDelete"));
}
