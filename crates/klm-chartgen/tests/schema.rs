//! The chart's schema allows what is documented and refuses what can't work.
#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod support;

use std::fs;

use jsonschema::Validator;
use serde_json::{Value, json};
use support::{CASES, chart, values};

fn schema() -> Value {
    serde_json::from_str(&fs::read_to_string(chart().join("values.schema.json")).unwrap()).unwrap()
}

fn validator() -> Validator {
    jsonschema::draft7::new(&schema()).unwrap()
}

fn yaml(path: &std::path::Path) -> Value {
    serde_yaml::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn the_defaults_and_every_set_of_test_values_are_allowed() {
    let validator = validator();
    let files = CASES.iter().map(|case| values(case)).chain([chart().join("values.yaml")]);
    for file in files {
        let values = yaml(&file);
        let errors: Vec<_> = validator.iter_errors(&values).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{}: {errors:?}", file.display());
    }
}

#[test]
fn a_wrong_value_is_refused() {
    let validator = validator();
    for wrong in [
        json!({ "defaults": { "batchSize": 0 } }),
        json!({ "defaults": { "batchSize": "2" } }),
        json!({ "defaults": { "deploymentMode": "Job" } }),
        json!({ "defaults": { "drainTimeout": "300" } }),
        json!({ "defaults": { "drainTimeout": "5 minutes" } }),
        json!({ "defaults": { "drainTimeout": "" } }),
        json!({ "defaults": { "drainEnabled": "true" } }),
        json!({ "defaults": { "drainGracePeriod": -2 } }),
        json!({ "defaults": { "helmNamespace": "" } }),
        json!({ "defaults": { "unknown": 1 } }),
        json!({ "unknown": {} }),
        json!({ "argoNamespace": "Argo" }),
        json!({ "argoNamespace": "a".repeat(64) }),
        json!({ "images": { "utils": "" } }),
        json!({ "images": { "utils": "repository@sha256:0123" } }),
        json!({ "images": { "pullPolicy": "Sometimes" } }),
        json!({ "imagePullSecrets": [{ "nme": "x" }] }),
        json!({ "rbac": { "scope": "" } }),
        json!({ "rbac": { "helmNamespaces": "kata" } }),
        json!({ "rbac": { "helmNamespaces": ["kata-*"] } }),
        json!({ "stepPods": { "terminationGracePeriodSeconds": 5 } }),
        json!({ "workflow": { "podGC": "Never" } }),
        json!({ "commonLabels": { "a": 1 } }),
    ] {
        assert!(!validator.is_valid(&wrong), "{wrong}");
    }
}

#[test]
fn an_image_may_be_named_in_every_usual_way() {
    let validator = validator();
    let digest = "a".repeat(64);
    for image in ["utils", "utils:1", "registry:5000/a/utils", "registry:5000/a/utils:1.2", "a.b/c/utils:latest"] {
        for suffix in [String::new(), format!("@sha256:{digest}")] {
            let values = json!({ "images": { "utils": format!("{image}{suffix}") } });
            assert!(validator.is_valid(&values), "{values}");
        }
    }
}

#[test]
fn a_parent_chart_may_share_its_global_values() {
    assert!(validator().is_valid(&json!({ "global": { "anything": [1] } })));
}
