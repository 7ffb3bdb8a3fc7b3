//! The rights that a run needs, asked for one by one before it begins, so that none is found missing half-way.

use std::fmt::Write as _;

use crate::contract::rights::{Place, RIGHTS, Right as Rule};
use crate::plan::Mode;
use crate::refusal::Refusal;
use crate::release::Release;
use crate::settings::Settings;
use crate::values::get;

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
    /// Only for the object of this name; empty: for any.
    pub name: String,
}

impl Right {
    /// To create objects of the core group.
    pub const fn to_create(resource: &'static str, scope: Scope) -> Self {
        Self { scope, group: "", resource, verb: "create", name: String::new() }
    }
}

/// Everything that the chart's roles give and a run like this one uses. `mode` and `release` as far as they are known.
pub fn needed(
    settings: &Settings,
    mode: Option<Mode>,
    release: Option<&Release>,
    workflow_namespace: &str,
) -> Vec<Right> {
    let discovery = release
        .and_then(|release| get(&release.all, "node-feature-discovery.enabled"))
        .is_some_and(|enabled| *enabled == serde_json::Value::Bool(true));
    let suffix = release.and_then(Release::suffix).map_or_else(String::new, |suffix| format!("-{suffix}"));
    let mut rights = Vec::new();
    for rule in RIGHTS.iter().filter(|rule| is_used(rule, settings, mode, discovery)) {
        let scope = scope(rule.place, settings, workflow_namespace);
        for (resource, verb) in rule.resources.iter().flat_map(|it| rule.verbs.iter().map(move |verb| (*it, *verb))) {
            let right = |name: String| Right { scope: scope.clone(), group: rule.group, resource, verb, name };
            let named = rule.names.iter().filter(|name| exists(resource, name, mode));
            rights.extend(named.map(|name| right(format!("{name}{suffix}"))));
            if rule.names.is_empty() {
                rights.push(right(String::new()));
            }
        }
    }
    rights
}

/// What only job mode works with.
const OF_JOB_MODE: &[&str] = &["roles", "rolebindings", "jobs"];

fn is_used(rule: &Rule, settings: &Settings, mode: Option<Mode>, discovery: bool) -> bool {
    // Asking for the right to ask answers itself.
    if rule.resources.contains(&"selfsubjectaccessreviews") {
        return false;
    }
    match rule.place {
        Place::Drain => settings.drain_enabled,
        Place::NodeFeatureDiscovery | Place::HelmNamespaceNodeFeatureDiscovery => discovery,
        Place::HelmNamespace => {
            mode != Some(Mode::Daemonset) || !rule.resources.iter().any(|it| OF_JOB_MODE.contains(it))
        }
        _ => true,
    }
}

/// Whether kata-deploy has an object of this kind and name in this mode; a rule lists the names of both kinds together.
fn exists(resource: &str, name: &str, mode: Option<Mode>) -> bool {
    let of_kind = match resource {
        "clusterroles" => name.ends_with("role"),
        "clusterrolebindings" => name.ends_with("rb"),
        _ => true,
    };
    of_kind && (mode != Some(Mode::Daemonset) || !name.contains("dispatcher"))
}

fn scope(place: Place, settings: &Settings, workflow_namespace: &str) -> Scope {
    let namespace = match place {
        Place::Cluster | Place::Drain | Place::NodeFeatureDiscovery => return Scope::Cluster,
        Place::Workflows | Place::WorkflowNamespace => workflow_namespace,
        Place::HelmNamespace | Place::HelmNamespaceNodeFeatureDiscovery => &settings.helm_namespace,
        Place::VerificationNamespace => &settings.verification_namespace,
        Place::NodeEvents => "default",
    };
    Scope::Namespace(namespace.to_owned())
}

/// A rule that would give some of the rights.
struct Missing<'a> {
    right: &'a Right,
    verbs: Vec<&'a str>,
    names: Vec<&'a str>,
}

/// Reasons in the rights: one per place and resource, as the rule that would give them.
pub fn missing(rights: &[Right], account: &str) -> Vec<Refusal> {
    let mut rules: Vec<Missing<'_>> = Vec::new();
    for right in rights {
        let place = |right: &Right| (right.scope.clone(), right.group, right.resource, right.name.is_empty());
        let at = rules.iter().position(|rule| place(rule.right) == place(right)).unwrap_or_else(|| {
            rules.push(Missing { right, verbs: Vec::new(), names: Vec::new() });
            rules.len() - 1
        });
        let Missing { verbs, names, .. } = &mut rules[at];
        if !verbs.contains(&right.verb) {
            verbs.push(right.verb);
        }
        if !right.name.is_empty() && !names.contains(&right.name.as_str()) {
            names.push(&right.name);
        }
    }
    rules.iter().map(|rule| refusal(rule, account)).collect()
}

fn refusal(Missing { right, verbs, names }: &Missing<'_>, account: &str) -> Refusal {
    let Right { scope, group, resource, .. } = right;
    let place = match scope {
        Scope::Cluster => "in the whole cluster".to_owned(),
        Scope::Namespace(namespace) => format!("in namespace `{namespace}`"),
    };
    let list = |words: &[&str]| words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ");
    let mut hint = format!(
        "give it this rule there, or install the chart with `rbac.create=true`:\n- apiGroups: [{}]\n  resources: [{}]\n  verbs: [{}]",
        list(&[group]),
        list(&[resource]),
        list(verbs)
    );
    let mut which = String::new();
    if !names.is_empty() {
        which = format!(" `{}`", names.join("`, `"));
        let _ = write!(hint, "\n  resourceNames: [{}]", list(names));
    }
    Refusal::new(format!("{account} may not {} {resource}{which} {place}", verbs.join(", "))).hint(hint)
}
