//! RBAC: who may do what, by which grant, and which grants nobody needed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use http::Method;
use serde_json::{Value, json};

use super::call::{Call, Target};
use super::kinds::qualify;
use super::status::ApiStatus;
use super::{list, object};

/// One request in the terms of RBAC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    /// `get`, `list`, `create`, …
    pub verb: String,
    /// API group.
    pub group: String,
    /// `pods` or `pods/eviction`.
    pub resource: String,
    /// Empty at cluster scope.
    pub namespace: String,
    /// Empty for collections.
    pub name: String,
}

/// The smallest thing a manifest grants: one verb on one resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    /// Role that holds it, for example `ClusterRole/klm-step`.
    pub role: String,
    /// Where it holds; nothing means everywhere.
    pub namespace: Option<String>,
    /// API group, or `*`.
    pub group: String,
    /// Resource with subresource, or `*`.
    pub resource: String,
    /// Verb, or `*`.
    pub verb: String,
    /// Only these names; empty means all.
    pub names: Vec<String>,
}

impl std::fmt::Display for Grant {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}: {} {}", self.role, self.verb, qualify(&self.resource, &self.group))?;
        if !self.names.is_empty() {
            write!(out, " named {}", self.names.join(", "))?;
        }
        match &self.namespace {
            Some(namespace) => write!(out, " in namespace {namespace}"),
            None => write!(out, " everywhere"),
        }
    }
}

impl Grant {
    fn allows(&self, asked: &Attributes) -> bool {
        let fits = |granted: &str, wanted: &str| granted == "*" || granted == wanted;
        let named = self.names.is_empty() || self.names.contains(&asked.name);
        let here = self.namespace.as_ref().is_none_or(|namespace| *namespace == asked.namespace);
        fits(&self.verb, &asked.verb)
            && fits(&self.group, &asked.group)
            && fits(&self.resource, &asked.resource)
            && named
            && here
    }
}

/// The grants of one service account, and a record of those that were used.
#[derive(Debug, Default)]
pub struct Rbac {
    grants: Vec<Grant>,
    used: Mutex<BTreeSet<Grant>>,
}

impl Rbac {
    /// Collects what the manifests (Roles, `ClusterRoles` and their bindings) grant a service account.
    pub fn of_manifests(manifests: &[Value], namespace: &str, account: &str) -> Self {
        let is_ours =
            |binding: &&Value| object::items(binding, "/subjects").iter().any(|it| subject_is(it, namespace, account));
        let roles = manifests.iter().filter(|it| matches!(object::text(it, "/kind"), "Role" | "ClusterRole"));
        let roles: BTreeMap<_, _> =
            roles.map(|role| ((object::text(role, "/kind"), role_home(role), object::name(role)), role)).collect();
        let mut grants = Vec::new();
        for binding in manifests.iter().filter(is_ours) {
            let everywhere = match object::text(binding, "/kind") {
                "ClusterRoleBinding" => true,
                "RoleBinding" => false,
                _ => continue,
            };
            let kind = object::text(binding, "/roleRef/kind");
            let home = if kind == "Role" { object::namespace(binding) } else { "" };
            let Some(role) = roles.get(&(kind, home, object::text(binding, "/roleRef/name"))) else {
                continue;
            };
            let scope = (!everywhere).then(|| object::namespace(binding).to_owned());
            for rule in object::items(role, "/rules") {
                grants.extend(grants_of(&format!("{kind}/{}", object::name(role)), scope.as_ref(), rule));
            }
        }
        Self { grants, used: Mutex::default() }
    }

    /// Every grant.
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// The same account with one grant taken away.
    #[must_use]
    pub fn without(&self, grant: &Grant) -> Self {
        Self { grants: self.grants.iter().filter(|it| *it != grant).cloned().collect(), used: Mutex::default() }
    }

    /// The grants that no request has needed so far.
    pub fn unused(&self) -> Vec<Grant> {
        let used = self.used.lock().expect("no holder panics");
        self.grants.iter().filter(|grant| !used.contains(grant)).cloned().collect()
    }

    /// The grants that some request has needed so far.
    pub fn used(&self) -> Vec<Grant> {
        self.used.lock().expect("no holder panics").iter().cloned().collect()
    }

    /// The first grant that allows the request.
    pub fn allows(&self, asked: &Attributes) -> Option<&Grant> {
        self.grants.iter().find(|grant| grant.allows(asked))
    }

    fn use_for(&self, wanted: &Attributes) -> bool {
        let Some(grant) = self.allows(wanted) else {
            return false;
        };
        self.used.lock().expect("no holder panics").insert(grant.clone());
        true
    }

