//! Argo's own word on the template: its JSON schema and its full CRD, both made stricter, and its linter.
//!
//! The bed has one version of Argo. More versions are checked when `KLM_ARGO_SCHEMAS` names a folder with
//! `VERSION/schema.json` and `VERSION/workflowtemplates-crd.yaml` in it. `workflow.rs` holds what they limit as rules.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::support::{CASES, rendered, template};
use jsonschema::{Draft, Validator};
use klm_bed::parts::Parts;
use serde_json::{Map, Value, json};

const WORKFLOW_TEMPLATE: &str = "#/definitions/io.argoproj.workflow.v1alpha1.WorkflowTemplate";

/// Files of this name: the bed's, then those of every version in the given folder.
fn files(of_bed: PathBuf, name: &str) -> Vec<PathBuf> {
    let mut files = vec![of_bed];
    if let Some(folder) = std::env::var_os("KLM_ARGO_SCHEMAS") {
        let versions = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path().join(name));
        let mut more: Vec<_> = versions.filter(|file| file.is_file()).collect();
        assert!(!more.is_empty(), "no {name} below {}", folder.display());
        more.sort();
        files.extend(more);
    }
    files
}

fn validator(schema: &Value) -> Validator {
    jsonschema::options().with_draft(Draft::Draft7).build(schema).unwrap()
}

/// Every case must be valid; all that is wrong is shown.
fn assert_valid(validator: &Validator, of: &str) {
    for case in CASES {
        let template = template(case);
        let errors: Vec<_> =
            validator.iter_errors(&template).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{case}, {of}:\n{}", errors.join("\n"));
    }
}

/// Unknown fields are errors wherever the schema lists the known ones.
fn tighten(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            map.values_mut().for_each(tighten);
            if map.get("properties").is_some_and(Value::is_object) && !map.contains_key("additionalProperties") {
                map.insert("additionalProperties".into(), false.into());
            }
        }
        Value::Array(items) => items.iter_mut().for_each(tighten),
        _ => {}
    }
}

#[test]
#[ignore = "needs the bed's programs: cargo xtask test cluster"]
fn the_template_is_valid_for_argos_json_schema() {
    for file in files(Parts::find().unwrap().argo_schema(), "schema.json") {
        let published: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        let mut definitions = published["definitions"].clone();
        for definition in definitions.as_object_mut().unwrap().values_mut() {
            let open = definition.get("x-kubernetes-preserve-unknown-fields").is_some();
            if definition.get("properties").is_some() && !open {
                definition["additionalProperties"] = false.into();
            }
        }
        let schema = json!({ "definitions": definitions, "$ref": WORKFLOW_TEMPLATE });
        let validator = validator(&schema);
        assert_valid(&validator, &file.display().to_string());
        assert_refuses_what_is_wrong(&validator);
    }
}

#[test]
#[ignore = "needs the bed's programs: cargo xtask test cluster"]
fn the_template_is_valid_for_argos_full_crd() {
    let full = Parts::find().unwrap().argo_manifests().join("base/crds/full/argoproj.io_workflowtemplates.yaml");
    for file in files(full, "workflowtemplates-crd.yaml") {
        let crd: Value = serde_yaml::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        let mut schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
        from_kubernetes(&mut schema);
        tighten(&mut schema);
        // The API server knows an object's metadata without the CRD's help.
        schema["properties"]["metadata"] = json!({ "type": "object" });
        let validator = validator(&schema);
        assert_valid(&validator, &file.display().to_string());
        assert_refuses_what_is_wrong(&validator);
    }
}

/// Turns what only Kubernetes knows into JSON schema.
fn from_kubernetes(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            map.values_mut().for_each(from_kubernetes);
            if map.remove("x-kubernetes-preserve-unknown-fields") == Some(true.into()) {
                map.insert("additionalProperties".into(), true.into());
            }
            if map.remove("x-kubernetes-int-or-string") == Some(true.into()) {
                let pattern = map.get("pattern").cloned();
                *map = Map::from_iter([("type".to_owned(), json!(["integer", "string"]))]);
                map.extend(pattern.map(|pattern| ("pattern".to_owned(), pattern)));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(from_kubernetes),
        _ => {}
    }
}

/// A schema that accepts anything would prove nothing.
fn assert_refuses_what_is_wrong(validator: &Validator) {
    for (pointer, key, wrong) in [
        ("/spec", "synchronisation", json!({})),
        ("/spec/podGC", "strategyy", json!("OnPodSuccess")),
        ("/spec/arguments/parameters/0", "value", json!(1)),
        ("/spec/templates/0", "paralelism", json!(1)),
        ("/spec/templates/0", "parallelism", json!("1")),
    ] {
        let mut template = template("defaults");
        template.pointer_mut(pointer).unwrap()[key] = wrong;
        assert!(!validator.is_valid(&template), "{pointer}/{key}");
    }
}

#[test]
#[ignore = "needs the bed's programs: cargo xtask test cluster"]
fn argo_lints_the_chart_without_a_cluster() {
    let parts = Parts::find().unwrap();
    for case in CASES {
        let mut argo = Command::new(parts.path("argo").unwrap());
        let lint = argo.args(["lint", "--offline", "--strict", "--no-color"]).arg(rendered(case)).output().unwrap();
        let said = [lint.stdout, lint.stderr].concat();
        assert!(lint.status.success(), "{case}: {}", String::from_utf8_lossy(&said));
    }
}
