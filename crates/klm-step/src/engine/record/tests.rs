use std::collections::BTreeMap;

use klm_core::contract::KATA_RUNTIME;
use klm_core::name::NodeName;
use klm_core::node::Readiness;

use super::*;

fn run() -> RunId {
    RunId { namespace: "flows".into(), name: "up-x1".into(), uid: "u-1".into() }
}

fn earlier() -> RunId {
    RunId { uid: "u-0".into(), ..run() }
}

fn node() -> NodeFacts {
    NodeFacts {
        name: NodeName::try_from("blue-7").unwrap(),
        uid: "n-1".into(),
        resource_version: "1".into(),
        labels: BTreeMap::from([(KATA_RUNTIME.to_owned(), "true".to_owned())]),
        taints: Vec::new(),
        unschedulable: false,
        ready: Readiness::Ready,
        deleting: false,
        status: None,
        version: None,
        journal: None,
    }
}

fn taint(key: &str, effect: &str) -> Taint {
    Taint { key: key.into(), value: None, effect: effect.into(), time_added: None }
}

/// The node after a patch, as the API server would store it.
fn after(node: &NodeFacts, patch: Option<NodePatch>) -> NodeFacts {
    let mut node = node.clone();
    let Some(patch) = patch else { return node };
    let NodePatch { status, version, journal, labels, unschedulable, taints } = patch;
    node.status = status.or(node.status);
    node.version = version.or(node.version);
    if let Some(journal) = journal {
        node.journal = journal.map(Ok);
    }
    node.unschedulable = unschedulable.unwrap_or(node.unschedulable);
    node.taints = taints.unwrap_or(node.taints);
    for (key, value) in labels {
        match value {
            Some(value) => node.labels.insert(key, value),
            None => node.labels.remove(&key),
        };
    }
    node
}

fn claimed_by<'a>(run: &'a RunId, target: &'a str) -> Claim<'a> {
    Claim { run, release: "katas/kd", source: Some("3.31.0"), target, back_to: None }
}

fn claimed(found: &NodeFacts) -> NodeFacts {
    after(found, claim(found, &claimed_by(&run(), "4.0.0")).unwrap())
}

fn cordoned(found: &NodeFacts) -> NodeFacts {
    let node = claimed(found);
    after(&node, cordon(&node, &run(), |taint| taint.key == "window").unwrap())
}

fn changed(found: &NodeFacts) -> NodeFacts {
    let node = cordoned(found);
    after(&node, begin_change(&node, &run(), Some("old")).unwrap())
}

/// The node once kata-deploy has put its label up again.
fn served(node: &NodeFacts) -> NodeFacts {
    let mut node = node.clone();
    node.labels.insert(KATA_RUNTIME.to_owned(), "true".to_owned());
    node
}

fn failed(node: &NodeFacts) -> NodeFacts {
    let Some(Ok(journal)) = &node.journal else { panic!("{node:?}") };
    after(node, fail(node, &journal.run, "why").unwrap())
}

fn journal(node: &NodeFacts) -> &Journal {
    node.journal.as_ref().unwrap().as_ref().unwrap()
}

#[test]
fn a_node_goes_from_claimed_to_completed_and_is_as_it_was_but_for_its_version() {
    let found = node();
    let node = changed(&found);
    assert_eq!((node.status, node.unschedulable), (Some(NodePhase::Upgrading), true));
    assert!(!node.serves_kata(), "the label is taken down before the change");
    let node = served(&after(&node, proven(&node, &run()).unwrap()));
    assert_eq!(node.status, Some(NodePhase::Verifying));
    let node = after(&node, complete(&node, &run(), "4.0.0").unwrap());
    assert_eq!((node.status, node.version.as_deref()), (Some(NodePhase::Completed), Some("4.0.0")));
    assert_eq!((node.unschedulable, &node.journal, &node.taints), (found.unschedulable, &None, &found.taints));
}

