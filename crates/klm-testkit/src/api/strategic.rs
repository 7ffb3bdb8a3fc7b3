//! Strategic merge: a merge patch that knows which lists are keyed.
//!
//! Only lists that the real API merges by key are here. `spec.taints` of a Node and `spec.tolerations` of a Pod are not
//! among them: a patch replaces those whole, so a client that sends one taint removes the others.

use serde_json::{Map, Value};

fn merge_key(list: &str) -> Option<&'static str> {
    Some(match list {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "env"
        | "volumes"
        | "imagePullSecrets"
        | "secrets" => "name",
        "volumeMounts" => "mountPath",
        "ports" => "containerPort",
        "conditions" | "addresses" => "type",
        "ownerReferences" => "uid",
        "hostAliases" => "ip",
        _ => return None,
    })
}

/// Merges a patch into an object.
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    match changes.get("$patch").and_then(Value::as_str) {
        Some("replace") => {
            *target = without_directives(changes);
            return;
        }
        Some("delete") => {
            *target = Value::Null;
            return;
        }
        _ => {}
    }
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(map) = target.as_object_mut() else {
        return;
    };
    for (field, change) in changes {
        if let Some(list) = field.strip_prefix("$deleteFromPrimitiveList/") {
            if let Some(Value::Array(items)) = map.get_mut(list) {
                items.retain(|item| !change.as_array().is_some_and(|gone| gone.contains(item)));
            }
        } else if field.starts_with('$') {
            // Ordering hints change nothing that a client of ours reads.
        } else if change.is_null() {
            map.remove(field);
        } else {
            merge_field(map, field, change);
        }
    }
}

fn merge_field(map: &mut Map<String, Value>, field: &str, change: &Value) {
    match (change, merge_key(field)) {
        (Value::Array(items), Some(key)) => {
            let slot = map.entry(field).or_insert_with(|| Value::Array(Vec::new()));
            merge_list(slot, items, key);
        }
        (Value::Array(items), None) if field == "finalizers" => {
            let slot = map.entry(field).or_insert_with(|| Value::Array(Vec::new()));
            let Some(list) = slot.as_array_mut() else {
                return;
            };
            for item in items {
                if !list.contains(item) {
                    list.push(item.clone());
                }
            }
        }
        (Value::Object(_), _) => {
            merge(map.entry(field).or_insert(Value::Null), change);
            if map.get(field).is_some_and(Value::is_null) {
                map.remove(field);
            }
        }
        _ => {
            map.insert(field.to_owned(), change.clone());
        }
    }
}

fn merge_list(slot: &mut Value, changes: &[Value], key: &str) {
    if !slot.is_array() || changes.iter().any(|it| it["$patch"] == "replace") {
        *slot = Value::Array(Vec::new());
    }
    let Some(list) = slot.as_array_mut() else { return };
    // New items come first, before those that were there: odd, and what the server does.
    let mut new = 0;
    for change in changes {
        let at = list.iter().position(|item| item[key] == change[key]);
        match (change["$patch"].as_str(), at) {
            (Some("delete"), Some(at)) => {
                list.remove(at);
            }
            (Some(_), _) => {}
            (None, Some(at)) => merge(&mut list[at], change),
            (None, None) => {
                let mut item = Value::Null;
                merge(&mut item, change);
                list.insert(new, item);
                new += 1;
            }
        }
    }
}

fn without_directives(map: &Map<String, Value>) -> Value {
    Value::Object(
        map.iter().filter(|(key, _)| !key.starts_with('$')).map(|(key, value)| (key.clone(), value.clone())).collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn merged(mut target: Value, patch: &Value) -> Value {
        merge(&mut target, patch);
        target
    }

    #[test]
    fn keyed_lists_merge_by_their_key() {
        let pod = json!({"spec": {"containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "y"}]}});
        let patch = json!({"spec": {"containers": [{"name": "b", "image": "z"}, {"name": "a", "$patch": "delete"}]}});
        assert_eq!(merged(pod, &patch), json!({"spec": {"containers": [{"name": "b", "image": "z"}]}}));
    }

    #[test]
    fn taints_are_replaced_whole() {
        let node = json!({"spec": {"taints": [{"key": "theirs"}], "unschedulable": true}});
        let patch = json!({"spec": {"taints": [{"key": "ours"}], "unschedulable": null}});
        assert_eq!(merged(node, &patch), json!({"spec": {"taints": [{"key": "ours"}]}}));
    }

    #[test]
    fn directives_replace_and_delete() {
        let object = json!({"metadata": {"labels": {"a": "1"}, "finalizers": ["x", "y"]}});
        let patch = json!({"metadata": {"labels": {"$patch": "replace", "b": "2"}, "$deleteFromPrimitiveList/finalizers": ["x"]}});
        assert_eq!(merged(object, &patch), json!({"metadata": {"labels": {"b": "2"}, "finalizers": ["y"]}}));
    }
}
