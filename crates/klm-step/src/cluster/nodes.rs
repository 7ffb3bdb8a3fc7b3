//! Reading and changing Nodes: every change is one patch, and never over somebody else's.

use std::collections::BTreeMap;

use klm_core::contract::{CURRENT_VERSION, JOURNAL, STATUS};
use klm_core::journal::Journal;
use klm_core::name::NodeName;
use klm_core::node::{NodeFacts, Taint};
use klm_core::phase::NodePhase;
use klm_core::version::label_value;
use serde_json::{Map, Value, json};

use super::{ApiError, Cluster, LeanNode, Query};
use crate::observe;

/// What one patch changes on a node. Nothing in it means: leave it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodePatch {
    /// The status word, as annotation and label.
    pub status: Option<NodePhase>,
    /// The verified version, as annotation and label.
    pub version: Option<String>,
    /// Our record; `Some(None)` removes it.
    pub journal: Option<Option<Journal>>,
    /// Other labels; `None` removes one.
    pub labels: BTreeMap<String, Option<String>>,
    /// The cordon.
    pub unschedulable: Option<bool>,
    /// All taints.
    pub taints: Option<Vec<Taint>>,
}

impl NodePatch {
    /// The merge patch. It carries the version of the object that was read, so that it fails when anybody else wrote.
    pub fn body(&self, resource_version: &str) -> Value {
        let mut annotations = Map::new();
        let mut labels: Map<String, Value> = Map::new();
        if let Some(status) = self.status {
            annotations.insert(STATUS.to_owned(), json!(status.as_str()));
            labels.insert(STATUS.to_owned(), json!(status.as_str()));
        }
        if let Some(version) = &self.version {
            annotations.insert(CURRENT_VERSION.to_owned(), json!(version));
            labels.insert(CURRENT_VERSION.to_owned(), json!(label_value(version)));
        }
        if let Some(journal) = &self.journal {
            let text = journal.as_ref().and_then(|journal| serde_json::to_string(journal).ok());
            annotations.insert(JOURNAL.to_owned(), json!(text));
        }
        labels.extend(self.labels.iter().map(|(key, value)| (key.clone(), json!(value))));
        let mut body = json!({ "metadata": { "resourceVersion": resource_version } });
        if !annotations.is_empty() {
            body["metadata"]["annotations"] = Value::Object(annotations);
        }
        if !labels.is_empty() {
            body["metadata"]["labels"] = Value::Object(labels);
        }
        if let Some(unschedulable) = self.unschedulable {
            // `false` is spelled by absence, as `kubectl uncordon` leaves it.
            body["spec"]["unschedulable"] = if unschedulable { json!(true) } else { Value::Null };
        }
        if let Some(taints) = &self.taints {
            body["spec"]["taints"] = if taints.is_empty() { Value::Null } else { json!(taints) };
        }
        body
    }
}

/// Lost races before we give up: a kubelet writes every few seconds, nobody writes all the time.
const ATTEMPTS: usize = 8;

/// What came of a change.
#[derive(Clone, Debug)]
pub enum Changed {
    /// Written, or as wanted already: the node as it is now.
    Node(Box<NodeFacts>),
    /// There is no such node any more.
    Gone,
}

impl Cluster {
    /// A node's facts, or nothing when it is gone.
    pub async fn node(&self, name: &NodeName) -> Result<Option<NodeFacts>, ApiError> {
        Ok(self.get::<LeanNode>(None, name.as_str()).await?.and_then(|node| observe::node(&node)))
    }

    /// The facts of all nodes that match.
    pub async fn nodes(&self, query: &Query) -> Result<Vec<NodeFacts>, ApiError> {
        self.list(None, query, |node: LeanNode| observe::node(&node)).await
    }

    /// Changes a node: `decide` sees it as it is and says what to patch; on a lost race it is asked again.
    /// `seen` is a state that was read lately and saves the first read.
    pub async fn change_node<E: From<ApiError>>(
        &self,
        seen: NodeFacts,
        mut decide: impl FnMut(&NodeFacts) -> Result<Option<NodePatch>, E>,
    ) -> Result<Changed, E> {
        let mut facts = seen;
        for attempt in 1.. {
            let Some(patch) = decide(&facts)? else { return Ok(Changed::Node(Box::new(facts))) };
            let body = patch.body(&facts.resource_version);
            match self.patch::<LeanNode>(None, facts.name.as_str(), &body).await {
                Ok(node) => {
                    return Ok(observe::node(&node).map_or(Changed::Gone, |facts| Changed::Node(Box::new(facts))));
                }
                Err(error) if error.is_not_found() => return Ok(Changed::Gone),
                Err(error) if error.is_conflict() && attempt < ATTEMPTS => {}
                Err(error) => return Err(error.into()),
            }
            // Another node under the same name isn't the one that was decided about.
            match self.node(&facts.name).await? {
                Some(now) if now.uid == facts.uid => facts = now,
                _ => return Ok(Changed::Gone),
            }
        }
        Ok(Changed::Gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_version_are_written_as_annotation_and_label() {
        let patch = NodePatch {
            status: Some(NodePhase::Completed),
            version: Some("4.1.0+build.7".to_owned()),
            journal: Some(None),
            unschedulable: Some(false),
            ..NodePatch::default()
        };
        assert_eq!(
            patch.body("17"),
            json!({
                "metadata": {
                    "resourceVersion": "17",
                    "annotations": { STATUS: "completed", CURRENT_VERSION: "4.1.0+build.7", JOURNAL: null },
                    "labels": { STATUS: "completed", CURRENT_VERSION: "4.1.0-build.7" },
                },
                "spec": { "unschedulable": null },
            })
        );
    }

    #[test]
    fn what_is_not_meant_to_change_is_not_in_the_patch() {
        assert_eq!(NodePatch::default().body("17"), json!({ "metadata": { "resourceVersion": "17" } }));
    }
}
