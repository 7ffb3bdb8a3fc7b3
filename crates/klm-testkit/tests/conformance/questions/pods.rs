//! Pods: what is added, what is refused, and every answer to an eviction.

use http::Method;
use serde_json::{Value, json};

use super::{NS, map};
use crate::probe::Probe;

fn pod(name: &str, spec: Value) -> Value {
    let mut pod = json!({"metadata": {"name": name, "labels": {"app": name}}, "spec": {"containers": [{"name": "main", "image": "x"}]}});
    for (key, value) in spec.as_object().unwrap() {
        pod["spec"][key] = value.clone();
    }
    pod
}

pub async fn admission(probe: &mut Probe) {
    probe.about("what is added to a pod, or refused");
    let pods = format!("{NS}/pods");
    let fields = [
        "/spec/restartPolicy",
        "/spec/serviceAccountName",
        "/spec/tolerations",
        "/status/phase",
        "/spec/terminationGracePeriodSeconds",
    ];
    probe.ask(Method::POST, &pods, pod("plain", json!({})), &fields).await;
    probe
        .ask(
            Method::POST,
            &pods,
            pod("tolerant", json!({"tolerations": [{"operator": "Exists"}]})),
            &["/spec/tolerations"],
        )
        .await;
    probe.ask(Method::POST, &pods, pod("classless", json!({"runtimeClassName": "absent"})), &[]).await;
    probe.ask(Method::POST, &pods, pod("stranger", json!({"serviceAccountName": "absent"})), &[]).await;
    let class = json!({"metadata": {"name": "selective"}, "handler": "h", "overhead": {"podFixed": {"memory": "160Mi"}},
        "scheduling": {"nodeSelector": {"kata": "true"}, "tolerations": [{"key": "k", "operator": "Exists"}]}});
    probe.prepare(Method::POST, "/apis/node.k8s.io/v1/runtimeclasses", class).await;
    let fields = ["/spec/nodeSelector", "/spec/overhead", "/spec/tolerations/0", "/spec/tolerations/2"];
    probe.ask(Method::POST, &pods, pod("selected", json!({"runtimeClassName": "selective"})), &fields).await;
    probe
        .ask(
            Method::POST,
            &pods,
            pod("torn", json!({"runtimeClassName": "selective", "nodeSelector": {"kata": "false"}})),
            &[],
        )
        .await;
    let quota = json!({"metadata": {"name": "few"}, "spec": {"hard": {"limits.memory": "1Gi"}}});
    probe.prepare(Method::POST, "/api/v1/namespaces", json!({"metadata": {"name": "conformance-quota"}})).await;
    probe
        .prepare(
            Method::POST,
            "/api/v1/namespaces/conformance-quota/serviceaccounts",
            json!({"metadata": {"name": "default"}}),
        )
        .await;
    probe.prepare(Method::POST, "/api/v1/namespaces/conformance-quota/resourcequotas", quota).await;
    probe
        .prepare(
            Method::PATCH,
            "/api/v1/namespaces/conformance-quota/resourcequotas/few/status",
            json!({"status": {"hard": {"limits.memory": "1Gi"}, "used": {"limits.memory": "0"}}}),
        )
        .await;
    probe.ask(Method::POST, "/api/v1/namespaces/conformance-quota/pods", pod("heavy", json!({})), &[]).await;
}

pub async fn evicting(probe: &mut Probe) {
    probe.about("evicting");
    let running = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    let mut uids = Vec::new();
    for name in ["free", "guarded", "twice", "lagging", "odd", "sick", "done"] {
        let stored =
            probe.prepare(Method::POST, &format!("{NS}/pods"), pod(name, json!({"nodeName": "worker-1"}))).await;
        let mut status = running.clone();
        if name == "sick" {
            status["status"]["conditions"][0]["status"] = json!("False");
        }
        if name == "done" {
            status["status"]["phase"] = json!("Succeeded");
        }
        probe.prepare(Method::PATCH, &format!("{NS}/pods/{name}/status"), status).await;
        uids.push(stored["metadata"]["uid"].clone());
    }
    probe.hide(&uids[0], "<uid of free>");
    let budget = |name: &str, app: &str| json!({"metadata": {"name": name}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": app}}}});
    let budgets = "/apis/policy/v1/namespaces/conformance/poddisruptionbudgets";
    // Budget, its pods, the generation that was observed, disruptions allowed, pods that are healthy and that are expected.
    for (name, app, observed, allowed, healthy, expected) in [
        ("full", "guarded", 1, 0, 1, 1),
        // Two for one pod, both with room: that there are two is the matter.
        ("first", "twice", 1, 1, 2, 2),
        ("second", "twice", 1, 1, 2, 2),
        ("behind", "lagging", 0, 1, 2, 2),
        ("enough", "sick", 1, 0, 1, 2),
        ("finished", "done", 1, 0, 0, 1),
    ] {
        let status = json!({
            "observedGeneration": observed, "disruptionsAllowed": allowed,
            "currentHealthy": healthy, "desiredHealthy": 1, "expectedPods": expected,
        });
        probe.prepare_budget(budgets, budget(name, app), status).await;
    }
    let evict = |name: &str, options: Value| json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": "conformance"}, "deleteOptions": options});
    let path = |name: &str| format!("{NS}/pods/{name}/eviction");
    probe.ask(Method::POST, &path("absent"), evict("absent", json!({})), &[]).await;
    probe.ask(Method::POST, &path("free"), evict("free", json!({"preconditions": {"uid": "other"}})), &[]).await;
    probe.ask(Method::POST, &path("free"), evict("free", json!({"dryRun": ["All"]})), &["/kind", "/status"]).await;
    probe.ask(Method::GET, &format!("{NS}/pods/free"), Value::Null, &["/metadata/deletionTimestamp"]).await;
    for name in ["guarded", "twice", "lagging", "sick", "done", "free"] {
        probe.ask(Method::POST, &path(name), evict(name, json!({})), &["/kind", "/status"]).await;
    }
    probe.ask(Method::POST, &path("guarded"), evict("other", json!({})), &["/code"]).await;
    probe.ask(Method::GET, &format!("{NS}/pods/free"), Value::Null, &["/metadata/deletionGracePeriodSeconds"]).await;
    probe.prepare(Method::POST, "/api/v1/namespaces", json!({"metadata": {"name": "conformance-end"}})).await;
    probe
        .prepare(
            Method::POST,
            "/api/v1/namespaces/conformance-end/serviceaccounts",
            json!({"metadata": {"name": "default"}}),
        )
        .await;
    probe
        .prepare(Method::POST, "/api/v1/namespaces/conformance-end/pods", pod("last", json!({"nodeName": "worker-1"})))
        .await;
    probe.prepare(Method::PATCH, "/api/v1/namespaces/conformance-end/pods/last/status", running).await;
    probe.ask(Method::DELETE, "/api/v1/namespaces/conformance-end", Value::Null, &["/kind", "/status/phase"]).await;
    let mut last = evict("last", json!({}));
    last["metadata"]["namespace"] = json!("conformance-end");
    probe.ask(Method::POST, "/api/v1/namespaces/conformance-end/pods/last/eviction", last, &[]).await;
    probe.ask(Method::POST, "/api/v1/namespaces/conformance-end/configmaps", map("late"), &[]).await;
}
