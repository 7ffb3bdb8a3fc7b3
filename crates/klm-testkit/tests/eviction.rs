//! Every row of the eviction table.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, reason = "a test stops at the first surprise")]

use std::time::Duration;

use klm_testkit::{FakeCluster, Fault};
use serde_json::{Value, json};

fn cluster() -> FakeCluster {
    let cluster = FakeCluster::new();
    for name in ["web-1", "web-2"] {
        cluster.add(json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "shop", "labels": {"app": "web"}},
            "spec": {"nodeName": "worker-1", "containers": [{"name": "web"}]}}));
    }
    cluster
}

fn budget(name: &str, spec: Value) -> Value {
    let mut budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "namespace": "shop"}, "spec": spec});
    budget["spec"]["selector"] = json!({"matchLabels": {"app": "web"}});
    budget
}

fn eviction(extra: &Value) -> http::Request<Vec<u8>> {
    let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "web-1", "namespace": "shop"}, "deleteOptions": extra});
    http::Request::post("/api/v1/namespaces/shop/pods/web-1/eviction").body(body.to_string().into_bytes()).unwrap()
}

async fn evict(cluster: &FakeCluster, options: Value) -> Result<Value, (u16, String, Value)> {
    // The raw answer, because kube's own error drops the causes that tell a budget from throttling.
    let response = cluster.client().send(eviction(&options).map(kube::client::Body::from)).await.unwrap();
    let code = response.status().as_u16();
    let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap();
    if code < 300 {
        Ok(body)
    } else {
        Err((code, body["message"].as_str().unwrap_or_default().to_owned(), body["details"].clone()))
    }
}

fn is_leaving(cluster: &FakeCluster) -> bool {
    cluster.get("pods", "shop", "web-1").is_none_or(|pod| !pod["metadata"]["deletionTimestamp"].is_null())
}

#[tokio::test(start_paused = true)]
async fn without_a_budget_the_pod_goes() {
    let cluster = cluster();
    evict(&cluster, json!({})).await.unwrap();
    assert!(is_leaving(&cluster));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(cluster.get("pods", "shop", "web-1").is_none());
    assert_eq!(evict(&cluster, json!({})).await.unwrap_err().0, 404);
}

