//! Manifests as text: joining, splitting, and telling hooks from the rest.

use serde::Deserialize as _;
use serde_json::Value;

use super::chart::Document;
use crate::api::object;

/// One object as YAML.
pub(super) fn to_yaml(object: &Value) -> String {
    serde_yaml::to_string(object).expect("JSON values are YAML")
}

/// Documents as one stream, each with its source.
pub(super) fn join(documents: &[Document]) -> String {
    documents.iter().fold(String::new(), |text, document| {
        text + &format!("---\n# Source: kata-deploy/templates/{}\n{}", document.source, to_yaml(&document.object))
    })
}

/// Objects as one stream.
pub(super) fn stream(objects: &[Value]) -> String {
    objects.iter().fold(String::new(), |text, object| text + "---\n" + &to_yaml(object))
}

/// Reads a stream back; empty documents are skipped.
pub(super) fn split(text: &str) -> Result<Vec<Document>, String> {
    let mut documents = Vec::new();
    for part in serde_yaml::Deserializer::from_str(text) {
        let value = Value::deserialize(part).map_err(|error| format!("error parsing manifests: {error}"))?;
        if !value.is_null() {
            documents.push(Document { source: "rendered.yaml".to_owned(), object: value });
        }
    }
    Ok(documents)
}

/// Hooks apart from the objects that belong to the release.
pub(super) fn partition(documents: Vec<Document>) -> (Vec<Document>, Vec<Value>) {
    let (hooks, objects): (Vec<_>, Vec<_>) =
        documents.into_iter().partition(|it| object::annotation(&it.object, "helm.sh/hook").is_some());
    (objects, hooks.into_iter().map(|hook| hook.object).collect())
}
