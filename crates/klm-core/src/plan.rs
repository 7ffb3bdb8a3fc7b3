//! What a run will do, decided once by select-nodes and read by every later step.

use serde::{Deserialize, Serialize};

use crate::journal::RunId;
use crate::name::NodeName;
use crate::settings::Settings;

/// The content of the plan `ConfigMap`. Holds no secret: values and the verification pod are in the origin Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Format, 1.
    pub v: u32,
    /// The run that it belongs to.
    pub run: RunId,
    /// Version to move to.
    pub target: String,
    /// How kata-deploy installs, settled.
    pub mode: Mode,
    /// Chart version that the release had when the run began.
    pub origin: String,
    /// The run's settings.
    pub settings: Settings,
    /// Every node of the run, in order; cut into waves by [`Plan::wave`].
    pub nodes: Vec<PlannedNode>,
    /// Consecutive waves that one workflow step handles.
    pub waves_per_item: usize,
    /// The release's last revision when the run was planned: a later one that isn't ours is somebody else's.
    #[serde(default)]
    pub base_revision: u64,
}

/// How kata-deploy installs. `auto` is settled before a plan exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A resident pod on every node.
    Daemonset,
    /// Short Jobs, started by a dispatcher.
    Job,
}

impl Mode {
    /// The contract's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Daemonset => "daemonset",
            Self::Job => "job",
        }
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A node of the run: name, first eight characters of its UID, version before. A tuple, because 5,000 of
/// them must stay well under a `ConfigMap`'s limit of 1 MiB.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedNode(pub NodeName, pub String, pub Option<String>);

impl Plan {
    /// Waves in all.
    pub fn wave_count(&self) -> usize {
        self.nodes.len().div_ceil(self.settings.batch_size)
    }

    /// Items of the rollout, each one workflow step: `waves_per_item` consecutive waves.
    pub fn item_count(&self) -> usize {
        self.wave_count().div_ceil(self.waves_per_item.max(1))
    }

    /// The nodes of wave `number`, from 1; empty when there is no such wave.
    pub fn wave(&self, number: usize) -> &[PlannedNode] {
        let size = self.settings.batch_size;
        let start = number.saturating_sub(1).saturating_mul(size).min(self.nodes.len());
        &self.nodes[start..start.saturating_add(size).min(self.nodes.len())]
    }

    /// The waves of item `number`, from 1, as wave numbers.
    pub fn waves_of_item(&self, number: usize) -> std::ops::RangeInclusive<usize> {
        let per_item = self.waves_per_item.max(1);
        let before = number.saturating_sub(1).saturating_mul(per_item);
        before.saturating_add(1)..=before.saturating_add(per_item).min(self.wave_count())
    }
}
