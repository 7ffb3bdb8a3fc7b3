//! What a run has come to, said once at its end: for people as text, for programs as JSON. Holds no secret.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::journal::RunId;
use crate::name::NodeName;
use crate::plan::Mode;
use crate::selection::LeftOut;

/// The end of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The run.
    pub run: RunId,
    /// How its Workflow ended, in Argo's word.
    pub status: String,
    /// `namespace/name` of the release.
    pub release: String,
    /// How kata-deploy installs.
    pub mode: Mode,
    /// Chart version before.
    pub origin: String,
    /// Version that nodes were moved to.
    pub target: String,
    /// Nodes that were brought to the target and verified.
    pub completed: Vec<NodeName>,
    /// Nodes that were taken back, or given back untouched.
    pub rolled_back: Vec<Ended>,
    /// Nodes that need a person: they stay cordoned.
    pub stuck: Vec<Ended>,
    /// Nodes of the plan that were never begun.
    pub untouched: Vec<NodeName>,
    /// Nodes that the plan left out, by reason.
    pub skipped: LeftOut,
    /// Names of `completed`, `untouched` and `skipped` that aren't there because the report would be too long.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub names_left_out: usize,
}

/// A node that didn't arrive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The node.
    pub node: NodeName,
    /// Why.
    pub reason: String,
}

/// Names in one line of the text.
const SHOWN: usize = 20;

/// Names in one list of a JSON that would be too long with all.
const KEPT: usize = 100;

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl Report {
    /// As JSON of about `limit` bytes at most: it becomes part of the Workflow, which has a limit. Nodes that failed are
    /// always named; of the others the labels tell as well.
    pub fn to_json(&self, limit: usize) -> String {
        let whole = serde_json::to_string(self).unwrap_or_default();
        if whole.len() <= limit {
            return whole;
        }
        let mut short = self.clone();
        let lists = [&mut short.completed, &mut short.untouched].into_iter().chain(short.skipped.values_mut());
        for list in lists {
            short.names_left_out += list.len().saturating_sub(KEPT);
            list.truncate(KEPT);
        }
        serde_json::to_string(&short).unwrap_or_default()
    }

    /// What somebody who reads this should know of the state that the run leaves.
    fn remarks(&self) -> Vec<String> {
        let Self { mode, origin, target, completed, rolled_back, stuck, untouched, .. } = self;
        let left_behind = !rolled_back.is_empty() || !untouched.is_empty() || !stuck.is_empty();
        let mixed = left_behind && !completed.is_empty();
        let mut remarks = Vec::new();
        if !stuck.is_empty() {
            remarks.push(
                "nodes that need a person stay cordoned; their journal says why; `--entrypoint recover` tries again"
                    .to_owned(),
            );
        }
        if mixed && *mode == Mode::Daemonset && !rolled_back.is_empty() {
            remarks.push(format!(
                "the release is at {origin} again: a kata-deploy pod that is deleted on a node at {target} comes back as {origin}"
            ));
        }
        if mixed {
            remarks.push(format!(
                "the fleet is mixed: submit again with target-version={target} to go on where this run stopped"
            ));
        }
        remarks
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { run, status, release, mode, origin, target, completed, rolled_back, stuck, untouched, .. } = self;
        writeln!(f, "run {run} of release {release} ({mode} mode), {origin} to {target}: {status}")?;
        names(f, "completed", completed.iter())?;
        names(f, "never begun", untouched.iter())?;
        reasons(f, "rolled back", rolled_back)?;
        reasons(f, "NEED A PERSON", stuck)?;
        let left_out = self.skipped.values().map(Vec::len).sum::<usize>();
        if left_out > 0 {
            writeln!(f, "  left out:      {left_out}")?;
        }
        self.remarks().iter().try_for_each(|remark| writeln!(f, "  note: {remark}"))
    }
}

fn names<'a>(
    f: &mut fmt::Formatter<'_>,
    what: &str,
    nodes: impl ExactSizeIterator<Item = &'a NodeName>,
) -> fmt::Result {
    let count = nodes.len();
    let shown: Vec<&str> = nodes.take(SHOWN).map(NodeName::as_str).collect();
    let more = if count > SHOWN { format!(" and {} more", count - SHOWN) } else { String::new() };
    match count {
        0 => writeln!(f, "  {what}: {:pad$}0", "", pad = 13 - what.len().min(13)),
        _ => writeln!(f, "  {what}: {:pad$}{count}: {}{more}", "", shown.join(", "), pad = 13 - what.len().min(13)),
    }
}

fn reasons(f: &mut fmt::Formatter<'_>, what: &str, ended: &[Ended]) -> fmt::Result {
    if ended.is_empty() {
        return Ok(());
    }
    writeln!(f, "  {what}: {:pad$}{}", "", ended.len(), pad = 13 - what.len().min(13))?;
    for Ended { node, reason } in ended.iter().take(SHOWN) {
        writeln!(f, "    {node}: {reason}")?;
    }
    if ended.len() > SHOWN { writeln!(f, "    and {} more", ended.len() - SHOWN) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> NodeName {
        NodeName::try_from(text).unwrap()
    }

    fn report() -> Report {
        Report {
            run: crate::journal::fixtures::run(),
            status: "Failed".into(),
            release: "katas/kd".into(),
            mode: Mode::Daemonset,
            origin: "3.31.0".into(),
            target: "4.0.0".into(),
            completed: vec![name("blue-1"), name("blue-2")],
            rolled_back: vec![Ended {
                node: name("blue-3"),
                reason: "the verification pod ended with exit code 7".into(),
            }],
            stuck: Vec::new(),
            untouched: (10..40).map(|number| name(&format!("blue-{number}"))).collect(),
            skipped: [("no Kata".to_owned(), vec![name("blue-0")])].into(),
            names_left_out: 0,
        }
    }

    #[test]
    fn a_report_that_is_too_long_names_who_failed_and_counts_the_rest() {
        let completed: Vec<_> = (0..1000).map(|number| name(&format!("blue-{number}"))).collect();
        let long = Report { completed, ..report() };
        let told: Report = serde_json::from_str(&long.to_json(4_000)).unwrap();
        assert_eq!((told.completed.len(), told.names_left_out), (100, 900));
        assert_eq!(told.rolled_back, long.rolled_back);
        assert_eq!(serde_json::from_str::<Report>(&long.to_json(100_000)).unwrap(), long);
    }

    #[test]
    fn a_failed_run_says_what_it_leaves_and_what_to_do() {
        insta::assert_snapshot!(report().to_string());
    }

    #[test]
    fn a_run_that_did_all_of_its_work_has_no_remarks() {
        let report = Report { rolled_back: Vec::new(), untouched: Vec::new(), status: "Succeeded".into(), ..report() };
        assert_eq!(report.remarks(), Vec::<String>::new());
    }

    #[test]
    fn programs_get_every_name() {
        let json = serde_json::to_value(report()).unwrap();
        assert_eq!(json["untouched"].as_array().map(Vec::len), Some(30));
        assert_eq!(json["rolledBack"][0]["node"], "blue-3");
    }
}
