//! Whether the chosen nodes can take the upgrade.

use std::collections::BTreeMap;

use semver::Version;

use super::some;
use crate::name::NodeName;
use crate::node::{NodeFacts, Taint};
use crate::plan::{Mode, PlannedNode};
use crate::refusal::Refusal;
use crate::selector::TaintChoice;
use crate::settings::Settings;
use crate::toleration;
use crate::values::Values;
use crate::version::{reaches, uninstalls_on_pod_deletion};

/// What the gate looks at.
#[derive(Clone, Debug)]
pub struct Rollout<'a> {
    /// All nodes of the cluster.
    pub all: &'a [NodeFacts],
    /// Those that the run takes.
    pub chosen: &'a [PlannedNode],
    /// The taint that chose them, which is lifted for the time of a step.
    pub choice: Option<&'a TaintChoice>,
    /// The release's values over the chart's defaults, with `helm-set-values` on top.
    pub values: &'a Values,
    /// How kata-deploy installs.
    pub mode: Mode,
    /// Version to move to.
    pub target: &'a Version,
    /// The run's settings.
    pub settings: &'a Settings,
}

/// Reasons in the nodes.
pub fn nodes(rollout: &Rollout<'_>) -> Vec<Refusal> {
    let mut refusals = taints(rollout);
    refusals.extend(uninstall_window(rollout));
    refusals.extend(dispatcher_architecture(rollout));
    refusals
}

/// Taints that keep kata-deploy's new pod off a node from which the old one was deleted.
fn taints(rollout: &Rollout<'_>) -> Vec<Refusal> {
    let mut in_the_way: BTreeMap<String, Vec<&NodeName>> = BTreeMap::new();
    let chosen = |node: &&NodeFacts| rollout.chosen.iter().any(|planned| planned.0 == node.name);
    for node in rollout.all.iter().filter(chosen) {
        for taint in node.taints.iter().filter(|taint| repels(rollout, taint)) {
            in_the_way.entry(taint.to_string()).or_default().push(&node.name);
        }
    }
    let others = toleration::of(rollout.values).len();
    let refusal = |(taint, nodes): (String, Vec<&NodeName>)| {
        let key = taint.split(['=', ':']).next().unwrap_or_default().replace('.', r"\.");
        // Helm replaces lists as a whole.
        let repeat = if others == 0 { "" } else { " and those that the release has" };
        Refusal::new(format!("taint `{taint}` keeps kata-deploy's new pods off {}", some(nodes))).hint(format!(
            "remove the taint, or give `helm-set-values` the toleration `tolerations[{others}].key={key},tolerations[{others}].operator=Exists`{repeat}"
        ))
    };
    in_the_way.into_iter().map(refusal).collect()
}

fn repels(rollout: &Rollout<'_>, taint: &Taint) -> bool {
    let lifted = rollout.choice.is_some_and(|choice| choice.matches(taint));
    !lifted && toleration::keeps_off(taint, rollout.mode, rollout.target, toleration::of(rollout.values))
}

/// From 3.27 and 3.28 the old pod takes Kata off the node as it goes, under running workloads.
fn uninstall_window(rollout: &Rollout<'_>) -> Option<Refusal> {
    let Settings { drain_enabled, drain_pod_selector, accept_uninstall_window, .. } = rollout.settings;
    let drained = *drain_enabled && drain_pod_selector.is_empty();
    if rollout.mode != Mode::Daemonset || drained || *accept_uninstall_window {
        return None;
    }
    let hit: Vec<&NodeName> = rollout
        .chosen
        .iter()
        .filter(|node| {
            node.2
                .as_deref()
                .and_then(|text| Version::parse(text).ok())
                .is_some_and(|it| uninstalls_on_pod_deletion(&it))
        })
        .map(|node| &node.0)
        .collect();
    (!hit.is_empty()).then(|| {
        Refusal::new(format!(
            "kata-deploy 3.27 and 3.28 take Kata off a node while their pod is replaced, so running Kata pods lose their files on {}",
            some(hit)
        ))
        .hint("drain the Kata pods with `-p drain-enabled=true -p drain-scope=kata`, or take the loss with `-p accept-uninstall-window=true`")
    })
}

/// The dispatcher's image of 3.32 and 4.0 doesn't start on these architectures.
fn dispatcher_architecture(rollout: &Rollout<'_>) -> Option<Refusal> {
    let broken = rollout.mode == Mode::Job && !reaches(rollout.target, &Version::new(4, 1, 0));
    let fits = |node: &NodeFacts| !matches!(node.architecture(), "s390x" | "ppc64le");
    (broken && !rollout.all.is_empty() && !rollout.all.iter().any(fits)).then(|| {
        Refusal::new(format!(
            "job mode of {} can't start here: its dispatcher's image doesn't run on s390x and ppc64le",
            rollout.target
        ))
        .hint("choose 4.1.0 or newer")
    })
}
