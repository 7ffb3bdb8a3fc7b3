//! What a decision needs to know of a pod: read once from the API's JSON, then handed on as plain facts.

use std::collections::BTreeMap;

use serde_json::Value;

/// A pod as a decision sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is one fact of its own")]
pub struct PodFacts {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The node that it is on, or was given to.
    pub node: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its controller.
    pub controller: Option<Owner>,
    /// Its phase.
    pub phase: Phase,
    /// Its `Ready` condition is `True`.
    pub ready: bool,
    /// It is on its way out.
    pub deleting: bool,
    /// What keeps it from going.
    pub finalizers: Vec<String>,
    /// Why the scheduler couldn't place it, when it couldn't.
    pub unschedulable: Option<String>,
    /// The kubelet's reason for a failed pod, such as `Evicted` or `DeadlineExceeded`.
    pub reason: Option<String>,
    /// The kubelet's words about it.
    pub message: Option<String>,
    /// Its `RuntimeClass`.
    pub runtime_class: Option<String>,
    /// It keeps data in an `emptyDir`.
    pub has_empty_dir: bool,
    /// The kubelet made it from a file.
    pub is_mirror: bool,
    /// Its containers, those for start-up first.
    pub containers: Vec<Container>,
}

/// Who owns a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// For example `DaemonSet`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

/// A pod's phase, in Kubernetes' words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is Kubernetes' own word")]
pub enum Phase {
    Pending,
    Running,
    Succeeded,
    Failed,
    #[default]
    Unknown,
}

/// A container of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Its image, as the pod's spec says it.
    pub image: String,
    /// Where it stands.
    pub state: State,
    /// How often it was started again.
    pub restarts: u64,
}

/// Where a container stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing is known yet.
    Unknown,
    /// Not started, with the kubelet's reason and words.
    Waiting {
        /// For example `ImagePullBackOff`.
        reason: String,
        /// What the kubelet says about it.
        message: String,
    },
    /// It runs.
    Running,
    /// It ended.
    Terminated {
        /// Its exit code.
        code: i64,
        /// For example `OOMKilled`.
        reason: String,
        /// Its termination message, or the runtime's words.
        message: String,
    },
}

impl PodFacts {
    /// Reads a `Pod` as the API gives it. What is missing stays empty: an API server is not asked to be complete.
    pub fn from_json(pod: &Value) -> Self {
        let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let list = |pointer: &str| pod.pointer(pointer).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let condition = |kind: &str| {
            list("/status/conditions")
                .iter()
                .find(|c| c["type"] == kind)
                .map(|c| (word(c, "status"), word(c, "message")))
        };
        let unschedulable =
            condition("PodScheduled").filter(|(status, _)| status == "False").map(|(_, message)| message);
        Self {
            namespace: text("/metadata/namespace").unwrap_or_default(),
            name: text("/metadata/name").unwrap_or_default(),
            uid: text("/metadata/uid").unwrap_or_default(),
            node: text("/spec/nodeName").filter(|node| !node.is_empty()),
            labels: texts(pod.pointer("/metadata/labels")),
            controller: list("/metadata/ownerReferences")
                .iter()
                .find(|owner| owner["controller"] == true)
                .map(|owner| Owner { kind: word(owner, "kind"), name: word(owner, "name"), uid: word(owner, "uid") }),
            phase: match text("/status/phase").as_deref() {
                Some("Pending") => Phase::Pending,
                Some("Running") => Phase::Running,
                Some("Succeeded") => Phase::Succeeded,
                Some("Failed") => Phase::Failed,
                _ => Phase::Unknown,
            },
            ready: condition("Ready").is_some_and(|(status, _)| status == "True"),
            deleting: pod.pointer("/metadata/deletionTimestamp").is_some_and(|time| !time.is_null()),
            finalizers: list("/metadata/finalizers").iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            unschedulable,
            reason: text("/status/reason"),
            message: text("/status/message"),
            runtime_class: text("/spec/runtimeClassName"),
            has_empty_dir: list("/spec/volumes").iter().any(|volume| volume.get("emptyDir").is_some()),
            is_mirror: pod.pointer("/metadata/annotations/kubernetes.io~1config.mirror").is_some(),
            containers: [
                ("/spec/initContainers", "/status/initContainerStatuses"),
                ("/spec/containers", "/status/containerStatuses"),
            ]
            .iter()
            .flat_map(|(spec, status)| containers(list(spec), list(status)))
            .collect(),
        }
    }

