use std::collections::BTreeMap;

use rstest::rstest;

use super::*;
use crate::node::{Readiness, Taint};

fn node(name: &str, hostname: &str) -> NodeFacts {
    NodeFacts {
        name: name.try_into().unwrap(),
        uid: "u".into(),
        resource_version: "1".into(),
        labels: BTreeMap::from([("kubernetes.io/hostname".to_owned(), hostname.to_owned())]),
        taints: [
            "node-role.kubernetes.io/gpu",
            "window",
            "node.kubernetes.io/not-ready",
            "node.kubernetes.io/unschedulable",
        ]
        .map(|key| Taint { key: key.into(), value: None, effect: "NoSchedule".into(), time_added: None })
        .into(),
        unschedulable: true,
        ready: Readiness::Ready,
        deleting: false,
        status: None,
        version: None,
        journal: None,
    }
}

fn run() -> RunId {
    RunId { namespace: "argo".into(), name: "klm".into(), uid: "6f1c0e9a-7b".into() }
}

fn fill(pod: Value, node: &NodeFacts) -> Value {
    let template = Template::check(vec![pod], "checks").unwrap();
    template.fill(&Placement { node, name: "probe-1", namespace: "checks", run: &run(), seconds: 600 })
}

fn pod() -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {"runtimeClassName": "kata", "containers": [{"name": "c"}]}})
}

fn pod_with(pointer: &str, value: Value) -> Value {
    let mut pod = pod();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    pod.pointer_mut(parent).unwrap()[key] = value;
    pod
}

#[test]
fn plain_and_base64_are_told_apart_by_trying() {
    let yaml = "kind: Pod\n# ${NODE} ü\n";
    assert_eq!(text_of(yaml).unwrap(), yaml);
    let packed = base64::engine::general_purpose::STANDARD.encode(yaml);
    for text in
        [packed.clone(), packed.trim_end_matches('=').to_owned(), format!("{}\n{}\n", &packed[..8], &packed[8..])]
    {
        assert_eq!(text_of(&text).unwrap(), yaml, "{text}");
    }
}

#[rstest]
#[case("")]
#[case("  \n")]
#[case("not a pod")]
#[case("./pod.yaml")]
#[case("/w==")]
fn what_is_neither_is_refused_with_the_command(#[case] text: &str) {
    assert!(text_of(text).unwrap_err().hint.unwrap().contains("base64 -w0"));
}

#[rstest]
#[case::nothing(vec![], "exactly one document")]
#[case::comments(vec![Value::Null], "exactly one document")]
#[case::two(vec![pod(), pod()], "exactly one document")]
#[case::text(vec![json!("x")], "not even a map")]
#[case::list(vec![json!({"apiVersion": "v1", "kind": "List", "items": []})], "is `List` of `v1`")]
#[case::deployment(vec![json!({"apiVersion": "apps/v1", "kind": "Deployment"})], "is `Deployment` of `apps/v1`")]
#[case::containers(vec![pod_with("/spec/containers", json!([]))], "has no containers")]
#[case::namespace(vec![pod_with("/metadata/namespace", json!("kube-system"))], "is in namespace `kube-system`")]
#[case::node(vec![pod_with("/spec/nodeName", json!("worker-9"))], "names one node, `worker-9`")]
#[case::hostname(vec![pod_with("/spec/nodeSelector", json!({"kubernetes.io/hostname": "worker-9"}))], "names one node, `worker-9`")]
#[case::endless(vec![pod_with("/spec/restartPolicy", json!("Always"))], "never ends")]
fn what_can_not_verify_a_node_is_refused(#[case] documents: Vec<Value>, #[case] why: &str) {
    let refusals = Template::check(documents, "checks").unwrap_err();
    assert!(refusals[0].what.contains(why), "{}", refusals[0]);
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let mut pod = pod_with("/metadata/namespace", json!("other"));
    pod["spec"] = json!({"nodeName": "a", "restartPolicy": "Always"});
    assert_eq!(Template::check(vec![pod], "checks").unwrap_err().len(), 4);
}

#[test]
fn a_pod_without_kata_is_taken_and_said() {
    let template = Template::check(vec![pod_with("/spec/runtimeClassName", Value::Null)], "checks").unwrap();
    assert_eq!((template.runtime_class(), template.notices.len()), (None, 1));
}

