//! kata-deploy's `DaemonSet` and its pods into what a proof needs.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodSpec};
use klm_core::proof::{DaemonSetFacts, KataPod};
use serde_json::json;

/// The container that installs, in every version.
const INSTALLER: &str = "kube-kata";

/// Written by the API server on every `DaemonSet`, and by its controller on every pod.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";
const POD_TEMPLATE_GENERATION: &str = "pod-template-generation";

/// The `DaemonSet` as it is now.
pub fn daemonset(daemonset: &DaemonSet) -> DaemonSetFacts {
    let metadata = &daemonset.metadata;
    let annotation = |key| metadata.annotations.as_ref().and_then(|map| map.get(key)).cloned();
    let spec = daemonset.spec.as_ref();
    let pod = spec.and_then(|spec| spec.template.spec.as_ref());
    let strategy = spec.and_then(|spec| spec.update_strategy.as_ref()).and_then(|strategy| strategy.type_.as_deref());
    DaemonSetFacts {
        uid: metadata.uid.clone().unwrap_or_default(),
        template_generation: annotation(TEMPLATE_GENERATION).unwrap_or_default(),
        image: pod.and_then(installer_image).unwrap_or_default(),
        on_delete: strategy == Some("OnDelete"),
        tolerations: pod
            .and_then(|pod| pod.tolerations.as_ref())
            .map_or_else(Vec::new, |all| all.iter().map(|one| json!(one)).collect()),
    }
}

/// One of its pods; nothing for a pod that isn't bound to a node, or that no `DaemonSet` controls.
pub fn kata_pod(pod: &Pod) -> Option<KataPod> {
    let metadata = &pod.metadata;
    let owner = metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))?;
    if owner.kind != "DaemonSet" {
        return None;
    }
    let spec = pod.spec.as_ref()?;
    let status = pod.status.as_ref();
    let installer =
        status.and_then(|status| status.container_statuses.as_ref()?.iter().find(|it| it.name == INSTALLER));
    let ready = status.and_then(|status| status.conditions.as_ref()?.iter().find(|it| it.type_ == "Ready"));
    Some(KataPod {
        name: metadata.name.clone()?,
        uid: metadata.uid.clone()?,
        node: spec.node_name.clone()?,
        owner: owner.uid.clone(),
        template_generation: metadata
            .labels
            .as_ref()
            .and_then(|map| map.get(POD_TEMPLATE_GENERATION))
            .cloned()
            .unwrap_or_default(),
        image: installer_image(spec).unwrap_or_default(),
        ready: ready.is_some_and(|condition| condition.status == "True"),
        terminating: metadata.deletion_timestamp.is_some(),
        restarts: installer.map_or(0, |status| status.restart_count),
        waiting: installer.and_then(why_waiting),
    })
}

fn installer_image(spec: &PodSpec) -> Option<String> {
    spec.containers.iter().find(|container| container.name == INSTALLER)?.image.clone()
}

fn why_waiting(status: &ContainerStatus) -> Option<String> {
    let waiting = status.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.clone()?;
    match &waiting.message {
        Some(message) => Some(format!("{reason}: {message}")),
        None => Some(reason),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_that_waits_for_its_image_says_so() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {
                "name": "kata-deploy-x", "uid": "p", "labels": {"pod-template-generation": "7"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "kata-deploy", "uid": "d", "controller": true}],
            },
            "spec": {"nodeName": "blue-7", "containers": [{"name": "kube-kata", "image": "q/k:9"}]},
            "status": {
                "conditions": [{"type": "Ready", "status": "False"}],
                "containerStatuses": [{
                    "name": "kube-kata", "image": "", "imageID": "", "ready": false, "restartCount": 2,
                    "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such tag"}},
                }],
            },
        }))
        .unwrap();
        let facts = kata_pod(&pod).unwrap();
        assert_eq!(facts.waiting.as_deref(), Some("ImagePullBackOff: no such tag"));
        assert_eq!((facts.restarts, facts.ready, facts.image.as_str()), (2, false, "q/k:9"));
        assert_eq!((facts.owner.as_str(), facts.template_generation.as_str()), ("d", "7"));
    }

    #[test]
    fn a_pod_of_the_same_label_that_no_daemonset_controls_is_none_of_ours() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "x", "uid": "p"}, "spec": {"nodeName": "blue-7", "containers": []},
        }))
        .unwrap();
        assert_eq!(kata_pod(&pod), None);
    }

    #[test]
    fn the_update_strategy_and_the_template_are_read() {
        let object: DaemonSet = serde_json::from_value(json!({
            "metadata": {"name": "kata-deploy", "uid": "d", "annotations": {TEMPLATE_GENERATION: "7"}},
            "spec": {
                "selector": {}, "updateStrategy": {"type": "OnDelete"},
                "template": {"spec": {"containers": [{"name": "kube-kata", "image": "q/k:9"}]}},
            },
        }))
        .unwrap();
        let facts = daemonset(&object);
        assert_eq!((facts.template_generation.as_str(), facts.image.as_str(), facts.on_delete), ("7", "q/k:9", true));
    }
}
