use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::contract::{HOLD, KATA_RUNTIME, WINDOW};
use crate::journal::{Journal, fixtures};
use crate::node::{Readiness, Taint};

/// A ready node that serves Kata and that no run has touched.
fn node(name: &str) -> NodeFacts {
    NodeFacts {
        name: name.try_into().unwrap(),
        uid: format!("{name}-0123456789"),
        resource_version: "1".into(),
        labels: [(KATA_RUNTIME.to_owned(), "true".to_owned())].into(),
        taints: Vec::new(),
        unschedulable: false,
        ready: Readiness::Ready,
        deleting: false,
        status: None,
        version: None,
        journal: None,
    }
}

fn labelled(name: &str, labels: &[(&str, &str)]) -> NodeFacts {
    let mut node = node(name);
    node.labels.extend(labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    node
}

fn tainted(name: &str, key: &str, effect: &str) -> NodeFacts {
    let taint = Taint { key: key.into(), value: None, effect: effect.into(), time_added: None };
    NodeFacts { taints: vec![taint], ..node(name) }
}

/// A node that another run left in this phase, cordoned by it.
fn left(name: &str, phase: NodePhase) -> NodeFacts {
    let journal = Journal { source: Some("3.32.0".into()), ..fixtures::journal() };
    let labels = [(KATA_RUNTIME.to_owned(), "false".to_owned())].into();
    NodeFacts { unschedulable: true, status: Some(phase), journal: Some(Ok(journal)), labels, ..node(name) }
}

fn done(name: &str, version: &str) -> NodeFacts {
    NodeFacts { status: Some(NodePhase::Completed), version: Some(version.into()), ..node(name) }
}

fn circumstances() -> Circumstances<'static> {
    Circumstances {
        target: "4.0.0",
        origin: "3.31.0",
        marker: None,
        installed: BTreeMap::new(),
        hosts: Vec::new(),
        force: false,
        include_cordoned: false,
    }
}

fn choice(selector: &str, taint_key: &str) -> Choice {
    Choice { selector: selector.parse().unwrap(), taint: TaintChoice::parse(taint_key, "").unwrap() }
}

fn names(selection: &Selection) -> Vec<&str> {
    selection.nodes.iter().map(|node| node.0.as_str()).collect()
}

fn why(node: NodeFacts, choice: &Choice, circumstances: &Circumstances<'_>) -> String {
    let selection = select(&[node], choice, circumstances);
    selection
        .skipped
        .first()
        .map_or_else(|| format!("taken {:?}", names(&selection)), |skipped| format!("{:?}", skipped.why))
}

#[rstest]
#[case::neither("", "", &["a", "b", "c"])]
#[case::label("pool=x", "", &["a", "b"])]
#[case::taint("", "window", &["b", "c"])]
#[case::both("pool=x", "window", &["b"])]
fn nodes_are_chosen_by_label_by_taint_by_both_or_by_neither(
    #[case] selector: &str,
    #[case] taint: &str,
    #[case] expected: &[&str],
) {
    let mut b = labelled("b", &[("pool", "x")]);
    b.taints = tainted("b", "window", "NoSchedule").taints;
    let nodes = [
        labelled("a", &[("pool", "x")]),
        b,
        tainted("c", "window", "NoExecute"),
        NodeFacts { labels: BTreeMap::new(), ..node("d") },
    ];
    assert_eq!(names(&select(&nodes, &choice(selector, taint), &circumstances())), expected);
}

