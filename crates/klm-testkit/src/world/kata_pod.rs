//! The life of one kata-deploy pod: started, installing, Ready in its version's sense, and stopped.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::kata::Injection;
use super::nodes::RUNTIME_LABEL;
use super::profile::{Profile, Version, installed_by};
use super::{Controller, World};
use crate::api::admission::node_fits;
use crate::api::object;
use crate::api::store::Key;

/// Starts every pod that a DaemonSet puts on a node.
pub(super) fn controller() -> Controller {
    let mut started = BTreeSet::new();
    Box::new(move |world| {
        let new: Vec<(Key, Value)> = world
            .store
            .of("pods")
            .filter(|(_, pod)| object::controller(pod).is_some_and(|owner| owner["kind"] == "DaemonSet"))
            .filter(|(_, pod)| object::text(pod, "/status/phase") == "Pending" && !started.contains(object::uid(pod)))
            .map(|(key, pod)| (key.clone(), pod.clone()))
            .collect();
        for (key, pod) in new {
            started.insert(object::uid(&pod).to_owned());
            let life =
                Life { key, uid: object::uid(&pod).to_owned(), node: object::text(&pod, "/spec/nodeName").to_owned() };
            world.after(world.kata.pace.pull, move |world| life.start(world, 0));
        }
    })
}

/// One pod, by uid: what was planned for a pod that has gone does not happen.
#[derive(Clone)]
struct Life {
    key: Key,
    uid: String,
    node: String,
}

const RETRY: Duration = Duration::from_secs(5);

/// The installer among the pod's containers.
fn installer(pod: &Value) -> Option<&Value> {
    object::items(pod, "/spec/containers").iter().find(|it| it["name"] == "kube-kata")
}

fn suffix_of(pod: &Value) -> String {
    object::label(pod, "name").and_then(|name| name.strip_prefix("kata-deploy-")).unwrap_or("default").to_owned()
}

impl Life {
    /// The pod, while it is alive.
    fn pod(&self, world: &World) -> Option<Value> {
        world.store.find(&self.key).filter(|pod| object::uid(pod) == self.uid && !object::is_terminating(pod)).cloned()
    }

    fn start(&self, world: &mut World, restarts: u64) {
        let Some(pod) = self.pod(world) else { return };
        if !world.kubelet_works(&self.node) {
            let life = self.clone();
            world.after(RETRY, move |world| life.start(world, restarts));
            return;
        }
        let Some(installer) = installer(&pod) else {
            self.set_status(world, ready_status(&pod, true, 0));
            return;
        };
        let (tag, version) = installed_by(installer);
        if world.kata.has(&self.node, &tag, Injection::BadImage) {
            let image = object::text(installer, "/image");
            self.set_status(
                world,
                waiting_status(
                    &pod,
                    "Pending",
                    "ImagePullBackOff",
                    &format!("Back-off pulling image {image:?}"),
                    restarts,
                ),
            );
            world.event(&pod, "Warning", "Failed", &format!("Failed to pull image {image:?}: not found"));
            return;
        }
        let profile = Profile::of(&version);
        // Without probes a pod is Ready as soon as its container runs.
        self.set_status(world, ready_status(&pod, !profile.probes, restarts));
        if profile.marks {
            self.claim(world, &pod);
        }
        if world.kata.has(&self.node, &tag, Injection::Hang) {
            return;
        }
        let time = world.kata.install_time(&self.node, &tag);
        let life = self.clone();
        world.after(time, move |world| life.finish(world, &tag, profile, restarts));
    }

    fn claim(&self, world: &mut World, pod: &Value) {
        let marker = format!("kata-deploy.katacontainers.io/{}", suffix_of(pod));
        for label in [RUNTIME_LABEL, &marker] {
            let absent = world.node(&self.node).is_some_and(|node| object::label(&node, label).is_none());
            if absent {
                world.label_node(&self.node, label, Some("false"));
            }
        }
    }

