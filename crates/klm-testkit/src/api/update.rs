//! Writing a new state over an object: what PUT and every kind of PATCH end in.

use serde_json::{Value, json};

use super::object;
use super::status::{Answer, ApiStatus};
use super::store::{Key, Store};
use super::{create, validate};

/// What a write is allowed to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// Everything but status, where status has its own door.
    Main,
    /// Only status.
    Status,
}

impl Door {
    /// By the subresource in the path.
    pub fn of(subresource: &str) -> Self {
        if subresource == "status" { Self::Status } else { Self::Main }
    }
}

/// PUT.
pub fn replace(store: &mut Store, key: &Key, door: Door, new: Value, dry_run: bool) -> Answer {
    create::check_type(key.kind(), &new)?;
    if object::name(&new) != key.name {
        let why = format!(
            "the name of the object ({}) does not match the name on the URL ({})",
            object::name(&new),
            key.name
        );
        return Err(ApiStatus::new(400, why));
    }
    // Only in a PUT is the uid a precondition.
    let has = store.find(key).map(|old| object::uid(old).to_owned()).unwrap_or_default();
    let expects = object::uid(&new);
    if !expects.is_empty() && !has.is_empty() && expects != has {
        let Key { plural, namespace, name } = key;
        let scope = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: /registry/{plural}/{scope}{name}, ResourceVersion: 0, \
             AdditionalErrorMsg: Precondition failed: UID in precondition: {expects}, UID in object meta: {has}"
        );
        return Err(ApiStatus::conflict(key.kind(), &key.name, &why));
    }
    store_over(store, key, door, new, dry_run)
}

/// Stores a changed object after the checks that every update passes.
pub fn store_over(store: &mut Store, key: &Key, door: Door, mut new: Value, dry_run: bool) -> Answer {
    let kind = key.kind();
    let old = store.find(key).cloned().ok_or_else(|| ApiStatus::not_found(kind, &key.name))?;
    let (has, expects) =
        (object::text(&old, "/metadata/resourceVersion"), object::text(&new, "/metadata/resourceVersion"));
    if !expects.is_empty() && expects != has {
        return Err(ApiStatus::modified(kind, &key.name));
    }
    let (has, expects) = (object::uid(&old), object::uid(&new));
    if !expects.is_empty() && expects != has {
        let why = format!("metadata.uid: Invalid value: {expects:?}: field is immutable");
        return Err(ApiStatus::invalid(kind, &key.name, &why));
    }
    object::drop_nulls(&mut new);
    create::move_string_data(kind, &mut new);
    new["apiVersion"] = json!(kind.api_version());
    new["kind"] = json!(kind.kind);
    if door == Door::Status {
        let status = new["status"].take();
        new = old.clone();
        new["status"] = status;
    } else if kind.has_status_door() {
        restore(&mut new, &old, "status");
    }
    for server_owned in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "generation",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        let kept = old["metadata"].get(server_owned).cloned();
        let metadata = object::metadata(&mut new);
        match kept {
            Some(kept) => metadata.insert(server_owned.to_owned(), kept),
            None => metadata.remove(server_owned),
        };
    }
    validate::check(kind, &new)?;
    validate::check_immutable(kind, &old, &new)?;
    if dry_run {
        return Ok(new);
    }
    store.put(key.clone(), new);
    let stored = store.find(key).cloned().ok_or_else(|| ApiStatus::not_found(kind, &key.name))?;
    super::delete::finish_if_released(store, key);
    Ok(stored)
}

fn restore(new: &mut Value, old: &Value, field: &str) {
    let Some(map) = new.as_object_mut() else {
        return;
    };
    match old.get(field) {
        Some(kept) => map.insert(field.to_owned(), kept.clone()),
        None => map.remove(field),
    };
}