#[test]
fn every_write_can_be_repeated() {
    let found = node();
    let node = claimed(&found);
    assert_eq!(claim(&node, &claimed_by(&run(), "4.0.0")), Ok(None));
    let node = cordoned(&found);
    assert_eq!(cordon(&node, &run(), |_| true), Ok(None));
    let node = changed(&found);
    assert_eq!(begin_change(&node, &run(), Some("old")), Ok(None));
    let node = served(&after(&node, proven(&node, &run()).unwrap()));
    assert_eq!(proven(&node, &run()), Ok(None));
    let failed = after(&node, fail(&node, &run(), "why").unwrap());
    assert_eq!(fail(&failed, &run(), "another reason"), Ok(None));
    let done = after(&node, complete(&node, &run(), "4.0.0").unwrap());
    assert_eq!(complete(&done, &run(), "4.0.0"), Ok(None));
}

#[test]
fn a_node_that_was_cordoned_when_we_came_stays_cordoned() {
    let found = NodeFacts { unschedulable: true, ..node() };
    let node = changed(&found);
    assert_eq!(journal(&node).prior_unschedulable, Some(true));
    let proven = served(&after(&node, proven(&node, &run()).unwrap()));
    assert!(after(&proven, complete(&proven, &run(), "4.0.0").unwrap()).unschedulable);
    let failed = served(&failed(&node));
    for end in [restore(&failed, &run(), "3.31.0"), give_back(&failed, &run())] {
        assert!(after(&failed, end.unwrap()).unschedulable);
    }
}

#[test]
fn a_later_run_does_not_take_our_cordon_for_somebody_elses() {
    let left = cordoned(&node());
    let next = RunId { uid: "u-2".into(), ..run() };
    let node = after(&left, claim(&left, &claimed_by(&next, "4.0.0")).unwrap());
    assert_eq!((node.status, journal(&node).prior_unschedulable), (Some(NodePhase::Preparing), Some(false)));
    let node = after(&node, cordon(&node, &next, |_| false).unwrap());
    assert_eq!((node.status, journal(&node).prior_unschedulable), (Some(NodePhase::Cordoned), Some(false)));
    let node = failed(&node);
    assert!(!after(&node, give_back(&node, &next).unwrap()).unschedulable);
}

#[test]
fn a_later_run_keeps_the_version_and_the_time_that_an_earlier_one_recorded() {
    let mut left = changed(&node());
    if let Some(Ok(journal)) = &mut left.journal {
        journal.run = earlier();
        journal.drain_started = Some("2026-03-02T08:00:00Z".into());
    }
    let run = run();
    let taken = Claim { source: Some("4.0.0"), ..claimed_by(&run, "4.1.0") };
    let node = after(&left, claim(&left, &taken).unwrap());
    let journal = journal(&node);
    assert_eq!((journal.source.as_deref(), journal.target.as_str(), journal.changed), (Some("3.31.0"), "4.1.0", true));
    assert_eq!(journal.drain_started.as_deref(), Some("2026-03-02T08:00:00Z"));
}

#[test]
fn a_node_of_another_release_or_with_a_broken_record_is_left_alone() {
    let run = run();
    let other = Claim { release: "katas/second", ..claimed_by(&run, "4.0.0") };
    let node = claimed(&node());
    assert!(matches!(claim(&node, &other), Err(Untouchable::OtherRelease { .. })));
    let broken = NodeFacts { journal: Some(Err("{".into())), ..node };
    assert_eq!(claim(&broken, &claimed_by(&run, "4.0.0")), Err(Untouchable::Unreadable));
    assert_eq!(complete(&broken, &run, "4.0.0"), Err(Untouchable::Unreadable));
}

#[test]
fn a_node_that_no_longer_serves_kata_is_not_called_completed() {
    let node = changed(&node());
    let node = after(&node, proven(&node, &run()).unwrap());
    assert_eq!(complete(&node, &run(), "4.0.0"), Err(Untouchable::LabelLost));
    let failed = failed(&node);
    assert_eq!(restore(&failed, &run(), "3.31.0"), Err(Untouchable::LabelLost));
    assert!(give_back(&failed, &run()).is_ok(), "a node that was never changed is as it was found");
}

