//! GET on a collection: selectors, pages, and the shape of the list.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::kinds::Kind;
use super::object;
use super::selector::{FieldSelector, LabelSelector};
use super::status::{Answer, ApiStatus};
use super::store::{Key, Store};

/// What to list.
#[derive(Debug, Default)]
pub struct ListOptions<'a> {
    /// Empty: all namespaces.
    pub namespace: &'a str,
    /// Label selector text.
    pub labels: &'a str,
    /// Field selector text.
    pub fields: &'a str,
    /// Page size.
    pub limit: Option<usize>,
    /// Where the last page ended.
    pub after: &'a str,
}

/// The keys that the options select, in order.
pub fn select(store: &Store, kind: &'static Kind, options: &ListOptions<'_>) -> Answer<Vec<Key>> {
    let is_chosen = options.filter(kind)?;
    Ok(store.of(kind.plural).filter(|(key, object)| is_chosen(key, object)).map(|(key, _)| key.clone()).collect())
}

impl ListOptions<'_> {
    /// Whether an object is among them, as the objects of its kind are.
    pub fn filter(&self, kind: &'static Kind) -> Answer<impl Fn(&Key, &Value) -> bool + use<>> {
        let labels = LabelSelector::parse(self.labels)?;
        let fields = FieldSelector::parse(kind, self.fields)?;
        let namespace = self.namespace.to_owned();
        Ok(move |key: &Key, object: &Value| {
            (namespace.is_empty() || key.namespace == namespace) && labels.matches(object) && fields.matches(object)
        })
    }
}

/// The list as the server answers it.
pub fn list(store: &Store, kind: &'static Kind, options: &ListOptions<'_>, metadata_only: bool) -> Answer {
    let mut keys = select(store, kind, options)?;
    if !options.after.is_empty() {
        let after = decode(kind, options.after)?;
        keys.retain(|key| *key > after);
    }
    let total = keys.len();
    let limit = options.limit.filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    keys.truncate(limit);
    let mut metadata = json!({"resourceVersion": store.revision().to_string()});
    if let Some(last) = keys.last().filter(|_| total > limit) {
        metadata["continue"] = json!(encode(last));
        if options.labels.is_empty() && options.fields.is_empty() {
            metadata["remainingItemCount"] = json!(total - limit);
        }
    }
    let items: Vec<Value> =
        keys.iter().filter_map(|key| store.find(key)).map(|object| item(kind, object, metadata_only)).collect();
    let (version, name) = if metadata_only {
        ("meta.k8s.io/v1".to_owned(), "PartialObjectMetadataList".to_owned())
    } else {
        (kind.api_version(), format!("{}List", kind.kind))
    };
    Ok(json!({"apiVersion": version, "kind": name, "metadata": metadata, "items": items}))
}

/// Built-in types leave `apiVersion` and `kind` out of list items; a client that relies on them fails here too.
fn item(kind: &Kind, object: &Value, metadata_only: bool) -> Value {
    if metadata_only {
        return partial(object);
    }
    let mut object = object.clone();
    if let Some(map) = object.as_object_mut().filter(|_| !kind.is_custom()) {
        map.remove("apiVersion");
        map.remove("kind");
    }
    object
}

/// Only the metadata of an object.
pub fn partial(object: &Value) -> Value {
    json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": object["metadata"]})
}

fn encode(key: &Key) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}/{}", key.namespace, key.name))
}

fn decode(kind: &'static Kind, token: &str) -> Answer<Key> {
    let malformed = || ApiStatus::new(400, "continue key is not valid");
    let text =
        URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(malformed)?;
    let (namespace, name) = text.split_once('/').ok_or_else(malformed)?;
    Ok(Key::new(kind, namespace, name))
}

/// Whether the client asked for metadata only.
pub fn wants_metadata_only(accept: &str) -> bool {
    accept.contains("as=PartialObjectMetadata")
}

/// The name that a field selector pins, which RBAC's `resourceNames` honours on lists.
pub fn pinned_name(fields: &str) -> &str {
    fields.split(',').find_map(|term| term.strip_prefix("metadata.name=")).unwrap_or_default().trim_start_matches('=')
}

/// Whether an object of a list is a node, pod or other that a label points at: used by fixtures and worlds.
pub fn labelled<'a>(store: &'a Store, plural: &'a str, namespace: &str, key: &str, value: &str) -> Vec<&'a Value> {
    let fits = |at: &Key, object: &Value| at.namespace == namespace && object::label(object, key) == Some(value);
    store.of(plural).filter(|(at, object)| fits(at, object)).map(|(_, object)| object).collect()
}
