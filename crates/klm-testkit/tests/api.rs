//! The fake API server against known behaviour of the real one, seen through kube's own client.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, reason = "a test stops at the first surprise")]

use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use klm_testkit::FakeCluster;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::{Value, json};

fn node(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"pool": "kata"}}})
}

fn config_map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name, "namespace": "default"}, "data": {"a": "1"}})).unwrap()
}

fn code<T: std::fmt::Debug>(result: Result<T, kube::Error>) -> u16 {
    match result.unwrap_err() {
        kube::Error::Api(status) => status.code,
        other => panic!("not an API error: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn creating_twice_is_already_exists() {
    let cluster = FakeCluster::new();
    let api: Api<ConfigMap> = Api::namespaced(cluster.client(), "default");
    let stored = api.create(&PostParams::default(), &config_map("plan-7")).await.unwrap();
    assert!(stored.metadata.uid.is_some() && stored.metadata.creation_timestamp.is_some());
    let error = api.create(&PostParams::default(), &config_map("plan-7")).await.unwrap_err();
    let kube::Error::Api(status) = error else { panic!("{error:?}") };
    assert_eq!((status.code, status.reason.as_str()), (409, "AlreadyExists"));
    assert_eq!(status.message, "configmaps \"plan-7\" already exists");
}

#[tokio::test(start_paused = true)]
async fn a_missing_namespace_refuses_new_objects() {
    let cluster = FakeCluster::new();
    let api: Api<ConfigMap> = Api::namespaced(cluster.client(), "absent-3");
    let mut map = config_map("plan-7");
    map.metadata.namespace = Some("absent-3".to_owned());
    assert_eq!(code(api.create(&PostParams::default(), &map).await), 404);
}

#[tokio::test(start_paused = true)]
async fn a_stale_resource_version_conflicts_in_put_and_patch() {
    let cluster = FakeCluster::new();
    cluster.add(node("worker-1"));
    let api: Api<Node> = Api::all(cluster.client());
    let stale = api.get("worker-1").await.unwrap();
    let label = json!({"metadata": {"labels": {"seen": "1"}}});
    api.patch("worker-1", &PatchParams::default(), &Patch::Merge(&label)).await.unwrap();
    assert_eq!(code(api.replace("worker-1", &PostParams::default(), &stale).await), 409);
    let version = stale.metadata.resource_version.unwrap();
    let cordon = json!({"metadata": {"resourceVersion": version}, "spec": {"unschedulable": true}});
    assert_eq!(code(api.patch("worker-1", &PatchParams::default(), &Patch::Merge(&cordon)).await), 409);
    assert!(!cluster.is_cordoned("worker-1"));
}

#[tokio::test(start_paused = true)]
async fn a_write_that_changes_nothing_keeps_the_resource_version() {
    let cluster = FakeCluster::new();
    let before = cluster.add(node("worker-1"));
    let api: Api<Node> = Api::all(cluster.client());
    let same = json!({"metadata": {"labels": {"pool": "kata"}}});
    let after = api.patch("worker-1", &PatchParams::default(), &Patch::Merge(&same)).await.unwrap();
    assert_eq!(after.metadata.resource_version.as_deref(), before["metadata"]["resourceVersion"].as_str());
}

#[tokio::test(start_paused = true)]
async fn cordon_is_a_strategic_patch_and_a_merge_patch_removes_by_null() {
    let cluster = FakeCluster::new();
    cluster.add(node("worker-1"));
    let api: Api<Node> = Api::all(cluster.client());
    api.cordon("worker-1").await.unwrap();
    assert!(cluster.is_cordoned("worker-1"));
    let undo = json!({"spec": {"unschedulable": null}, "metadata": {"labels": {"pool": null}}});
    api.patch("worker-1", &PatchParams::default(), &Patch::Merge(&undo)).await.unwrap();
    assert!(!cluster.is_cordoned("worker-1"));
    assert_eq!(cluster.label("worker-1", "pool"), None);
}

#[tokio::test(start_paused = true)]
async fn a_failed_json_patch_test_is_422() {
    let cluster = FakeCluster::new();
    cluster.add(node("worker-1"));
    let request = |value: &str| {
        let patch = json!([
            {"op": "test", "path": "/metadata/labels/pool", "value": value},
            {"op": "add", "path": "/metadata/annotations", "value": {"katacontainers.io/x": "y"}},
        ]);
        http::Request::patch("/api/v1/nodes/worker-1")
            .header("content-type", "application/json-patch+json")
            .body(patch.to_string().into_bytes())
            .unwrap()
    };
    let client = cluster.client();
    assert_eq!(code(client.request::<Value>(request("gpu")).await), 422);
    client.request::<Value>(request("kata")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn deletes_honour_uid_preconditions_and_finalizers() {
    let cluster = FakeCluster::new();
    let api: Api<ConfigMap> = Api::namespaced(cluster.client(), "default");
    let mut map = config_map("plan-7");
    map.metadata.finalizers = Some(vec!["example.org/hold".to_owned()]);
    let stored = api.create(&PostParams::default(), &map).await.unwrap();
    let precise = |uid: &str| DeleteParams {
        preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
        ..DeleteParams::default()
    };
    assert_eq!(code(api.delete("plan-7", &precise("other")).await), 409);
    api.delete("plan-7", &precise(&stored.metadata.uid.unwrap())).await.unwrap();
    let held = api.get("plan-7").await.unwrap();
    assert!(held.metadata.deletion_timestamp.is_some());
    let release = json!({"metadata": {"finalizers": null}});
    api.patch("plan-7", &PatchParams::default(), &Patch::Merge(&release)).await.unwrap();
    assert_eq!(code(api.get("plan-7").await), 404);
}

#[tokio::test(start_paused = true)]
async fn a_pod_on_a_node_takes_time_to_stop() {
    let cluster = FakeCluster::new();
    cluster.add(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-1", "namespace": "shop"},
        "spec": {"nodeName": "worker-1", "containers": [{"name": "web"}]}}));
    let api: Api<Pod> = Api::namespaced(cluster.client(), "shop");
    api.delete("web-1", &DeleteParams::default()).await.unwrap();
    assert!(api.get("web-1").await.unwrap().metadata.deletion_timestamp.is_some());
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert_eq!(code(api.get("web-1").await), 404);
}

#[tokio::test(start_paused = true)]
async fn owned_objects_go_some_time_after_their_owner_and_jobs_orphan_by_default() {
    let cluster = FakeCluster::new();
    let owner = |job: &Value| json!([{"apiVersion": "batch/v1", "kind": "Job", "name": job["metadata"]["name"], "uid": job["metadata"]["uid"]}]);
    let job = |name: &str| json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": "default"}, "spec": {"template": {}}});
    for (name, policy) in [("dispatcher-1", Some("Background")), ("dispatcher-2", None)] {
        let stored = cluster.add(job(name));
        let child = format!("{name}-child");
        cluster.add(json!({"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {}},
            "metadata": {"name": child, "namespace": "default", "ownerReferences": owner(&stored)}}));
        let query = policy.map_or(String::new(), |policy| format!("?propagationPolicy={policy}"));
        let path = format!("/apis/batch/v1/namespaces/default/jobs/{name}{query}");
        cluster.client().request::<Value>(http::Request::delete(path).body(Vec::new()).unwrap()).await.unwrap();
        assert!(cluster.get("jobs", "default", &child).is_some(), "the collector is never at once");
    }
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    assert!(cluster.get("jobs", "default", "dispatcher-1-child").is_none());
    let orphan = cluster.get("jobs", "default", "dispatcher-2-child").unwrap();
    assert_eq!(orphan["metadata"]["ownerReferences"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn lists_come_in_pages_and_by_selector() {
    let cluster = FakeCluster::new();
    for name in ["a-1", "a-2", "a-3", "b-1", "b-2"] {
        cluster.add(node(name));
    }
    cluster.edit("nodes", "", "a-2", |node| {
        node["metadata"]["labels"]["pool"] = json!("gpu");
    });
    let api: Api<Node> = Api::all(cluster.client());
    let mut names = Vec::new();
    let mut params = ListParams::default().limit(2);
    loop {
        let page = api.list(&params).await.unwrap();
        assert!(page.items.len() <= 2);
        names.extend(page.items.into_iter().filter_map(|node| node.metadata.name));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break,
        }
    }
    assert_eq!(names, ["a-1", "a-2", "a-3", "b-1", "b-2"]);
    let chosen = api.list(&ListParams::default().labels("pool in (gpu)")).await.unwrap();
    assert_eq!(chosen.items.len(), 1);
    let metadata = api.list_metadata(&ListParams::default().fields("metadata.name=b-2")).await.unwrap();
    assert_eq!(metadata.items.len(), 1);
    assert_eq!(code(api.list(&ListParams::default().labels("pool in gpu")).await), 400);
}

#[tokio::test(start_paused = true)]
async fn server_side_apply_creates_merges_and_conflicts() {
    let cluster = FakeCluster::new();
    let api: Api<ConfigMap> = Api::namespaced(cluster.client(), "default");
    let body =
        |data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shared-5"}, "data": data});
    let as_manager = |name: &str| PatchParams::apply(name);
    let apply = |who: &'static str, data: Value| {
        let api = api.clone();
        async move { api.patch("shared-5", &as_manager(who), &Patch::Apply(&body(data))).await }
    };
    apply("one", json!({"a": "1", "b": "1"})).await.unwrap();
    apply("two", json!({"c": "2"})).await.unwrap();
    assert_eq!(code(apply("two", json!({"a": "2"})).await), 409);
    apply("one", json!({"a": "3"})).await.unwrap();
    assert_eq!(cluster.get("configmaps", "default", "shared-5").unwrap()["data"], json!({"a": "3", "c": "2"}));
}

#[tokio::test(start_paused = true)]
async fn an_event_about_a_node_must_live_in_default() {
    let cluster = FakeCluster::new();
    let post = |namespace: &str| {
        let event =
            json!({"metadata": {"generateName": "worker-1."}, "involvedObject": {"kind": "Node", "name": "worker-1"}});
        http::Request::post(format!("/api/v1/namespaces/{namespace}/events"))
            .body(event.to_string().into_bytes())
            .unwrap()
    };
    let client = cluster.client();
    assert_eq!(code(client.request::<Value>(post("kube-system")).await), 422);
    client.request::<Value>(post("default")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_runtime_class_joins_its_node_selector_or_refuses_the_pod() {
    let cluster = FakeCluster::new();
    cluster.add(json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "kata-clh"},
        "handler": "kata-clh", "scheduling": {"nodeSelector": {"katacontainers.io/kata-runtime": "true"}}}));
    let api: Api<Pod> = Api::namespaced(cluster.client(), "default");
    let pod = |class: &str| -> Pod {
        serde_json::from_value(json!({"metadata": {"generateName": "verify-"},
            "spec": {"runtimeClassName": class, "containers": [{"name": "main", "image": "x"}]}}))
        .unwrap()
    };
    let stored = api.create(&PostParams::default(), &pod("kata-clh")).await.unwrap();
    let spec = stored.spec.unwrap();
    assert_eq!(spec.node_selector.unwrap()["katacontainers.io/kata-runtime"], "true");
    assert_eq!(code(api.create(&PostParams::default(), &pod("kata-fc")).await), 403);
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "doesn't say where to begin")]
async fn a_watch_from_nowhere_stops_the_test() {
    let cluster = FakeCluster::new();
    let request = http::Request::get("/api/v1/nodes?watch=1").body(Vec::new()).unwrap();
    let _ = cluster.client().request::<Value>(request).await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "no such route")]
async fn an_unknown_route_stops_the_test() {
    let cluster = FakeCluster::new();
    let request = http::Request::get("/apis/apps/v1/namespaces/a/gizmos").body(Vec::new()).unwrap();
    let _ = cluster.client().request::<Value>(request).await;
}

#[tokio::test(start_paused = true)]
async fn a_cordon_brings_a_taint_that_goes_with_it() {
    let cluster = FakeCluster::new();
    cluster.add(node("worker-1"));
    let api: Api<Node> = Api::all(cluster.client());
    api.cordon("worker-1").await.unwrap();
    assert_eq!(cluster.node("worker-1")["spec"]["taints"][0]["key"], "node.kubernetes.io/unschedulable");
    api.uncordon("worker-1").await.unwrap();
    assert!(cluster.node("worker-1")["spec"].get("taints").is_none());
}
