//! What a decision needs to know of a node: read once from the API, then handed on as plain facts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::journal::Journal;
use crate::name::NodeName;
use crate::phase::NodePhase;

/// A node as a decision sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    /// Its name.
    pub name: NodeName,
    /// Its UID: a node that comes back under the same name is another node.
    pub uid: String,
    /// For writes that must not overwrite somebody else's.
    pub resource_version: String,
    /// All labels, for selectors.
    pub labels: BTreeMap<String, String>,
    /// All taints, as they are.
    pub taints: Vec<Taint>,
    /// Whether it is cordoned.
    pub unschedulable: bool,
    /// Its `Ready` condition.
    pub ready: Readiness,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Our status word, from the annotation.
    pub status: Option<NodePhase>,
    /// The version that we verified on it, from the annotation.
    pub version: Option<String>,
    /// Our record; `Err` carries the text that could not be read, so that it is reported and never overwritten.
    pub journal: Option<Result<Journal, String>>,
}

/// A node's `Ready` condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// `True`.
    Ready,
    /// `False`.
    NotReady,
    /// `Unknown`, or no condition at all.
    Unknown,
}

/// Key of the taint on a node that the cluster autoscaler is about to delete.
pub const AUTOSCALER_DELETES: &str = "ToBeDeletedByClusterAutoscaler";

/// A taint, with every field, so that it can be put back byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Taint {
    /// Its key.
    pub key: String,
    /// Its value; absent and empty are different texts to the API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
    /// When it was added, as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_added: Option<String>,
}

impl NodeFacts {
    /// The value that `${NODE}` stands for: the hostname label, or the name when the label is missing.
    pub fn hostname(&self) -> &str {
        self.labels.get("kubernetes.io/hostname").map_or(self.name.as_str(), String::as_str)
    }

    /// Its architecture, for example `amd64`; empty when nothing says.
    pub fn architecture(&self) -> &str {
        self.labels.get("kubernetes.io/arch").map_or("", String::as_str)
    }

    /// Whether kata-deploy says that Kata can run here. Never proof of a version.
    pub fn serves_kata(&self) -> bool {
        self.labels.get(crate::contract::KATA_RUNTIME).is_some_and(|value| value == "true")
    }
}

impl std::fmt::Display for Taint {
    /// As `kubectl taint` spells it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.value.as_deref() {
            Some(value) if !value.is_empty() => write!(f, "{}={value}:{}", self.key, self.effect),
            _ => write!(f, "{}:{}", self.key, self.effect),
        }
    }
}
