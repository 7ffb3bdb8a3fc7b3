//! Every name, default and minimum that users rely on, stated once. The chart, the README's tables, the
//! command line and the tests are generated from here or checked against it.

pub mod entrypoint;
pub mod parameter;
pub mod rights;
pub mod values;

pub use entrypoint::Entrypoint;
pub use parameter::{Kind, PARAMETERS, Parameter};
pub use rights::{Place, RIGHTS, Right};
pub use values::{VALUES, Value, ValueKind};

/// Name of the chart, of the `WorkflowTemplate` and of everything that carries our name.
pub const CHART_NAME: &str = "kata-lifecycle-manager";

/// Where released charts live.
pub const CHART_REPOSITORY: &str = "oci://ghcr.io/kata-containers/kata-lifecycle-manager-charts/kata-lifecycle-manager";

/// Where kata-deploy's charts live.
pub const KATA_DEPLOY_CHART: &str = "oci://ghcr.io/kata-containers/kata-deploy-charts/kata-deploy";

/// The image that every step runs in.
pub const UTILS_IMAGE: &str = "ghcr.io/kata-containers/lifecycle-manager-utils:latest";

/// Node annotation and label: where a node stands, one of [`crate::phase::NodePhase`]'s words.
pub const STATUS: &str = "katacontainers.io/kata-lifecycle-manager-status";

/// Node annotation and label: the version that was verified on the node.
pub const CURRENT_VERSION: &str = "katacontainers.io/kata-current-version";

/// Node annotation: our own record of what we did to the node, so that only that is undone.
pub const JOURNAL: &str = "katacontainers.io/kata-lifecycle-manager-journal";

/// Node label of the documented example for choosing nodes.
pub const WINDOW: &str = "katacontainers.io/kata-lifecycle-manager-window";

/// Node label with which a person keeps a node out of every run while it is `true`.
pub const HOLD: &str = "katacontainers.io/kata-lifecycle-manager-hold";

/// Node label that kata-deploy sets when a node can run Kata, and that `RuntimeClass`es select.
pub const KATA_RUNTIME: &str = "katacontainers.io/kata-runtime";

/// Prefix of kata-deploy's second node label, from 4.1.0 on; followed by `default` or the install's suffix.
pub const MARKER_PREFIX: &str = "kata-deploy.katacontainers.io/";

/// Placeholder in a verification pod: the value of the node's `kubernetes.io/hostname` label.
pub const PLACEHOLDER_NODE: &str = "${NODE}";

/// Placeholder in a verification pod: a generated pod name.
pub const PLACEHOLDER_TEST_POD: &str = "${TEST_POD}";

/// Label on every object that a run creates; its value is the Workflow's UID.
pub const RUN_LABEL: &str = "katacontainers.io/kata-lifecycle-manager-run";

/// The oldest kata-deploy chart in daemonset mode: the first whose `updateStrategy` can be set.
pub const MIN_DAEMONSET: semver::Version = semver::Version::new(3, 27, 0);

/// The oldest kata-deploy chart that has job mode.
pub const MIN_JOB: semver::Version = semver::Version::new(3, 32, 0);

/// The oldest Argo Workflows that the template is written for.
pub const MIN_ARGO: semver::Version = semver::Version::new(3, 4, 0);

/// The oldest helm that steps accept: 4.2.1 waits for deleted hooks until its time-out.
pub const MIN_HELM: semver::Version = semver::Version::new(4, 2, 2);
