//! The chart's schema allows what is documented and refuses what can't work.
#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod support;

use std::fs;

use jsonschema::Validator;
use klm_core::contract::{Kind, PARAMETERS};
use klm_core::settings::Settings;
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
fn an_object_may_have_every_name_that_kubernetes_takes() {
    let validator = validator();
    let named = |name: &str| {
        [
            json!({ "caBundle": { "configMap": name } }),
            json!({ "registry": { "existingSecret": name } }),
            json!({ "serviceAccount": { "name": name } }),
            json!({ "imagePullSecrets": [name] }),
            json!({ "imagePullSecrets": [{ "name": name }] }),
        ]
    };
    let longest = "a".repeat(253);
    for values in ["kube-root-ca.crt", "a", "a.b-1.c", &longest].into_iter().flat_map(named) {
        assert!(validator.is_valid(&values), "{values}");
    }
    for values in ["a..b", ".a", "a.", "-a", "A", "a/b", &format!("{longest}a")].into_iter().flat_map(named) {
        assert!(!validator.is_valid(&values), "{values}");
    }
}

#[test]
fn the_schema_and_the_steps_agree_on_what_releases_and_namespaces_are_called() {
    let validator = validator();
    let texts = ["kata-deploy", "kata.prod", "a", "0", "-a", "a-", "a..b", ".a", "A", "a_b", "a b", "*"];
    let lengths = [53, 54, 63, 64].map(|length| "a".repeat(length));
    for text in texts.into_iter().chain(lengths.iter().map(String::as_str)) {
        for parameter in PARAMETERS.iter().filter(|it| matches!(it.kind, Kind::Release | Kind::Namespace)) {
            let value = parameter.value.strip_prefix("defaults.").unwrap();
            let is_allowed = validator.is_valid(&json!({ "defaults": { value: text } }));
            let given = [(parameter.name.to_owned(), text.to_owned())].into();
            assert_eq!(is_allowed, Settings::parse(&given).is_ok(), "{}: {text}", parameter.name);
        }
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
