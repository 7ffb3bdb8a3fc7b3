//! What a test does around the stand-in: give its pods the rights to record the truth, ask for failures, and wipe the slate.

mod stale;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};

use crate::injection::{CONFIG_MAP, Injection, PACE_KEY, Pace, key};
use crate::names::{MARKER_PREFIX, RUNTIME_LABEL, TRUTH_PREFIX};

pub use stale::leave_stale_job;

/// Lets the pods of `namespace` record the ground truth, and makes the namespace if it isn't there.
///
/// These rights are on the namespace's accounts and not in the chart: there, whoever upgrades a release would need
/// them too, and tests of the upgrader's own rights would mean nothing.
pub async fn prepare(client: &Client, namespace: &str) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    apply(&namespaces, namespace, json!({"apiVersion": "v1", "kind": "Namespace"})).await?;
    let name = format!("standin-{namespace}");
    let roles: Api<ClusterRole> = Api::all(client.clone());
    apply(&roles, &name, role()).await?;
    let bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
    apply(&bindings, &name, binding(&name, namespace)).await
}

fn role() -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "rules": [
            {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "patch"]},
            {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [CONFIG_MAP], "verbs": ["get"]},
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
            {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["delete"]},
        ],
    })
}

fn binding(name: &str, namespace: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{
            "apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": format!("system:serviceaccounts:{namespace}"),
        }],
    })
}

async fn apply<K>(objects: &Api<K>, name: &str, mut object: Value) -> Result<()>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    object["metadata"]["name"] = name.into();
    let parameters = PatchParams::apply("standin").force();
    let done = objects.patch(name, &parameters, &Patch::Apply(object)).await;
    done.map(drop).with_context(|| format!("applying `{name}`"))
}

/// From now on this goes wrong on `node` (on every node if none is named) while `version` is at work (or any).
pub async fn inject(
    client: &Client,
    namespace: &str,
    node: Option<&str>,
    version: Option<&str>,
    injections: &[Injection],
) -> Result<()> {
    let lines: Vec<String> = injections.iter().map(ToString::to_string).collect();
    set(client, namespace, &key(node, version), &lines.join("\n")).await
}

/// From now on the stub is this fast.
pub async fn set_pace(client: &Client, namespace: &str, pace: Pace) -> Result<()> {
    set(client, namespace, PACE_KEY, &pace.to_string()).await
}

async fn set(client: &Client, namespace: &str, key: &str, text: &str) -> Result<()> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": CONFIG_MAP}, "data": {key: text}});
    // A field manager for each key: applying one mustn't take the others away.
    let parameters = PatchParams::apply(&format!("standin-{}", key.replace('_', "."))).force();
    let done = maps.patch(CONFIG_MAP, &parameters, &Patch::Apply(map)).await;
    done.map(drop).with_context(|| format!("setting `{key}` in `{namespace}/{CONFIG_MAP}`"))
}

/// From now on nothing goes wrong, at the default pace.
pub async fn heal(client: &Client, namespace: &str) -> Result<()> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    match maps.delete(CONFIG_MAP, &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        done => done.map(drop).with_context(|| format!("deleting `{namespace}/{CONFIG_MAP}`")),
    }
}

/// Every node as if no kata-deploy had ever run there: no truth, no label of kata-deploy's.
pub async fn forget(client: &Client) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    for node in nodes.list(&ListParams::default()).await.context("listing nodes")? {
        let labels = gone(node.labels().keys(), |name| name == RUNTIME_LABEL || below(name, MARKER_PREFIX));
        let annotations = gone(node.annotations().keys(), |name| below(name, TRUTH_PREFIX));
        let patch = json!({"metadata": {"labels": labels, "annotations": annotations}});
        let name = node.name_any();
        let done = nodes.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await;
        done.with_context(|| format!("wiping node `{name}`"))?;
    }
    Ok(())
}

fn below(name: &str, prefix: &str) -> bool {
    name.split_once('/').is_some_and(|(seen, _)| seen == prefix)
}

fn gone<'a>(names: impl Iterator<Item = &'a String>, ours: impl Fn(&str) -> bool) -> Value {
    names.filter(|name| ours(name)).map(|name| (name.clone(), Value::Null)).collect::<serde_json::Map<_, _>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_wiped() {
        let names =
            ["standin.klm.test/install-count", "katacontainers.io/kata-current-version", "standin.klm.test.org/x"]
                .map(str::to_owned);
        let wiped = gone(names.iter(), |name| below(name, TRUTH_PREFIX));
        assert_eq!(wiped, json!({"standin.klm.test/install-count": null}));
    }
}
