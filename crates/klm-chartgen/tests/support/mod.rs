//! The chart as Helm renders it for each set of values in `values/`, kept in `rendered/`, so that its rules can be
//! tested without Helm. The suite `rendering` in tests/e2e shows that they are what Helm renders now.
#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use klm_chartgen::sync;
use serde_json::Value;

/// The sets of values that are rendered and kept.
pub const CASES: [&str; 4] = ["defaults", "everything", "namespaced", "restricted"];

pub fn tests() -> PathBuf {
    sync::root().join("crates/klm-chartgen/tests")
}

pub fn chart() -> PathBuf {
    sync::root().join("chart")
}

pub fn values(case: &str) -> PathBuf {
    tests().join("values").join(format!("{case}.yaml"))
}

pub fn rendered(case: &str) -> PathBuf {
    tests().join("rendered").join(format!("{case}.yaml"))
}

/// Every object of a case, in order.
pub fn objects(case: &str) -> Vec<Value> {
    parse(&fs::read_to_string(rendered(case)).unwrap())
}

pub fn parse(text: &str) -> Vec<Value> {
    text.split("\n---\n")
        .map(|document| serde_yaml::from_str(document).unwrap_or_else(|error| panic!("{error}:\n{document}")))
        .filter(|document: &Value| !document.is_null())
        .collect()
}

pub fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

/// The `WorkflowTemplate` of a case.
pub fn template(case: &str) -> Value {
    let objects = objects(case);
    let found = of_kind(&objects, "WorkflowTemplate");
    assert_eq!(found.len(), 1, "{case}");
    found[0].clone()
}

/// Every text in a value, with its path.
pub fn texts(value: &Value) -> Vec<(String, &str)> {
    fn walk<'a>(path: &str, value: &'a Value, found: &mut Vec<(String, &'a str)>) {
        match value {
            Value::String(text) => found.push((path.to_owned(), text)),
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(i, item)| walk(&format!("{path}/{i}"), item, found));
            }
            Value::Object(map) => map.iter().for_each(|(key, item)| walk(&format!("{path}/{key}"), item, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk("", value, &mut found);
    found
}

/// The Argo tags in a text: what stands between `{{` and `}}`.
pub fn tags(text: &str) -> Vec<&str> {
    text.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap_or(rest).trim()).collect()
}

/// Runs a rule on the template of every case.
pub fn each(rule: impl Fn(&Value, &str)) {
    for case in CASES {
        rule(&template(case), case);
    }
}

pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub fn templates(workflow: &Value) -> &[Value] {
    list(&workflow["spec"]["templates"])
}

pub fn named<'a>(workflow: &'a Value, name: &str) -> &'a Value {
    let found: Vec<_> = templates(workflow).iter().filter(|template| template["name"] == name).collect();
    assert_eq!(found.len(), 1, "template `{name}`");
    found[0]
}

pub fn name(value: &Value) -> &str {
    value["name"].as_str().unwrap()
}

pub fn names(value: &Value) -> BTreeSet<&str> {
    list(value).iter().map(name).collect()
}

/// The calls of a steps or dag template: step groups one after the other, a dag's tasks as one group.
pub fn calls(template: &Value) -> Vec<Vec<&Value>> {
    let groups = list(&template["steps"]).iter().map(|group| list(group).iter().collect());
    groups.chain(template.get("dag").map(|dag| list(&dag["tasks"]).iter().collect())).collect()
}

pub fn is_leaf(template: &Value) -> bool {
    template.get("container").is_some()
}

/// What the rendered files depend on: the chart, without comments and generated tables of help.
pub fn fingerprint() -> String {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    let mut files = Vec::new();
    let mut folders = vec![chart().join("templates"), chart().join("files"), tests().join("values")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    for file in files {
        hash.update(file.file_name().unwrap().as_encoded_bytes());
        hash.update(fs::read(&file).unwrap());
    }
    for file in ["values.yaml", "Chart.yaml"] {
        let content: Value = serde_yaml::from_str(&fs::read_to_string(chart().join(file)).unwrap()).unwrap();
        hash.update(content.to_string());
    }
    hash.finalize().iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

fn fingerprint_file() -> PathBuf {
    tests().join("rendered/of-chart.sha256")
}

pub fn kept_fingerprint() -> String {
    fs::read_to_string(fingerprint_file()).unwrap_or_default().trim().to_owned()
}

pub fn keep_fingerprint() {
    fs::write(fingerprint_file(), fingerprint() + "\n").unwrap();
}
