//! What a run found before it changed anything, and its inputs that may be secret. Kept in a Secret beside the release.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::journal::RunId;
use crate::name::NodeName;
use crate::plan::Mode;
use crate::values::{self, Values};

/// Name of the Secret, in the release's namespace.
pub fn secret_name(release: &str) -> String {
    format!("klm-origin-{release}")
}

/// Key of the Secret that holds an [`Origin`].
pub const ORIGIN_KEY: &str = "origin.json";

/// Key of the Secret that holds the [`RunInputs`] of the latest run.
pub const INPUTS_KEY: &str = "inputs.json";

/// The release before the first change. It survives the run, because `rollback-node` goes back to it later; a run that
/// resumes the way to the same target keeps it, or the half-done target would be taken for the origin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// Format, 1.
    pub v: u32,
    /// The version that runs move away to.
    pub target: String,
    /// Chart version.
    pub chart_version: String,
    /// The user's values of the release.
    pub values: Values,
    /// The deployed revision.
    pub revision: u64,
    /// The revision that a rollback in daemonset mode goes back to: the deployed one when its `updateStrategy` was
    /// `OnDelete`, else the one that a run armed; nothing before that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub armed: Option<u64>,
    /// kata-deploy's image, as the chart rendered it.
    #[serde(default)]
    pub image: String,
    /// Nodes that a run gave kata-deploy's second label before their turn, so that they stay schedulable.
    #[serde(default)]
    pub marked: Vec<NodeName>,
}

/// A run's inputs that may be secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunInputs {
    /// The run.
    pub run: RunId,
    /// `helm-set-values`, parsed.
    pub set_values: Values,
    /// `verification-pod`: the manifest as plain text, placeholders and all.
    pub verification_pod: String,
    /// SHA-256 of the target's chart as it was when the run was planned; nothing for a chart that is no file of ours.
    /// Every wave gets that chart: a registry may hand out another one under the same version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chart_digest: Option<String>,
}

/// What a run sets in the release for its own use and the user should find again as it was.
const fn lent(mode: Mode) -> &'static [&'static str] {
    match mode {
        Mode::Daemonset => &["verification.pod"],
        Mode::Job => &["job.nodes", "job.parallelism", "verification.pod"],
    }
}

/// The current values with the lent ones as they were at the origin, absent where they were absent.
pub fn given_back(mode: Mode, current: &Values, origin: &Values) -> Values {
    let mut values = current.clone();
    for key in lent(mode) {
        let (parent, leaf) = key.split_once('.').unwrap_or((key, ""));
        let found = values::get(origin, key);
        if mode == Mode::Daemonset && found.is_none() {
            // The empty pod that a run leaves is the chart's default: taking it away isn't worth a revision.
            continue;
        }
        let mut section = values.remove(parent).and_then(into_map).unwrap_or_default();
        match found {
            Some(value) => section.insert(leaf.to_owned(), value.clone()),
            None => section.remove(leaf),
        };
        if !section.is_empty() || origin.contains_key(parent) {
            values.insert(parent.to_owned(), Value::Object(section));
        }
    }
    values
}

fn into_map(value: Value) -> Option<Map<String, Value>> {
    match value {
        Value::Object(map) => Some(map),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case::never_had_them(
        json!({"deploymentMode": "job", "job": {"nodes": ["a"], "parallelism": 1}, "verification": {"pod": ""}}),
        json!({"deploymentMode": "job"}),
        json!({"deploymentMode": "job"})
    )]
    #[case::had_them(
        json!({"job": {"nodes": ["a"], "parallelism": 1, "backoffLimit": 5}, "verification": {"pod": ""}}),
        json!({"job": {"parallelism": 7, "backoffLimit": 5}, "verification": {"pod": "x"}}),
        json!({"job": {"parallelism": 7, "backoffLimit": 5}, "verification": {"pod": "x"}})
    )]
    #[case::what_the_run_was_told_to_set_stays(
        json!({"image": {"tag": "new"}, "job": {"nodes": ["a"], "parallelism": 1}}),
        json!({"image": {"tag": "old"}}),
        json!({"image": {"tag": "new"}})
    )]
    fn the_user_finds_the_values_as_they_were(#[case] current: Value, #[case] origin: Value, #[case] wanted: Value) {
        let map = |value: &Value| value.as_object().cloned().unwrap();
        assert_eq!(Value::Object(given_back(Mode::Job, &map(&current), &map(&origin))), wanted);
    }

    #[rstest]
    #[case::never_had_it(json!({}), json!({"job": {"nodes": ["a"]}, "verification": {"pod": ""}}))]
    #[case::had_it(
        json!({"verification": {"pod": "x", "timeout": 9}}),
        json!({"job": {"nodes": ["a"]}, "verification": {"pod": "x"}})
    )]
    fn in_daemonset_mode_nothing_is_given_back_but_the_verification_pod(#[case] origin: Value, #[case] wanted: Value) {
        let map = |value: &Value| value.as_object().cloned().unwrap();
        let current = json!({"job": {"nodes": ["a"]}, "verification": {"pod": ""}});
        assert_eq!(Value::Object(given_back(Mode::Daemonset, &map(&current), &map(&origin))), wanted);
    }
}