    /// `namespace/name`, as every message names it.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Whether it has ended.
    pub const fn is_finished(&self) -> bool {
        matches!(self.phase, Phase::Succeeded | Phase::Failed)
    }

    /// The container of that name.
    pub fn container(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|container| container.name == name)
    }
}

fn containers(specs: &[Value], statuses: &[Value]) -> Vec<Container> {
    let of = |spec: &Value| {
        let name = word(spec, "name");
        let status = statuses.iter().find(|status| status["name"] == *name);
        Container {
            image: word(spec, "image"),
            state: status.map_or(State::Unknown, |status| state(&status["state"])),
            restarts: status.and_then(|status| status["restartCount"].as_u64()).unwrap_or(0),
            name,
        }
    };
    specs.iter().map(of).collect()
}

fn state(state: &Value) -> State {
    if let Some(waiting) = state.get("waiting").filter(|value| value.is_object()) {
        State::Waiting { reason: word(waiting, "reason"), message: word(waiting, "message") }
    } else if let Some(ended) = state.get("terminated").filter(|value| value.is_object()) {
        let code = ended["exitCode"].as_i64().unwrap_or(-1);
        State::Terminated { code, reason: word(ended, "reason"), message: word(ended, "message") }
    } else if state.get("running").is_some_and(Value::is_object) {
        State::Running
    } else {
        State::Unknown
    }
}

fn word(object: &Value, key: &str) -> String {
    object[key].as_str().unwrap_or_default().to_owned()
}

pub(crate) fn texts(map: Option<&Value>) -> BTreeMap<String, String> {
    let entries = map.and_then(Value::as_object).into_iter().flatten();
    entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_is_read_with_its_states() {
        let pod = PodFacts::from_json(&json!({
            "metadata": {
                "namespace": "n", "name": "p", "uid": "u", "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["x/y"],
                "labels": {"name": "kata-deploy"}, "annotations": {"kubernetes.io/config.mirror": "x"},
                "ownerReferences": [{"kind": "Job", "name": "j", "uid": "o"}, {"kind": "DaemonSet", "name": "d", "uid": "o2", "controller": true}]
            },
            "spec": {
                "nodeName": "w", "runtimeClassName": "kata-qemu", "volumes": [{"name": "a", "emptyDir": {}}],
                "initContainers": [{"name": "i", "image": "img-i"}], "containers": [{"name": "c", "image": "img-c"}]
            },
            "status": {
                "phase": "Pending",
                "conditions": [
                    {"type": "Ready", "status": "True"},
                    {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}
                ],
                "initContainerStatuses": [{"name": "i", "restartCount": 2, "state": {"terminated": {"exitCode": 3, "reason": "Error"}}}],
                "containerStatuses": [{"name": "c", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "m"}}}]
            }
        }));
        assert_eq!((pod.full_name().as_str(), pod.node.as_deref(), pod.phase), ("n/p", Some("w"), Phase::Pending));
        assert!(pod.deleting && pod.ready && pod.has_empty_dir && pod.is_mirror && !pod.is_finished());
        assert_eq!(pod.controller.as_ref().map(|owner| owner.kind.as_str()), Some("DaemonSet"));
        assert_eq!(pod.unschedulable.as_deref(), Some("0/3 nodes are available"));
        assert_eq!(
            pod.containers[0].state,
            State::Terminated { code: 3, reason: "Error".into(), message: String::new() }
        );
        assert_eq!((pod.containers[0].restarts, pod.containers[1].image.as_str()), (2, "img-c"));
        assert!(
            matches!(&pod.container("c").unwrap().state, State::Waiting { reason, .. } if reason == "ImagePullBackOff")
        );
    }

    #[test]
    fn an_empty_object_is_a_pod_of_which_nothing_is_known() {
        assert_eq!(PodFacts::from_json(&json!({})), PodFacts::default());
    }
}
