//! What the steps may do in the cluster, rule by rule, with the reason. The chart's roles, the table in the docs and
//! the steps' check of their own rights are made from here.

/// Where a right holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// In the whole cluster.
    Cluster,
    /// In the whole cluster, unless `rbac.drain` is false: only a drain needs it.
    Drain,
    /// In the whole cluster, when `rbac.nodeFeatureDiscovery` is true.
    NodeFeatureDiscovery,
    /// In the namespace that Workflows run in.
    WorkflowNamespace,
    /// In kata-deploy's namespace, and those of `rbac.helmNamespaces`.
    HelmNamespace,
    /// As [`Place::HelmNamespace`], when `rbac.nodeFeatureDiscovery` is true.
    HelmNamespaceNodeFeatureDiscovery,
    /// With `rbac.scope=cluster` everywhere, else in the verification namespaces.
    VerificationNamespace,
    /// With `rbac.scope=cluster` everywhere, else in the namespace that Workflows run in.
    Workflows,
    /// In namespace `default`, where Kubernetes keeps the Events of nodes.
    NodeEvents,
}

impl Place {
    /// All of them, in the order of the docs.
    pub const ALL: [Self; 9] = [
        Self::Cluster,
        Self::Drain,
        Self::NodeFeatureDiscovery,
        Self::Workflows,
        Self::WorkflowNamespace,
        Self::HelmNamespace,
        Self::HelmNamespaceNodeFeatureDiscovery,
        Self::VerificationNamespace,
        Self::NodeEvents,
    ];

    /// A word for it, for example the name of the chart's list of rules.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Drain => "drain",
            Self::NodeFeatureDiscovery => "node-feature-discovery",
            Self::Workflows => "workflows",
            Self::WorkflowNamespace => "workflow-namespace",
            Self::HelmNamespace => "helm-namespace",
            Self::HelmNamespaceNodeFeatureDiscovery => "helm-namespace-node-feature-discovery",
            Self::VerificationNamespace => "verification-namespace",
            Self::NodeEvents => "node-events",
        }
    }

    /// For people: where, and under which value.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Cluster => "whole cluster",
            Self::Drain => "whole cluster, unless `rbac.drain=false`",
            Self::NodeFeatureDiscovery => "whole cluster, with `rbac.nodeFeatureDiscovery=true`",
            Self::Workflows => "whole cluster; with `rbac.scope=namespaced`: `argoNamespace`",
            Self::WorkflowNamespace => "`argoNamespace`",
            Self::HelmNamespace => "`defaults.helmNamespace` and `rbac.helmNamespaces`",
            Self::HelmNamespaceNodeFeatureDiscovery => {
                "`defaults.helmNamespace` and `rbac.helmNamespaces`, with `rbac.nodeFeatureDiscovery=true`"
            }
            Self::VerificationNamespace => {
                "whole cluster; with `rbac.scope=namespaced`: `defaults.verificationNamespace` and \
                 `rbac.verificationNamespaces`"
            }
            Self::NodeEvents => "namespace `default`",
        }
    }
}

/// One rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right {
    /// Where it holds.
    pub place: Place,
    /// API group; empty: the core group.
    pub group: &'static str,
    /// Resources, subresources as `pods/log`.
    pub resources: &'static [&'static str],
    /// Verbs.
    pub verbs: &'static [&'static str],
    /// Only objects of these names; the suffix of each install is added. Empty: any.
    pub names: &'static [&'static str],
    /// Who uses it, and what for.
    pub user: &'static str,
}

