//! Faults strike as scripted; a killed process does nothing more.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, reason = "a test stops at the first surprise")]

use std::time::Duration;

use http::Method;
use k8s_openapi::api::core::v1::{ConfigMap, Node};
use klm_testkit::{FakeCluster, Fault, Outcome, When, run_until_killed};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

fn cluster() -> FakeCluster {
    let cluster = FakeCluster::new();
    cluster.add(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "worker-1"}}));
    cluster
}

async fn annotate(client: &kube::Client, value: &str) -> Result<Node, kube::Error> {
    let api: Api<Node> = Api::all(client.clone());
    let patch = json!({"metadata": {"annotations": {"step": value}}});
    api.patch("worker-1", &PatchParams::default(), &Patch::Merge(&patch)).await
}

async fn three_writes(client: kube::Client) -> Result<(), kube::Error> {
    for value in ["1", "2", "3"] {
        annotate(&client, value).await?;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_kill_leaves_exactly_the_writes_before_it() {
    for (when, left) in [(When::Before, [None, Some("1"), Some("2")]), (When::After, [Some("1"), Some("2"), Some("3")])]
    {
        for (k, left) in (1..).zip(left) {
            let cluster = cluster();
            cluster.kill_at(k, when);
            let outcome = run_until_killed(&cluster, three_writes(cluster.client())).await;
            assert!(outcome.was_killed(), "{when:?} {k}");
            assert_eq!(cluster.annotation("worker-1", "step").as_deref(), left, "{when:?} {k}");
        }
        let cluster = cluster();
        cluster.kill_at(4, when);
        let outcome = run_until_killed(&cluster, three_writes(cluster.client())).await;
        assert!(matches!(outcome, Outcome::Finished(Ok(()))));
        assert_eq!(cluster.writes(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_outlives_the_kill_reaches_nothing_and_a_new_client_does() {
    let cluster = cluster();
    let old = cluster.client();
    cluster.kill_at(1, When::Before);
    let detached = tokio::spawn(async move { annotate(&old, "ghost").await });
    cluster.killed().await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(!detached.is_finished());
    annotate(&cluster.client(), "next").await.unwrap();
    assert_eq!(cluster.annotation("worker-1", "step").as_deref(), Some("next"));
}

#[tokio::test(start_paused = true)]
async fn faults_strike_in_order_and_then_no_more() {
    let cluster = cluster();
    cluster.fail_once(Method::PATCH, "/api/v1/nodes/worker-1", 503);
    cluster.inject(Fault::lose_answer(Method::PATCH, "/api/v1/nodes/*").after(1));
    let client = cluster.client();
    let first = annotate(&client, "1").await;
    assert!(matches!(first, Err(kube::Error::Api(status)) if status.code == 503));
    assert_eq!(cluster.annotation("worker-1", "step"), None);
    annotate(&client, "2").await.unwrap();
    annotate(&client, "3").await.unwrap_err();
    assert_eq!(cluster.annotation("worker-1", "step").as_deref(), Some("3"), "the answer was lost, the write was not");
    assert!(cluster.clear_faults().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_slow_server_takes_virtual_time_and_a_hanging_one_all_of_it() {
    let cluster = cluster();
    cluster.slow(Method::PATCH, "/api/v1/nodes/*", Duration::from_secs(40));
    let client = cluster.client();
    let before = cluster.now();
    annotate(&client, "1").await.unwrap();
    assert_eq!(cluster.now().duration_since(before).as_secs(), 40);
    cluster.inject(Fault::hang(Method::PATCH, "/api/v1/nodes/*"));
    tokio::time::timeout(Duration::from_secs(600), annotate(&client, "2")).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn the_transcript_tells_every_request_and_marks_the_writes() {
    let cluster = cluster();
    let client = cluster.client();
    annotate(&client, "1").await.unwrap();
    Api::<Node>::all(client).get("worker-1").await.unwrap();
    assert_eq!(
        cluster.transcript(),
        [
            "PATCH /api/v1/nodes/worker-1 {\"metadata\":{\"annotations\":{\"step\":\"1\"}}}",
            "GET /api/v1/nodes/worker-1"
        ]
    );
    assert_eq!(cluster.write_transcript().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn planned_events_and_reactions_happen_in_order_at_their_own_time() {
    let cluster = cluster();
    cluster.on(Method::PATCH, "/api/v1/nodes/*", |world, _| {
        world.after(Duration::from_secs(30), |world| {
            world.edit("nodes", "", "worker-1", |node| {
                node["metadata"]["labels"] = json!({"seen": "1"});
            });
        });
    });
    annotate(&cluster.client(), "1").await.unwrap();
    tokio::time::sleep(Duration::from_secs(29)).await;
    assert_eq!(cluster.label("worker-1", "seen"), None);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(cluster.label("worker-1", "seen").as_deref(), Some("1"));
}

#[tokio::test]
async fn the_same_cluster_answers_over_http() {
    let cluster = cluster();
    let server = cluster.listen().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = server.write_kubeconfig(directory.path()).unwrap();
    let file = kube::config::Kubeconfig::read_from(path).unwrap();
    let config = kube::Config::from_custom_kubeconfig(file, &kube::config::KubeConfigOptions::default()).await.unwrap();
    let client = kube::Client::try_from(config).unwrap();
    annotate(&client, "over http").await.unwrap();
    assert_eq!(cluster.annotation("worker-1", "step").as_deref(), Some("over http"));
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let map: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "plan-7"}})).unwrap();
    maps.create(&PostParams::default(), &map).await.unwrap();
    let version: Value = client.request(http::Request::get("/version").body(Vec::new()).unwrap()).await.unwrap();
    assert_eq!(version["gitVersion"], "v1.35.4");
}
