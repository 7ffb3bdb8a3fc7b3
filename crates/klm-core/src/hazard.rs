//! What a run does that somebody may not expect. No reason to refuse: printed by `plan` and `check-prerequisites`.

mod crossing;

pub use crossing::Crossing;
use semver::Version;
use serde_json::Value;

use crate::node::NodeFacts;
use crate::plan::{Mode, PlannedNode};
use crate::release::{Release, Status};
use crate::values::{Values, get, overlay, text};
use crate::verification::Template;
use crate::version::marks_nodes;

/// What the hazards depend on.
#[derive(Clone, Debug)]
pub struct Situation<'a> {
    /// The release.
    pub release: &'a Release,
    /// The run's own values.
    pub set: &'a Values,
    /// Version to move to.
    pub target: &'a Version,
    /// How kata-deploy installs.
    pub mode: Mode,
    /// All nodes of the cluster.
    pub all: &'a [NodeFacts],
    /// Those that the run takes.
    pub chosen: &'a [PlannedNode],
    /// The verification pod.
    pub verification: &'a Template,
    /// `RuntimeClass`es of the cluster; `None` when they couldn't be listed.
    pub classes: Option<&'a [String]>,
    /// Other installs of kata-deploy in the cluster, as `namespace/name`.
    pub others: &'a [String],
}

/// All of them, each one sentence.
pub fn hazards(situation: &Situation<'_>) -> Vec<String> {
    let Situation { release, target, mode, verification, .. } = situation;
    let mut found = Vec::new();
    if let Some(origin) = release.version() {
        let met = Crossing::ALL.into_iter().filter(|crossing| crossing.is_met(&origin, target, *mode));
        found.extend(met.map(|crossing| crossing.says(&origin, target, &release.marker())));
    }
    found.extend(rolls_at_once(situation));
    if *mode == Mode::Daemonset {
        found.extend(on_delete(situation));
    }
    found.extend(mixed_architectures(situation));
    if release.metadata.status == Status::Failed {
        found.push(format!(
            "revision {} of the release failed; the run starts from the last deployed one",
            release.metadata.revision
        ));
    }
    for other in situation.others {
        found.push(format!(
            "`{other}` installs kata-deploy too, and shares label `katacontainers.io/kata-runtime` with this release"
        ));
    }
    found.extend(runtime_class(situation));
    found.extend(verification.notices.iter().cloned());
    found
}

/// Parts of the chart that no wave holds back.
fn rolls_at_once(situation: &Situation<'_>) -> Vec<String> {
    let mut all = situation.release.all.clone();
    overlay(&mut all, situation.set);
    let on = |key: &str| get(&all, key) == Some(&Value::Bool(true));
    [("monitor.enabled", "kata-monitor"), ("node-feature-discovery.enabled", "Node Feature Discovery")]
        .into_iter()
        .filter(|(key, _)| on(key))
        .map(|(_, what)| format!("{what} is upgraded on all nodes at once with the first wave"))
        .collect()
}

/// What `OnDelete` means for the rest of the fleet.
fn on_delete(situation: &Situation<'_>) -> Vec<String> {
    let mut found = Vec::new();
    if !situation.release.is_on_delete() {
        found.push(
            "the release stays at `updateStrategy.type=OnDelete` after the run: set it back yourself once all nodes have moved"
                .to_owned(),
        );
    }
    let takes = |node: &&NodeFacts| situation.chosen.iter().any(|planned| planned.0 == node.name);
    let left_out = situation.all.iter().filter(|node| node.serves_kata() && !takes(node)).count();
    if left_out > 0 {
        let nodes = if left_out == 1 {
            "1 node that serves Kata is".to_owned()
        } else {
            format!("{left_out} nodes that serve Kata are")
        };
        found.push(format!(
            "{nodes} not in this run; a kata-deploy pod that restarts there for another reason comes back as {}",
            situation.target
        ));
    }
    found
}

fn mixed_architectures(situation: &Situation<'_>) -> Option<String> {
    let broken = |node: &&NodeFacts| matches!(node.architecture(), "s390x" | "ppc64le");
    let hit =
        situation.mode == Mode::Job && !marks_nodes(situation.target) && situation.all.iter().any(|node| broken(&node));
    hit.then(|| {
        format!("the dispatcher of {} doesn't start on s390x and ppc64le nodes; keep it off them", situation.target)
    })
}

fn runtime_class(situation: &Situation<'_>) -> Option<String> {
    let class = situation.verification.runtime_class()?;
    let known = situation.classes?.iter().any(|known| known == class);
    (!known).then(|| format!("RuntimeClass `{class}` of the verification pod doesn't exist today"))
}

/// What the run installs when its own values pin an image.
pub fn custom_image(set: &Values) -> Option<String> {
    let parts: Vec<String> = ["image.reference", "image.tag"]
        .into_iter()
        .filter_map(|key| text(set, key).map(|value| format!("{key}={value}")))
        .collect();
    (!parts.is_empty()).then(|| format!("the image is the run's own: {}", parts.join(", ")))
}

#[cfg(test)]
mod tests;
