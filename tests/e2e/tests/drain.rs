//! Draining: real pods, real budgets; what is evicted, what stays, and that a drain that fails costs nothing.

use std::time::Duration;

use anyhow::Result;
use klm_bed::images::SHELL_IMAGE;
use klm_bed::wait::{Seen, Wait};
use klm_e2e::fleet::{Fleet, Kata};
use serde_json::{Value, json};

/// Two replicas of something that runs on the first two nodes, in Kata or not.
fn workload(name: &str, nodes: &[&str], class: Option<&str>) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "runtimeClassName": class,
                    "terminationGracePeriodSeconds": 1,
                    "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                        {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": nodes}]},
                    ]}}},
                    "containers": [{
                        "name": "work", "image": SHELL_IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["sleep", "3600"],
                    }],
                },
            },
        },
    })
}

fn budget(name: &str, available: u32) -> Value {
    json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": name, "namespace": "default"},
        "spec": {"minAvailable": available, "selector": {"matchLabels": {"app": name}}},
    })
}

/// Where the pods of a workload run, with their UIDs.
fn pods(fleet: &Fleet, name: &str) -> Result<Vec<(String, String)>> {
    let said = fleet.scene.kubectl(&["get", "pods", "-l", &format!("app={name}"), "-o", "json"])?;
    let listed: Value = serde_json::from_str(&said)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(listed["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|pod| pod["status"]["phase"] == "Running" && pod["metadata"]["deletionTimestamp"].is_null())
        .map(|pod| (text(&pod["spec"]["nodeName"]), text(&pod["metadata"]["uid"])))
        .collect())
}

async fn running(fleet: &Fleet, name: &str) -> Result<(String, String)> {
    Wait::new(format!("a pod of {name}"), Duration::from_secs(180))
        .until(async || {
            let found = pods(fleet, name)?;
            Ok(match found.first() {
                Some(pod) => Seen::Done(pod.clone()),
                None => Seen::NotYet("none".to_owned()),
            })
        })
        .await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_budget_that_stays_closed_is_named_and_one_that_closes_in_mid_run_fails_only_the_drain() -> Result<()> {
    let fleet = Fleet::open().await?;
    fleet.install(&Kata::daemonset("3.31.0")).await?;
    // One replica, and one has to be available: closed now, though another replica would open it.
    fleet.scene.apply(&workload("web", &["worker-2"], None).to_string())?;
    fleet.scene.apply(&budget("web", 1).to_string())?;
    let pod = running(&fleet, "web").await?;
    let before = fleet.before().await?;

    let said = fleet.refused_by_hand("4.0.0", &["drain-enabled=true", "drain-timeout=10s"])?;
    assert!(said.contains("default/web"), "the budget is named: {said}");
    assert_eq!(fleet.versions().await?, ["3.31.0"; 3]);
    assert_eq!(fleet.release_at()?, ("3.31.0".to_owned(), 1), "no Helm revision: {said}");
    assert_eq!(running(&fleet, "web").await?, pod, "the pod still runs");
    assert_eq!(fleet.kata_pods("kube-system").await?.len(), 3);
    fleet.nodes_as_before(&before).await?;

    // Open when the run begins, closed when it comes to the node.
    fleet.scene.kubectl(&["delete", "poddisruptionbudget", "web"])?;
    let mut run = fleet.begin("4.0.0", &["drain-enabled=true", "drain-timeout=12s"]).await?;
    run.until_status(&fleet, "worker-1", "upgrading").await?;
    fleet.scene.apply(&budget("web", 1).to_string())?;
    let run = run.ended(&fleet).await?.badly()?;

    // worker-1 was drained and moved; worker-2 couldn't be, and is as it was.
    assert_eq!(fleet.versions().await?, ["4.0.0", "3.31.0", "3.31.0"], "{}", run.log());
    assert_eq!(fleet.installs().await?, [2, 1, 1]);
    assert_eq!(fleet.statuses().await?, ["completed", "rolled-back", ""]);
    assert_eq!(
        run.history.statuses("worker-2"),
        ["preparing", "cordoned", "draining", "rolling-back", "rolled-back"],
        "its old version was never taken away"
    );
    let said = run.messages().join("\n");
    assert!(said.contains("worker-2") && said.contains("draining") && said.contains("web"), "{said}");
    fleet.nothing_left(&before, &run).await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn pods_leave_before_their_node_changes_and_come_back_elsewhere() -> Result<()> {
    let fleet = Fleet::open().await?;
    fleet.install(&Kata::daemonset("3.27.0")).await?;
    fleet.scene.apply(&workload("kata", &["worker-1", "worker-2"], Some("kata-qemu")).to_string())?;
    fleet.scene.apply(&workload("plain", &["worker-1", "worker-2"], None).to_string())?;
    let (kata, plain) = (running(&fleet, "kata").await?, running(&fleet, "plain").await?);
    let before = fleet.before().await?;

    // A drain is what 3.27 asks for: its pods uninstall when they are deleted.
    let parameters = ["drain-enabled=true", "drain-scope=kata", "drain-timeout=40s", "drain-grace-period=1"];
    let run = fleet.deploy("3.29.0", &parameters).await?.well()?;

    assert!(fleet.truth().await?.iter().all(|(_, version, _, _)| version == "3.29.0"), "{}", run.log());
    assert_ne!(running(&fleet, "kata").await?.1, kata.1, "the Kata pod was evicted and came back");
    assert_eq!(running(&fleet, "plain").await?, plain, "pods outside the scope weren't touched");
    for node in ["worker-1", "worker-2", "worker-3"] {
        assert_eq!(
            run.history.statuses(node),
            ["preparing", "cordoned", "draining", "upgrading", "verifying", "completed"],
            "{node}"
        );
    }
    fleet.nothing_left(&before, &run).await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_pod_that_nothing_creates_again_is_refused_by_name_and_goes_only_by_force() -> Result<()> {
    let fleet = Fleet::open().await?;
    fleet.install(&Kata::daemonset("3.31.0")).await?;
    let bare = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "bare", "namespace": "default", "labels": {"app": "bare"}},
        "spec": {
            "nodeName": "worker-1",
            "terminationGracePeriodSeconds": 1,
            "volumes": [{"name": "scratch", "emptyDir": {}}],
            "containers": [{
                "name": "work", "image": SHELL_IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["sleep", "3600"],
                "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
            }],
        },
    });
    fleet.scene.apply(&bare.to_string())?;
    running(&fleet, "bare").await?;
    let before = fleet.before().await?;
    let only = "node-selector=kubernetes.io/hostname=worker-1";

    let said = fleet.refused_by_hand("4.0.0", &[only, "drain-enabled=true"])?;
    assert!(said.contains("default/bare") && said.contains("worker-1"), "{said}");
    assert_eq!(fleet.release_at()?.1, 1);

    let kept = fleet.deploy("4.0.0", &[only, "drain-enabled=true", "drain-pod-selector=app=other"]).await?.well()?;
    assert_eq!(running(&fleet, "bare").await?.0, "worker-1", "the selector left it alone");
    fleet.nothing_left(&before, &kept).await?;

    let parameters = [only, "drain-enabled=true", "drain-force=true", "drain-delete-emptydir-data=true", "force=true"];
    let forced = fleet.deploy("4.0.0", &parameters).await?.well()?;
    assert!(pods(&fleet, "bare")?.is_empty(), "{}", forced.log());
    assert_eq!(fleet.installs().await?, [3, 1, 1], "force does a node again that is there already");
    fleet.nothing_left(&before, &forced).await
}
