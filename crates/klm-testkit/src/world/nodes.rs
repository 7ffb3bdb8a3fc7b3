//! Nodes as the scheduler, the kubelet and kata-deploy see them.

use serde_json::{Value, json};

use super::World;
use crate::api::admission::{node_fits, tolerates};
use crate::api::object;

/// Where Kata may run, in kata-deploy's words.
pub(super) const RUNTIME_LABEL: &str = "katacontainers.io/kata-runtime";

/// Whether the kubelet reports for duty; a node without conditions does.
pub fn is_ready(node: &Value) -> bool {
    object::condition(node, "Ready").is_none_or(|status| status == "True")
}

/// The taints that the scheduler sees: the stated ones, and the one that a cordon stands for.
pub(super) fn taints(node: &Value) -> Vec<Value> {
    let mut taints = object::items(node, "/spec/taints").to_vec();
    let cordon = json!({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"});
    if node["spec"]["unschedulable"] == true && !taints.iter().any(|taint| taint["key"] == cordon["key"]) {
        taints.push(cordon);
    }
    taints
}

/// The first taint that keeps new pods with these tolerations away.
pub(super) fn repelling(node: &Value, tolerations: &[Value]) -> Option<Value> {
    taints(node).into_iter().find(|taint| taint["effect"] != "PreferNoSchedule" && !tolerates(tolerations, taint))
}

/// Why the scheduler would not put this pod on this node.
pub(super) fn misfit(node: &Value, pod_spec: &Value) -> Option<String> {
    if node["spec"]["unschedulable"] == true && repelling(node, object::items(pod_spec, "/tolerations")).is_some() {
        return Some("node(s) were unschedulable".to_owned());
    }
    if let Some(taint) = repelling(node, object::items(pod_spec, "/tolerations")) {
        let (key, value) = (object::text(&taint, "/key"), object::text(&taint, "/value"));
        return Some(format!("node(s) had untolerated taint {{{key}: {value}}}"));
    }
    if !is_ready(node) {
        return Some("node(s) had untolerated taint {node.kubernetes.io/not-ready: }".to_owned());
    }
    (!node_fits(pod_spec, node)).then(|| "node(s) didn't match Pod's node affinity/selector".to_owned())
}

impl World {
    /// A node; nothing when it has gone.
    pub(super) fn node(&self, name: &str) -> Option<Value> {
        self.store.get("nodes", "", name).cloned()
    }

    /// Whether the node is there and its kubelet works.
    pub(super) fn kubelet_works(&self, node: &str) -> bool {
        self.store.get("nodes", "", node).is_some_and(is_ready)
    }

    /// Sets or (without a value) removes a node's label, as kata-deploy would.
    pub(super) fn label_node(&mut self, node: &str, label: &str, value: Option<&str>) {
        let key = crate::api::store::Key::new(super::known("nodes"), "", node);
        self.store.edit(&key, |node| match value {
            Some(value) => object::set_label(node, label, value),
            None => {
                object::map_at(&mut node["metadata"], "labels").remove(label);
            }
        });
    }

    /// The kubelet of a node stops or resumes its reports.
    pub fn set_node_ready(&mut self, name: &str, ready: bool) {
        let status = if ready { "True" } else { "Unknown" };
        self.edit("nodes", "", name, |node| {
            node["status"]["conditions"] = json!([{"type": "Ready", "status": status, "reason": if ready { "KubeletReady" } else { "NodeStatusUnknown" }}]);
        });
    }

    /// Records an Event about an object.
    pub fn event(&mut self, about: &Value, kind: &str, reason: &str, message: &str) {
        let namespace = object::namespace(about);
        let home = if namespace.is_empty() { "default" } else { namespace };
        let stamp = self.store.stamp();
        let event = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"generateName": format!("{}.", object::name(about)), "namespace": home},
            "involvedObject": {
                "apiVersion": about["apiVersion"], "kind": about["kind"], "name": object::name(about),
                "namespace": namespace, "uid": object::uid(about),
            },
            "type": kind, "reason": reason, "message": message, "count": 1, "firstTimestamp": stamp, "lastTimestamp": stamp,
        });
        self.add(event);
    }
}
