//! What is asked: everything that our clients rely on or can trip over.

mod pods;
mod rights;

use http::Method;
use serde_json::{Value, json};

use crate::probe::Probe;

const NS: &str = "/api/v1/namespaces/conformance";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

/// Asks everything, each chapter on objects of its own.
pub async fn ask_all(probe: &mut Probe) {
    probe.prepare(Method::POST, "/api/v1/namespaces", json!({"metadata": {"name": "conformance"}})).await;
    probe.prepare(Method::POST, &format!("{NS}/serviceaccounts"), json!({"metadata": {"name": "default"}})).await;
    creating(probe).await;
    updating(probe).await;
    patching(probe).await;
    workloads(probe).await;
    applying(probe).await;
    deleting(probe).await;
    listing(probe).await;
    immutable_fields(probe).await;
    events(probe).await;
    pods::admission(probe).await;
    pods::evicting(probe).await;
    rights::rights(probe).await;
    rights::escalation(probe).await;
}

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}})
}

async fn creating(probe: &mut Probe) {
    probe.about("creating");
    let maps = format!("{NS}/configmaps");
    probe.ask(Method::POST, &maps, map("made-1"), &["/kind", "/metadata/namespace", "/data"]).await;
    probe.ask(Method::POST, &maps, map("made-1"), &[]).await;
    probe.ask(Method::POST, &maps, json!({"metadata": {}}), &[]).await;
    probe.ask(Method::POST, &maps, map("Not_A_Name"), &[]).await;
    probe.ask(Method::POST, &maps, json!({"metadata": {"name": "made-2", "labels": {"a": "b c"}}}), &[]).await;
    probe.ask(Method::POST, &maps, json!({"metadata": {"name": "made-3", "namespace": "other"}}), &[]).await;
    probe
        .ask(Method::POST, &maps, json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "made-4"}}), &[])
        .await;
    probe.ask(Method::POST, "/api/v1/namespaces/absent/configmaps", map("made-5"), &[]).await;
    probe.ask(Method::POST, &format!("{maps}?dryRun=All"), map("made-6"), &["/metadata/name"]).await;
    probe.ask(Method::GET, &format!("{maps}/made-6"), Value::Null, &[]).await;
    let secret = json!({"metadata": {"name": "made-7"}, "stringData": {"a": "b"}});
    probe.ask(Method::POST, &format!("{NS}/secrets"), secret, &["/type", "/data", "/stringData"]).await;
    let node = json!({"metadata": {"name": "made-8"}, "status": {"phase": "Terminated"}});
    probe.ask(Method::POST, "/api/v1/nodes", node, &["/status/phase", "/metadata/generation"]).await;
}

async fn updating(probe: &mut Probe) {
    probe.about("updating");
    let path = format!("{NS}/configmaps/updated-1");
    let first = probe.prepare(Method::POST, &format!("{NS}/configmaps"), map("updated-1")).await;
    let mut second = first.clone();
    second["data"]["a"] = json!("2");
    probe.ask(Method::PUT, &path, second.clone(), &["/data"]).await;
    second["data"]["a"] = json!("3");
    probe.ask(Method::PUT, &path, second, &[]).await;
    probe.ask(Method::PUT, &path, map("updated-1"), &["/data"]).await;
    probe.ask(Method::PUT, &path, map("another"), &[]).await;
    probe
        .ask(Method::PUT, &format!("{NS}/configmaps/absent"), json!({"metadata": {"name": "absent", "uid": "x"}}), &[])
        .await;
    let other = json!({"metadata": {"uid": "00000000-0000-4000-8000-000000000000"}, "data": {"a": "4"}});
    probe.hide(&first["metadata"]["uid"], "<uid>");
    probe.ask(Method::PATCH, &path, other, &[]).await;
    let mut strange = map("updated-1");
    strange["metadata"]["uid"] = json!("00000000-0000-4000-8000-000000000000");
    probe.ask(Method::PUT, &path, strange, &[]).await;
    let stale = json!({"metadata": {"resourceVersion": first["metadata"]["resourceVersion"]}, "data": {"a": "4"}});
    probe.ask(Method::PATCH, &path, stale, &[]).await;
    let before = probe.prepare(Method::GET, &path, Value::Null).await;
    let after = probe.prepare(Method::PATCH, &path, json!({"data": {"a": "1"}})).await;
    assert_eq!(before["metadata"]["resourceVersion"], after["metadata"]["resourceVersion"], "nothing changed");
}

