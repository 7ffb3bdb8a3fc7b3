//! Pods that no controller owns: scheduled, started and ended as on a real node, or as scripted.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::kata::PodFate;
use super::kata_pod::{ready_status, waiting_status};
use super::{Controller, World, nodes};
use crate::api::admission::{node_fits, tolerates};
use crate::api::object;
use crate::api::store::Key;

/// Brings pods that a client created to a node and to their end.
pub(super) fn controller() -> Controller {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut scheduling: BTreeSet<String> = BTreeSet::new();
    Box::new(move |world| {
        let pending: Vec<(Key, Value)> = world
            .store
            .of("pods")
            .filter(|(_, pod)| object::text(pod, "/status/phase") == "Pending" && !object::is_terminating(pod))
            .filter(|(_, pod)| {
                !object::controller(pod).is_some_and(|owner| owner["kind"] == "DaemonSet" || owner["kind"] == "Job")
            })
            // What a test put there stays as it put it.
            .filter(|(_, pod)| !seen.contains(object::uid(pod)) && !world.store.is_seeded(object::uid(pod)))
            .map(|(key, pod)| (key.clone(), pod.clone()))
            .collect();
        for (key, pod) in pending {
            let uid = object::uid(&pod).to_owned();
            let node = object::text(&pod, "/spec/nodeName").to_owned();
            if !node.is_empty() {
                seen.insert(uid.clone());
                world.after(world.kata.pace.pull, move |world| start(world, &Place { key, uid, node }));
            } else if let Some(node) = choose(world, &key, &pod)
                && scheduling.insert(uid.clone())
            {
                world.after(world.kata.pace.schedule, move |world| bind(world, &key, &uid, &node));
            }
        }
    })
}

/// A pod on its node.
#[derive(Clone)]
struct Place {
    key: Key,
    uid: String,
    node: String,
}

fn pod_at(world: &World, key: &Key, uid: &str) -> Option<Value> {
    world.store.find(key).filter(|pod| object::uid(pod) == uid && !object::is_terminating(pod)).cloned()
}

/// The first node that fits; says why when none does.
fn choose(world: &mut World, key: &Key, pod: &Value) -> Option<String> {
    let all: Vec<Value> = world.store.of("nodes").map(|(_, node)| node.clone()).collect();
    let doomed = |node: &Value| world.kata.fate(object::name(node)) == Some(PodFate::Unschedulable);
    let misfit = |node: &Value| {
        if doomed(node) { Some("Insufficient memory".to_owned()) } else { nodes::misfit(node, &pod["spec"]) }
    };
    let mut reasons: Vec<String> = Vec::new();
    for node in &all {
        match misfit(node) {
            None => return Some(object::name(node).to_owned()),
            Some(reason) => reasons.push(reason),
        }
    }
    reasons.sort();
    let counted = reasons.chunk_by(|a, b| a == b).map(|same| format!("{} {}", same.len(), same[0])).collect::<Vec<_>>();
    let message = format!("0/{} nodes are available: {}.", all.len(), counted.join(", "));
    let told = object::items(pod, "/status/conditions")
        .iter()
        .any(|it| it["type"] == "PodScheduled" && it["message"] == message);
    if !told {
        world.store.edit(key, |pod| {
            pod["status"]["conditions"] =
                json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}]);
        });
        world.event(pod, "Warning", "FailedScheduling", &message);
    }
    None
}

fn bind(world: &mut World, key: &Key, uid: &str, node: &str) {
    if pod_at(world, key, uid).is_none() {
        return;
    }
    world.store.edit(key, |pod| {
        pod["spec"]["nodeName"] = json!(node);
        pod["status"]["conditions"] = json!([{"type": "PodScheduled", "status": "True"}]);
    });
}

