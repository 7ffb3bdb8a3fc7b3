//! Our record on a node: what we did to it and how it was before. Written before the side effect it names.

use serde::{Deserialize, Serialize};

use crate::node::Taint;

/// The run that a record, a plan or a lock belongs to: an Argo Workflow.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RunId {
    /// The Workflow's namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID: a Workflow that is submitted again under the same name is another run.
    pub uid: String,
}

impl std::fmt::Display for RunId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A taint that was taken off, and where it stood among the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiftedTaint {
    /// Its place, so that it goes back there.
    pub at: usize,
    /// The taint.
    #[serde(flatten)]
    pub taint: Taint,
}

/// The record. Fields are only ever added: an older step must be able to read what a newer one wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Journal {
    /// Format, 1.
    pub v: u32,
    /// Who wrote it.
    pub run: RunId,
    /// `namespace/name` of the Helm release.
    pub release: String,
    /// Version on the node before the run, as far as it was known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Version that the run moves the node to.
    pub target: String,
    /// Whether the node was cordoned before we came. Present from our own cordon on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prior_unschedulable: Option<bool>,
    /// The selecting taints that we took off for the time of the step: several, when they differ by effect alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lifted_taints: Vec<LiftedTaint>,
    /// When the drain began (RFC 3339), so that a restart doesn't give it more time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_started: Option<String>,
    /// Whether anything on the node may have been changed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub changed: bool,
    /// UID of the kata-deploy pod that was there before, in daemonset mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_pod: Option<String>,
    /// The version that the node goes back to, when somebody asked for it; otherwise that is its run's origin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back_to: Option<String>,
    /// Why the node failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A run and its record on a node that it has changed, for tests to alter.
#[cfg(test)]
pub mod fixtures {
    use super::{Journal, RunId};

    /// A run.
    pub fn run() -> RunId {
        RunId { namespace: "flows".into(), name: "up-x1".into(), uid: "u".into() }
    }

    /// What it wrote.
    pub fn journal() -> Journal {
        Journal {
            v: 1,
            run: run(),
            release: "katas/kd".into(),
            source: Some("3.31.0".into()),
            target: "4.0.0".into(),
            prior_unschedulable: Some(false),
            lifted_taints: Vec::new(),
            drain_started: None,
            changed: true,
            old_pod: None,
            back_to: None,
            reason: None,
        }
    }
}
