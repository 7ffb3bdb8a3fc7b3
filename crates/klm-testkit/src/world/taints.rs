//! The node controller's taint for a cordon: it comes and goes by itself, so a patch of `spec.taints` must not lose it.

use serde_json::{Value, json};

use super::{Controller, known};
use crate::api::object;
use crate::api::store::Key;

const CORDON: &str = "node.kubernetes.io/unschedulable";

/// Follows `spec.unschedulable`.
pub(super) fn controller() -> Controller {
    Box::new(|world| {
        let differs = |node: &Value| {
            let tainted = object::items(node, "/spec/taints").iter().any(|taint| taint["key"] == CORDON);
            tainted != (node["spec"]["unschedulable"] == true)
        };
        let nodes: Vec<String> =
            world.store.of("nodes").filter(|(_, node)| differs(node)).map(|(key, _)| key.name.clone()).collect();
        let stamp = world.store.stamp();
        for name in nodes {
            world.store.edit(&Key::new(known("nodes"), "", &name), |node| {
                let mut taints = object::items(node, "/spec/taints").to_vec();
                taints.retain(|taint| taint["key"] != CORDON);
                if node["spec"]["unschedulable"] == true {
                    taints.push(json!({"key": CORDON, "effect": "NoSchedule", "timeAdded": stamp}));
                }
                if taints.is_empty() {
                    object::map_at(node, "spec").remove("taints");
                } else {
                    node["spec"]["taints"] = json!(taints);
                }
            });
        }
    })
}