async fn patching(probe: &mut Probe) {
    probe.about("patching");
    let path = "/api/v1/nodes/patched-1";
    probe
        .prepare(Method::POST, "/api/v1/nodes", json!({"metadata": {"name": "patched-1", "labels": {"pool": "kata"}}}))
        .await;
    let fields = ["/spec", "/metadata/labels", "/metadata/annotations"];
    let taint = |key: &str| json!({"key": key, "value": "x", "effect": "NoSchedule"});
    probe.patch(STRATEGIC, path, json!({"spec": {"unschedulable": true, "taints": [taint("one")]}}), &fields).await;
    probe.patch(STRATEGIC, path, json!({"spec": {"taints": [taint("two")]}}), &fields).await;
    probe
        .ask(
            Method::PATCH,
            path,
            json!({"spec": {"taints": null, "unschedulable": null}, "metadata": {"labels": {"pool": null, "b": "1"}}}),
            &fields,
        )
        .await;
    let condition = |kind: &str, status: &str| json!({"status": {"conditions": [{"type": kind, "status": status}]}});
    for (kind, status) in [("Ready", "True"), ("DiskPressure", "False"), ("Ready", "False")] {
        probe.prepare_status(STRATEGIC, &format!("{path}/status"), condition(kind, status)).await;
    }
    probe
        .ask(
            Method::GET,
            path,
            Value::Null,
            &["/status/conditions/0/type", "/status/conditions/0/status", "/status/conditions/1/type"],
        )
        .await;
    probe.patch(STRATEGIC, path, json!({"status": {"phase": "Terminated"}}), &["/status/phase"]).await;
    let test = |value: &str| json!([{"op": "test", "path": "/metadata/labels/b", "value": value}, {"op": "add", "path": "/metadata/annotations", "value": {"x": "y"}}]);
    probe.patch(JSON_PATCH, path, test("2"), &[]).await;
    probe.patch(JSON_PATCH, path, test("1"), &fields).await;
    probe.patch(JSON_PATCH, path, json!([{"op": "remove", "path": "/metadata/labels/absent"}]), &[]).await;
    probe.patch("application/json", path, json!({}), &[]).await;
    probe.patch(STRATEGIC, "/api/v1/nodes/absent", json!({}), &[]).await;
    let delete = json!({"metadata": {"labels": {"$patch": "replace", "c": "3"}}});
    probe.patch(STRATEGIC, path, delete, &["/metadata/labels"]).await;
}

