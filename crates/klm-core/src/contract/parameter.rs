//! The optional workflow parameters: name, chart value, default, type and help. Order is the order of every table.

/// What a parameter's text must be. One place for the chart's schema and for the step's parser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A namespace: a DNS-1123 label.
    Namespace,
    /// A Helm release: a short DNS-1123 subdomain.
    Release,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A whole number, at least this.
    Integer {
        /// The smallest that is allowed.
        min: i64,
    },
    /// `true` or `false`.
    Bool,
    /// As Go writes it: `300s`, `1h30m`.
    Duration,
    /// A Kubernetes label selector, or nothing.
    Selector,
    /// A taint key, or nothing.
    TaintKey,
    /// A taint value, or nothing.
    TaintValue,
    /// A `Pod` manifest, plain or base64.
    PodManifest,
    /// Helm's `--set` syntax, or nothing.
    SetValues,
    /// Where a chart is: `oci://…`, a chart repository's URL with the chart's name, or a path.
    ChartReference,
}

/// One optional parameter of the workflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// As in `-p name=value`.
    pub name: &'static str,
    /// The chart value that sets its default, for example `defaults.batchSize`.
    pub value: &'static str,
    /// The default, as text.
    pub default: &'static str,
    /// What is allowed.
    pub kind: Kind,
    /// One line for tables and `--help`.
    pub help: &'static str,
}

/// Every parameter that has a default. Those without one are [`super::entrypoint::Input`]s.
pub const PARAMETERS: &[Parameter] = &[
    p("helm-release", "defaults.helmRelease", "kata-deploy", Kind::Release, "Helm release of kata-deploy"),
    p("helm-namespace", "defaults.helmNamespace", "kube-system", Kind::Namespace, "Namespace of that release"),
    p(
        "deployment-mode",
        "defaults.deploymentMode",
        "auto",
        Kind::OneOf(&["auto", "daemonset", "job"]),
        "How kata-deploy installs: `auto` reads it from the release",
    ),
    p("batch-size", "defaults.batchSize", "1", Kind::Integer { min: 1 }, "Nodes per wave; 1 is one node at a time"),
    p("node-selector", "defaults.nodeSelector", "", Kind::Selector, "Label selector of the nodes"),
    p("node-taint-key", "defaults.nodeTaintKey", "", Kind::TaintKey, "Key of a taint that the nodes carry"),
    p("node-taint-value", "defaults.nodeTaintValue", "", Kind::TaintValue, "Value of that taint; empty: any"),
    p(
        "verification-namespace",
        "defaults.verificationNamespace",
        "default",
        Kind::Namespace,
        "Namespace of the verification pods",
    ),
    p(
        "verification-pod",
        "defaults.verificationPod",
        "",
        Kind::PodManifest,
        "Pod that proves a node, plain or base64; required",
    ),
    p("drain-enabled", "defaults.drainEnabled", "false", Kind::Bool, "Drain a node before it is changed"),
    p("drain-timeout", "defaults.drainTimeout", "300s", Kind::Duration, "Time that one node's drain may take"),
    p(
        "helm-set-values",
        "defaults.helmSetValues",
        "",
        Kind::SetValues,
        "More values for kata-deploy, as for `helm --set`",
    ),
    p(
        "kata-deploy-chart",
        "defaults.kataDeployChart",
        super::KATA_DEPLOY_CHART,
        Kind::ChartReference,
        "Where kata-deploy's chart comes from",
    ),
    p(
        "install-timeout",
        "defaults.installTimeout",
        "30m",
        Kind::Duration,
        "Time that one wave's install may take on a node, image pull included",
    ),
    p(
        "verification-timeout",
        "defaults.verificationTimeout",
        "10m",
        Kind::Duration,
        "Time that a verification pod may take",
    ),
    p("rollback-timeout", "defaults.rollbackTimeout", "30m", Kind::Duration, "Time that taking a node back may take"),
    p(
        "helm-timeout",
        "defaults.helmTimeout",
        "75m",
        Kind::Duration,
        "Time that one helm call may take; in job mode it waits for a wave no longer than `install-timeout`, or `rollback-timeout` on the way back",
    ),
    p(
        "drain-scope",
        "defaults.drainScope",
        "all",
        Kind::OneOf(&["all", "kata"]),
        "What a drain evicts: every pod, or only pods that run in Kata",
    ),
    p(
        "drain-pod-selector",
        "defaults.drainPodSelector",
        "",
        Kind::Selector,
        "Label selector of the pods that a drain evicts; empty: all in scope",
    ),
    p(
        "drain-grace-period",
        "defaults.drainGracePeriod",
        "-1",
        Kind::Integer { min: -1 },
        "Seconds that an evicted pod gets; -1: its own",
    ),
    p(
        "drain-delete-emptydir-data",
        "defaults.drainDeleteEmptydirData",
        "false",
        Kind::Bool,
        "Evict pods that keep data in an emptyDir",
    ),
    p("drain-force", "defaults.drainForce", "false", Kind::Bool, "Evict pods that nothing will create again"),
    p(
        "cordoned-nodes",
        "defaults.cordonedNodes",
        "skip",
        Kind::OneOf(&["skip", "include"]),
        "Nodes that somebody else cordoned: leave them out, or take them and leave them cordoned",
    ),
    p(
        "rollback-scope",
        "defaults.rollbackScope",
        "failed",
        Kind::OneOf(&["failed", "wave"]),
        "What a failure takes back: the failed nodes, or their whole wave",
    ),
    p("force", "defaults.force", "false", Kind::Bool, "Also redo nodes that are at the target already"),
    p(
        "accept-uninstall-window",
        "defaults.acceptUninstallWindow",
        "false",
        Kind::Bool,
        "Start from kata-deploy 3.27 or 3.28 in daemonset mode without a drain, although running Kata pods lose their files",
    ),
    p(
        "waves-per-step",
        "defaults.wavesPerStep",
        "0",
        Kind::Integer { min: 0 },
        "Consecutive waves that one workflow step handles; 0: one in runs of up to 10 waves, else twice as many as there are steps then",
    ),
    p(
        "when-locked",
        "defaults.whenLocked",
        "refuse",
        Kind::OneOf(&["refuse", "wait"]),
        "When another run holds the release: refuse at once, or wait for it",
    ),
];

const fn p(
    name: &'static str,
    value: &'static str,
    default: &'static str,
    kind: Kind,
    help: &'static str,
) -> Parameter {
    Parameter { name, value, default, kind, help }
}

impl Parameter {
    /// The parameter of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        PARAMETERS.iter().find(|p| p.name == name)
    }
}
