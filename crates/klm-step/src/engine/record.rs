//! What is written on a node at each turn, decided from what stands there now. Pure. Each function can be asked again
//! after a kill: it sees its own earlier write and goes on from there.

use klm_core::contract::{KATA_RUNTIME, RUN_LABEL};
use klm_core::journal::{Journal, LiftedTaint, RunId};
use klm_core::node::{NodeFacts, Taint};
use klm_core::phase::{Event, IllegalTransition, NodePhase};
use klm_core::proof;

use crate::cluster::NodePatch;

/// Why a node may not be touched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untouchable {
    /// The record isn't ours to read; overwriting it would lose what it says.
    #[error("its journal can't be read, so what was done to the node before is unknown")]
    Unreadable,
    /// A run for another release of kata-deploy is at work on it.
    #[error("run `{run}` is at work on it for release `{release}`")]
    OtherRelease {
        /// That run.
        run: RunId,
        /// That release.
        release: String,
    },
    /// The record isn't there any more, or belongs to another run.
    #[error("its journal was taken away or replaced while the run was at work on it")]
    Lost,
    /// kata-deploy took its label down again after it had installed.
    #[error("label `{KATA_RUNTIME}` was up when the install was proven, and is down again")]
    LabelLost,
    /// The state machine doesn't allow it.
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
}

/// What a run knows of a node before it takes it.
#[derive(Clone, Debug)]
pub struct Claim<'a> {
    /// The run.
    pub run: &'a RunId,
    /// `namespace/name` of the release.
    pub release: &'a str,
    /// The version on the node.
    pub source: Option<&'a str>,
    /// Where it goes.
    pub target: &'a str,
    /// Where it goes back to, when somebody asked for that.
    pub back_to: Option<&'a str>,
}

/// Takes the node for a run. What an earlier run recorded of its state before is kept: that is still how it was found.
pub fn claim(node: &NodeFacts, claim: &Claim<'_>) -> Result<Option<NodePatch>, Untouchable> {
    let Some(journal) = journal_for(node, claim)? else { return Ok(None) };
    // A rollback that was cut short is finished before anything else: the table refuses to claim such a node.
    let status = node.status.map_or(Ok(NodePhase::Preparing), |status| status.next(Event::Claimed))?;
    let mut patch = NodePatch { status: Some(status), journal: Some(Some(journal)), ..NodePatch::default() };
    patch.labels.insert(RUN_LABEL.to_owned(), Some(claim.run.uid.clone()));
    Ok(Some(patch))
}

/// The record that makes a node this run's; nothing when it is that already.
fn journal_for(node: &NodeFacts, claim: &Claim<'_>) -> Result<Option<Journal>, Untouchable> {
    match &node.journal {
        Some(Err(_)) => Err(Untouchable::Unreadable),
        Some(Ok(journal)) if journal.release != claim.release => {
            Err(Untouchable::OtherRelease { run: journal.run.clone(), release: journal.release.clone() })
        }
        Some(Ok(journal)) if journal.run == *claim.run => Ok(None),
        // The lock is ours, so the run that wrote this is over.
        Some(Ok(journal)) => Ok(Some(Journal {
            run: claim.run.clone(),
            target: claim.target.to_owned(),
            back_to: claim.back_to.map(str::to_owned),
            reason: None,
            ..journal.clone()
        })),
        None => Ok(Some(Journal {
            v: 1,
            run: claim.run.clone(),
            release: claim.release.to_owned(),
            source: claim.source.map(str::to_owned),
            target: claim.target.to_owned(),
            prior_unschedulable: None,
            lifted_taints: Vec::new(),
            drain_started: None,
            changed: false,
            old_pod: None,
            back_to: claim.back_to.map(str::to_owned),
            reason: None,
        })),
    }
}

/// Cordons the node and takes the selecting taints off, with how it was before in the same write.
pub fn cordon(node: &NodeFacts, run: &RunId, lift: impl Fn(&Taint) -> bool) -> Result<Option<NodePatch>, Untouchable> {
    let mut journal = ours(node, run)?;
    let begun = !matches!(node.status, Some(NodePhase::Preparing));
    if begun && node.unschedulable {
        return Ok(None);
    }
    let mut patch = NodePatch { unschedulable: Some(true), ..NodePatch::default() };
    if !begun {
        patch.status = Some(NodePhase::Preparing.next(Event::Cordoned)?);
    }
    let first = journal.prior_unschedulable.is_none();
    journal.prior_unschedulable.get_or_insert(node.unschedulable);
    patch.taints = take_off(node, &mut journal, lift);
    if first || patch.taints.is_some() {
        patch.journal = Some(Some(journal));
    }
    Ok(Some(patch))
}

