//! What the program holds in memory when a fleet is large: the process itself, against the fake API server over loopback.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::time::Duration;

use klm_testkit::fixtures::{Fleet, workflow};
use klm_testkit::helm::{DIRECTORY_ENV, beside_this_test};
use serde_json::json;

const NODES: usize = 1000;
/// The step's pod has this much.
const LIMIT: usize = 64 * 1024 * 1024;
const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: \"${TEST_POD}\"}\nspec:\n  runtimeClassName: kata-qemu\n  containers:\n  - {name: probe, image: probe}\n";

#[tokio::test]
async fn a_thousand_nodes_are_selected_in_less_than_64_mib() {
    let (cluster, _helm) = Fleet::new().workers(NODES).build();
    cluster.world(|world| {
        for number in 1..=NODES {
            // As a kubelet reports them: most of a real node is the list of its images.
            world.edit("nodes", "", &format!("worker-{number}"), |node| {
                node["status"]["images"] = (0..50).map(image).collect();
            });
        }
    });
    cluster.add(workflow("flows", "large", "Running"));
    let folder = tempfile::tempdir().unwrap();
    let server = cluster.listen().await.unwrap();
    // Time to look at the process when it has everything in memory: the plan is written last.
    cluster.slow(http::Method::PATCH, "configmaps/large-plan", Duration::from_millis(300));

    let mut step = tokio::process::Command::new(env!("CARGO_BIN_EXE_klm-step"))
        .args(["select-nodes", "--target-version=4.0.0", "--batch-size=10"])
        .args(["--workflow-namespace=flows", "--workflow-name=large", "--workflow-uid=uid-of-large"])
        .arg(format!("--verification-pod={POD}"))
        .arg(format!("--outputs={}", folder.path().display()))
        .env("KUBECONFIG", server.write_kubeconfig(folder.path()).unwrap())
        .env("KLM_HELM", beside_this_test())
        .env(DIRECTORY_ENV, folder.path())
        .env("HOME", folder.path())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let process = format!("/proc/{}/status", step.id().unwrap());
    let mut peak = 0;
    let ended = loop {
        peak = peak.max(peak_of(&process).unwrap_or_default());
        if let Some(ended) = step.try_wait().unwrap() {
            break ended;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };

    assert!(ended.success(), "{ended}");
    assert_eq!(std::fs::read_to_string(folder.path().join("node-count")).unwrap(), NODES.to_string());
    assert_eq!(std::fs::read_to_string(folder.path().join("wave-count")).unwrap(), "100");
    println!("select-nodes held {} MiB at most", peak / 1024 / 1024);
    assert!(peak > 1024 * 1024, "the process was never seen");
    assert!(peak < LIMIT, "{} MiB", peak / 1024 / 1024);
}

fn image(number: usize) -> serde_json::Value {
    let digest = format!("{number:064}");
    json!({
        "names": [
            format!("registry.example.com/team-{number}/service-with-a-name@sha256:{digest}"),
            format!("registry.example.com/team-{number}/service-with-a-name:v1.{number}.0"),
        ],
        "sizeBytes": 123_456_789 + number,
    })
}

/// The most that a process has ever held, in bytes.
fn peak_of(status: &str) -> Option<usize> {
    let text = std::fs::read_to_string(status).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
