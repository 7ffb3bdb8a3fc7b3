//! Server-side apply, as far as a client can see it: create or merge, field conflicts, fields given up are removed.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::patch::PatchRequest;
use super::status::{Answer, ApiStatus};
use super::store::{Key, Store};
use super::update::{self, Door};
use super::{create, object, strategic};

/// Applies the fields of the body for one manager.
pub fn apply(store: &mut Store, key: &Key, door: Door, request: &PatchRequest<'_>) -> Answer {
    let kind = key.kind();
    if request.field_manager.is_empty() {
        let why = "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch";
        return Err(ApiStatus::new(422, why));
    }
    if request.body.get("kind").is_none() || request.body.get("apiVersion").is_none() {
        return Err(ApiStatus::new(400, "invalid object type: apiVersion and kind are required for apply patch"));
    }
    let leaves = leaves_of(&request.body);
    let Some(old) = store.find(key).cloned() else {
        let mut fresh = request.body.clone();
        object::metadata(&mut fresh).insert("name".to_owned(), json!(key.name));
        let created = create::create(store, kind, &key.namespace, fresh, request.dry_run)?;
        remember(store, object::uid(&created), leaves, request);
        return Ok(created);
    };
    let uid = object::uid(&old).to_owned();
    let owners = store.appliers.get(&uid).cloned().unwrap_or_default();
    let conflicts: Vec<(&str, String)> = leaves
        .iter()
        .filter(|(path, value)| old.pointer(path).is_some_and(|has| has != *value))
        .filter_map(|(path, _)| {
            let other = owners.get(path).filter(|owner| owner.as_str() != request.field_manager)?;
            Some((other.as_str(), path.replace('/', ".")))
        })
        .collect();
    if !conflicts.is_empty() && !request.force {
        return Err(conflict(&conflicts));
    }
    let mut new = old.clone();
    for (path, owner) in &owners {
        if owner == request.field_manager && !leaves.contains_key(path) {
            remove_at(&mut new, path);
        }
    }
    // A list that is all this manager's is replaced: what it no longer names in there is gone.
    for (path, value) in &leaves {
        if value.is_array() && owners.get(path).is_some_and(|owner| owner == request.field_manager) {
            remove_at(&mut new, path);
        }
    }
    strategic::merge(&mut new, &request.body);
    if object::text(&request.body, "/metadata/resourceVersion").is_empty() {
        object::metadata(&mut new).remove("resourceVersion");
    }
    let stored = update::store_over(store, key, door, new, request.dry_run)?;
    remember(store, &uid, leaves, request);
    Ok(stored)
}

/// The server's words for fields that another manager owns.
fn conflict(conflicts: &[(&str, String)]) -> ApiStatus {
    let causes: Vec<Value> = conflicts
        .iter()
        .map(|(owner, path)| json!({"reason": "FieldManagerConflict", "message": format!("conflict with {owner:?}"), "field": path}))
        .collect();
    let message = match conflicts {
        [(owner, path)] => format!("Apply failed with 1 conflict: conflict with {owner:?}: {path}"),
        several => {
            let mut lines = Vec::new();
            for chunk in several.chunk_by(|a, b| a.0 == b.0) {
                lines.push(format!("conflicts with {:?}:", chunk[0].0));
                lines.extend(chunk.iter().map(|(_, path)| format!("- {path}")));
            }
            format!("Apply failed with {} conflicts: {}", several.len(), lines.join("\n"))
        }
    };
    let mut status = ApiStatus::new(409, message);
    status.body["details"] = json!({"causes": causes});
    status
}

fn remember(store: &mut Store, uid: &str, leaves: BTreeMap<String, Value>, request: &PatchRequest<'_>) {
    if request.dry_run {
        return;
    }
    let owners = store.appliers.entry(uid.to_owned()).or_default();
    owners.retain(|_, owner| owner != request.field_manager);
    for path in leaves.into_keys() {
        owners.insert(path, request.field_manager.to_owned());
    }
}

/// Every leaf by JSON pointer; a list counts as one leaf.
fn leaves_of(body: &Value) -> BTreeMap<String, Value> {
    fn walk(value: &Value, path: &str, into: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    let escaped = key.replace('~', "~0").replace('/', "~1");
                    walk(value, &format!("{path}/{escaped}"), into);
                }
            }
            leaf => {
                into.insert(path.to_owned(), leaf.clone());
            }
        }
    }
    let mut leaves = BTreeMap::new();
    walk(body, "", &mut leaves);
    let identity = ["/apiVersion", "/kind", "/metadata/name", "/metadata/namespace"];
    leaves.retain(|path, _| !identity.contains(&path.as_str()));
    leaves
}

fn remove_at(object: &mut Value, pointer: &str) {
    let Some((parent, leaf)) = pointer.rsplit_once('/') else {
        return;
    };
    let Some(Value::Object(map)) = object.pointer_mut(parent) else { return };
    map.remove(&leaf.replace("~1", "/").replace("~0", "~"));
    // A map that held nothing else was there for this field only.
    if map.is_empty() && !parent.is_empty() {
        remove_at(object, parent);
    }
}
