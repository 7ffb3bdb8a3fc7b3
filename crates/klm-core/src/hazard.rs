//! What a run does that somebody may not expect. No reason to refuse: printed by `plan` and `check-prerequisites`.

use semver::Version;
use serde_json::Value;

use crate::node::NodeFacts;
use crate::plan::{Mode, PlannedNode};
use crate::release::{Release, Status};
use crate::values::{Values, get, overlay, text};
use crate::verification::Template;
use crate::version::{marks_nodes, reaches, uninstalls_on_pod_deletion};

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

/// A change that a version brings with its chart, for the whole cluster at once.
struct Change {
    at: Version,
    what: &'static str,
}

/// In order; met on the way up and on the way down.
const CHANGES: &[Change] = &[
    change(3, 28, "GPU RuntimeClasses reserve 10240Mi of memory per pod, before 4096Mi to 20480Mi"),
    change(3, 29, "RuntimeClass `kata-qemu-cca` exists only before 3.29"),
    change(
        3,
        30,
        "RuntimeClass `kata-cloud-hypervisor` exists only before 3.30; `kata-clh-runtime-rs` takes its place",
    ),
    change(
        4,
        0,
        "RuntimeClass `kata-qemu` reserves 320Mi of memory per pod, before 4.0 160Mi: full nodes take fewer pods",
    ),
    change(4, 0, "the default shim is `qemu-runtime-rs`, before 4.0 `qemu`, unless the release's values say which"),
];

const fn change(major: u64, minor: u64, what: &'static str) -> Change {
    Change { at: Version::new(major, minor, 0), what }
}

/// All of them, each one sentence.
pub fn hazards(situation: &Situation<'_>) -> Vec<String> {
    let Situation { release, target, mode, verification, .. } = situation;
    let mut found = Vec::new();
    if let Some(origin) = release.version() {
        let (low, high) = if origin <= **target { (&origin, *target) } else { (*target, &origin) };
        let met = |change: &&Change| !reaches(low, &change.at) && reaches(high, &change.at);
        found.extend(
            CHANGES.iter().filter(met).map(|change| format!("cluster-wide with the first wave: {}", change.what)),
        );
        if !marks_nodes(&origin) && marks_nodes(target) {
            found.push(format!(
                "from the first wave on, RuntimeClasses also select label `{}=true`; the run puts it on nodes that serve Kata today, so that they go on taking Kata pods",
                release.marker()
            ));
        }
        if origin > **target {
            found.push(format!("{target} is older than {origin}: this is a downgrade"));
        }
        if *mode == Mode::Daemonset && uninstalls_on_pod_deletion(&origin) {
            found.push(format!("kata-deploy {origin} takes Kata off each node while its pod is replaced"));
        }
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
