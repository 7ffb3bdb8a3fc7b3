//! `/version`, `/api` and `/apis`: what the server says that it serves.

use serde_json::{Value, json};

use super::kinds::{KINDS, Kind};
use super::status::{Answer, ApiStatus};

/// Answers a discovery path.
pub fn discover(path: &str, version: &str) -> Answer {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    match parts.as_slice() {
        ["version"] => Ok(server_version(version)),
        ["api"] => Ok(json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})),
        ["api", version] => resources("", version),
        ["apis"] => {
            let mut groups: Vec<&str> = KINDS.iter().map(|kind| kind.group).filter(|group| !group.is_empty()).collect();
            groups.sort_unstable();
            groups.dedup();
            let groups: Vec<Value> = groups.into_iter().filter_map(group_of).collect();
            Ok(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
        }
        ["apis", group] => group_of(group).ok_or_else(not_found),
        ["apis", group, version] => resources(group, version),
        _ => Err(not_found()),
    }
}

fn not_found() -> ApiStatus {
    ApiStatus::new(404, "the server could not find the requested resource")
}

fn server_version(version: &str) -> Value {
    let mut parts = version.trim_start_matches('v').split('.');
    let (major, minor) = (parts.next().unwrap_or("1"), parts.next().unwrap_or("35"));
    json!({
        "major": major, "minor": minor, "gitVersion": version, "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "", "goVersion": "", "compiler": "gc", "platform": "linux/amd64",
    })
}

fn group_of(group: &str) -> Option<Value> {
    let version = KINDS.iter().find(|kind| kind.group == group)?.version;
    let entry = json!({"groupVersion": format!("{group}/{version}"), "version": version});
    Some(json!({"kind": "APIGroup", "apiVersion": "v1", "name": group, "versions": [entry], "preferredVersion": entry}))
}

fn resources(group: &str, version: &str) -> Answer {
    let served: Vec<&Kind> = KINDS.iter().filter(|kind| kind.group == group && kind.version == version).collect();
    let first = served.first().ok_or_else(not_found)?;
    let verbs = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
    let mut entries = Vec::new();
    for kind in &served {
        let entry = |name: String| json!({"name": name, "singularName": kind.kind.to_lowercase(), "namespaced": kind.namespaced, "kind": kind.kind, "verbs": verbs});
        entries.push(entry(kind.plural.to_owned()));
        entries.extend(kind.subresources.iter().map(|sub| entry(format!("{}/{sub}", kind.plural))));
    }
    Ok(
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": first.api_version(), "resources": entries}),
    )
}
