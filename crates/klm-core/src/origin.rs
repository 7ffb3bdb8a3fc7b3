//! What a run found before it changed anything, and its inputs that may be secret. Kept in a Secret beside the release.

use serde::{Deserialize, Serialize};

use crate::journal::RunId;
use crate::name::NodeName;
use crate::values::Values;

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
}