#[test]
fn nothing_is_undone_without_our_own_record() {
    let mut node = changed(&node());
    if let Some(Ok(journal)) = &mut node.journal {
        journal.run = earlier();
    }
    assert_eq!(complete(&node, &run(), "4.0.0"), Err(Untouchable::Lost));
    assert_eq!(give_back(&NodeFacts { journal: None, ..node }, &run()), Err(Untouchable::Lost));
}

#[test]
fn lifted_taints_come_back_in_their_places() {
    let taints = vec![taint("a", "NoSchedule"), taint("window", "NoSchedule"), taint("b", "NoSchedule")];
    let found = NodeFacts { taints: taints.clone(), ..node() };
    let node = cordoned(&found);
    assert_eq!(node.taints, vec![taint("a", "NoSchedule"), taint("b", "NoSchedule")]);
    let node = failed(&node);
    assert_eq!(after(&node, give_back(&node, &run()).unwrap()).taints, taints);
}

#[test]
fn taints_that_are_lifted_one_after_the_other_come_back_in_their_places() {
    let taints = ["dedicated", "window", "spot"].map(|key| taint(key, "NoSchedule")).to_vec();
    let node = cordoned(&NodeFacts { taints: taints.clone(), ..node() });
    let node = failed(&node);
    let cleared = after(&node, lift(&node, &run(), |taint| taint.key == "dedicated").unwrap());
    assert_eq!(cleared.taints, [taint("spot", "NoSchedule")]);
    assert_eq!(lift(&cleared, &run(), |taint| taint.key == "dedicated"), Ok(None));
    assert_eq!(after(&cleared, give_back(&cleared, &run()).unwrap()).taints, taints);
}

#[test]
fn a_later_run_lifts_the_taint_that_selects_although_an_earlier_one_had_cordoned() {
    let left = cordoned(&node());
    let next = RunId { uid: "u-2".into(), ..run() };
    let tainted = NodeFacts { taints: vec![taint("window", "NoSchedule")], ..left };
    let claimed = after(&tainted, claim(&tainted, &claimed_by(&next, "4.0.0")).unwrap());
    let node = after(&claimed, cordon(&claimed, &next, |taint| taint.key == "window").unwrap());
    assert_eq!(node.taints, []);
    let node = failed(&node);
    assert_eq!(after(&node, give_back(&node, &next).unwrap()).taints, tainted.taints);
}

#[test]
fn a_taint_that_somebody_put_back_is_not_put_back_twice() {
    let found = NodeFacts { taints: vec![taint("window", "NoSchedule")], ..node() };
    let mut node = cordoned(&found);
    let changed = Taint { value: Some("later".into()), ..taint("window", "NoSchedule") };
    node.taints.push(changed.clone());
    let node = failed(&node);
    assert_eq!(after(&node, give_back(&node, &run()).unwrap()).taints, vec![changed]);
}

#[test]
fn an_uncordoned_node_is_cordoned_again_before_it_is_changed_and_not_afterwards() {
    let uncordoned = NodeFacts { unschedulable: false, ..cordoned(&node()) };
    assert_eq!(begin_change(&uncordoned, &run(), None).unwrap().unwrap().unschedulable, Some(true));
    let changed = changed(&node());
    let proven = served(&after(&changed, proven(&changed, &run()).unwrap()));
    let uncordoned = NodeFacts { unschedulable: false, ..proven };
    assert_eq!(complete(&uncordoned, &run(), "4.0.0").unwrap().unwrap().unschedulable, None);
}