#[rstest]
#[case::deleting(NodeFacts { deleting: true, ..node("n") }, "Deleting")]
#[case::autoscaler(tainted("n", "ToBeDeletedByClusterAutoscaler", "NoSchedule"), "Deleting")]
#[case::held(labelled("n", &[(HOLD, "true")]), "Held")]
#[case::not_held(labelled("n", &[(HOLD, "false")]), "taken [\"n\"]")]
#[case::no_machine(labelled("n", &[("type", "virtual-kubelet")]), "Virtual")]
#[case::simulated(labelled("n", &[("type", "kwok")]), "taken [\"n\"]")]
#[case::claimed(labelled("n", &[(KATA_RUNTIME, "false")]), "NoKata")]
#[case::sick(NodeFacts { ready: Readiness::NotReady, ..node("n") }, "NotReady")]
#[case::unknown(NodeFacts { ready: Readiness::Unknown, ..node("n") }, "NotReady")]
#[case::cordoned(NodeFacts { unschedulable: true, ..node("n") }, "Cordoned")]
#[case::odd_record(NodeFacts { journal: Some(Err("{".into())), ..node("n") }, "UnreadableRecord")]
#[case::done(done("n", "4.0.0"), "AtTarget(\"4.0.0\")")]
#[case::done_before(done("n", "3.32.0"), "taken [\"n\"]")]
#[case::done_but_lost(NodeFacts { labels: BTreeMap::from([(KATA_RUNTIME.into(), "false".into())]), ..done("n", "4.0.0") }, "NoKata")]
#[case::rolled_back(NodeFacts { unschedulable: false, ..left("n", NodePhase::RolledBack) }, "NoKata")]
#[case::in_flight(left("n", NodePhase::Upgrading), "taken [\"n\"]")]
#[case::going_back(left("n", NodePhase::RollingBack), "taken [\"n\"]")]
fn a_node_that_can_not_take_part_is_left_out_with_the_reason(#[case] node: NodeFacts, #[case] expected: &str) {
    assert_eq!(why(node, &choice("!nothing", ""), &circumstances()), expected);
}

#[test]
fn the_control_plane_is_taken_only_when_it_was_asked_for() {
    let role = "node-role.kubernetes.io/control-plane";
    let mut reserved = tainted("n", role, "NoSchedule");
    reserved.labels.insert(role.into(), String::new());
    assert_eq!(why(reserved.clone(), &choice("", ""), &circumstances()), "ControlPlane");
    assert_eq!(why(reserved, &choice(role, ""), &circumstances()), "taken [\"n\"]");
    let only = labelled("n", &[(role, "")]);
    assert_eq!(
        why(only, &choice("", ""), &circumstances()),
        "taken [\"n\"]",
        "a node that takes ordinary pods is a worker"
    );
}

#[test]
fn cordoned_nodes_are_included_when_that_was_asked() {
    let node = NodeFacts { unschedulable: true, ..node("n") };
    let include = Circumstances { include_cordoned: true, ..circumstances() };
    assert_eq!(why(node, &choice("", ""), &include), "taken [\"n\"]");
}

#[test]
fn a_node_that_somebody_cordoned_before_our_run_stays_theirs() {
    let mut node = left("n", NodePhase::Verifying);
    if let Some(Ok(journal)) = &mut node.journal {
        journal.prior_unschedulable = Some(true);
    }
    assert_eq!(why(node, &choice("", ""), &circumstances()), "Cordoned");
}

#[test]
fn at_target_means_that_record_and_observation_agree() {
    let at = |node: NodeFacts, circumstances: &Circumstances<'_>| {
        why(node, &choice("", ""), circumstances).starts_with("AtTarget")
    };
    let name: NodeName = "n".try_into().unwrap();
    let installed =
        |version: &str| Circumstances { installed: [(name.clone(), version.to_owned())].into(), ..circumstances() };
    assert!(at(done("n", "4.0.0"), &installed("4.0.0")));
    assert!(!at(done("n", "4.0.0"), &installed("3.31.0")), "somebody took it back by hand");
    let marked = Circumstances { marker: Some("kata-deploy.katacontainers.io/default".into()), ..circumstances() };
    assert!(!at(done("n", "4.0.0"), &marked));
    assert!(!at(done("n", "4.0.0"), &Circumstances { force: true, ..circumstances() }));
}

#[test]
fn a_taint_that_was_lifted_for_a_step_still_chooses_its_node() {
    let mut node = left("n", NodePhase::Upgrading);
    if let Some(Ok(journal)) = &mut node.journal {
        let taint = tainted("n", "window", "NoSchedule").taints.remove(0);
        journal.lifted_taints = vec![crate::journal::LiftedTaint { at: 0, taint }];
    }
    assert!(choice("", "window").means(&node) && !choice("", "other").means(&node));
}

