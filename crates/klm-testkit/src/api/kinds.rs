//! The resources that the fake serves: a table, so that an unknown one is an error and not a guess.

/// One resource of the API.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// API group, empty for core.
    pub group: &'static str,
    /// API version.
    pub version: &'static str,
    /// Plural name as in the path; unique in the table.
    pub plural: &'static str,
    /// Kind as in a manifest.
    pub kind: &'static str,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Subresources that are answered.
    pub subresources: &'static [&'static str],
}

impl Kind {
    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `nodes` or `daemonsets.apps`, as the server's messages spell it.
    pub fn qualified(&self) -> String {
        qualify(self.plural, self.group)
    }

    /// `Node` or `DaemonSet.apps`, as the server's validation messages spell it.
    pub fn qualified_kind(&self) -> String {
        qualify(self.kind, self.group)
    }

    /// Whether a write to the object leaves `.status` alone, because status has a door of its own.
    pub fn has_status_door(&self) -> bool {
        self.subresources.contains(&"status")
    }

    /// Custom resources differ: no generated defaults, and their lists repeat `apiVersion` and `kind` per item.
    pub fn is_custom(&self) -> bool {
        self.group == "argoproj.io"
    }

    /// Whether the server counts changes of `.spec` in `metadata.generation`.
    pub fn counts_generations(&self) -> bool {
        !self.group.is_empty() && self.group != "rbac.authorization.k8s.io"
    }
}

/// `name.group`, or the bare name in the core group.
pub fn qualify(name: &str, group: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}

const fn kind(
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    kind: &'static str,
    namespaced: bool,
    subresources: &'static [&'static str],
) -> Kind {
    Kind { group, version, plural, kind, namespaced, subresources }
}

const STATUS: &[&str] = &["status"];
const RBAC: &str = "rbac.authorization.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";
const ARGO: &str = "argoproj.io";

/// Everything that is served.
pub static KINDS: &[Kind] = &[
    kind("", "v1", "nodes", "Node", false, STATUS),
    kind("", "v1", "namespaces", "Namespace", false, STATUS),
    kind("", "v1", "pods", "Pod", true, &["status", "log", "eviction"]),
    kind("", "v1", "events", "Event", true, &[]),
    kind("", "v1", "configmaps", "ConfigMap", true, &[]),
    kind("", "v1", "secrets", "Secret", true, &[]),
    kind("", "v1", "serviceaccounts", "ServiceAccount", true, &[]),
    kind("", "v1", "resourcequotas", "ResourceQuota", true, STATUS),
    kind("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", true, STATUS),
    kind("apps", "v1", "daemonsets", "DaemonSet", true, STATUS),
    kind("apps", "v1", "deployments", "Deployment", true, STATUS),
    kind("apps", "v1", "statefulsets", "StatefulSet", true, STATUS),
    kind("apps", "v1", "replicasets", "ReplicaSet", true, STATUS),
    kind("apps", "v1", "controllerrevisions", "ControllerRevision", true, &[]),
    kind("batch", "v1", "jobs", "Job", true, STATUS),
    kind("coordination.k8s.io", "v1", "leases", "Lease", true, &[]),
    kind("node.k8s.io", "v1", "runtimeclasses", "RuntimeClass", false, &[]),
    kind(RBAC, "v1", "roles", "Role", true, &[]),
    kind(RBAC, "v1", "rolebindings", "RoleBinding", true, &[]),
    kind(RBAC, "v1", "clusterroles", "ClusterRole", false, &[]),
    kind(RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", false, &[]),
    kind(AUTHORIZATION, "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", false, &[]),
    kind(AUTHORIZATION, "v1", "selfsubjectrulesreviews", "SelfSubjectRulesReview", false, &[]),
    kind(ARGO, "v1alpha1", "workflows", "Workflow", true, &[]),
    kind(ARGO, "v1alpha1", "workflowtemplates", "WorkflowTemplate", true, &[]),
    kind(ARGO, "v1alpha1", "workflowtaskresults", "WorkflowTaskResult", true, &[]),
    kind("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", false, STATUS),
];

/// The resource behind a path's group, version and plural.
pub fn by_path(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.group == group && kind.version == version && kind.plural == plural)
}

/// The resource by its plural name.
pub fn by_plural(plural: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.plural == plural)
}

/// The resource behind a manifest's `apiVersion` and `kind`.
pub fn by_manifest(api_version: &str, name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.kind == name && kind.api_version() == api_version)
}
