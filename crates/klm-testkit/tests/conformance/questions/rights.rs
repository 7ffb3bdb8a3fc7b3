//! Rights: refusals in the server's words, and granting what one doesn't hold.

use http::Method;
use serde_json::{Value, json};

use crate::probe::Probe;

fn rules(verbs: Value) -> Vec<Value> {
    let subjects = json!([{"kind": "ServiceAccount", "name": "reader", "namespace": "conformance"}]);
    vec![
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "conformance"}, "rules": [
            {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]},
            {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles", "roles", "rolebindings"], "verbs": verbs},
        ]}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "conformance"}, "subjects": subjects,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "conformance"}}),
    ]
}

pub async fn rights(probe: &mut Probe) {
    probe.about("rights");
    let rules = rules(json!(["create"]));
    probe.prepare(Method::POST, "/apis/rbac.authorization.k8s.io/v1/clusterroles", rules[0].clone()).await;
    probe.prepare(Method::POST, "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", rules[1].clone()).await;
    probe.settle().await;
    let who = Some(("reader", rules.as_slice()));
    for (method, path) in [
        (Method::GET, "/api/v1/nodes/patched-1"),
        (Method::GET, "/api/v1/nodes/absent"),
        (Method::GET, "/api/v1/nodes"),
        (Method::PATCH, "/api/v1/nodes/patched-1"),
        (Method::GET, "/api/v1/namespaces/conformance"),
        (Method::GET, "/api/v1/namespaces/conformance/pods"),
        (Method::GET, "/apis/apps/v1/namespaces/conformance/daemonsets/x"),
        (Method::POST, "/api/v1/namespaces/conformance/pods/plain/eviction"),
        (Method::DELETE, "/apis/batch/v1/namespaces/conformance/jobs"),
        (Method::GET, "/version"),
    ] {
        let kind = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        let body = if method == Method::GET { Value::Null } else { json!({}) };
        probe.ask_as(who, method, path, kind, body, &[]).await;
    }
}

pub async fn escalation(probe: &mut Probe) {
    probe.about("granting");
    let rules = rules(json!(["create"]));
    let who = Some(("reader", rules.as_slice()));
    let role = |name: &str, verb: &str| json!({"metadata": {"name": name}, "rules": [{"apiGroups": [""], "resources": ["nodes"], "verbs": [verb]}]});
    for (name, verb) in [("granted-1", "get"), ("granted-2", "patch")] {
        let path = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
        probe.ask_as(who, Method::POST, path, "application/json", role(name, verb), &[]).await;
    }
    probe.prepare(Method::POST, "/apis/rbac.authorization.k8s.io/v1/clusterroles", role("granted-3", "patch")).await;
    let binding = json!({"metadata": {"name": "granted"}, "subjects": [],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "granted-3"}});
    let path = "/apis/rbac.authorization.k8s.io/v1/namespaces/conformance/rolebindings";
    probe.ask_as(who, Method::POST, path, "application/json", binding, &[]).await;
}
