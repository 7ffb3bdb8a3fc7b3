//! What a simulated pod's status says, as a kubelet would write it.

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use serde_json::{Value, json};

/// How one container stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It waits, and says why.
    Waiting(&'static str),
    /// It runs; ready or not.
    Running(bool),
    /// It ended with this code.
    Ended(i32),
}

/// The whole status: the phase, the containers in order (those of the beginning first), and how often the last one restarted.
pub fn of(pod: &Pod, phase: &str, containers: &[Turn], restarts: u32) -> Value {
    let now = Timestamp::now().to_string();
    let spec = pod.spec.clone().unwrap_or_default();
    let init = spec.init_containers.unwrap_or_default();
    let states: Vec<Value> = init
        .iter()
        .chain(&spec.containers)
        .zip(containers.iter().copied().chain(std::iter::repeat(Turn::Waiting("PodInitializing"))))
        .map(|(container, state)| container_status(container, state, restarts, &now))
        .collect();
    let (init_states, main_states) = states.split_at(init.len());
    let ready = main_states.iter().all(|one| one["ready"] == true);
    let finished = phase == "Succeeded" || phase == "Failed";
    let condition = |kind: &str, holds: bool| json!({"type": kind, "status": if holds { "True" } else { "False" }, "lastTransitionTime": now});
    json!({"status": {
        "phase": phase,
        "startTime": pod.creation_timestamp(),
        "hostIP": "10.0.0.1",
        "conditions": [
            condition("PodScheduled", true),
            condition("Initialized", true),
            condition("ContainersReady", ready && !finished),
            condition("Ready", ready && !finished),
        ],
        "initContainerStatuses": init_states,
        "containerStatuses": main_states,
    }})
}

fn container_status(container: &Container, state: Turn, restarts: u32, now: &str) -> Value {
    let state_json = match state {
        Turn::Waiting(reason) => json!({"waiting": {"reason": reason}}),
        Turn::Running(_) => json!({"running": {"startedAt": now}}),
        Turn::Ended(code) => {
            let reason = if code == 0 { "Completed" } else { "Error" };
            json!({"terminated": {"exitCode": code, "reason": reason, "startedAt": now, "finishedAt": now}})
        }
    };
    json!({
        "name": container.name,
        "image": container.image,
        "imageID": container.image,
        "ready": state == Turn::Running(true),
        "started": matches!(state, Turn::Running(_)),
        "restartCount": restarts,
        "state": state_json,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::PodStatus;

    fn pod() -> Pod {
        let spec = json!({
            "initContainers": [{"name": "artifacts", "image": "a"}], "containers": [{"name": "cri", "image": "a"}],
        });
        serde_json::from_value(json!({"spec": spec})).unwrap()
    }

    fn status(phase: &str, containers: &[Turn]) -> PodStatus {
        serde_json::from_value(of(&pod(), phase, containers, 2)["status"].clone()).unwrap()
    }

    fn ready(status: &PodStatus) -> bool {
        status.conditions.iter().flatten().any(|one| one.type_ == "Ready" && one.status == "True")
    }

    #[test]
    fn a_pod_is_ready_when_its_last_container_is() {
        assert!(ready(&status("Running", &[Turn::Ended(0), Turn::Running(true)])));
        assert!(!ready(&status("Running", &[Turn::Ended(0), Turn::Running(false)])));
        assert!(!ready(&status("Succeeded", &[Turn::Ended(0), Turn::Ended(0)])));
    }

    #[test]
    fn containers_that_had_no_turn_yet_wait() {
        let seen = status("Pending", &[Turn::Running(false)]);
        let main = &seen.container_statuses.unwrap()[0];
        assert_eq!(main.state.as_ref().unwrap().waiting.as_ref().unwrap().reason.as_deref(), Some("PodInitializing"));
        assert_eq!(main.restart_count, 2);
    }
}