#[test]
fn the_readmes_example_is_filled_in() {
    let spec = json!({
        "runtimeClassName": "kata-qemu", "restartPolicy": "Never",
        "nodeSelector": {"kubernetes.io/hostname": INERT_NODE}, "tolerations": [{"operator": "Exists"}],
        "containers": [{"name": "verify", "image": "i", "command": ["sh", "-c", format!("echo {INERT_NODE} {INERT_TEST_POD}")]}]
    });
    let filled = fill(
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": INERT_TEST_POD}, "spec": spec}),
        &node("worker-1.example", "worker-1"),
    );
    insta::assert_snapshot!(serde_json::to_string_pretty(&filled).unwrap());
}

#[test]
fn a_pod_without_any_toleration_or_selector_gets_what_it_needs() {
    insta::assert_snapshot!(serde_json::to_string_pretty(&fill(pod(), &node("w", "w"))["spec"]).unwrap());
}

#[test]
fn placeholders_stay_values_whatever_a_name_looks_like() {
    let text = format!("{{a: {PLACEHOLDER_NODE}, {PLACEHOLDER_TEST_POD}: 1}}");
    assert!(!readable(&text).contains("${"), "readable inside braces");
    let filled = fill(pod_with("/metadata/annotations", json!({INERT_NODE: INERT_NODE})), &node("0123", "0123"));
    assert_eq!(filled["metadata"]["annotations"]["0123"], json!("0123"), "a text, not a number");
}

#[test]
fn a_manifests_own_placeholders_are_known_again() {
    let mut pod = pod_with("/spec/nodeSelector", json!({"kubernetes.io/hostname": PLACEHOLDER_NODE}));
    pod["metadata"]["labels"] = json!({"probe": PLACEHOLDER_TEST_POD});
    let filled = fill(serde_json::from_str(&readable(&pod.to_string())).unwrap(), &node("w.x", "w"));
    assert_eq!(filled["spec"]["nodeSelector"]["kubernetes.io/hostname"], json!("w"));
    assert_eq!(filled["metadata"]["labels"]["probe"], json!("probe-1"));
}

#[test]
fn what_is_not_the_users_to_say_is_set_here() {
    let mut hostile = pod();
    hostile["metadata"] = json!({
        "name": "y", "generateName": "z", "finalizers": ["never/ends"], "ownerReferences": [{"kind": "Node"}],
        "labels": {RUN_LABEL: "somebody", "mine": "stays"}, "uid": "1"
    });
    hostile["status"] = json!({"phase": "Succeeded"});
    hostile["spec"]["nodeName"] = json!(INERT_NODE);
    hostile["spec"]["activeDeadlineSeconds"] = json!(999_999);
    let filled = fill(hostile, &node("w", "w"));
    let metadata: Vec<&String> = filled["metadata"].as_object().unwrap().keys().collect();
    assert_eq!(metadata, ["annotations", "labels", "name", "namespace"]);
    assert_eq!(
        (&filled["metadata"]["name"], &filled["metadata"]["labels"]["mine"]),
        (&json!("probe-1"), &json!("stays"))
    );
    assert_eq!(filled["metadata"]["labels"][RUN_LABEL], json!(run().uid));
    assert_eq!((filled.get("status"), filled["spec"].get("nodeName")), (None, None));
    assert_eq!(filled["spec"]["activeDeadlineSeconds"], json!(600));
}

#[test]
fn every_alternative_of_the_users_affinity_is_pinned() {
    let terms = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "zone", "operator": "Exists"}]}, {"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": ["v"]}]}
    ]}, "preferredDuringSchedulingIgnoredDuringExecution": []}, "podAffinity": {}});
    let filled = fill(pod_with("/spec/affinity", terms), &node("w", "w"));
    insta::assert_snapshot!(serde_json::to_string_pretty(&filled["spec"]["affinity"]).unwrap());
}

#[test]
fn a_template_is_never_printed_with_its_content() {
    let secret = pod_with("/spec/containers", json!([{"name": "c", "env": [{"name": "TOKEN", "value": "hunter2"}]}]));
    assert!(!format!("{:?}", Template::check(vec![secret], "checks").unwrap()).contains("hunter2"));
}

#[test]
fn pod_names_are_stable_different_and_allowed() {
    let name = |node: &str, attempt| pod_name(&run(), &node.try_into().unwrap(), attempt);
    assert_eq!(name("worker-1", 1), name("worker-1", 1));
    let long = "a".repeat(250);
    let names =
        [name("worker-1", 1), name("worker-1", 2), name("worker.1", 1), name(&long, 1), name(&format!("{long}b"), 1)];
    for (at, one) in names.iter().enumerate() {
        assert!(crate::name::is_dns1123_label(one), "{one}");
        assert!(names[at + 1..].iter().all(|other| other != one), "{one} twice");
    }
}
