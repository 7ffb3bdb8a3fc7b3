//! The chart's rules, loaded into the fake, decide; and the fake knows which of them were needed.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::sync::Arc;

use http::Request;
use klm_testkit::{FakeCluster, Identity};
use serde_json::{Value, json};

fn manifests() -> Vec<Value> {
    let subjects = json!([{"kind": "ServiceAccount", "name": "klm-step", "namespace": "argo"}]);
    vec![
        json!({"kind": "ClusterRole", "metadata": {"name": "klm-nodes"}, "rules": [
            {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list"]},
            {"apiGroups": [""], "resources": ["pods/eviction"], "verbs": ["create"]},
        ]}),
        json!({"kind": "ClusterRoleBinding", "metadata": {"name": "klm-nodes"}, "subjects": subjects,
            "roleRef": {"kind": "ClusterRole", "name": "klm-nodes"}}),
        json!({"kind": "Role", "metadata": {"name": "klm-plan", "namespace": "argo"}, "rules": [
            {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"], "resourceNames": ["klm-plan-a"]},
        ]}),
        json!({"kind": "RoleBinding", "metadata": {"name": "klm-plan", "namespace": "argo"}, "subjects": subjects,
            "roleRef": {"kind": "Role", "name": "klm-plan"}}),
    ]
}

async fn get(cluster: &FakeCluster, path: &str) -> Result<Value, String> {
    let request = Request::get(path).body(Vec::new()).unwrap();
    match cluster.client().request(request).await {
        Ok(value) => Ok(value),
        Err(kube::Error::Api(status)) => Err(status.message),
        Err(other) => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_granted_is_forbidden_in_the_servers_words() {
    let cluster = FakeCluster::new().with_rules(&manifests(), "argo", "klm-step");
    get(&cluster, "/api/v1/nodes").await.unwrap();
    assert_eq!(
        get(&cluster, "/api/v1/pods").await.unwrap_err(),
        "pods is forbidden: User \"system:serviceaccount:argo:klm-step\" cannot list resource \"pods\" in API group \"\" at the cluster scope"
    );
    assert_eq!(
        get(&cluster, "/apis/apps/v1/namespaces/kube-system/daemonsets/kata-deploy").await.unwrap_err(),
        "daemonsets.apps \"kata-deploy\" is forbidden: User \"system:serviceaccount:argo:klm-step\" cannot get resource \
         \"daemonsets\" in API group \"apps\" in the namespace \"kube-system\""
    );
    let not_found = get(&cluster, "/api/v1/namespaces/argo/configmaps/klm-plan-a").await.unwrap_err();
    assert!(not_found.contains("not found"), "{not_found}");
    let other_name = get(&cluster, "/api/v1/namespaces/argo/configmaps/klm-plan-b").await.unwrap_err();
    assert!(other_name.contains("forbidden"), "{other_name}");
}

#[tokio::test(start_paused = true)]
async fn grants_that_nobody_needs_are_listed_and_a_removed_one_is_missed() {
    let cluster = FakeCluster::new().with_rules(&manifests(), "argo", "klm-step");
    let rbac = cluster.identity().rbac.unwrap();
    get(&cluster, "/api/v1/nodes").await.unwrap();
    let unused: Vec<String> = rbac.unused().iter().map(ToString::to_string).collect();
    assert_eq!(
        unused,
        [
            "ClusterRole/klm-nodes: get nodes everywhere",
            "ClusterRole/klm-nodes: create pods/eviction everywhere",
            "Role/klm-plan: get configmaps named klm-plan-a in namespace argo",
        ]
    );
    let used = rbac.used();
    assert_eq!(used.len(), 1);
    let less = Arc::new(rbac.without(&used[0]));
    let cluster = FakeCluster::new().with_identity(Identity::service_account("argo", "klm-step", less));
    get(&cluster, "/api/v1/nodes").await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn access_reviews_answer_from_the_same_rules_and_use_nothing() {
    let cluster = FakeCluster::new().with_rules(&manifests(), "argo", "klm-step");
    for (verb, resource, subresource, allowed) in [
        ("list", "nodes", "", true),
        ("patch", "nodes", "", false),
        ("create", "pods", "eviction", true),
        ("create", "pods", "", false),
    ] {
        let attributes =
            json!({"verb": verb, "resource": resource, "subresource": subresource, "group": "", "namespace": "shop"});
        let body = json!({"spec": {"resourceAttributes": attributes}}).to_string().into_bytes();
        let request = Request::post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews").body(body).unwrap();
        let review: Value = cluster.client().request(request).await.unwrap();
        assert_eq!(review["status"]["allowed"], allowed, "{verb} {resource}/{subresource}");
    }
    assert!(cluster.identity().rbac.unwrap().used().is_empty());
    assert_eq!(cluster.writes(), 0);
}

#[tokio::test(start_paused = true)]
async fn nobody_grants_what_they_do_not_hold() {
    let subjects = json!([{"kind": "ServiceAccount", "name": "klm-step", "namespace": "argo"}]);
    let rules = |verbs: Value| {
        vec![
            json!({"kind": "ClusterRole", "metadata": {"name": "klm-roles"}, "rules": [
                {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"], "verbs": verbs},
                {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]},
            ]}),
            json!({"kind": "ClusterRoleBinding", "metadata": {"name": "klm-roles"}, "subjects": subjects,
                "roleRef": {"kind": "ClusterRole", "name": "klm-roles"}}),
        ]
    };
    for (verbs, granted, allowed) in [
        (json!(["create"]), "get", true),
        (json!(["create"]), "patch", false),
        (json!(["create", "escalate"]), "patch", true),
    ] {
        let cluster = FakeCluster::new().with_rules(&rules(verbs), "argo", "klm-step");
        let role = json!({"metadata": {"name": "kata-deploy-role"}, "rules": [{"apiGroups": [""], "resources": ["nodes"], "verbs": [granted]}]});
        let request = Request::post("/apis/rbac.authorization.k8s.io/v1/clusterroles")
            .body(role.to_string().into_bytes())
            .unwrap();
        let answer = cluster.client().request::<Value>(request).await;
        assert_eq!(answer.is_ok(), allowed, "{granted}: {answer:?}");
        assert_eq!(cluster.get("clusterroles", "", "kata-deploy-role").is_some(), allowed);
    }
}
