//! A Node into what decisions need to know of it.

use std::str::FromStr as _;

use k8s_openapi::api::core::v1 as api;
use klm_core::contract::{CURRENT_VERSION, JOURNAL, STATUS};
use klm_core::name::NodeName;
use klm_core::node::{NodeFacts, Readiness, Taint};
use klm_core::phase::NodePhase;

use crate::cluster::LeanNode;

/// The facts of a node; nothing for an object without a usable name, which no API server returns.
pub fn node(node: &LeanNode) -> Option<NodeFacts> {
    let metadata = &node.metadata;
    let annotation = |key| metadata.annotations.as_ref().and_then(|map| map.get(key));
    Some(NodeFacts {
        name: NodeName::try_from(metadata.name.as_deref()?).ok()?,
        uid: metadata.uid.clone().unwrap_or_default(),
        resource_version: metadata.resource_version.clone().unwrap_or_default(),
        labels: metadata.labels.clone().unwrap_or_default(),
        taints: node.spec.taints.iter().flatten().map(taint).collect(),
        unschedulable: node.spec.unschedulable,
        ready: readiness(node),
        deleting: metadata.deletion_timestamp.is_some(),
        // A word that isn't ours was written by somebody else and says nothing.
        status: annotation(STATUS).and_then(|word| NodePhase::from_str(word).ok()),
        version: annotation(CURRENT_VERSION).cloned(),
        journal: annotation(JOURNAL).map(|text| serde_json::from_str(text).map_err(|_| text.clone())),
    })
}

fn taint(taint: &api::Taint) -> Taint {
    Taint {
        key: taint.key.clone(),
        value: taint.value.clone(),
        effect: taint.effect.clone(),
        // As the API spells it, so that it goes back as it came.
        time_added: taint
            .time_added
            .as_ref()
            .and_then(|time| serde_json::to_value(time).ok()?.as_str().map(str::to_owned)),
    }
}

fn readiness(node: &LeanNode) -> Readiness {
    let condition = node.status.conditions.iter().flatten().find(|condition| condition.type_ == "Ready");
    match condition.map(|condition| condition.status.as_str()) {
        Some("True") => Readiness::Ready,
        Some("False") => Readiness::NotReady,
        _ => Readiness::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn facts(object: Value) -> NodeFacts {
        node(&serde_json::from_value::<LeanNode>(object).unwrap()).unwrap()
    }

    #[test]
    fn a_bare_node_has_no_state_of_ours() {
        let facts = facts(json!({"metadata": {"name": "blue-7"}}));
        assert_eq!((facts.ready, facts.unschedulable), (Readiness::Unknown, false));
        assert_eq!(facts.hostname(), "blue-7");
        assert_eq!((facts.status, facts.version, facts.journal), (None, None, None));
    }

    #[test]
    fn a_journal_that_cannot_be_read_is_kept_as_text() {
        let facts = facts(json!({"metadata": {"name": "blue-7", "annotations": {JOURNAL: "{\"v\":"}}}));
        assert_eq!(facts.journal, Some(Err("{\"v\":".to_owned())));
    }

    #[test]
    fn a_taint_goes_back_as_it_came() {
        let taint = json!({"key": "k", "effect": "NoExecute", "timeAdded": "2026-03-02T08:00:00Z"});
        let facts = facts(json!({"metadata": {"name": "blue-7"}, "spec": {"taints": [taint]}}));
        assert_eq!(serde_json::to_value(&facts.taints[0]).unwrap(), taint);
    }

    #[test]
    fn readiness_is_the_condition_and_unknown_is_not_ready() {
        for (status, expected) in
            [("True", Readiness::Ready), ("False", Readiness::NotReady), ("Unknown", Readiness::Unknown)]
        {
            let conditions = json!([{"type": "Ready", "status": status}]);
            assert_eq!(facts(json!({"metadata": {"name": "n"}, "status": {"conditions": conditions}})).ready, expected);
        }
    }
}
