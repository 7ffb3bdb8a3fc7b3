//! The rights that a run needs, asked for one by one before it begins, so that none is found missing half-way.

use crate::plan::Mode;
use crate::refusal::Refusal;
use crate::settings::Settings;

/// Where a right must hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// In the whole cluster.
    Cluster,
    /// In this namespace.
    Namespace(String),
}

/// One right.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Right {
    /// Where.
    pub scope: Scope,
    /// API group; empty for the core one.
    pub group: &'static str,
    /// For example `pods/eviction`.
    pub resource: &'static str,
    /// For example `create`.
    pub verb: &'static str,
}

/// Everything that steps and helm do in a run like this one.
pub fn needed(settings: &Settings, mode: Mode, workflow_namespace: &str) -> Vec<Right> {
    let mut rights = Vec::new();
    let mut add = |scope: &Scope, group: &'static str, resource: &'static str, verbs: &[&'static str]| {
        rights.extend(verbs.iter().map(|verb| Right { scope: scope.clone(), group, resource, verb }));
    };
    let cluster = Scope::Cluster;
    add(&cluster, "", "nodes", &["get", "list", "patch"]);
    add(&cluster, "node.k8s.io", "runtimeclasses", &["get", "list", "create", "patch", "delete"]);
    add(&cluster, "apps", "daemonsets", &["list"]);
    add(&cluster, "apps", "deployments", &["list"]);
    add(&cluster, "rbac.authorization.k8s.io", "clusterroles", &["create"]);
    add(&cluster, "rbac.authorization.k8s.io", "clusterrolebindings", &["create"]);
    if settings.drain_enabled {
        add(&cluster, "", "pods", &["get", "list"]);
        add(&cluster, "", "pods/eviction", &["create"]);
        add(&cluster, "policy", "poddisruptionbudgets", &["list"]);
        add(&cluster, "apps", "daemonsets", &["get"]);
    }
    let workflow = Scope::Namespace(workflow_namespace.to_owned());
    add(&workflow, "", "configmaps", &["get", "create", "patch"]);
    add(&workflow, "argoproj.io", "workflows", &["get"]);
    let release = Scope::Namespace(settings.helm_namespace.clone());
    add(&release, "", "secrets", &["get", "list", "create", "update", "patch", "delete"]);
    add(&release, "coordination.k8s.io", "leases", &["get", "create", "patch", "delete"]);
    add(&release, "", "serviceaccounts", &["get", "create", "patch", "delete"]);
    add(&release, "", "configmaps", &["get", "create", "patch", "delete"]);
    add(&release, "", "pods", &["get", "list", "delete"]);
    match mode {
        Mode::Daemonset => add(&release, "apps", "daemonsets", &["get", "create", "patch"]),
        Mode::Job => {
            add(&release, "rbac.authorization.k8s.io", "roles", &["get", "create", "patch", "delete"]);
            add(&release, "rbac.authorization.k8s.io", "rolebindings", &["get", "create", "patch", "delete"]);
            add(&release, "batch", "jobs", &["get", "list", "watch", "create", "delete"]);
        }
    }
    let verification = Scope::Namespace(settings.verification_namespace.clone());
    add(&verification, "", "pods", &["get", "list", "create", "delete"]);
    add(&verification, "", "pods/log", &["get"]);
    add(&verification, "", "events", &["list"]);
    rights
}

/// Reasons in the rights: one per place and resource, as the rule that would give them.
pub fn missing(rights: &[Right], account: &str) -> Vec<Refusal> {
    let mut rules: Vec<(&Scope, &str, &str, Vec<&str>)> = Vec::new();
    for Right { scope, group, resource, verb } in rights {
        match rules.iter_mut().find(|rule| (rule.0, rule.1, rule.2) == (scope, *group, *resource)) {
            Some(rule) => rule.3.push(verb),
            None => rules.push((scope, group, resource, vec![verb])),
        }
    }
    let refusal = |(scope, group, resource, verbs): (&Scope, &str, &str, Vec<&str>)| {
        let place = match scope {
            Scope::Cluster => "in the whole cluster".to_owned(),
            Scope::Namespace(namespace) => format!("in namespace `{namespace}`"),
        };
        let list = |words: &[&str]| words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ");
        Refusal::new(format!("{account} may not {} {resource} {place}", verbs.join(", "))).hint(format!(
            "give it this rule there, or install the chart with `rbac.create=true`:\n- apiGroups: [{}]\n  resources: [{}]\n  verbs: [{}]",
            list(&[group]),
            list(&[resource]),
            list(&verbs)
        ))
    };
    rules.into_iter().map(refusal).collect()
}
