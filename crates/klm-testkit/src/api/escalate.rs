//! Nobody grants what they don't hold: the server's check on Roles and on bindings.

use http::Method;
use serde_json::{Value, json};

use super::authorize::{Attributes, Identity};
use super::call::{Call, Target};
use super::object;
use super::status::{Answer, ApiStatus};
use super::store::{Key, Store};

const GROUP: &str = "rbac.authorization.k8s.io";

/// Whether a request writes to a Role or a binding: then [`check`] has the last word.
pub fn concerns(call: &Call, target: &Target) -> bool {
    let plural = match target {
        Target::Collection { kind, .. } => kind.plural,
        Target::Object { key, .. } => key.plural,
        Target::Discovery => return false,
    };
    let writes = matches!(call.method, Method::POST | Method::PUT | Method::PATCH);
    writes && matches!(plural, "roles" | "clusterroles" | "rolebindings" | "clusterrolebindings")
}

/// Refuses a Role or binding as it now stands, if it changed and grants more than the caller holds.
pub fn check(store: &Store, who: &Identity, before: Option<&Value>, key: &Key) -> Answer<()> {
    let Some(now) = store.find(key) else { return Ok(()) };
    let is_binding = key.plural.ends_with("bindings");
    let field = if is_binding { "roleRef" } else { "rules" };
    let unchanged = before.is_some_and(|before| before[field] == now[field] && before["subjects"] == now["subjects"]);
    if unchanged {
        return Ok(());
    }
    let (verb, resource, name) = if is_binding {
        let plural = if now["roleRef"]["kind"] == "Role" { "roles" } else { "clusterroles" };
        ("bind", plural, object::text(now, "/roleRef/name"))
    } else {
        ("escalate", key.plural, key.name.as_str())
    };
    let exempt = Attributes {
        verb: verb.to_owned(),
        group: GROUP.to_owned(),
        resource: resource.to_owned(),
        namespace: key.namespace.clone(),
        name: name.to_owned(),
    };
    let rules = if is_binding {
        let home = if resource == "roles" { key.namespace.as_str() } else { "" };
        store.get(resource, home, name).map(|role| role["rules"].clone()).unwrap_or_default()
    } else {
        now["rules"].clone()
    };
    let missing = missing(who, &rules, &key.namespace);
    if missing.is_empty() || who.may(&exempt) {
        return Ok(());
    }
    let why = format!(
        "user {:?} (groups=[{}]) is attempting to grant RBAC permissions not currently held:\n{}",
        who.user,
        groups_of(&who.user),
        missing.join("\n")
    );
    Err(ApiStatus::forbidden(key.kind(), &key.name, &why))
}

/// The groups of a service account, as the server lists them.
fn groups_of(user: &str) -> String {
    let namespace = user.split(':').nth(2).unwrap_or_default();
    format!("\"system:serviceaccounts\" \"system:serviceaccounts:{namespace}\" \"system:authenticated\"")
}

/// The permissions of the rules that the caller doesn't hold where they would apply.
fn missing(who: &Identity, rules: &Value, namespace: &str) -> Vec<String> {
    let mut missing = Vec::new();
    for rule in object::items(rules, "") {
        for group in object::strings(rule, "/apiGroups") {
            for resource in object::strings(rule, "/resources") {
                for verb in object::strings(rule, "/verbs") {
                    let asked = Attributes {
                        verb: verb.to_owned(),
                        group: group.to_owned(),
                        resource: resource.to_owned(),
                        namespace: namespace.to_owned(),
                        name: String::new(),
                    };
                    if !who.may(&asked) {
                        missing.push(format!("{{APIGroups:[{group:?}], Resources:[{resource:?}], Verbs:[{verb:?}]}}"));
                    }
                }
            }
        }
    }
    missing
}

/// Puts back what stood there before a refused write.
pub fn undo(store: &mut Store, key: &Key, before: Option<Value>) {
    match before {
        Some(before) => {
            store.put(key.clone(), before);
        }
        None => {
            store.remove(key);
        }
    }
}

/// The object that a request on Roles or bindings is about; a new one is named in its body.
pub fn subject(call: &Call, target: &Target) -> Option<Key> {
    match target {
        Target::Object { key, .. } => Some(key.clone()),
        Target::Collection { kind, namespace } => {
            let body = call.json().unwrap_or(json!({}));
            Some(Key::new(kind, namespace, object::name(&body)))
        }
        Target::Discovery => None,
    }
}