/// Takes taints off a node that is worked on, with what they were in the same write.
pub fn lift(node: &NodeFacts, run: &RunId, lift: impl Fn(&Taint) -> bool) -> Result<Option<NodePatch>, Untouchable> {
    let mut journal = ours(node, run)?;
    let taints = take_off(node, &mut journal, lift);
    Ok(taints.map(|taints| NodePatch { taints: Some(taints), journal: Some(Some(journal)), ..NodePatch::default() }))
}

/// The taints that stay, and the others into the record; nothing when all stay.
fn take_off(node: &NodeFacts, journal: &mut Journal, lift: impl Fn(&Taint) -> bool) -> Option<Vec<Taint>> {
    let lifted = node.taints.iter().enumerate().filter(|(_, taint)| lift(taint));
    let lifted: Vec<_> = lifted.map(|(at, taint)| LiftedTaint { at, taint: taint.clone() }).collect();
    if lifted.is_empty() {
        return None;
    }
    // One that somebody put back meanwhile is recorded as it is now. What was taken off last goes back first: its place
    // is one among those that were left then.
    journal.lifted_taints.retain(|old| !lifted.iter().any(|new| is_same(&new.taint, &old.taint)));
    journal.lifted_taints.splice(..0, lifted);
    Some(node.taints.iter().filter(|taint| !lift(taint)).cloned().collect())
}

/// For Kubernetes a node has one taint of a key and an effect.
fn is_same(one: &Taint, other: &Taint) -> bool {
    one.key == other.key && one.effect == other.effect
}

/// Begins a drain, or goes on with one that began earlier: its time goes on as well.
pub fn begin_drain(node: &NodeFacts, run: &RunId, now: &str) -> Result<Option<NodePatch>, Untouchable> {
    let mut journal = ours(node, run)?;
    if node.status == Some(NodePhase::Draining) {
        return Ok(None);
    }
    journal.drain_started.get_or_insert_with(|| now.to_owned());
    let status = Some(phase(node).next(Event::DrainStarted)?);
    Ok(Some(NodePatch { status, journal: Some(Some(journal)), ..NodePatch::default() }))
}

/// Says that the node may be changed from now on, and takes kata-deploy's label down, so that a `true` that is seen
/// later is a new one. `old_pod` is the pod whose end begins the change, in daemonset mode.
pub fn begin_change(node: &NodeFacts, run: &RunId, old_pod: Option<&str>) -> Result<Option<NodePatch>, Untouchable> {
    let mut journal = ours(node, run)?;
    let old_pod = old_pod.map(str::to_owned);
    let status = match phase(node) {
        // A rollback changes the node as well, and stays a rollback.
        same @ (NodePhase::RollingBack | NodePhase::Upgrading) => same,
        other => other.next(Event::ApplyStarted)?,
    };
    let written = journal.changed && journal.old_pod == old_pod && node.status == Some(status);
    if written && node.unschedulable && !node.serves_kata() {
        return Ok(None);
    }
    journal.changed = true;
    journal.old_pod = old_pod;
    Ok(Some(NodePatch {
        status: Some(status),
        journal: Some(Some(journal)),
        labels: proof::demoted(),
        // Somebody may have uncordoned it since; nothing may land on it now.
        unschedulable: (!node.unschedulable).then_some(true),
        ..NodePatch::default()
    }))
}

/// Says that the change goes on which an earlier try began: the new pod is on its way, and its label comes by itself.
pub fn go_on(node: &NodeFacts, run: &RunId) -> Result<Option<NodePatch>, Untouchable> {
    ours(node, run)?;
    let status = match phase(node) {
        NodePhase::RollingBack | NodePhase::Upgrading => return Ok(None),
        other => other.next(Event::ApplyStarted)?,
    };
    Ok(Some(NodePatch { status: Some(status), ..NodePatch::default() }))
}

/// Whether somebody uncordoned a node that we had cordoned, or found so.
pub fn is_opened(node: &NodeFacts, run: &RunId) -> bool {
    !node.unschedulable && ours(node, run).is_ok_and(|journal| journal.prior_unschedulable.is_some())
}

/// The install is proven: the verification pod has the word.
pub fn proven(node: &NodeFacts, run: &RunId) -> Result<Option<NodePatch>, Untouchable> {
    ours(node, run)?;
    if node.status == Some(NodePhase::Verifying) {
        return Ok(None);
    }
    let status = Some(phase(node).next(Event::Proven)?);
    Ok(Some(NodePatch { status, ..NodePatch::default() }))
}

/// Verified: the version is recorded and the node given back as it was found, in one write.
pub fn complete(node: &NodeFacts, run: &RunId, version: &str) -> Result<Option<NodePatch>, Untouchable> {
    settle(node, run, Event::Verified, Some(version.to_owned()))
}

/// Restored and verified: the same for the version before.
pub fn restore(node: &NodeFacts, run: &RunId, version: &str) -> Result<Option<NodePatch>, Untouchable> {
    settle(node, run, Event::Restored, Some(version.to_owned()))
}