    /// The rules that hold in a namespace, as `SelfSubjectRulesReview` lists them.
    pub fn rules_in(&self, namespace: &str) -> Vec<Value> {
        let holds = |grant: &&Grant| grant.namespace.as_deref().is_none_or(|home| home == namespace);
        let rule = |grant: &Grant| json!({"apiGroups": [grant.group], "resources": [grant.resource], "verbs": [grant.verb], "resourceNames": grant.names});
        self.grants.iter().filter(holds).map(rule).collect()
    }
}

fn role_home(role: &Value) -> &str {
    if role["kind"] == "Role" { object::namespace(role) } else { "" }
}

fn subject_is(subject: &Value, namespace: &str, account: &str) -> bool {
    match object::text(subject, "/kind") {
        "ServiceAccount" => subject["name"] == account && subject["namespace"] == namespace,
        "Group" => {
            subject["name"] == format!("system:serviceaccounts:{namespace}")
                || subject["name"] == "system:serviceaccounts"
        }
        _ => subject["name"] == format!("system:serviceaccount:{namespace}:{account}"),
    }
}

fn grants_of(holder: &str, namespace: Option<&String>, rule: &Value) -> Vec<Grant> {
    let list = |field: &str| object::strings(rule, field).into_iter().map(str::to_owned).collect::<Vec<_>>();
    let mut grants = Vec::new();
    for group in list("/apiGroups") {
        for resource in list("/resources") {
            for verb in list("/verbs") {
                grants.push(Grant {
                    role: holder.to_owned(),
                    namespace: namespace.cloned(),
                    group: group.clone(),
                    resource: resource.clone(),
                    verb,
                    names: list("/resourceNames"),
                });
            }
        }
    }
    grants
}

/// Who makes a request.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The user's name, for example `system:serviceaccount:argo:klm-step`.
    pub user: String,
    /// What it may do; nothing means everything.
    pub rbac: Option<Arc<Rbac>>,
}

impl Identity {
    /// May do everything.
    pub fn admin() -> Self {
        Self { user: "system:admin".to_owned(), rbac: None }
    }

    /// A service account with these grants.
    pub fn service_account(namespace: &str, name: &str, rbac: Arc<Rbac>) -> Self {
        Self { user: format!("system:serviceaccount:{namespace}:{name}"), rbac: Some(rbac) }
    }

    /// Whether the identity may do this; notes the grant as used.
    pub fn may(&self, asked: &Attributes) -> bool {
        self.rbac.as_ref().is_none_or(|rbac| rbac.use_for(asked))
    }

    /// The server's refusal, in its words.
    pub fn check(&self, asked: &Attributes) -> Result<(), ApiStatus> {
        if self.may(asked) {
            return Ok(());
        }
        let head = qualify(asked.resource.split('/').next().unwrap_or_default(), &asked.group);
        let head = if asked.name.is_empty() { head } else { format!("{head} \"{}\"", asked.name) };
        let scope = if asked.namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace \"{}\"", asked.namespace)
        };
        let message = format!(
            "{head} is forbidden: User \"{}\" cannot {} resource \"{}\" in API group \"{}\" {scope}",
            self.user, asked.verb, asked.resource, asked.group
        );
        let mut refusal = ApiStatus::new(403, message);
        refusal.body["details"] = json!({"name": asked.name, "group": asked.group, "kind": asked.resource});
        Err(refusal)
    }
}

/// The request in RBAC's terms; nothing for paths that everybody may read.
pub fn attributes(call: &Call, target: &Target) -> Option<Attributes> {
    match target {
        Target::Discovery => None,
        Target::Collection { kind, .. } if kind.group == "authorization.k8s.io" => None,
        Target::Collection { kind, namespace } => Some(Attributes {
            verb: match call.method {
                Method::POST => "create",
                Method::DELETE => "deletecollection",
                _ if !call.parameter("watch").is_empty() => "watch",
                _ => "list",
            }
            .to_owned(),
            group: kind.group.to_owned(),
            resource: kind.plural.to_owned(),
            namespace: namespace.clone(),
            name: list::pinned_name(call.parameter("fieldSelector")).to_owned(),
        }),
        Target::Object { key, subresource } => {
            let resource =
                if subresource.is_empty() { key.plural.to_owned() } else { format!("{}/{subresource}", key.plural) };
            Some(Attributes {
                verb: match call.method {
                    Method::POST => "create",
                    Method::PUT => "update",
                    Method::PATCH => "patch",
                    Method::DELETE => "delete",
                    _ => "get",
                }
                .to_owned(),
                group: key.kind().group.to_owned(),
                resource,
                // A Namespace is its own namespace to the authorizer.
                namespace: if key.plural == "namespaces" { key.name.clone() } else { key.namespace.clone() },
                name: key.name.clone(),
            })
        }
    }
}