#[test]
fn a_node_is_opened_only_by_somebody_else_and_after_it_was_cordoned() {
    let claimed = claimed(&node());
    assert!(!is_opened(&claimed, &run()), "not cordoned yet");
    let cordoned = cordoned(&node());
    assert!(!is_opened(&cordoned, &run()));
    let opened = NodeFacts { unschedulable: false, ..cordoned };
    assert!(is_opened(&opened, &run()));
    assert!(!is_opened(&opened, &RunId { uid: "another".into(), ..run() }), "no node of this run");
}

#[test]
fn a_drain_that_goes_on_keeps_its_start() {
    let node = cordoned(&node());
    let node = after(&node, begin_drain(&node, &run(), "2026-03-02T08:00:00Z").unwrap());
    assert_eq!(node.status, Some(NodePhase::Draining));
    assert_eq!(begin_drain(&node, &run(), "2026-03-02T09:00:00Z"), Ok(None));
    assert_eq!(journal(&node).drain_started.as_deref(), Some("2026-03-02T08:00:00Z"));
}

#[test]
fn a_rollback_that_changes_the_node_stays_a_rollback() {
    let node = changed(&node());
    let node = after(&node, fail(&node, &run(), "the verification pod ended with exit code 3").unwrap());
    let node = after(&node, begin_change(&node, &run(), Some("newer")).unwrap());
    assert_eq!((node.status, journal(&node).old_pod.as_deref()), (Some(NodePhase::RollingBack), Some("newer")));
    assert!(journal(&node).reason.as_deref().unwrap().contains("exit code 3"));
}

#[test]
fn a_settled_node_is_opened_again_in_one_write() {
    let done = NodeFacts { status: Some(NodePhase::Completed), version: Some("4.0.0".into()), ..node() };
    let node = after(&done, reopen(&done, &claimed_by(&run(), "4.0.0"), "asked for").unwrap());
    assert_eq!((node.status, node.unschedulable), (Some(NodePhase::RollingBack), true));
    assert_eq!((journal(&node).prior_unschedulable, journal(&node).changed), (Some(false), true));
    assert_eq!(reopen(&node, &claimed_by(&run(), "4.0.0"), "asked for"), Ok(None));
}

#[test]
fn a_node_that_a_dead_run_only_claimed_is_moved_when_it_is_to_go_elsewhere() {
    let mut claimed = after(&node(), claim(&node(), &claimed_by(&earlier(), "4.0.0")).unwrap());
    claimed.status = Some(NodePhase::Cordoned);
    let run = run();
    for (back_to, changed) in [(None, false), (Some("3.30.0"), true)] {
        let claim = Claim { back_to, ..claimed_by(&run, "4.0.0") };
        let taken = after(&claimed, reopen(&claimed, &claim, "asked for").unwrap());
        assert_eq!(journal(&taken).changed, changed, "{back_to:?}");
    }
}

#[test]
fn a_node_that_is_going_back_is_not_claimed_for_an_upgrade() {
    let mut going_back = failed(&changed(&node()));
    if let Some(Ok(journal)) = &mut going_back.journal {
        journal.run = earlier();
    }
    assert!(matches!(claim(&going_back, &claimed_by(&run(), "4.0.0")), Err(Untouchable::Illegal(_))));
    let taken = after(&going_back, reopen(&going_back, &claimed_by(&run(), "4.0.0"), "left behind").unwrap());
    assert_eq!((taken.status, journal(&taken).prior_unschedulable), (Some(NodePhase::RollingBack), Some(false)));
}

#[test]
fn a_stuck_rollback_says_both_reasons_and_keeps_the_node() {
    let node = changed(&node());
    let node = after(&node, fail(&node, &run(), "exit code 3").unwrap());
    let node = after(&node, stuck(&node, &run(), "no pod came").unwrap());
    let node = after(&node, stuck(&node, &run(), "no pod came again").unwrap());
    assert_eq!(journal(&node).reason.as_deref(), Some("exit code 3; the rollback failed: no pod came again"));
    assert_eq!((node.status, node.unschedulable), (Some(NodePhase::RollingBack), true));
}