async fn workloads(probe: &mut Probe) {
    probe.about("generations of workloads");
    let sets = "/apis/apps/v1/namespaces/conformance/daemonsets";
    let template = |image: &str| json!({"metadata": {"labels": {"name": "kd"}}, "spec": {"containers": [{"name": "main", "image": image}]}});
    let set = json!({"metadata": {"name": "kd"}, "spec": {"selector": {"matchLabels": {"name": "kd"}}, "template": template("x:1")}});
    let fields = ["/metadata/generation", "/metadata/annotations"];
    probe.ask(Method::POST, sets, set, &fields).await;
    let path = format!("{sets}/kd");
    probe
        .ask(
            Method::PATCH,
            &path,
            json!({"spec": {"updateStrategy": {"type": "OnDelete", "rollingUpdate": null}}}),
            &fields,
        )
        .await;
    probe.patch(STRATEGIC, &path, json!({"spec": {"template": template("x:2")}}), &fields).await;
    probe.ask(Method::PATCH, &path, json!({"metadata": {"labels": {"a": "b"}}}), &fields).await;
    probe.ask_code(Method::PATCH, &path, json!({"spec": {"selector": {"matchLabels": {"name": "other"}}}})).await;
    let job = json!({"metadata": {"name": "once"}, "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "x"}]}}}});
    let jobs = "/apis/batch/v1/namespaces/conformance/jobs";
    probe
        .ask(
            Method::POST,
            jobs,
            job,
            &["/spec/backoffLimit", "/spec/parallelism", "/spec/completions", "/metadata/generation"],
        )
        .await;
    probe
        .ask_code(
            Method::PATCH,
            &format!("{jobs}/once"),
            json!({"spec": {"template": {"spec": {"restartPolicy": "OnFailure"}}}}),
        )
        .await;
    probe.ask(Method::PATCH, &format!("{jobs}/once"), json!({"status": {"active": 7}}), &["/status/active"]).await;
}

async fn applying(probe: &mut Probe) {
    probe.about("server-side apply");
    let path = format!("{NS}/configmaps/applied-1");
    let body =
        |data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied-1"}, "data": data});
    probe.patch(APPLY, &path, body(json!({"a": "1"})), &[]).await;
    probe.patch(APPLY, &format!("{path}?fieldManager=one"), body(json!({"a": "1", "b": "1"})), &["/data"]).await;
    probe.patch(APPLY, &format!("{path}?fieldManager=two"), body(json!({"c": "2"})), &["/data"]).await;
    probe.patch(APPLY, &format!("{path}?fieldManager=two"), body(json!({"a": "2"})), &[]).await;
    probe.patch(APPLY, &format!("{path}?fieldManager=two&force=true"), body(json!({"a": "2"})), &["/data"]).await;
    probe.patch(APPLY, &format!("{path}?fieldManager=one"), body(json!({"b": "2"})), &["/data"]).await;
}

async fn deleting(probe: &mut Probe) {
    probe.about("deleting");
    let maps = format!("{NS}/configmaps");
    probe.ask(Method::DELETE, &format!("{maps}/absent"), Value::Null, &[]).await;
    let mut held = map("deleted-1");
    held["metadata"]["finalizers"] = json!(["example.org/hold"]);
    let stored = probe.prepare(Method::POST, &maps, held).await;
    probe.hide(&stored["metadata"]["uid"], "<uid>");
    let path = format!("{maps}/deleted-1");
    let precise = |uid: &Value| json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": uid}});
    probe.ask(Method::DELETE, &path, precise(&json!("other")), &[]).await;
    probe.ask(Method::DELETE, &path, precise(&stored["metadata"]["uid"]), &["/kind", "/metadata/finalizers"]).await;
    let held = probe.prepare(Method::GET, &path, Value::Null).await;
    assert!(!held["metadata"]["deletionTimestamp"].is_null());
    probe.ask(Method::PATCH, &path, json!({"metadata": {"finalizers": null}}), &["/kind"]).await;
    probe.ask(Method::GET, &path, Value::Null, &[]).await;
    let stored = probe.prepare(Method::POST, &maps, map("deleted-2")).await;
    let stale = json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"resourceVersion": "1"}});
    probe.hide(&stored["metadata"]["resourceVersion"], "<version>");
    probe.ask(Method::DELETE, &format!("{maps}/deleted-2"), stale, &[]).await;
    probe
        .ask(
            Method::DELETE,
            &format!("{maps}/deleted-2"),
            Value::Null,
            &["/kind", "/status", "/details/name", "/details/kind"],
        )
        .await;
    let owner = probe.prepare(Method::POST, &maps, map("deleted-3")).await;
    let mut dependent = map("deleted-4");
    dependent["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "deleted-3", "uid": owner["metadata"]["uid"], "blockOwnerDeletion": true}]);
    // Held, so that a garbage collector wouldn't be the one that answers the last question.
    dependent["metadata"]["finalizers"] = json!(["example.org/hold"]);
    probe.prepare(Method::POST, &maps, dependent).await;
    let propagating = |how: &str| json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": how});
    let path = format!("{maps}/deleted-3");
    probe.ask(Method::DELETE, &path, propagating("Foreground"), &["/kind", "/metadata/finalizers"]).await;
    probe.ask(Method::DELETE, &path, propagating("Background"), &["/kind", "/status"]).await;
    probe.ask(Method::GET, &path, Value::Null, &[]).await;
}

