//! The verification pod, whatever it says: it stays in its namespace, on its node, under our name, for our time.

use std::collections::BTreeMap;

use base64::Engine as _;
use klm_core::journal::RunId;
use klm_core::node::{NodeFacts, Readiness};
use klm_core::verification::{Placement, Template, readable, text_of};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{config, json as any_json, text};

const KEYS: &[&str] = &[
    "apiVersion",
    "kind",
    "metadata",
    "spec",
    "status",
    "name",
    "generateName",
    "namespace",
    "labels",
    "annotations",
    "finalizers",
    "ownerReferences",
    "nodeName",
    "nodeSelector",
    "kubernetes.io/hostname",
    "affinity",
    "nodeAffinity",
    "matchFields",
    "matchExpressions",
    "requiredDuringSchedulingIgnoredDuringExecution",
    "nodeSelectorTerms",
    "tolerations",
    "key",
    "operator",
    "effect",
    "values",
    "containers",
    "restartPolicy",
    "activeDeadlineSeconds",
    "runtimeClassName",
    "serviceAccountName",
    "volumes",
    "hostPath",
    "secret",
    "uid",
];

fn node() -> NodeFacts {
    NodeFacts {
        name: "worker-7".try_into().unwrap(),
        uid: "u".into(),
        resource_version: "1".into(),
        labels: BTreeMap::new(),
        taints: Vec::new(),
        unschedulable: true,
        ready: Readiness::Ready,
        deleting: false,
        status: None,
        version: None,
        journal: None,
    }
}

/// Asserts what is not the user's to say.
fn assert_confined(pod: &Value) {
    let metadata = &pod["metadata"];
    let mut keys: Vec<&str> = metadata.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["annotations", "labels", "name", "namespace"]);
    assert_eq!((&metadata["name"], &metadata["namespace"]), (&json!("probe-1"), &json!("checks")));
    assert_eq!(pod.get("status"), None);
    let spec = &pod["spec"];
    assert_eq!(spec.get("nodeName"), None);
    assert!(spec["activeDeadlineSeconds"].as_u64().unwrap() <= 600);
    let terms =
        &spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
    let terms = terms.as_array().unwrap();
    assert!(!terms.is_empty());
    // Any of them may match; one that is no object the API server doesn't take.
    for term in terms.iter().filter(|term| term.is_object()) {
        let here = json!({"key": "metadata.name", "operator": "In", "values": ["worker-7"]});
        assert!(term["matchFields"].as_array().unwrap().contains(&here), "{term}");
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_pod_stays_where_it_is_put(metadata in any_json(KEYS), spec in any_json(KEYS), affinity in any_json(KEYS), deadline in any_json(KEYS)) {
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec});
        if let Some(spec) = pod["spec"].as_object_mut() {
            spec.insert("containers".to_owned(), json!([{"name": "c"}]));
            spec.insert("affinity".to_owned(), json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": affinity}}));
            spec.insert("activeDeadlineSeconds".to_owned(), deadline);
        }
        if let Ok(template) = Template::check(vec![pod], "checks") {
            let run = RunId { namespace: "n".into(), name: "r".into(), uid: "u".into() };
            assert_confined(&template.fill(&Placement { node: &node(), name: "probe-1", namespace: "checks", run: &run, seconds: 600 }));
        }
    }

    #[test]
    fn no_documents_make_the_check_panic(documents in prop::collection::vec(any_json(KEYS), 0..3)) {
        if let Err(refusals) = Template::check(documents, "checks") {
            assert!(refusals.iter().all(|refusal| refusal.what.starts_with("the verification pod ")));
        }
    }

    #[test]
    fn a_packed_pod_is_the_plain_one(text in text()) {
        let plain = format!("kind: {text}");
        let packed = base64::engine::general_purpose::STANDARD.encode(&plain);
        assert_eq!(text_of(&packed).unwrap(), plain.clone());
        assert_eq!(text_of(&plain).unwrap(), plain);
    }

    #[test]
    fn what_is_no_pod_is_refused_by_its_parameter_and_not_quoted(text in text()) {
        match text_of(&text) {
            Ok(manifest) => assert!(!readable(&manifest).contains("${NODE}")),
            Err(refusal) => {
                assert!(refusal.what.starts_with("parameter `verification-pod` is"));
                assert!(text.trim().len() < 12 || !refusal.to_string().contains(text.trim()));
            }
        }
    }
}