/// Nothing on the node was changed: it is given back, and what is known of its version stays.
pub fn give_back(node: &NodeFacts, run: &RunId) -> Result<Option<NodePatch>, Untouchable> {
    settle(node, run, Event::Restored, None)
}

/// The node failed, or its run was stopped: from here on it only goes back.
pub fn fail(node: &NodeFacts, run: &RunId, reason: &str) -> Result<Option<NodePatch>, Untouchable> {
    let mut journal = ours(node, run)?;
    if node.status == Some(NodePhase::RollingBack) && journal.reason.is_some() {
        return Ok(None);
    }
    journal.reason.get_or_insert_with(|| crate::exit::cut(reason, REASON_LIMIT));
    let status = Some(phase(node).next(Event::Failed)?);
    Ok(Some(NodePatch { status, journal: Some(Some(journal)), ..NodePatch::default() }))
}

/// The rollback itself failed: the reason says so, and the node stays as it is, cordoned, for a person to look at.
pub fn stuck(node: &NodeFacts, run: &RunId, why: &str) -> Result<Option<NodePatch>, Untouchable> {
    let mut journal = ours(node, run)?;
    let first = journal.reason.as_deref().and_then(|reason| reason.split(STUCK).next()).unwrap_or_default();
    journal.reason = Some(crate::exit::cut(&format!("{first}{STUCK}{why}"), 2 * REASON_LIMIT));
    Ok(Some(NodePatch { journal: Some(Some(journal)), ..NodePatch::default() }))
}

const STUCK: &str = "; the rollback failed: ";

/// Opens a node that is settled, or that an earlier run was taking back, in order to take it back: recorded, cordoned
/// and failed in one write.
pub fn reopen(node: &NodeFacts, claim: &Claim<'_>, reason: &str) -> Result<Option<NodePatch>, Untouchable> {
    let Some(mut journal) = journal_for(node, claim)? else {
        return fail(node, claim.run, reason);
    };
    journal.prior_unschedulable.get_or_insert(node.unschedulable);
    journal.reason = Some(crate::exit::cut(reason, REASON_LIMIT));
    // What a run left in flight may be untouched yet, and its record says so; somewhere else it must be moved all the same.
    journal.changed |= node.journal.is_none() || claim.back_to.is_some();
    let mut patch = NodePatch {
        status: Some(NodePhase::RollingBack),
        journal: Some(Some(journal)),
        unschedulable: Some(true),
        ..NodePatch::default()
    };
    patch.labels.insert(RUN_LABEL.to_owned(), Some(claim.run.uid.clone()));
    Ok(Some(patch))
}

/// A node object has room for 256 KiB of annotations; nobody reads more than this.
const REASON_LIMIT: usize = 600;

/// Our record on the node, if it is this run's.
pub fn ours(node: &NodeFacts, run: &RunId) -> Result<Journal, Untouchable> {
    match &node.journal {
        Some(Ok(journal)) if journal.run == *run => Ok(journal.clone()),
        Some(Err(_)) => Err(Untouchable::Unreadable),
        _ => Err(Untouchable::Lost),
    }
}

fn settle(
    node: &NodeFacts,
    run: &RunId,
    event: Event,
    version: Option<String>,
) -> Result<Option<NodePatch>, Untouchable> {
    let settled = if event == Event::Verified { NodePhase::Completed } else { NodePhase::RolledBack };
    if node.journal.is_none() && node.status == Some(settled) {
        // Written by a step that was killed before it saw the answer.
        return Ok(None);
    }
    let journal = ours(node, run)?;
    // A version is written down only where Kata is served; a node that nothing was done to stays what it was.
    if version.is_some() && !node.serves_kata() {
        return Err(Untouchable::LabelLost);
    }
    let status = Some(phase(node).next(event)?);
    let mut patch = NodePatch { status, version, journal: Some(None), ..NodePatch::default() };
    // Only what our record says is undone; a node that was cordoned when we came stays so.
    if journal.prior_unschedulable == Some(false) && node.unschedulable {
        patch.unschedulable = Some(false);
    }
    if !journal.lifted_taints.is_empty() {
        patch.taints = Some(with_lifted(&node.taints, &journal.lifted_taints));
    }
    Ok(Some(patch))
}

/// Where a node of ours stands. Somebody who took the status away took nothing else.
fn phase(node: &NodeFacts) -> NodePhase {
    node.status.unwrap_or(NodePhase::Preparing)
}

/// The taints with the lifted ones in their places. One that is back already, by somebody else's hand, stays as it is.
fn with_lifted(taints: &[Taint], lifted: &[LiftedTaint]) -> Vec<Taint> {
    let mut all = taints.to_vec();
    for LiftedTaint { at, taint } in lifted {
        if !all.iter().any(|found| is_same(found, taint)) {
            all.insert((*at).min(all.len()), taint.clone());
        }
    }
    all
}

#[cfg(test)]
mod tests;
