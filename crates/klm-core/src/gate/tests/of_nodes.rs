//! The gate for nodes.

use super::*;
use crate::node::{NodeFacts, Readiness, Taint};
use crate::plan::PlannedNode;
use crate::selector::TaintChoice;

fn node(name: &str, taints: &[(&str, &str, &str)]) -> NodeFacts {
    NodeFacts {
        name: name.try_into().unwrap(),
        uid: "u".into(),
        resource_version: "1".into(),
        labels: [("kubernetes.io/arch".to_owned(), "amd64".to_owned())].into(),
        taints: taints
            .iter()
            .map(|(key, value, effect)| Taint {
                key: (*key).into(),
                value: Some((*value).into()),
                effect: (*effect).into(),
                time_added: None,
            })
            .collect(),
        unschedulable: false,
        ready: Readiness::Ready,
        deleting: false,
        status: None,
        version: None,
        journal: None,
    }
}

fn refusals_for(
    all: &[NodeFacts],
    values: Value,
    mode: Mode,
    target: &str,
    settings: &Settings,
    source: &str,
) -> Vec<Refusal> {
    let chosen: Vec<PlannedNode> =
        all.iter().map(|node| PlannedNode(node.name.clone(), "u".into(), Some(source.into()))).collect();
    let choice = TaintChoice::parse(&settings.node_taint_key, &settings.node_taint_value).unwrap();
    nodes(&Rollout {
        all,
        chosen: &chosen,
        choice: choice.as_ref(),
        values: &map(values),
        mode,
        target: &version(target),
        settings,
    })
}

#[rstest]
#[case::untolerated(("gpu", "x", "NoSchedule"), json!({}), Mode::Daemonset, "4.0.0", false)]
#[case::evicting(("gpu", "x", "NoExecute"), json!({}), Mode::Daemonset, "4.0.0", false)]
#[case::soft(("gpu", "x", "PreferNoSchedule"), json!({}), Mode::Daemonset, "4.0.0", true)]
#[case::cordon(("node.kubernetes.io/unschedulable", "", "NoSchedule"), json!({}), Mode::Daemonset, "4.0.0", true)]
#[case::selecting(("window", "pending", "NoSchedule"), json!({}), Mode::Daemonset, "4.0.0", true)]
#[case::tolerated(("gpu", "x", "NoSchedule"), json!({"tolerations": [{"operator": "Exists"}]}), Mode::Daemonset, "4.0.0", true)]
#[case::tolerated_by_key(("gpu", "x", "NoSchedule"), json!({"tolerations": [{"key": "gpu", "operator": "Exists"}]}), Mode::Daemonset, "4.0.0", true)]
#[case::tolerated_by_value(("gpu", "x", "NoSchedule"), json!({"tolerations": [{"key": "gpu", "value": "x", "effect": "NoSchedule"}]}), Mode::Daemonset, "4.0.0", true)]
#[case::another_value(("gpu", "x", "NoSchedule"), json!({"tolerations": [{"key": "gpu", "value": "y"}]}), Mode::Daemonset, "4.0.0", false)]
#[case::another_effect(("gpu", "x", "NoExecute"), json!({"tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]}), Mode::Daemonset, "4.0.0", false)]
#[case::job_bypasses_the_scheduler(("gpu", "x", "NoSchedule"), json!({}), Mode::Job, "4.0.0", true)]
#[case::job_is_evicted(("gpu", "x", "NoExecute"), json!({}), Mode::Job, "4.0.0", false)]
#[case::newer_jobs_tolerate_all(("gpu", "x", "NoExecute"), json!({}), Mode::Job, "4.1.0", true)]
fn a_taint_that_keeps_kata_deploy_off_a_node_is_refused(
    #[case] taint: (&str, &str, &str),
    #[case] values: Value,
    #[case] mode: Mode,
    #[case] target: &str,
    #[case] passes: bool,
) {
    let chosen_by_taint = settings(&[("node-taint-key", "window")]);
    let refusals = refusals_for(&[node("n", &[taint])], values, mode, target, &chosen_by_taint, "3.31.0");
    assert_eq!(refusals.is_empty(), passes, "{refusals:?}");
}

#[test]
fn many_nodes_with_one_taint_are_one_refusal() {
    let nodes: Vec<NodeFacts> = (0..8).map(|n| node(&format!("n-{n}"), &[("a.b/c", "x", "NoSchedule")])).collect();
    let refusals =
        refusals_for(&nodes, json!({"tolerations": [{}]}), Mode::Daemonset, "4.0.0", &settings(&[]), "3.31.0");
    insta::assert_snapshot!(said(&refusals));
}

#[rstest]
#[case("3.28.0", &[], Mode::Daemonset, false)]
#[case("3.27.0", &[], Mode::Daemonset, false)]
#[case("3.29.0", &[], Mode::Daemonset, true)]
#[case("3.28.0", &[("drain-enabled", "true")], Mode::Daemonset, true)]
#[case("3.28.0", &[("drain-enabled", "true"), ("drain-pod-selector", "a=b")], Mode::Daemonset, false)]
#[case("3.28.0", &[("accept-uninstall-window", "true")], Mode::Daemonset, true)]
#[case("3.28.0", &[], Mode::Job, true)]
fn versions_that_uninstall_as_they_go_need_a_drain_or_a_word(
    #[case] source: &str,
    #[case] parameters: &[(&str, &str)],
    #[case] mode: Mode,
    #[case] passes: bool,
) {
    let refusals = refusals_for(&[node("n", &[])], json!({}), mode, "4.0.0", &settings(parameters), source);
    assert_eq!(refusals.is_empty(), passes, "{refusals:?}");
}

#[test]
fn a_dispatcher_that_starts_nowhere_is_refused() {
    let z = |name: &str| {
        let mut node = node(name, &[]);
        node.labels.insert("kubernetes.io/arch".into(), "s390x".into());
        node
    };
    let refused = |all: &[NodeFacts], mode, target| {
        !refusals_for(all, json!({}), mode, target, &settings(&[]), "3.32.0").is_empty()
    };
    assert!(refused(&[z("a")], Mode::Job, "4.0.0"));
    assert!(!refused(&[z("a"), node("b", &[])], Mode::Job, "4.0.0"));
    assert!(!refused(&[z("a")], Mode::Job, "4.1.0") && !refused(&[z("a")], Mode::Daemonset, "4.0.0"));
}
