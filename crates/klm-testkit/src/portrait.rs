//! A cluster in a form that two runs can be compared by: what is there, without uids, versions, times and random names.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::api::object;
use crate::cluster::FakeCluster;

/// What differs between two runs that ended alike.
const ACCIDENTAL: [&str; 8] = [
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "generation",
    "generateName",
    "managedFields",
    "timeAdded",
    "ownerReferences",
];

impl FakeCluster {
    /// Every node: cordon, taints, labels, annotations and the truth about Kata.
    pub fn node_portrait(&self) -> String {
        let mut text = String::new();
        for node in self.objects("nodes") {
            let name = object::name(&node);
            let truth = self.truth(name);
            let seen = json!({
                "cordoned": node["spec"]["unschedulable"] == true, "taints": cleaned(&node["spec"]["taints"]),
                "labels": node["metadata"]["labels"], "annotations": node["metadata"]["annotations"],
                "truth": {"installed": truth.installed, "installs": truth.installs, "uninstalls": truth.uninstalls},
            });
            let _ = writeln!(text, "{name}: {seen}");
        }
        text
    }

    /// How many objects of each kind there are in each namespace, leaving out the kinds that only grow.
    pub fn census(&self) -> BTreeMap<String, usize> {
        let mut census = BTreeMap::new();
        for key in self.keys() {
            if !matches!(key.plural, "events" | "controllerrevisions") {
                *census.entry(format!("{} {}", key.namespace, key.plural)).or_insert(0) += 1;
            }
        }
        census
    }

    /// One kind's objects without what is accidental.
    pub fn portrait_of(&self, plural: &str) -> Vec<Value> {
        self.objects(plural).iter().map(cleaned).collect()
    }
}

fn cleaned(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(key, _)| !ACCIDENTAL.contains(&key.as_str()));
            Value::Object(kept.map(|(key, value)| (key.clone(), cleaned(value))).collect())
        }
        Value::Array(list) => Value::Array(list.iter().map(cleaned).collect()),
        other => other.clone(),
    }
}