/// Everything that the steps may do.
pub const RIGHTS: &[Right] = &[
    // What the steps themselves do to nodes and see of the cluster.
    r(
        Place::Cluster,
        "",
        &["nodes"],
        &["get", "list", "watch", "patch"],
        "klm-step: choose nodes; cordon, lift a taint, label and annotate them; wait for their labels",
    ),
    r(
        Place::Cluster,
        "authorization.k8s.io",
        &["selfsubjectaccessreviews"],
        &["create"],
        "check-prerequisites, preflight: are these rights all there?",
    ),
    // Helm may hand out only rights that its account has itself: the union of what kata-deploy's roles contain in
    // 3.27 to 4.1. It stands here instead of `escalate`, which has no bounds.
    r(
        Place::Cluster,
        "",
        &["nodes/proxy"],
        &["get"],
        "helm: kata-deploy's own ClusterRole has it from 4.0 on, and may only be given by who has it",
    ),
    r(
        Place::Cluster,
        "node.k8s.io",
        &["runtimeclasses"],
        &["get", "list", "create", "patch", "delete"],
        "helm: shims come and go between versions; klm-step: does the verification pod's RuntimeClass exist?",
    ),
    r(
        Place::Cluster,
        "apiextensions.k8s.io",
        &["customresourcedefinitions"],
        &["get", "list"],
        "helm: in kata-deploy's own ClusterRole; preflight: is Argo installed?",
    ),
    r(
        Place::Cluster,
        "nfd.k8s-sigs.io",
        &["nodefeaturerules"],
        &["create", "delete", "get", "list", "patch", "update", "watch"],
        "helm: in kata-deploy's own ClusterRole up to 4.0; its own object from 4.1 on",
    ),
    r(
        Place::Cluster,
        "apps",
        &["daemonsets"],
        &["get", "list", "watch"],
        "helm: kata-deploy's chart looks for Node Feature Discovery, and its own ClusterRole has it; a drain asks for owners",
    ),
    r(
        Place::Cluster,
        "apps",
        &["deployments"],
        &["list"],
        "helm: kata-deploy's chart looks for Node Feature Discovery",
    ),
    r(
        Place::Cluster,
        "rbac.authorization.k8s.io",
        &["clusterroles", "clusterrolebindings"],
        &["create"],
        "helm: kata-deploy's roles differ between versions and modes",
    ),
    Right {
        place: Place::Cluster,
        group: "rbac.authorization.k8s.io",
        resources: &["clusterroles", "clusterrolebindings"],
        verbs: &["get", "patch", "delete"],
        names: &[
            "kata-deploy-role",
            "kata-deploy-rb",
            "kata-deploy-dispatcher-noderole",
            "kata-deploy-dispatcher-noderb",
        ],
        user: "helm: the same roles, by name; `rbac.installSuffixes` adds those of further installs",
    },
    // A drain.
    r(Place::Drain, "", &["pods"], &["list", "watch"], "drain: the pods of a node, and whether they are gone"),
    r(Place::Drain, "", &["pods/eviction"], &["create"], "drain: evict; check-prerequisites: would it be allowed?"),
    r(
        Place::Drain,
        "policy",
        &["poddisruptionbudgets"],
        &["list"],
        "drain, check-prerequisites: which budget is in the way",
    ),
    // Locks and plans.
    r(
        Place::Workflows,
        "argoproj.io",
        &["workflows"],
        &["get"],
        "klm-step: does the run that holds the lock still live?",
    ),
    r(
        Place::WorkflowNamespace,
        "argoproj.io",
        &["workflowtaskresults"],
        &["create", "patch"],
        "Argo's executor: report a step's outputs",
    ),
    r(Place::WorkflowNamespace, "argoproj.io", &["workflowtemplates"], &["get"], "preflight: is the template there?"),
    r(
        Place::WorkflowNamespace,
        "",
        &["configmaps"],
        &["get", "create", "patch"],
        "select-nodes writes the plan, every later step reads it",
    ),
    r(
        Place::WorkflowNamespace,
        "",
        &["pods"],
        &["get"],
        "klm-step: a step that is started again waits for the end of its predecessor; check-prerequisites, plan: Argo's version, by the image of its executor",
    ),
    // kata-deploy's release: Helm's storage, its objects, and what proves an install.
    r(
        Place::HelmNamespace,
        "",
        &["secrets"],
        &["get", "list", "create", "update", "patch", "delete"],
        "helm: its releases; klm-step: the origin that a rollback goes back to",
    ),
    r(
        Place::HelmNamespace,
        "coordination.k8s.io",
        &["leases"],
        &["get", "create", "patch", "delete"],
        "klm-step: the lock, one run per release",
    ),
    r(
        Place::HelmNamespace,
        "",
        &["serviceaccounts", "configmaps"],
        &["get", "create", "patch", "delete"],
        "helm: kata-deploy's objects",
    ),
    r(
        Place::HelmNamespace,
        "apps",
        &["daemonsets"],
        &["create", "patch", "delete"],
        "helm: kata-deploy's and kata-monitor's DaemonSets; they can be read in the whole cluster",
    ),
    r(
        Place::HelmNamespace,
        "rbac.authorization.k8s.io",
        &["roles", "rolebindings"],
        &["get", "create", "patch", "delete"],
        "helm: the dispatcher's role, job mode",
    ),
    r(
        Place::HelmNamespace,
        "batch",
        &["jobs"],
        &["get", "list", "watch", "create", "patch", "delete"],
        "helm: the dispatcher of job mode, applied by the server, and its role; klm-step: per-node Jobs, stale and new",
    ),
    r(
        Place::HelmNamespace,
        "",
        &["pods"],
        &["list", "watch", "delete"],
        "klm-step: roll kata-deploy's pods node by node, and prove the new ones",
    ),
    r(Place::HelmNamespace, "", &["pods/log"], &["get"], "klm-step: why an install failed"),
    // The verification pod.
    r(
        Place::VerificationNamespace,
        "",
        &["pods"],
        &["list", "watch", "create", "delete"],
        "verify, rollback: the verification pods; check-prerequisites: would one be admitted?",
    ),
    r(Place::VerificationNamespace, "", &["pods/log"], &["get"], "verify, rollback: what a verification pod said"),
    r(
        Place::VerificationNamespace,
        "",
        &["events"],
        &["list"],
        "verify, rollback: why a verification pod doesn't start",
    ),
    // Where a person looks.
    r(Place::NodeEvents, "", &["events"], &["create"], "klm-step: Events on nodes"),
    // kata-deploy with `node-feature-discovery.enabled`: its objects, and the union of what its roles contain.
    nfd("", &["nodes"], &["get", "list", "watch", "patch", "update"]),
    nfd("", &["nodes/status"], &["get", "list", "patch", "update"]),
    nfd("", &["namespaces"], &["list", "watch"]),
    nfd(
        "nfd.k8s-sigs.io",
        &["nodefeatures", "nodefeaturegroups"],
        &["get", "list", "watch", "create", "update", "delete"],
    ),
    nfd("nfd.k8s-sigs.io", &["nodefeaturegroups/status"], &["patch", "update"]),
    nfd("topology.node.k8s.io", &["noderesourcetopologies"], &["list", "delete"]),
    // Their names hold the release's, which a run chooses, or are the user's own: they can't be listed here.
    r(
        Place::NodeFeatureDiscovery,
        "rbac.authorization.k8s.io",
        &["clusterroles", "clusterrolebindings"],
        &["get", "patch", "delete"],
        "helm: Node Feature Discovery's own, whose names depend on the release; this reaches every one of the cluster",
    ),
    r(
        Place::HelmNamespaceNodeFeatureDiscovery,
        "apps",
        &["deployments"],
        &["get", "create", "patch", "delete"],
        "helm: Node Feature Discovery's Deployments",
    ),
];

const fn r(
    place: Place,
    group: &'static str,
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
    user: &'static str,
) -> Right {
    Right { place, group, resources, verbs, names: &[], user }
}

const fn nfd(group: &'static str, resources: &'static [&'static str], verbs: &'static [&'static str]) -> Right {
    let user = "helm: in Node Feature Discovery's own roles, and may only be given by who has it";
    r(Place::NodeFeatureDiscovery, group, resources, verbs, user)
}
