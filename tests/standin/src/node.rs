//! What the stub reads from and writes to a node, besides the ground truth.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, NodeSelectorRequirement, NodeSelectorTerm};
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;

use crate::names::{RUNTIME_LABEL, marker_label};
use crate::script::Owner;
use crate::truth::annotation;

/// A label and its value.
pub type Label = (String, String);

/// The label that says where Kata may run.
pub fn runtime(value: &str) -> Label {
    (RUNTIME_LABEL.to_owned(), value.to_owned())
}

/// The label that says whose node it is.
pub fn marker(suffix: &str, value: &str) -> Label {
    (marker_label(suffix), value.to_owned())
}

/// Whether the node has all of these labels.
pub fn has_labels(node: &Node, wanted: &[Label]) -> bool {
    wanted.iter().all(|(name, value)| node.labels().get(name) == Some(value))
}

/// Sets labels as upstream does before 4.1.0's dispatcher: with every label that it just read. What somebody
/// else removed meanwhile comes back, and tests should see that.
pub async fn set_labels(client: &Client, node: &str, wanted: &[Label]) -> Result<()> {
    let nodes = Api::<Node>::all(client.clone());
    let seen = nodes.get(node).await.with_context(|| format!("reading node `{node}`"))?;
    let mut labels = seen.labels().clone();
    labels.extend(wanted.iter().cloned());
    merge(client, node, json!({"metadata": {"labels": labels}})).await
}

/// Sets only these labels, as the dispatcher of 4.1.0 and later does.
pub async fn set_own_labels(client: &Client, node: &str, wanted: &[Label]) -> Result<()> {
    let labels: BTreeMap<_, _> = wanted.iter().cloned().collect();
    merge(client, node, json!({"metadata": {"labels": labels}})).await
}

/// Takes the runtime label off, and the marker too if the version knows it.
pub async fn remove_labels(client: &Client, node: &str, suffix: &str, with_marker: bool) -> Result<()> {
    let mut labels = BTreeMap::from([(RUNTIME_LABEL.to_owned(), None::<String>)]);
    if with_marker {
        labels.insert(marker_label(suffix), None);
    }
    merge(client, node, json!({"metadata": {"labels": labels}})).await
}

/// Labels the node `false` where it has no value yet.
pub async fn claim(client: &Client, node: &str, suffix: &str) -> Result<()> {
    let seen = Api::<Node>::all(client.clone()).get(node).await.with_context(|| format!("reading node `{node}`"))?;
    let absent: Vec<Label> = [runtime("false"), marker(suffix, "false")]
        .into_iter()
        .filter(|(name, _)| !seen.labels().contains_key(name))
        .collect();
    if absent.is_empty() {
        return Ok(());
    }
    set_own_labels(client, node, &absent).await
}

/// Whether this is the first time that `name` gets `value` on this node; from now on it isn't.
pub async fn first_time(client: &Client, node: &str, name: &str, value: &str) -> Result<bool> {
    let name = annotation(name);
    let seen = Api::<Node>::all(client.clone()).get(node).await.with_context(|| format!("reading node `{node}`"))?;
    if seen.annotations().get(&name).is_some_and(|seen| seen == value) {
        return Ok(false);
    }
    merge(client, node, json!({"metadata": {"annotations": {name: value}}})).await?;
    Ok(true)
}

async fn merge(client: &Client, node: &str, patch: serde_json::Value) -> Result<()> {
    let nodes = Api::<Node>::all(client.clone());
    let done = nodes.patch(node, &PatchParams::default(), &Patch::Merge(patch)).await;
    done.with_context(|| format!("patching node `{node}`"))?;
    Ok(())
}

/// Whether the runtime serves one of `handlers`. A node that doesn't list its handlers at all can't answer, and passes.
pub fn serves(node: &Node, handlers: &[String]) -> bool {
    let Some(served) = node.status.as_ref().and_then(|status| status.runtime_handlers.as_ref()) else {
        return true;
    };
    served.iter().any(|one| one.name.as_ref().is_some_and(|name| handlers.contains(name)))
}

/// Whether the node's `Ready` condition is true.
pub fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
}

/// What a `DaemonSet` thinks of a node; `None` is one that is gone.
pub fn owner(daemonset: Option<&DaemonSet>, node: &Node) -> Owner {
    let Some(daemonset) = daemonset else {
        return Owner::Gone;
    };
    let Some(pod) = daemonset.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()) else {
        return Owner::SelectsNode;
    };
    let labels = pod.node_selector.iter().flatten().all(|(name, value)| node.labels().get(name) == Some(value));
    let required = pod
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref())
        .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    let affine =
        required.is_none_or(|required| required.node_selector_terms.iter().any(|term| matches_term(term, node)));
    if labels && affine { Owner::SelectsNode } else { Owner::DeselectsNode }
}

fn matches_term(term: &NodeSelectorTerm, node: &Node) -> bool {
    let name = Some(node.name_any());
    let fields =
        term.match_fields.iter().flatten().all(|one| one.key == "metadata.name" && matches(one, name.as_ref()));
    fields && term.match_expressions.iter().flatten().all(|one| matches(one, node.labels().get(&one.key)))
}

fn matches(requirement: &NodeSelectorRequirement, seen: Option<&String>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let number = |text: &String| text.parse::<i64>().ok();
    let compare = |greater: bool| {
        let (Some(seen), Some(bound)) = (seen.and_then(number), values.first().and_then(number)) else {
            return false;
        };
        if greater { seen > bound } else { seen < bound }
    };
    match requirement.operator.as_str() {
        "In" => seen.is_some_and(|seen| values.contains(seen)),
        "NotIn" => seen.is_none_or(|seen| !values.contains(seen)),
        "Exists" => seen.is_some(),
        "DoesNotExist" => seen.is_none(),
        "Gt" => compare(true),
        "Lt" => compare(false),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
