//! Which nodes a run takes, in which order, and why it leaves the others.
//!
//! Order: what an earlier run left rolling back, then what it left in flight, then zone by zone, and inside a zone by
//! name with numbers counted. Zone by zone, because workloads are spread over zones: a version that turns out bad meets
//! one zone first. The node that this step runs on goes last, so that the run meets itself as late as possible.

mod order;
mod skip;

use std::collections::BTreeMap;

pub use skip::{LeftOut, Skip, Skipped, left_out};

use crate::name::NodeName;
use crate::node::NodeFacts;
use crate::phase::NodePhase;
use crate::plan::PlannedNode;
use crate::refusal::Refusal;
use crate::selector::{Selector, TaintChoice};
use crate::settings::Settings;

/// What the user said about nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// `node-selector`.
    pub selector: Selector,
    /// `node-taint-key` and `node-taint-value`.
    pub taint: Option<TaintChoice>,
}

/// What else the choice depends on.
#[derive(Clone, Debug)]
pub struct Circumstances<'a> {
    /// The version to move to.
    pub target: &'a str,
    /// Version of a node of which we have no record.
    pub origin: &'a str,
    /// The label of nodes that kata-deploy owns, when the target's chart sets one.
    pub marker: Option<String>,
    /// Nodes whose kata-deploy pod is of another version than their record says, in daemonset mode.
    pub installed: BTreeMap<NodeName, String>,
    /// Nodes that go last: those that run this step or Argo.
    pub hosts: Vec<NodeName>,
    /// `force`
    pub force: bool,
    /// `cordoned-nodes=include`
    pub include_cordoned: bool,
}

/// The outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// The nodes of the run, in order.
    pub nodes: Vec<PlannedNode>,
    /// Nodes that were chosen and are left out.
    pub skipped: Vec<Skipped>,
}

impl Choice {
    /// Reads the three parameters; every wrong one is a refusal.
    pub fn parse(settings: &Settings) -> Result<Self, Vec<Refusal>> {
        let selector = settings.node_selector.parse().map_err(|error: crate::selector::InvalidSelector| {
            Refusal::new(format!("parameter `node-selector` is wrong: {error}"))
        });
        let taint = TaintChoice::parse(&settings.node_taint_key, &settings.node_taint_value);
        match (selector, taint) {
            (Ok(selector), Ok(taint)) => Ok(Self { selector, taint }),
            (selector, taint) => Err(selector.err().into_iter().chain(taint.err()).collect()),
        }
    }

    /// Whether the user said nothing: then every node that serves Kata is meant.
    pub fn is_open(&self) -> bool {
        self.selector.is_empty() && self.taint.is_none()
    }

    /// Whether the user means this node. A node whose selecting taint was lifted for the time of a step still counts.
    pub fn means(&self, node: &NodeFacts) -> bool {
        let journal = node.journal.as_ref().and_then(|journal| journal.as_ref().ok());
        let lifted = || journal.iter().flat_map(|journal| &journal.lifted_taints).map(|lifted| &lifted.taint);
        let taints = |choice: &TaintChoice| node.taints.iter().chain(lifted()).any(|taint| choice.matches(taint));
        self.selector.matches(&node.labels) && self.taint.as_ref().is_none_or(taints)
    }
}

impl std::fmt::Display for Choice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.selector, &self.taint) {
            (selector, None) if selector.is_empty() => f.write_str("all nodes that serve Kata"),
            (selector, Some(taint)) if selector.is_empty() => write!(f, "nodes with taint `{taint}`"),
            (selector, None) => write!(f, "nodes that match `{selector}`"),
            (selector, Some(taint)) => write!(f, "nodes that match `{selector}` and have taint `{taint}`"),
        }
    }
}

/// Chooses among all nodes of the cluster.
pub fn select(nodes: &[NodeFacts], choice: &Choice, circumstances: &Circumstances<'_>) -> Selection {
    let mut taken: Vec<&NodeFacts> = Vec::new();
    let mut skipped = Vec::new();
    for node in nodes.iter().filter(|node| choice.means(node)) {
        match Skip::of(node, choice.is_open(), circumstances) {
            // Nobody asked for these; naming every node that has nothing to do with Kata would bury the rest.
            Some(Skip::NoKata) if choice.is_open() => {}
            Some(why) => skipped.push(Skipped { node: node.name.clone(), why }),
            None => taken.push(node),
        }
    }
    taken.sort_by_cached_key(|node| order::key(node, &circumstances.hosts));
    skipped.sort_by_cached_key(|skipped| order::natural(skipped.node.as_str()));
    let nodes = taken.into_iter().map(|node| planned(node, circumstances)).collect();
    Selection { nodes, skipped }
}

/// Enough of a UID to see that a node came back as another one.
pub const UID_PREFIX: usize = 8;

fn planned(node: &NodeFacts, circumstances: &Circumstances<'_>) -> PlannedNode {
    let uid = node.uid.chars().take(UID_PREFIX).collect();
    PlannedNode(node.name.clone(), uid, Some(source(node, circumstances).to_owned()))
}

/// The version on a node, from the best witness: its kata-deploy pod, our record, the release.
fn source<'a>(node: &'a NodeFacts, circumstances: &'a Circumstances<'_>) -> &'a str {
    let recorded = || {
        let journal = node.journal.as_ref().and_then(|journal| journal.as_ref().ok());
        // In flight, the record of the run that left it knows better than what is half installed.
        let in_flight = node.status.is_some_and(|status| !status.is_settled());
        journal.filter(|_| in_flight).and_then(|journal| journal.source.as_deref())
    };
    recorded()
        .or_else(|| circumstances.installed.get(&node.name).map(String::as_str))
        .or(node.version.as_deref())
        .unwrap_or(circumstances.origin)
}

/// Whether an earlier run began with this node and didn't settle it.
fn is_in_flight(node: &NodeFacts) -> bool {
    node.status.is_some_and(|status| !status.is_settled())
}

fn is_rolling_back(node: &NodeFacts) -> bool {
    node.status == Some(NodePhase::RollingBack)
}

#[cfg(test)]
mod tests;
