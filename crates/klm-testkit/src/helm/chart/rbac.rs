//! The accounts of the installer and of the dispatcher, with the exact rules of each version.

use serde_json::{Value, json};

use super::Rendering;

fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> Value {
    json!({"apiGroups": [group], "resources": resources, "verbs": verbs})
}

/// The installer's account; kept when a release goes, and not rendered in job mode from 4.1.0 on.
pub(super) fn installer(chart: &Rendering<'_>) -> Vec<Value> {
    let since41 = chart.version.reaches(4, 1);
    if since41 && chart.mode() == "job" {
        return Vec::new();
    }
    let suffix = chart.suffix();
    let keep = json!({"helm.sh/resource-policy": "keep"});
    let mut rules = vec![rule("", &["nodes"], &["get", "patch"])];
    if chart.version.reaches(4, 0) {
        rules.push(rule("", &["nodes/proxy"], &["get"]));
    }
    if !since41 {
        rules.push(rule("node.k8s.io", &["runtimeclasses"], &["get", "list", "patch"]));
        rules.push(rule("apiextensions.k8s.io", &["customresourcedefinitions"], &["get", "list"]));
        let all = ["create", "delete", "get", "list", "patch", "update", "watch"];
        rules.push(rule("nfd.k8s-sigs.io", &["nodefeaturerules"], &all));
    }
    rules.push(rule("apps", &["daemonsets"], &["get", "list", "watch"]));
    let (account, role) = (format!("kata-deploy-sa{suffix}"), format!("kata-deploy-role{suffix}"));
    vec![
        json!({"apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": account, "namespace": chart.namespace, "annotations": keep}}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": role, "annotations": keep}, "rules": rules}),
        binding(
            "ClusterRoleBinding",
            &format!("kata-deploy-rb{suffix}"),
            "",
            ("ClusterRole", &role),
            chart,
            &account,
            &keep,
        ),
    ]
}

/// The dispatcher's account.
pub(super) fn dispatcher(chart: &Rendering<'_>) -> Vec<Value> {
    let since41 = chart.version.reaches(4, 1);
    let suffix = chart.suffix();
    let account = format!("kata-deploy-dispatcher-sa{suffix}");
    let node_verbs: &[&str] = if since41 { &["list", "get", "patch"] } else { &["list"] };
    let mut node_rules = vec![rule("", &["nodes"], node_verbs)];
    if since41 && !chart.list("snapshotter.setup").is_empty() {
        node_rules.push(rule("", &["nodes/proxy"], &["get"]));
    }
    let job_verbs: &[&str] = if since41 {
        &["create", "get", "list", "delete"]
    } else if chart.version.reaches(4, 0) {
        &["create", "get", "delete"]
    } else {
        &["create", "get", "list", "watch", "delete"]
    };
    let (node_role, role) =
        (format!("kata-deploy-dispatcher-noderole{suffix}"), format!("kata-deploy-dispatcher-role{suffix}"));
    let (node_binding, role_binding) =
        (format!("kata-deploy-dispatcher-noderb{suffix}"), format!("kata-deploy-dispatcher-rb{suffix}"));
    let none = json!({});
    vec![
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account, "namespace": chart.namespace}}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": node_role}, "rules": node_rules}),
        binding("ClusterRoleBinding", &node_binding, "", ("ClusterRole", &node_role), chart, &account, &none),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": {"name": role, "namespace": chart.namespace}, "rules": [rule("batch", &["jobs"], job_verbs)]}),
        binding("RoleBinding", &role_binding, chart.namespace, ("Role", &role), chart, &account, &none),
    ]
}

fn binding(
    kind: &str,
    name: &str,
    namespace: &str,
    role: (&str, &str),
    chart: &Rendering<'_>,
    account: &str,
    annotations: &Value,
) -> Value {
    let mut binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role.0, "name": role.1},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": chart.namespace}],
    });
    if !namespace.is_empty() {
        binding["metadata"]["namespace"] = json!(namespace);
    }
    if annotations.as_object().is_some_and(|map| !map.is_empty()) {
        binding["metadata"]["annotations"] = annotations.clone();
    }
    binding
}