    fn finish(&self, world: &mut World, tag: &str, profile: Profile, restarts: u64) {
        let Some(pod) = self.pod(world) else { return };
        if world.kata.crashes(&self.node, tag) {
            self.set_status(
                world,
                waiting_status(
                    &pod,
                    "Running",
                    "CrashLoopBackOff",
                    "back-off restarting failed container",
                    restarts + 1,
                ),
            );
            world.event(&pod, "Warning", "BackOff", "Back-off restarting failed container kube-kata");
            let back_off = Duration::from_secs(10 << restarts.min(5)).min(Duration::from_secs(300));
            let life = self.clone();
            world.after(back_off, move |world| life.start(world, restarts + 1));
            return;
        }
        if !world.kata.has(&self.node, tag, Injection::SilentNoop) {
            world.kata.installed(&self.node, tag, &self.uid);
            world.label_node(&self.node, RUNTIME_LABEL, Some("true"));
            if profile.marks {
                world.label_node(
                    &self.node,
                    &format!("kata-deploy.katacontainers.io/{}", suffix_of(&pod)),
                    Some("true"),
                );
            }
        }
        world.set_log(
            &self.key.namespace,
            &self.key.name,
            "kube-kata",
            "Install completed, daemonset mode: waiting for SIGTERM\n",
        );
        self.set_status(world, ready_status(&pod, true, restarts));
        if world.kata.has(&self.node, tag, Injection::LabelLost) {
            let node = self.node.clone();
            world.after(world.kata.pace.lose, move |world| world.label_node(&node, RUNTIME_LABEL, Some("false")));
        }
    }

    fn set_status(&self, world: &mut World, status: Value) {
        world.store.edit(&self.key, |pod| pod["status"] = status);
    }
}

/// The status of a running pod.
pub(super) fn ready_status(pod: &Value, ready: bool, restarts: u64) -> Value {
    let word = if ready { "True" } else { "False" };
    let container = |it: &Value| {
        json!({"name": it["name"], "image": it["image"], "imageID": format!("{}@fake", object::text(it, "/image")), "ready": ready,
            "started": ready, "restartCount": restarts, "state": {"running": {}}})
    };
    let containers: Vec<Value> = object::items(pod, "/spec/containers").iter().map(container).collect();
    json!({"phase": "Running", "containerStatuses": containers, "conditions": [
        {"type": "PodScheduled", "status": "True"}, {"type": "ContainersReady", "status": word}, {"type": "Ready", "status": word},
    ]})
}

/// The status of a pod whose containers wait for something.
pub(super) fn waiting_status(pod: &Value, phase: &str, reason: &str, message: &str, restarts: u64) -> Value {
    let container = |it: &Value| {
        json!({"name": it["name"], "image": it["image"], "imageID": "", "ready": false, "restartCount": restarts,
            "state": {"waiting": {"reason": reason, "message": message}}})
    };
    let containers: Vec<Value> = object::items(pod, "/spec/containers").iter().map(container).collect();
    json!({"phase": phase, "containerStatuses": containers, "conditions": [
        {"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "False"},
    ]})
}

/// How long a kata-deploy pod takes to stop: the old ones uninstall first.
pub(super) fn stop_time(world: &World, pod: &Value) -> Option<Duration> {
    let (tag, version) = installed_by(installer(pod).filter(|_| object::controller(pod).is_some())?);
    let node = object::text(pod, "/spec/nodeName");
    if let Some(time) = world.kata.slow_stop(node, &tag) {
        return Some(time);
    }
    uninstalls(world, pod, &version).then_some(world.kata.pace.uninstall)
}

/// What is left on the node when the pod has stopped.
pub(super) fn stopped(world: &mut World, pod: &Value) {
    let Some(installer) = installer(pod).filter(|_| object::controller(pod).is_some()) else { return };
    let (_, version) = installed_by(installer);
    if !uninstalls(world, pod, &version) {
        return;
    }
    let node = object::text(pod, "/spec/nodeName").to_owned();
    world.kata.uninstalled(&node, object::uid(pod));
    // Before 3.29.0 the label stays, because a DaemonSet of that name still exists.
    if !Profile::of(&version).uninstalls_on_stop {
        world.label_node(&node, RUNTIME_LABEL, None);
        world.label_node(&node, &format!("kata-deploy.katacontainers.io/{}", suffix_of(pod)), None);
    }
}

/// The old pod decides: always before 3.29.0, then only without its DaemonSet, from 4.1.0 also when that no longer selects the node.
fn uninstalls(world: &World, pod: &Value, version: &Version) -> bool {
    let profile = Profile::of(version);
    if profile.uninstalls_on_stop {
        return true;
    }
    let name = object::label(pod, "name").unwrap_or_default();
    let Some(set) = world.store.get("daemonsets", object::namespace(pod), name) else { return true };
    let is_owner = object::controller(pod).is_some_and(|owner| owner["uid"] == set["metadata"]["uid"]);
    let selected = || {
        world
            .node(object::text(pod, "/spec/nodeName"))
            .is_some_and(|node| node_fits(&set["spec"]["template"]["spec"], &node))
    };
    !is_owner || (profile.marks && !selected())
}
