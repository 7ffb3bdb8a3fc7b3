//! The chart as text: names, values and braces, also in the files that are written by hand.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod support;

use std::fs;
use std::path::PathBuf;

use klm_chartgen::tree;
use support::chart;

fn files() -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    let mut folders = vec![chart().join("templates")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push((path.clone(), fs::read_to_string(path).unwrap()));
            }
        }
    }
    files
}

#[test]
fn every_value_that_a_template_asks_for_is_in_the_table() {
    for (path, text) in files() {
        assert_eq!(tree::unknown_values(&text), [""; 0], "{}", path.display());
    }
}

#[test]
fn no_argo_tag_meets_helm_unhidden() {
    for (path, text) in files() {
        let seen_by_helm = text.replace("{{`{{", "").replace("}}`}}", "");
        assert_eq!(seen_by_helm.matches("{{").count(), seen_by_helm.matches("}}").count(), "{}", path.display());
        for tag in ["{{inputs", "{{workflow", "{{steps", "{{item", "{{tasks"] {
            assert!(!seen_by_helm.contains(tag), "{}: {tag}", path.display());
        }
        // After Helm, a text that begins with a tag begins with a brace, which YAML reads as a map.
        for leading in [": {{`", "- {{`"] {
            assert!(!text.contains(leading), "{}: {leading}", path.display());
        }
    }
}

#[test]
fn the_version_of_the_chart_is_the_version_of_the_program() {
    let chart: serde_json::Value =
        serde_yaml::from_str(&fs::read_to_string(chart().join("Chart.yaml")).unwrap()).unwrap();
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["name"], klm_core::contract::CHART_NAME);
}
