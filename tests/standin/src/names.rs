//! Labels and annotations: kata-deploy's own, and the ones that only tests read.

/// Where Kata may run, in kata-deploy's words.
pub const RUNTIME_LABEL: &str = "katacontainers.io/kata-runtime";

/// The prefix of the label that marks which installation a node belongs to, from 4.1.0 on.
pub const MARKER_PREFIX: &str = "kata-deploy.katacontainers.io";

/// The prefix of what a dispatcher puts on its per-node Jobs.
pub const TRACKING_PREFIX: &str = "kata-deploy-job-dispatcher";

/// The prefix of the ground truth. The product never reads it.
pub const TRUTH_PREFIX: &str = "standin.klm.test";

/// The marker label of the installation with this suffix.
pub fn marker_label(suffix: &str) -> String {
    let instance = if suffix.is_empty() { "default" } else { suffix };
    format!("{MARKER_PREFIX}/{instance}")
}

/// A name of kata-deploy's with the suffix of its installation at the end.
pub fn suffixed(name: &str, suffix: &str) -> String {
    if suffix.is_empty() { name.to_owned() } else { format!("{name}-{suffix}") }
}
