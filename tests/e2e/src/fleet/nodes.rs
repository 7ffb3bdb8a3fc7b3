//! What can be seen of a node, apart from what changes by itself.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Node;
use klm_core::contract;
use klm_standin::truth::Truth;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};

use super::Fleet;

/// A taint as `key=value:effect`.
pub type Taint = String;

/// A node at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeState {
    /// Its name.
    pub name: String,
    /// Whether it is cordoned.
    pub cordoned: bool,
    /// Its taints but those that Kubernetes itself puts on, in their order.
    pub taints: Vec<Taint>,
    /// All its labels.
    pub labels: BTreeMap<String, String>,
    /// All its annotations.
    pub annotations: BTreeMap<String, String>,
    /// What really happened on it.
    pub truth: Truth,
}

impl NodeState {
    /// Reads a node.
    pub fn of(node: &Node) -> Self {
        let spec = node.spec.clone().unwrap_or_default();
        let taints =
            spec.taints.unwrap_or_default().into_iter().filter(|taint| domain(&taint.key) != "node.kubernetes.io");
        Self {
            name: node.name_any(),
            cordoned: spec.unschedulable.unwrap_or(false),
            taints: taints
                .map(|taint| format!("{}={}:{}", taint.key, taint.value.unwrap_or_default(), taint.effect))
                .collect(),
            labels: node.labels().clone(),
            annotations: node.annotations().clone(),
            truth: Truth::of(node),
        }
    }

    /// The status that a run wrote: empty when none did.
    pub fn status(&self) -> &str {
        self.annotations.get(contract::STATUS).map_or("", String::as_str)
    }

    /// The version that a run wrote: empty when none did.
    pub fn version(&self) -> &str {
        self.annotations.get(contract::CURRENT_VERSION).map_or("", String::as_str)
    }

    /// Whether kata-deploy says that it serves Kata.
    pub fn serves_kata(&self) -> bool {
        self.labels.get(contract::KATA_RUNTIME).is_some_and(|value| value == "true")
    }

    /// Whether a run works on it.
    pub fn is_in_flight(&self) -> bool {
        !matches!(self.status(), "" | "completed" | "rolled-back")
    }
}

fn domain(name: &str) -> &str {
    name.split_once('/').map_or("", |(domain, _)| domain)
}

/// What a node has from the start; roles, zones and everything else come from tests.
fn is_native(name: &str) -> bool {
    matches!(
        domain(name),
        "kubernetes.io" | "beta.kubernetes.io" | "node.alpha.kubernetes.io" | "volumes.kubernetes.io"
    )
}

impl Fleet {
    /// Every node, in the order of their names.
    pub async fn nodes(&self) -> Result<Vec<NodeState>> {
        let mut nodes: Vec<_> = node_api(&self.client())
            .list(&ListParams::default())
            .await
            .context("listing nodes")?
            .iter()
            .map(NodeState::of)
            .collect();
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(nodes)
    }

    /// One node.
    pub async fn node(&self, name: &str) -> Result<NodeState> {
        Ok(NodeState::of(&node_api(&self.client()).get(name).await.with_context(|| format!("reading node `{name}`"))?))
    }

    /// The status of each node, in the order of their names; empty where no run was.
    pub async fn statuses(&self) -> Result<Vec<String>> {
        Ok(self.nodes().await?.iter().map(|node| node.status().to_owned()).collect())
    }

    /// Labels a node; `None` takes the label off.
    pub async fn label(&self, node: &str, label: &str, value: Option<&str>) -> Result<()> {
        self.patch_node(node, &json!({"metadata": {"labels": {label: value}}})).await
    }

    /// Cordons a node, as a person would.
    pub async fn cordon(&self, node: &str) -> Result<()> {
        self.patch_node(node, &json!({"spec": {"unschedulable": true}})).await
    }

    /// Uncordons a node, as a person would.
    pub async fn uncordon(&self, node: &str) -> Result<()> {
        self.patch_node(node, &json!({"spec": {"unschedulable": null}})).await
    }

    /// Gives a node a taint, as a person would: `key=value:effect`.
    pub fn taint(&self, node: &str, taint: &str) -> Result<()> {
        self.scene.kubectl(&["taint", "nodes", node, taint]).map(drop)
    }

    pub(crate) async fn patch_node(&self, name: &str, patch: &Value) -> Result<()> {
        let done = node_api(&self.client()).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
        done.map(drop).with_context(|| format!("changing node `{name}`"))
    }

    /// Takes everything off a node that isn't Kubernetes' own.
    pub(crate) async fn wipe_node(&self, node: &NodeState) -> Result<()> {
        let foreign = |names: &BTreeMap<String, String>| -> Value {
            names
                .keys()
                .filter(|name| !is_native(name))
                .map(|name| (name.clone(), Value::Null))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        let patch = json!({
            "metadata": {"labels": foreign(&node.labels), "annotations": foreign(&node.annotations)},
            "spec": {"unschedulable": null, "taints": null},
        });
        self.patch_node(&node.name, &patch).await
    }
}

pub(crate) fn node_api(client: &Client) -> Api<Node> {
    Api::all(client.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wiped_node_keeps_only_what_it_had_from_the_start() {
        assert!(is_native("kubernetes.io/hostname") && is_native("beta.kubernetes.io/arch"));
        for from_a_test in ["topology.kubernetes.io/zone", "node-role.kubernetes.io/control-plane", "node-pool", "x/y"]
        {
            assert!(!is_native(from_a_test), "{from_a_test}");
        }
    }
}