fn start(world: &mut World, place: &Place) {
    let Some(pod) = pod_at(world, &place.key, &place.uid) else { return };
    let Some(node) = world.node(&place.node) else { return };
    if !nodes::is_ready(&node) {
        let place = place.clone();
        world.after(Duration::from_secs(5), move |world| start(world, &place));
        return;
    }
    if let Some(reason) = kubelet_refuses(&pod, &node) {
        let message = format!("Pod was rejected: Predicate {reason} failed");
        return set_status(world, place, json!({"phase": "Failed", "reason": reason, "message": message}));
    }
    let first = object::text(&pod, "/spec/containers/0/image");
    match world.kata.fate(&place.node).unwrap_or_else(|| natural_fate(world, &pod, &place.node)) {
        PodFate::ImageMissing => {
            let message = format!("Back-off pulling image {first:?}");
            set_status(world, place, waiting_status(&pod, "Pending", "ImagePullBackOff", &message, 0));
            world.event(&pod, "Warning", "Failed", &format!("Failed to pull image {first:?}: not found"));
        }
        PodFate::SandboxFails => {
            set_status(world, place, waiting_status(&pod, "Pending", "ContainerCreating", "", 0));
            let class = object::text(&pod, "/spec/runtimeClassName");
            let message = format!(
                "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to get sandbox runtime: no runtime for {class:?} is configured"
            );
            world.event(&pod, "Warning", "FailedCreatePodSandBox", &message);
        }
        PodFate::Exits(code) => run(world, place, &pod, Some((world.kata.pace.run, code))),
        PodFate::ExitsAfter(time, code) => run(world, place, &pod, Some((time, code))),
        PodFate::NeverEnds => run(world, place, &pod, None),
        PodFate::Evicted => {
            let message = "The node was low on resource: memory.";
            set_status(world, place, json!({"phase": "Failed", "reason": "Evicted", "message": message}));
        }
        // Bound by name: there is no scheduler to refuse it, and it runs.
        PodFate::Unschedulable => run(world, place, &pod, Some((world.kata.pace.run, 0))),
    }
}

/// What the kubelet checks itself: selectors, and taints that evict.
fn kubelet_refuses(pod: &Value, node: &Value) -> Option<&'static str> {
    if !node_fits(&pod["spec"], node) {
        return Some("NodeAffinity");
    }
    let tolerations = object::items(pod, "/spec/tolerations");
    let evicts = |taint: &Value| taint["effect"] == "NoExecute" && !tolerates(tolerations, taint);
    object::items(node, "/spec/taints").iter().any(evicts).then_some("TaintToleration")
}

/// A pod that wants Kata runs where Kata is installed, and nowhere else.
fn natural_fate(world: &World, pod: &Value, node: &str) -> PodFate {
    let wants_kata = object::text(pod, "/spec/runtimeClassName").starts_with("kata");
    if wants_kata && world.kata.truth(node).installed.is_none() { PodFate::SandboxFails } else { PodFate::Exits(0) }
}

fn run(world: &mut World, place: &Place, pod: &Value, end: Option<(Duration, i32)>) {
    set_status(world, place, ready_status(pod, true, 0));
    if let Some((time, code)) = end {
        let place = place.clone();
        world.after(time, move |world| finish(world, &place, code));
    }
}

fn finish(world: &mut World, place: &Place, code: i32) {
    let Some(pod) = pod_at(world, &place.key, &place.uid) else { return };
    let text = if code == 0 { "SUCCESS: Pod running with Kata runtime\n" } else { "the verification failed\n" };
    for container in object::items(&pod, "/spec/containers") {
        world.set_log(&place.key.namespace, &place.key.name, object::text(container, "/name"), text);
    }
    let policy = object::text(&pod, "/spec/restartPolicy");
    if policy == "Always" || (policy == "OnFailure" && code != 0) {
        let restarts = pod["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap_or(0) + 1;
        let reason = "CrashLoopBackOff";
        let mut status = waiting_status(&pod, "Running", reason, "back-off restarting failed container", restarts);
        let last = json!({"terminated": {"exitCode": code, "reason": if code == 0 { "Completed" } else { "Error" }}});
        for container in status["containerStatuses"].as_array_mut().into_iter().flatten() {
            container["lastState"] = last.clone();
        }
        return set_status(world, place, status);
    }
    let (phase, reason) = if code == 0 { ("Succeeded", "Completed") } else { ("Failed", "Error") };
    let ended = |it: &Value| {
        json!({"name": it["name"], "image": it["image"], "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": code, "reason": reason}}})
    };
    let containers: Vec<Value> = object::items(&pod, "/spec/containers").iter().map(ended).collect();
    let ready = json!({"type": "Ready", "status": "False", "reason": "PodCompleted"});
    set_status(world, place, json!({"phase": phase, "containerStatuses": containers, "conditions": [ready]}));
}

fn set_status(world: &mut World, place: &Place, status: Value) {
    world.store.edit(&place.key, |pod| pod["status"] = status);
}