async fn listing(probe: &mut Probe) {
    probe.about("listing");
    for (name, pool) in [("listed-1", "a"), ("listed-2", "a"), ("listed-3", "b")] {
        let mut new = map(name);
        new["metadata"]["labels"] = json!({"pool": pool, "chapter": "listing"});
        probe.prepare(Method::POST, &format!("{NS}/configmaps"), new).await;
    }
    let names =
        ["/kind", "/items/0/kind", "/items/0/metadata/name", "/items/1/metadata/name", "/items/2/metadata/name"];
    for selector in [
        "chapter=listing",
        "chapter=listing,pool!=a",
        "pool in (a,b),pool notin (a)",
        "chapter,!pool",
        "pool%3Da,absent!=x",
    ] {
        let query = selector.replace(' ', "%20");
        probe.ask(Method::GET, &format!("{NS}/configmaps?labelSelector={query}"), Value::Null, &names).await;
    }
    for malformed in ["pool%20in%20a", "pool=a%20b", "%3Db"] {
        probe.ask_code(Method::GET, &format!("{NS}/configmaps?labelSelector={malformed}"), Value::Null).await;
    }
    let first = probe
        .ask(
            Method::GET,
            &format!("{NS}/configmaps?labelSelector=chapter&limit=2"),
            Value::Null,
            &["/items/1/metadata/name", "/items/2", "/metadata/remainingItemCount"],
        )
        .await;
    let token = first["metadata"]["continue"].as_str().unwrap();
    probe.hide(&first["metadata"]["continue"], "<continue>");
    probe
        .ask(
            Method::GET,
            &format!("{NS}/configmaps?labelSelector=chapter&limit=2&continue={token}"),
            Value::Null,
            &["/items/0/metadata/name", "/items/1", "/metadata/continue"],
        )
        .await;
    probe.ask(Method::GET, &format!("{NS}/configmaps?fieldSelector=metadata.name=listed-2"), Value::Null, &names).await;
    probe.ask(Method::GET, &format!("{NS}/configmaps?fieldSelector=data.a=1"), Value::Null, &[]).await;
    probe.ask(Method::GET, "/api/v1/pods?fieldSelector=spec.runtimeClassName=x", Value::Null, &[]).await;
    probe
        .ask(
            Method::GET,
            "/api/v1/nodes?fieldSelector=spec.unschedulable=false&labelSelector=absent",
            Value::Null,
            &["/kind", "/items"],
        )
        .await;
    let partial = ["/kind", "/apiVersion", "/items/0/kind", "/items/0/metadata/name", "/items/0/data"];
    probe
        .ask(Method::GET, &format!("{NS}/configmaps?labelSelector=pool=b&pretty=partial"), Value::Null, &partial)
        .await;
    probe.ask(Method::GET, "/apis/batch/v1/namespaces/absent/jobs", Value::Null, &["/kind", "/items"]).await;
}

async fn immutable_fields(probe: &mut Probe) {
    probe.about("fields that can't change");
    let class = json!({"metadata": {"name": "frozen-1"}, "handler": "one"});
    probe.prepare(Method::POST, "/apis/node.k8s.io/v1/runtimeclasses", class).await;
    probe.ask(Method::PATCH, "/apis/node.k8s.io/v1/runtimeclasses/frozen-1", json!({"handler": "two"}), &[]).await;
    let mut frozen = map("frozen-2");
    frozen["immutable"] = json!(true);
    probe.prepare(Method::POST, &format!("{NS}/configmaps"), frozen).await;
    probe.ask(Method::PATCH, &format!("{NS}/configmaps/frozen-2"), json!({"data": {"a": "2"}}), &["/code"]).await;
    probe.prepare(Method::POST, &format!("{NS}/secrets"), json!({"metadata": {"name": "frozen-3"}})).await;
    probe.ask(Method::PATCH, &format!("{NS}/secrets/frozen-3"), json!({"type": "other"}), &["/code"]).await;
}

async fn events(probe: &mut Probe) {
    probe.about("events");
    let event = |name: &str, involved: Value| json!({"metadata": {"name": name}, "involvedObject": involved, "reason": "Tested", "message": "m", "type": "Normal"});
    let node = json!({"kind": "Node", "name": "worker-1", "apiVersion": "v1"});
    probe
        .ask(
            Method::POST,
            "/api/v1/namespaces/default/events",
            event("about-a-node", node.clone()),
            &["/involvedObject/name"],
        )
        .await;
    probe.ask(Method::POST, &format!("{NS}/events"), event("about-a-node", node.clone()), &["/code"]).await;
    let pod = json!({"kind": "Pod", "name": "x", "namespace": "default", "apiVersion": "v1"});
    probe.ask(Method::POST, &format!("{NS}/events"), event("elsewhere", pod), &["/code"]).await;
    let mut modern = event("modern", node);
    modern["eventTime"] = json!("2026-03-02T08:00:00.000000Z");
    probe.ask_code(Method::POST, "/api/v1/namespaces/default/events", modern.clone()).await;
    modern["reportingComponent"] = json!("example.org/klm");
    modern["reportingInstance"] = json!("klm-1");
    modern["action"] = json!("Test");
    probe.ask(Method::POST, "/api/v1/namespaces/default/events", modern, &["/action"]).await;
}
