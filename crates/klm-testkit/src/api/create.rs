//! POST to a collection.

use serde_json::{Value, json};

use super::kinds::Kind;
use super::object;
use super::status::{Answer, ApiStatus};
use super::store::{Key, Store};
use super::{admission, validate};

/// Stores a new object and returns it as stored.
pub fn create(store: &mut Store, kind: &'static Kind, namespace: &str, mut object: Value, dry_run: bool) -> Answer {
    check_type(kind, &object)?;
    let stated = object::namespace(&object).to_owned();
    if kind.namespaced && !stated.is_empty() && stated != namespace {
        let why = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(ApiStatus::new(400, why));
    }
    object::drop_nulls(&mut object);
    let uid = store.fresh_uid();
    let stamp = store.stamp();
    let suffix = object::name(&object).is_empty().then(|| store.fresh_suffix());
    let metadata = object::metadata(&mut object);
    if let Some(suffix) = suffix {
        let Some(prefix) = metadata.get("generateName").and_then(Value::as_str) else {
            return Err(ApiStatus::invalid(
                kind,
                "",
                "metadata.name: Required value: name or generateName is required",
            ));
        };
        let name = format!("{prefix}{suffix}");
        metadata.insert("name".to_owned(), json!(name));
    }
    metadata.insert("uid".to_owned(), json!(uid));
    metadata.insert("creationTimestamp".to_owned(), stamp);
    for server_owned in ["resourceVersion", "generation", "deletionTimestamp", "managedFields", "selfLink"] {
        metadata.remove(server_owned);
    }
    if kind.namespaced {
        metadata.insert("namespace".to_owned(), json!(namespace));
    } else {
        metadata.remove("namespace");
    }
    object["apiVersion"] = json!(kind.api_version());
    object["kind"] = json!(kind.kind);
    // A Node is the exception: its kubelet registers it together with its status.
    if kind.has_status_door() && kind.plural != "nodes" {
        object.as_object_mut().expect("an object was checked above").remove("status");
    }
    move_string_data(kind, &mut object);
    validate::check(kind, &object)?;
    let key = Key::new(kind, namespace, object::name(&object));
    if store.find(&key).is_some() {
        return Err(ApiStatus::already_exists(kind, &key.name));
    }
    admission::admit(store, kind, &mut object)?;
    if dry_run {
        return Ok(object);
    }
    store.put(key.clone(), object);
    store.find(&key).cloned().ok_or_else(|| ApiStatus::not_found(kind, &key.name))
}

/// A body of another type than the path's is the server's 400.
pub fn check_type(kind: &Kind, object: &Value) -> Answer<()> {
    if !object.is_object() {
        return Err(ApiStatus::new(400, format!("the body of a {} must be an object", kind.kind)));
    }
    let (version, name) = (object::text(object, "/apiVersion"), object::text(object, "/kind"));
    if (version.is_empty() && name.is_empty()) || (version == kind.api_version() && name == kind.kind) {
        return Ok(());
    }
    let bare = kind.group.split('.').next().filter(|group| !group.is_empty()).unwrap_or("core");
    let why = format!(
        "{name} in version {version:?} cannot be handled as a {}: converting ({version}.{name}) to ({bare}.{}): unknown conversion",
        kind.kind, kind.kind
    );
    Err(ApiStatus::new(400, why))
}

/// `stringData` of a Secret is write-only: the server encodes it into `data`.
pub fn move_string_data(kind: &Kind, object: &mut Value) {
    use base64::Engine as _;
    if kind.plural != "secrets" {
        return;
    }
    if object["type"].is_null() {
        object["type"] = json!("Opaque");
    }
    let Some(plain) = object.as_object_mut().and_then(|map| map.remove("stringData")) else {
        return;
    };
    for (key, value) in plain.as_object().into_iter().flatten() {
        let encoded = base64::engine::general_purpose::STANDARD.encode(value.as_str().unwrap_or_default());
        object::map_at(object, "data").insert(key.clone(), json!(encoded));
    }
}
