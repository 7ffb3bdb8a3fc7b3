//! PATCH: which of the four languages, and what each one means.

use serde_json::Value;

use super::kinds::Kind;
use super::status::{Answer, ApiStatus};
use super::store::{Key, Store};
use super::update::{self, Door};
use super::{apply, object, strategic};

/// Applies a patch and returns the object as stored.
pub fn patch(store: &mut Store, key: &Key, door: Door, request: &PatchRequest<'_>) -> Answer {
    let kind = key.kind();
    if request.content_type == "application/apply-patch+yaml" {
        return apply::apply(store, key, door, request);
    }
    let old = store.find(key).cloned().ok_or_else(|| ApiStatus::not_found(kind, &key.name))?;
    let mut new = old.clone();
    match request.content_type {
        "application/merge-patch+json" => json_patch::merge(&mut new, &request.body),
        "application/strategic-merge-patch+json" if kind.is_custom() => {
            return Err(unsupported(kind));
        }
        "application/strategic-merge-patch+json" => strategic::merge(&mut new, &request.body),
        "application/json-patch+json" => new = json_patch_of(kind, key, &old, &request.body)?,
        _ => return Err(unsupported(kind)),
    }
    // A resourceVersion in the patch is a precondition; one that is only carried along from the old object is not.
    if object::text(&request.body, "/metadata/resourceVersion").is_empty()
        && new["metadata"]["resourceVersion"] == old["metadata"]["resourceVersion"]
    {
        object::metadata(&mut new).remove("resourceVersion");
    }
    update::store_over(store, key, door, new, request.dry_run)
}

/// The parts of a PATCH that matter here.
#[derive(Debug)]
pub struct PatchRequest<'a> {
    /// Names the language of the patch.
    pub content_type: &'a str,
    /// The patch.
    pub body: Value,
    /// Whether to store nothing.
    pub dry_run: bool,
    /// Who applies, for server-side apply.
    pub field_manager: &'a str,
    /// Whether an apply takes fields over from another manager.
    pub force: bool,
}

fn unsupported(kind: &Kind) -> ApiStatus {
    if !kind.is_custom() {
        return ApiStatus::new(415, "415: Unsupported Media Type");
    }
    let why = "the body of the request was in an unknown format - accepted media types include: \
               application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
    ApiStatus::new(415, why)
}

fn json_patch_of(kind: &Kind, key: &Key, old: &Value, body: &Value) -> Answer {
    let malformed = |error: &dyn std::fmt::Display| ApiStatus::new(400, format!("the patch is malformed: {error}"));
    let patch: json_patch::Patch = serde_json::from_value(body.clone()).map_err(|error| malformed(&error))?;
    let mut new = old.clone();
    // A failed `test`, and a path that is not there, are both a 422 with this sentence and no detail.
    json_patch::patch(&mut new, &patch)
        .map_err(|_| ApiStatus::new(422, "the server rejected our request due to an error in our request"))?;
    let renamed = object::name(&new) != key.name;
    if renamed { Err(ApiStatus::invalid(kind, &key.name, "metadata.name: field is immutable")) } else { Ok(new) }
}
