//! What a run found before it changed anything, and its inputs that may be secret. Kept in a Secret beside the release.

use serde::{Deserialize, Serialize};

use crate::journal::RunId;
use crate::name::NodeName;
use crate::plan::Mode;
use crate::release::Release;
use crate::values::{self, Values};

/// Name of the Secret, in the release's namespace.
pub fn secret_name(release: &str) -> String {
    format!("klm-origin-{release}")
}

/// Key of the Secret that holds an [`Origin`].
pub const ORIGIN_KEY: &str = "origin.json";

/// Key of the Secret that holds the [`RunInputs`] of the latest run.
pub const INPUTS_KEY: &str = "inputs.json";

/// Key of the Secret that holds the latest [`Asked`].
pub const ASKED_KEY: &str = "asked.json";

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
    /// The values that were there with that chart, when somebody has changed values since: no revision of that chart has
    /// `values` then, so a rollback makes the chart's revision again, and takes these only when the chart refuses those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outdated: Option<Values>,
}

/// What belongs to a version and not to its user: an image that somebody chose since is the target's.
const OF_A_VERSION: [&str; 2] = ["image", "job.dispatcherImage"];

/// What somebody changed in the release since the origin was recorded: its user values before and after.
#[derive(Clone, Debug)]
pub struct Change {
    /// As the origin, or the last run since, left them.
    pub before: Values,
    /// As somebody else left them.
    pub after: Values,
}

impl Origin {
    /// The same way back with what somebody changed in the release since.
    #[must_use]
    pub fn with(&self, change: &Change, base: &Release) -> Self {
        let mut values = self.values.clone();
        values::carry(&mut values, &change.before, &change.after);
        for key in OF_A_VERSION {
            values::copy(&mut values, &self.values, key);
        }
        // Without it, it would be the chart's default, which isn't the same in all charts.
        if !values.contains_key("deploymentMode") {
            values::copy(&mut values, &self.values, "deploymentMode");
        }
        if values == self.values {
            return self.clone();
        }
        let outdated = self.outdated.clone().unwrap_or_else(|| self.values.clone());
        Self { values, revision: base.metadata.revision, outdated: Some(outdated), ..self.clone() }
    }

    /// Whether the release needs no arming before it is upgraded: there is a way back already.
    pub const fn is_armed(&self) -> bool {
        self.armed.is_some() || self.outdated.is_some()
    }
}

/// A rollback that somebody asked for by `rollback-node`: it may go elsewhere than runs do, and whoever finishes it must
/// go there as well.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Asked {
    /// How kata-deploy installs.
    pub mode: Mode,
    /// The release's last revision when it began.
    pub base_revision: u64,
    /// Where the node goes.
    pub origin: Origin,
    /// The run that was asked, with its verification pod.
    pub inputs: RunInputs,
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
        // The empty pod that a run leaves is the chart's default: taking it away isn't worth a revision.
        if mode == Mode::Job || values::get(origin, key).is_some() {
            values::copy(&mut values, origin, key);
        }
    }
    values
}

#[cfg(test)]
mod tests;
