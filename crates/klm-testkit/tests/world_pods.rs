//! Pods that nothing controls: what a verification pod meets on a node.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, reason = "a test stops at the first surprise")]

use std::time::Duration;

use klm_testkit::fixtures::{Fleet, node, pod};
use klm_testkit::{FakeCluster, Injection, PodFate, Truth};
use serde_json::{Value, json};

fn verification(spec: &Value) -> Value {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "verify-1", "namespace": "default"}, "spec": {
        "runtimeClassName": "kata-qemu", "restartPolicy": "Never", "containers": [{"name": "verify", "image": "registry.test/check:1"}],
    }});
    for (key, value) in spec.as_object().unwrap() {
        pod["spec"][key] = value.clone();
    }
    pod
}

async fn run(cluster: &FakeCluster, spec: Value) -> Value {
    let body = verification(&spec).to_string().into_bytes();
    let request = http::Request::post("/api/v1/namespaces/default/pods").body(body).unwrap();
    cluster.client().request::<Value>(request).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    cluster.get("pods", "default", "verify-1").unwrap()
}

fn events(cluster: &FakeCluster) -> Vec<String> {
    cluster.objects("events").iter().map(|event| event["reason"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_verification_pod_succeeds_where_kata_is_and_leaves_a_log() {
    let (cluster, _helm) = Fleet::new().build();
    let pod = run(&cluster, json!({"nodeName": "worker-2"})).await;
    assert_eq!(pod["status"]["phase"], "Succeeded");
    assert_eq!(pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"], 0);
    let log = http::Request::get("/api/v1/namespaces/default/pods/verify-1/log").body(Vec::new()).unwrap();
    assert_eq!(cluster.client().request_text(log).await.unwrap(), "SUCCESS: Pod running with Kata runtime\n");
}

#[tokio::test(start_paused = true)]
async fn without_kata_the_sandbox_fails_whatever_the_label_says() {
    let (cluster, _helm) = Fleet::new().build();
    cluster.world(|world| world.kata.set_truth("worker-1", Truth::default()));
    let pod = run(&cluster, json!({"nodeName": "worker-1"})).await;
    assert_eq!(pod["status"]["phase"], "Pending");
    assert_eq!(events(&cluster), ["FailedCreatePodSandBox"]);
}

#[tokio::test(start_paused = true)]
async fn every_scripted_fate_is_met() {
    for (fate, phase, word) in [
        (PodFate::Exits(3), "Failed", "3"),
        (PodFate::ExitsAfter(Duration::from_secs(20), 0), "Succeeded", "0"),
        (PodFate::ExitsAfter(Duration::from_secs(600), 0), "Running", "null"),
        (PodFate::NeverEnds, "Running", "null"),
        (PodFate::ImageMissing, "Pending", "null"),
        (PodFate::SandboxFails, "Pending", "null"),
        (PodFate::Evicted, "Failed", "null"),
    ] {
        let (cluster, _helm) = Fleet::new().build();
        cluster.misbehave("worker-1", Injection::Verification(fate));
        let pod = run(&cluster, json!({"nodeName": "worker-1"})).await;
        let code = &pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"];
        assert_eq!((pod["status"]["phase"].as_str().unwrap(), code.to_string().as_str()), (phase, word), "{fate:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fate_can_depend_on_the_installed_version() {
    let (cluster, _helm) = Fleet::new().build();
    cluster.misbehave_at("worker-1", "4.0.0", Injection::Verification(PodFate::Exits(1)));
    assert_eq!(run(&cluster, json!({"nodeName": "worker-1"})).await["status"]["phase"], "Succeeded");
}

#[tokio::test(start_paused = true)]
async fn the_scheduler_says_why_no_node_fits_and_tries_again() {
    let (cluster, _helm) = Fleet::new().workers(0).node(node("worker-1").cordoned()).node(node("worker-2")).build();
    let pinned = json!({"nodeSelector": {"kubernetes.io/hostname": "worker-1"}});
    let pod = run(&cluster, pinned).await;
    assert_eq!(
        (&pod["status"]["phase"], &pod["status"]["conditions"][0]["reason"]),
        (&json!("Pending"), &json!("Unschedulable"))
    );
    let message = pod["status"]["conditions"][0]["message"].as_str().unwrap();
    assert_eq!(
        message,
        "0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 1 node(s) were unschedulable."
    );
    assert_eq!(events(&cluster), ["FailedScheduling"]);
    cluster.edit("nodes", "", "worker-1", |node| node["spec"] = json!({}));
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(cluster.get("pods", "default", "verify-1").unwrap()["status"]["phase"], "Succeeded");
}

#[tokio::test(start_paused = true)]
async fn a_demoted_label_makes_the_kubelet_refuse_a_pod_that_is_pinned_by_name() {
    let (cluster, _helm) = Fleet::new().build();
    cluster.edit("nodes", "", "worker-1", |node| {
        node["metadata"]["labels"]["katacontainers.io/kata-runtime"] = json!("false");
    });
    let pod = run(&cluster, json!({"nodeName": "worker-1"})).await;
    assert_eq!((&pod["status"]["phase"], &pod["status"]["reason"]), (&json!("Failed"), &json!("NodeAffinity")));
}

#[tokio::test(start_paused = true)]
async fn what_a_test_puts_there_stays_as_it_put_it() {
    let (cluster, _helm) = Fleet::new().build();
    cluster.add(pod("stuck").on("worker-1").phase("Pending"));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(cluster.get("pods", "default", "stuck").unwrap()["status"]["phase"], "Pending");
}

#[tokio::test(start_paused = true)]
async fn pods_outlive_their_node_for_a_while() {
    let (cluster, _helm) = Fleet::new().build();
    cluster.add(pod("web-1").on("worker-1"));
    cluster.remove("nodes", "", "worker-1");
    assert!(cluster.get("pods", "default", "web-1").is_some());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(cluster.get("pods", "default", "web-1").is_none());
}
