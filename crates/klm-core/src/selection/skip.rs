//! Why a node that was chosen is left out.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Circumstances, is_in_flight};
use crate::contract::{HOLD, JOURNAL, KATA_RUNTIME};
use crate::name::NodeName;
use crate::node::{AUTOSCALER_DELETES, NodeFacts, Readiness};
use crate::phase::NodePhase;

/// A node that is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// The node.
    pub node: NodeName,
    /// Why.
    pub why: Skip,
}

/// Nodes that are left out, by the reason in words: a sentence for each of 20,000 would fill the plan.
pub type LeftOut = BTreeMap<String, Vec<NodeName>>;

/// Groups them.
pub fn left_out(skipped: &[Skipped]) -> LeftOut {
    let mut by_reason = LeftOut::new();
    for skipped in skipped {
        by_reason.entry(skipped.why.to_string()).or_default().push(skipped.node.clone());
    }
    by_reason
}

/// Why a node is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Skip {
    /// It is being deleted, or an autoscaler is about to.
    Deleting,
    /// Somebody put a hold on it.
    Held,
    /// It stands for something that is no machine.
    Virtual,
    /// A control-plane node that nobody asked for.
    ControlPlane,
    /// kata-deploy doesn't say that it serves Kata.
    NoKata,
    /// It isn't ready.
    NotReady,
    /// Somebody else cordoned it.
    Cordoned,
    /// Our record on it can't be read.
    UnreadableRecord,
    /// It is proven at the target.
    AtTarget(String),
}

impl Skip {
    /// Why the run leaves this node out, if it does. `open` says that the user named no nodes at all.
    pub fn of(node: &NodeFacts, open: bool, circumstances: &Circumstances<'_>) -> Option<Self> {
        // In flight, the label was taken down and the cordon put on by a run of ours: neither says anything then.
        let ours = is_in_flight(node);
        if node.deleting || node.taints.iter().any(|taint| taint.key == AUTOSCALER_DELETES) {
            Some(Self::Deleting)
        } else if node.labels.get(HOLD).is_some_and(|value| value == "true") {
            Some(Self::Held)
        } else if node.labels.get("type").is_some_and(|value| value == "virtual-kubelet") {
            Some(Self::Virtual)
        } else if matches!(node.journal, Some(Err(_))) {
            Some(Self::UnreadableRecord)
        } else if !node.serves_kata() && !ours {
            Some(Self::NoKata)
        } else if open && is_reserved_for_the_control_plane(node) && !ours {
            Some(Self::ControlPlane)
        } else if is_at_target(node, circumstances) && !circumstances.force {
            Some(Self::AtTarget(circumstances.target.to_owned()))
        } else if node.ready != Readiness::Ready {
            Some(Self::NotReady)
        } else if node.unschedulable && !cordoned_by_us(node) && !circumstances.include_cordoned {
            Some(Self::Cordoned)
        } else {
            None
        }
    }
}

/// A control-plane node that takes ordinary pods, as the only node of a small cluster does, is a worker too.
fn is_reserved_for_the_control_plane(node: &NodeFacts) -> bool {
    let role = |key: &str| matches!(key, "node-role.kubernetes.io/control-plane" | "node-role.kubernetes.io/master");
    node.labels.keys().any(|key| role(key))
        && node.taints.iter().any(|taint| role(&taint.key) && taint.effect != "PreferNoSchedule")
}

/// Our record and what is observed must agree: somebody may have changed the node since.
fn is_at_target(node: &NodeFacts, circumstances: &Circumstances<'_>) -> bool {
    let Circumstances { target, marker, installed, .. } = circumstances;
    let marked = marker.as_ref().is_none_or(|marker| node.labels.get(marker).is_some_and(|value| value == "true"));
    node.status == Some(NodePhase::Completed)
        && node.version.as_deref() == Some(target)
        && node.serves_kata()
        && marked
        && installed.get(&node.name).is_none_or(|version| version == target)
}

fn cordoned_by_us(node: &NodeFacts) -> bool {
    let journal = node.journal.as_ref().and_then(|journal| journal.as_ref().ok());
    is_in_flight(node) && journal.is_some_and(|journal| journal.prior_unschedulable == Some(false))
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deleting => f.write_str("is being deleted"),
            Self::Held => write!(f, "is held back by its label `{HOLD}=true`"),
            Self::Virtual => f.write_str("is a virtual node"),
            Self::ControlPlane => {
                f.write_str("is reserved for the control plane; name it with `node-selector` to take it")
            }
            Self::NoKata => write!(f, "doesn't serve Kata: its label `{KATA_RUNTIME}` isn't `true`"),
            Self::NotReady => f.write_str("is not Ready"),
            Self::Cordoned => {
                f.write_str("was cordoned by somebody else; `cordoned-nodes=include` takes it and leaves it cordoned")
            }
            Self::UnreadableRecord => {
                write!(f, "has an annotation `{JOURNAL}` that can't be read; remove it to take the node")
            }
            Self::AtTarget(version) => write!(f, "is proven at {version} already; `force=true` does it again"),
        }
    }
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node `{}` {}", self.node, self.why)
    }
}
