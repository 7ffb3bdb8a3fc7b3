//! Alerts and dashboard ask for metrics that the workflow exports, and for labels that they have.
#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use klm_core::contract::{CURRENT_VERSION, STATUS};
use klm_core::phase::NodePhase;
use serde_json::Value;
use support::{chart, list, name, of_kind, template, templates};

/// Every metric that the workflow exports, with its labels.
fn exported() -> BTreeMap<String, BTreeSet<String>> {
    let workflow = template("everything");
    let all = templates(&workflow).iter().flat_map(|template| list(&template["metrics"]["prometheus"]));
    all.map(|metric| {
        let labels = list(&metric["labels"]).iter().map(|label| label["key"].as_str().unwrap().to_owned());
        (format!("argo_workflows_{}", name(metric)), labels.collect())
    })
    .collect()
}

/// The names that a text of `PromQL` asks for.
fn asked(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = words.filter(|word| word.starts_with("argo_workflows_"));
    ours.map(|word| word.trim_end_matches("_bucket").to_owned()).collect()
}

fn texts() -> [String; 2] {
    ["files/alerts.yaml", "files/dashboard.json"].map(|file| fs::read_to_string(chart().join(file)).unwrap())
}

#[test]
fn alerts_and_dashboard_ask_only_for_what_is_exported() {
    let exported = exported();
    assert_eq!(exported.len(), 5, "{exported:?}");
    let mut seen = BTreeSet::new();
    for text in texts() {
        for metric in asked(&text) {
            assert!(exported.contains_key(&metric), "{metric}");
            seen.insert(metric);
        }
    }
    assert_eq!(seen, exported.keys().cloned().collect(), "what nobody looks at needn't be exported");
    for (metric, labels) in exported {
        assert!(labels.contains("helm_release") && labels.contains("helm_namespace"), "{metric}: {labels:?}");
        // Argo's full CRD says what a label may be called.
        assert!(labels.iter().all(|label| label.chars().all(|c| c.is_ascii_lowercase() || c == '_')), "{labels:?}");
    }
}

/// Argo refuses a metric whose help, labels or type differ from those of its name.
#[test]
fn a_metric_looks_the_same_wherever_it_is_exported() {
    let workflow = template("everything");
    let mut looks = BTreeMap::new();
    for metric in templates(&workflow).iter().flat_map(|template| list(&template["metrics"]["prometheus"])) {
        let kind = ["gauge", "counter", "histogram"].map(|kind| metric.get(kind).is_some());
        let look = (&metric["help"], &metric["labels"], kind);
        let first = *looks.entry(name(metric)).or_insert(look);
        assert_eq!(first, look, "{metric}");
    }
    assert!(looks.len() > 2, "{looks:?}: the search for them is broken");
}

/// An alert that only waves raise and end would miss nodes that get stuck later, and go on when `recover` has helped.
#[test]
fn whatever_takes_nodes_back_raises_and_ends_the_alert_of_a_failed_rollback() {
    let workflow = template("everything");
    let gauge = |template: &Value, value: &str| {
        let all = list(&template["metrics"]["prometheus"]).iter();
        let mut found = all.filter(|it| name(it) == "klm_rollback_succeeded" && it["gauge"]["value"] == value);
        found.next().map(|metric| metric["when"].as_str().unwrap().to_owned())
    };
    let all = templates(&workflow).iter();
    let found: Vec<_> = all
        .filter_map(|template| Some((name(template), gauge(template, "1")?, gauge(template, "0")?)))
        .map(|(name, ended, raised)| format!("{name}: 1 when {ended}, 0 when {raised}"))
        .collect();
    assert_eq!(
        found,
        [
            "rollback: 1 when {{status}} == Succeeded, 0 when {{status}} != Succeeded",
            // Refused is not failed.
            // It takes one node back, and others may be stuck.
            "run-rollback-node: 1 when {{status}} == Succeeded && {{outputs.parameters.left-behind}} == 0, 0 when {{exitCode}} == 5",
            "run-recover: 1 when {{status}} == Succeeded, 0 when {{exitCode}} == 5",
            // It also ends runs that touched no node, while another one's is stuck; and a lost pod is started again.
            "finish: 1 when {{status}} == Succeeded && {{outputs.parameters.taken-back}} > 0, 0 when {{exitCode}} == 5 || {{exitCode}} == 1",
        ]
    );
}

#[test]
fn node_labels_are_asked_for_as_kube_state_metrics_calls_them() {
    let of_state_metrics = |label: &str| format!("label_{}", label.replace(['.', '/', '-'], "_"));
    let [alerts, dashboard] = texts();
    for (text, label) in [(&alerts, STATUS), (&dashboard, STATUS), (&dashboard, CURRENT_VERSION)] {
        assert!(text.contains(&of_state_metrics(label)), "{label}");
    }
    let in_flight: Vec<_> =
        NodePhase::ALL.into_iter().filter(|phase| !phase.is_settled()).map(NodePhase::as_str).collect();
    assert!(alerts.contains(&format!("=~\"{}\"", in_flight.join("|"))), "{in_flight:?}");
}

#[test]
fn nothing_is_exported_or_created_unless_asked_for() {
    let workflow = template("defaults");
    assert!(templates(&workflow).iter().all(|template| template.get("metrics").is_none()));
    let objects = support::objects("defaults");
    assert!(of_kind(&objects, "PrometheusRule").is_empty() && of_kind(&objects, "ConfigMap").is_empty());
}

#[test]
fn the_dashboard_arrives_as_it_is_written() {
    let objects = support::objects("everything");
    let maps = of_kind(&objects, "ConfigMap");
    let map = maps.iter().find(|map| name(&map["metadata"]) == "kata-rollout-dashboard").unwrap();
    let arrived: Value = serde_json::from_str(map["data"]["kata-lifecycle-manager.json"].as_str().unwrap()).unwrap();
    let written: Value = serde_json::from_str(&texts()[1]).unwrap();
    assert_eq!(arrived, written);
    let rules = of_kind(&objects, "PrometheusRule");
    assert_eq!(rules[0]["spec"]["groups"][0]["rules"].as_array().unwrap().len(), 3);
}