#[test]
fn the_order_is_rolling_back_in_flight_then_by_zone_and_name_and_the_host_last() {
    let zone = |name: &str, zone: &str| {
        let mut node = labelled(name, &[("topology.kubernetes.io/zone", zone)]);
        node.labels.insert(WINDOW.into(), "true".into());
        node
    };
    let nodes = [
        zone("w-10", "z-b"),
        zone("w-2", "z-b"),
        zone("w-01", "z-a"),
        zone("w-9", "z-a"),
        zone("host", "z-a"),
        left("x-flying", NodePhase::Draining),
        left("y-back", NodePhase::RollingBack),
    ];
    let circumstances = Circumstances { hosts: vec!["host".try_into().unwrap()], ..circumstances() };
    let selection = select(&nodes, &choice("", ""), &circumstances);
    assert_eq!(names(&selection), ["y-back", "x-flying", "w-01", "w-9", "w-2", "w-10", "host"]);
}

#[test]
fn the_source_is_told_by_the_best_witness() {
    let a: NodeName = "a".try_into().unwrap();
    let installed = [(a, "3.30.0".to_owned()), ("d".try_into().unwrap(), "4.0.0".to_owned())].into();
    let circumstances = Circumstances { installed, ..circumstances() };
    let nodes = [node("a"), done("b", "3.29.0"), node("c"), left("d", NodePhase::Upgrading)];
    let selection = select(&nodes, &choice("", ""), &circumstances);
    let found: Vec<(&str, &str)> =
        selection.nodes.iter().map(|node| (node.0.as_str(), node.2.as_deref().unwrap())).collect();
    assert_eq!(found, [("d", "3.32.0"), ("a", "3.30.0"), ("b", "3.29.0"), ("c", "3.31.0")]);
    assert_eq!(selection.nodes[0].1, "d-012345");
}

#[test]
fn the_record_of_a_finished_run_tells_no_source() {
    let mut settled = left("n", NodePhase::Completed);
    settled.version = Some("4.0.0".into());
    settled.unschedulable = false;
    settled.labels.insert(KATA_RUNTIME.into(), "true".into());
    let circumstances = Circumstances { target: "4.1.0", ..circumstances() };
    let selection = select(&[settled], &choice("", ""), &circumstances);
    assert_eq!(selection.nodes[0].2.as_deref(), Some("4.0.0"), "the run came from 3.32.0");
}

#[test]
fn nodes_without_kata_are_named_only_when_they_were_asked_for() {
    let plain = NodeFacts { labels: [("pool".into(), "x".into())].into(), ..node("n") };
    assert_eq!(select(std::slice::from_ref(&plain), &choice("", ""), &circumstances()), Selection::default());
    assert_eq!(select(&[plain], &choice("pool=x", ""), &circumstances()).skipped.len(), 1);
}

#[test]
fn every_reason_reads_as_a_sentence() {
    let reasons = [
        Skip::Deleting,
        Skip::Held,
        Skip::Virtual,
        Skip::ControlPlane,
        Skip::NoKata,
        Skip::NotReady,
        Skip::Cordoned,
        Skip::UnreadableRecord,
        Skip::AtTarget("4.0.0".into()),
    ];
    let lines = reasons.map(|why| Skipped { node: "worker-7".try_into().unwrap(), why }.to_string());
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn what_was_chosen_is_said() {
    let said = [choice("", ""), choice("pool=x", ""), choice("", "window"), choice("pool=x", "window")]
        .map(|it| it.to_string());
    insta::assert_snapshot!(said.join("\n"));
}

proptest! {
    #[test]
    fn no_node_is_taken_twice_or_both_taken_and_skipped(cordoned in prop::collection::vec(any::<bool>(), 0..40)) {
        let nodes: Vec<NodeFacts> = cordoned
            .iter()
            .enumerate()
            .map(|(n, unschedulable)| NodeFacts { unschedulable: *unschedulable, ..node(&format!("n-{n}")) })
            .collect();
        let selection = select(&nodes, &choice("", ""), &circumstances());
        let mut all: Vec<&str> = names(&selection);
        all.extend(selection.skipped.iter().map(|skipped| skipped.node.as_str()));
        all.sort_unstable();
        let before = all.len();
        all.dedup();
        prop_assert_eq!((before, all.len()), (nodes.len(), nodes.len()));
        let mut reversed = nodes.clone();
        reversed.reverse();
        prop_assert_eq!(select(&reversed, &choice("", ""), &circumstances()), selection, "whatever order the API gave");
    }
}