#[tokio::test(start_paused = true)]
async fn a_budget_allows_as_many_as_it_says_and_then_names_itself() {
    let cluster = cluster();
    cluster.add(budget("web-pdb", json!({"minAvailable": 2})));
    let (code, message, details) = evict(&cluster, json!({})).await.unwrap_err();
    assert_eq!((code, message.as_str()), (429, "Cannot evict pod as it would violate the pod's disruption budget."));
    assert_eq!(details["causes"][0]["reason"], "DisruptionBudget");
    assert_eq!(
        details["causes"][0]["message"],
        "The disruption budget web-pdb needs 2 healthy pods and has 2 currently"
    );
    assert_eq!(details.get("retryAfterSeconds"), None);
    cluster.edit("poddisruptionbudgets", "shop", "web-pdb", |it| {
        it["spec"]["minAvailable"] = json!("50%");
    });
    evict(&cluster, json!({})).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_asks_the_budget_and_changes_nothing() {
    let cluster = cluster();
    cluster.add(budget("web-pdb", json!({"maxUnavailable": 1})));
    let before = cluster.writes();
    evict(&cluster, json!({"dryRun": ["All"]})).await.unwrap();
    assert!(!is_leaving(&cluster));
    assert_eq!(cluster.writes(), before);
    cluster.edit("poddisruptionbudgets", "shop", "web-pdb", |it| {
        it["spec"]["maxUnavailable"] = json!(0);
    });
    assert_eq!(evict(&cluster, json!({"dryRun": ["All"]})).await.unwrap_err().0, 429);
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_is_still_being_processed_asks_to_retry() {
    let cluster = cluster();
    let mut lagging = budget("web-pdb", json!({"minAvailable": 1}));
    lagging["status"] =
        json!({"observedGeneration": 0, "disruptionsAllowed": 1, "currentHealthy": 2, "desiredHealthy": 1});
    cluster.add(lagging);
    let (code, _, details) = evict(&cluster, json!({})).await.unwrap_err();
    assert_eq!((code, &details["retryAfterSeconds"]), (429, &json!(10)));
}

#[tokio::test(start_paused = true)]
async fn throttling_carries_no_budget() {
    let cluster = cluster();
    cluster.inject(Fault::throttled(http::Method::POST, "*/eviction", 1));
    let (code, _, details) = evict(&cluster, json!({})).await.unwrap_err();
    assert_eq!((code, details.get("causes")), (429, None));
    evict(&cluster, json!({})).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn two_budgets_are_a_500() {
    let cluster = cluster();
    cluster.add(budget("one", json!({"minAvailable": 0})));
    cluster.add(budget("two", json!({"minAvailable": 0})));
    let (code, message, _) = evict(&cluster, json!({})).await.unwrap_err();
    assert_eq!(code, 500);
    assert!(message.contains("more than one PodDisruptionBudget"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn odd_budget_states_are_forbidden() {
    let disrupted: serde_json::Map<String, Value> =
        (0..2001).map(|i| (format!("p{i}"), json!("2026-03-02T08:00:00Z"))).collect();
    for status in [
        json!({"observedGeneration": 1, "disruptionsAllowed": -1}),
        json!({"observedGeneration": 1, "disruptionsAllowed": 1, "disruptedPods": disrupted}),
    ] {
        let cluster = cluster();
        let mut odd = budget("web-pdb", json!({"minAvailable": 1}));
        odd["status"] = status;
        cluster.add(odd);
        assert_eq!(evict(&cluster, json!({})).await.unwrap_err().0, 403);
    }
}

#[tokio::test(start_paused = true)]
async fn an_unhealthy_pod_goes_when_enough_others_are_healthy_or_the_policy_says_so() {
    let unready = |cluster: &FakeCluster| {
        cluster.edit("pods", "shop", "web-1", |pod| {
            pod["status"]["conditions"][0]["status"] = json!("False");
        });
    };
    let enough = cluster();
    enough.add(budget("web-pdb", json!({"minAvailable": 1})));
    unready(&enough);
    evict(&enough, json!({})).await.unwrap();

    let short = cluster();
    short.add(budget("web-pdb", json!({"minAvailable": 2})));
    unready(&short);
    assert_eq!(evict(&short, json!({})).await.unwrap_err().0, 429);
    short.edit("poddisruptionbudgets", "shop", "web-pdb", |it| {
        it["spec"]["unhealthyPodEvictionPolicy"] = json!("AlwaysAllow");
    });
    evict(&short, json!({})).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_finished_pod_ignores_budgets() {
    let cluster = cluster();
    cluster.add(budget("web-pdb", json!({"maxUnavailable": 0})));
    cluster.edit("pods", "shop", "web-1", |pod| {
        pod["status"]["phase"] = json!("Succeeded");
    });
    evict(&cluster, json!({})).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn another_uid_conflicts() {
    let cluster = cluster();
    assert_eq!(evict(&cluster, json!({"preconditions": {"uid": "other"}})).await.unwrap_err().0, 409);
    assert!(!is_leaving(&cluster));
}

#[tokio::test(start_paused = true)]
async fn a_terminating_namespace_is_forbidden_with_its_cause() {
    let cluster = cluster();
    let delete = http::Request::delete("/api/v1/namespaces/shop").body(Vec::new()).unwrap();
    cluster.client().request::<Value>(delete).await.unwrap();
    let (code, _, details) = evict(&cluster, json!({})).await.unwrap_err();
    assert_eq!((code, &details["causes"][0]["reason"]), (403, &json!("NamespaceTerminating")));
}
