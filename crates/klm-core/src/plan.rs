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
    #[serde(with = "short")]
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

/// A node of the run: name, first eight characters of its UID, version before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedNode(pub NodeName, pub String, pub Option<String>);

/// Neighbours of one version share it, and the rest is names and UIDs with a space between: 20,000 nodes must stay far
/// under a `ConfigMap`'s limit of 1 MiB.
mod short {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use super::{NodeName, PlannedNode};

    pub fn serialize<S: Serializer>(nodes: &[PlannedNode], to: S) -> Result<S::Ok, S::Error> {
        let of_one_version = nodes.chunk_by(|one, next| one.2 == next.2);
        let runs = of_one_version.map(|run| {
            let words: Vec<&str> = run.iter().flat_map(|node| [node.0.as_str(), node.1.as_str()]).collect();
            (&run[0].2, words.join(" "))
        });
        runs.collect::<Vec<_>>().serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<PlannedNode>, D::Error> {
        let mut nodes = Vec::new();
        for (version, words) in Vec::<(Option<String>, String)>::deserialize(from)? {
            let mut words = words.split(' ');
            while let Some(name) = words.next() {
                let uid = words.next().ok_or_else(|| D::Error::custom("a node without its UID"))?;
                let name = NodeName::try_from(name).map_err(D::Error::custom)?;
                nodes.push(PlannedNode(name, uid.to_owned(), version.clone()));
            }
        }
        Ok(nodes)
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selection::{Skip, Skipped, left_out};
    use crate::settings::Given;

    /// Names of 13 characters; every hundredth node has another version.
    fn plan(count: usize) -> Plan {
        let node = |number: usize| {
            let version = if number.is_multiple_of(100) { "3.30.0" } else { "3.31.0" };
            let name = format!("worker-{number:06}").as_str().try_into().unwrap();
            PlannedNode(name, format!("{number:08x}"), Some(version.to_owned()))
        };
        Plan {
            v: 1,
            run: crate::journal::fixtures::run(),
            target: "4.0.0".into(),
            mode: Mode::Job,
            origin: "3.31.0".into(),
            settings: Settings::parse(&Given::new()).unwrap(),
            nodes: (0..count).map(node).collect(),
            waves_per_item: 1,
            base_revision: 3,
        }
    }

    #[test]
    fn a_plan_is_read_as_it_was_written() {
        let whole = plan(350);
        let text = serde_json::to_string(&whole).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), whole);
        let uidless = Plan { nodes: vec![PlannedNode("n".try_into().unwrap(), String::new(), None)], ..whole };
        let text = serde_json::to_string(&uidless).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), uidless);
    }

    #[test]
    fn twenty_thousand_nodes_are_less_than_half_a_mebibyte_whether_they_are_planned_or_left_out() {
        for (count, most) in [(5_000, 128 * 1024), (20_000, 512 * 1024)] {
            let size = serde_json::to_string(&plan(count)).unwrap().len();
            let skipped: Vec<Skipped> =
                plan(count).nodes.into_iter().map(|node| Skipped { node: node.0, why: Skip::NotReady }).collect();
            let left = serde_json::to_string(&left_out(&skipped)).unwrap().len();
            println!("{count} nodes: {size} bytes planned, or {left} left out");
            assert!(size <= most && left <= most, "{count} nodes: {size} bytes planned, or {left} left out");
        }
    }
}
