//! Simulated nodes: what kwok plays for them is what controllers and steps expect of real ones.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::time::Duration;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Pod;
use klm_bed::images::VERIFY_IMAGE;
use klm_e2e::{Scene, Seen, Wait};
use kube::Api;
use serde_json::{Value, json};

/// Nothing here takes longer, even on a busy machine.
const SOON: Duration = Duration::from_secs(180);
/// As many as `Cargo.toml` says.
const NODES: i32 = 200;

fn tolerant(spec: &Value) -> Value {
    let mut spec = spec.clone();
    spec["tolerations"] = json!([{"operator": "Exists"}]);
    spec["containers"] = json!([{"name": "main", "image": VERIFY_IMAGE}]);
    spec
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_daemonset_gets_a_ready_pod_on_every_simulated_node() {
    let scene = Scene::open().await.unwrap();
    let namespace = scene.namespace("everywhere").unwrap();
    let set = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": {"name": "everywhere", "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": {"app": "everywhere"}},
            "template": {
                "metadata": {"labels": {"app": "everywhere"}},
                "spec": tolerant(&json!({"nodeSelector": {"bed.local/simulated": "true"}})),
            },
        },
    });
    scene.apply(&set.to_string()).unwrap();
    let sets: Api<DaemonSet> = Api::namespaced(scene.client.clone(), &namespace);
    Wait::new("every pod of the DaemonSet to be Ready", SOON)
        .until(async || {
            let status = sets.get("everywhere").await?.status.unwrap_or_default();
            Ok(if status.number_ready == NODES && status.desired_number_scheduled == NODES {
                Seen::Done(())
            } else {
                Seen::NotYet(format!("{status:?}"))
            })
        })
        .await
        .unwrap();
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_pod_ends_as_its_annotations_say() {
    let scene = Scene::open().await.unwrap();
    let namespace = scene.namespace("ends").unwrap();
    for (name, code, phase) in [("well", "0", "Succeeded"), ("badly", "3", "Failed")] {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "annotations": {"bed.local/exit-code": code}},
            "spec": tolerant(&json!({"restartPolicy": "Never", "nodeName": "sim-0007"})),
        });
        scene.apply(&pod.to_string()).unwrap();
        let ended = scene.ended_pod(&namespace, name, SOON).await.unwrap();
        let status = ended.status.unwrap();
        assert_eq!(status.phase.as_deref(), Some(phase));
        let state = status.container_statuses.unwrap().remove(0).state.unwrap().terminated.unwrap();
        assert_eq!(state.exit_code.to_string(), code);
    }
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_pod_that_says_so_is_left_to_somebody_else() {
    let scene = Scene::open().await.unwrap();
    let namespace = scene.namespace("left").unwrap();
    for (name, labels) in [("left", json!({"bed.local/played-by": "a-test"})), ("played", json!({}))] {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "spec": tolerant(&json!({"restartPolicy": "Never", "nodeName": "sim-0008"})),
        });
        scene.apply(&pod.to_string()).unwrap();
    }
    // The second one ends after kwok has seen both.
    scene.ended_pod(&namespace, "played", SOON).await.unwrap();
    let pods: Api<Pod> = Api::namespaced(scene.client.clone(), &namespace);
    let left = pods.get("left").await.unwrap();
    assert_eq!(left.status.unwrap().phase.as_deref(), Some("Pending"));
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_pod_that_does_work_runs_on_a_real_node() {
    let scene = Scene::open().await.unwrap();
    let namespace = scene.namespace("real").unwrap();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "work", "namespace": namespace},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": VERIFY_IMAGE, "args": ["print=done"]}]},
    });
    scene.apply(&pod.to_string()).unwrap();
    let ended = scene.ended_pod(&namespace, "work", SOON).await.unwrap();
    assert_eq!(ended.spec.unwrap().node_name.as_deref(), Some("worker-1"));
    assert!(scene.logs(&namespace, "work").unwrap().contains("done"));
}
