//! The checks that the server makes on every write, as far as our clients can trip over them.

use serde_json::Value;

use super::kinds::Kind;
use super::object;
use super::status::{Answer, ApiStatus};

const ANNOTATIONS_LIMIT: usize = 256 * 1024;
const DATA_LIMIT: usize = 1024 * 1024;

/// A DNS-1123 subdomain: the form of object names and label prefixes.
pub fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(|part| is_dns_label(part, usize::MAX))
}

fn is_dns_label(text: &str, limit: usize) -> bool {
    let inner = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    !text.is_empty() && text.len() <= limit && text.chars().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// The form of a label value that isn't empty, and of the part of a key after its slash.
pub fn is_label_name(text: &str) -> bool {
    let edge = |letter: Option<char>| letter.is_some_and(|letter| letter.is_ascii_alphanumeric());
    text.len() <= 63
        && edge(text.chars().next())
        && edge(text.chars().last())
        && text.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(letter))
}

/// Refuses what the server would refuse.
pub fn check(kind: &Kind, object: &Value) -> Answer<()> {
    let name = object::name(object);
    let refuse = |why: String| Err(ApiStatus::invalid(kind, name, &why));
    // RBAC names may hold colons; all else is a subdomain, and namespaces are a single label.
    let name_is_fine = match kind.plural {
        "roles" | "rolebindings" | "clusterroles" | "clusterrolebindings" => {
            !name.contains('/') && !name.contains('%') && name != "." && name != ".."
        }
        "namespaces" => is_dns_label(name, 63),
        _ => is_subdomain(name),
    };
    if !name_is_fine {
        return refuse(format!(
            "metadata.name: Invalid value: {name:?}: a lowercase RFC 1123 subdomain must consist of lower case \
             alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for \
             validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
        ));
    }
    for (key, value) in object["metadata"]["labels"].as_object().into_iter().flatten() {
        let value = value.as_str().unwrap_or("\u{0}");
        if !is_qualified(key) || !(value.is_empty() || is_label_name(value)) {
            return refuse(format!(
                "metadata.labels: Invalid value: {value:?}: a valid label must be an empty string or consist of alphanumeric \
                 characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or \
                 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
            ));
        }
    }
    let mut size = 0;
    for (key, value) in object["metadata"]["annotations"].as_object().into_iter().flatten() {
        let Some(value) = value.as_str() else {
            return refuse(format!("metadata.annotations: Invalid value: {key:?}: must be a string"));
        };
        if !is_qualified(&key.to_ascii_lowercase()) {
            return refuse(format!("metadata.annotations: Invalid value: {key:?}: name part must be a qualified name"));
        }
        size += key.len() + value.len();
    }
    if size > ANNOTATIONS_LIMIT {
        return refuse(format!("metadata.annotations: Too long: may not be more than {ANNOTATIONS_LIMIT} bytes"));
    }
    match kind.plural {
        "configmaps" | "secrets" if object.to_string().len() > DATA_LIMIT + 64 * 1024 => {
            refuse(format!("[]: Too long: may not be more than {DATA_LIMIT} bytes"))
        }
        "events" => check_event(kind, object),
        _ => Ok(()),
    }
}

fn is_qualified(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => is_subdomain(prefix) && is_label_name(name),
        None => is_label_name(key),
    }
}

fn check_event(kind: &Kind, event: &Value) -> Answer<()> {
    let refuse = |why: &str| Err(ApiStatus::invalid(kind, object::name(event), why));
    let involved = object::text(event, "/involvedObject/namespace");
    let home = object::namespace(event);
    // An event about a cluster-scoped object must live in `default`.
    if involved.is_empty() && home != "default" {
        return refuse("involvedObject.namespace: Invalid value: \"\": does not match event.namespace");
    }
    if !involved.is_empty() && involved != home {
        return refuse(&format!(
            "involvedObject.namespace: Invalid value: {involved:?}: does not match event.namespace"
        ));
    }
    if !event["eventTime"].is_null() {
        for field in ["reportingComponent", "reportingInstance", "action", "reason"] {
            if object::text(event, &format!("/{field}")).is_empty() {
                return refuse(&format!("{field}: Required value"));
            }
        }
        if object::text(event, "/message").len() > 1024 {
            return refuse("message: Invalid value: can have at most 1024 characters");
        }
    }
    Ok(())
}

/// Fields that an update may not change, by kind.
pub fn check_immutable(kind: &Kind, old: &Value, new: &Value) -> Answer<()> {
    let fields: &[&str] = match kind.plural {
        "runtimeclasses" => &["/handler"],
        "jobs" => &["/spec/template", "/spec/selector", "/spec/completions"],
        "daemonsets" | "deployments" | "statefulsets" => &["/spec/selector"],
        "rolebindings" | "clusterrolebindings" => &["/roleRef"],
        "pods" => &["/spec/nodeName", "/spec/runtimeClassName", "/spec/restartPolicy", "/spec/nodeSelector"],
        "secrets" => &["/type"],
        _ => &[],
    };
    let refuse = |why: String| Err(ApiStatus::invalid(kind, object::name(old), &why));
    if old["immutable"] == true && (old["data"] != new["data"] || old["immutable"] != new["immutable"]) {
        return refuse("data: Forbidden: field is immutable when `immutable` is set".to_owned());
    }
    for field in fields {
        if old.pointer(field) != new.pointer(field) {
            let path = field.trim_start_matches('/').replace('/', ".");
            let value = new.pointer(field).unwrap_or(&Value::Null);
            return refuse(format!("{path}: Invalid value: {value}: field is immutable"));
        }
    }
    Ok(())
}
