//! The DaemonSet controller: one pod per fitting node, from the template as it is now.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Controller, World, known, nodes};
use crate::api::admission::{node_fits, tolerates};
use crate::api::delete::{self, DeleteOptions};
use crate::api::object;
use crate::api::store::Key;

/// What the controller tolerates on behalf of its pods.
const TOLERATED: [(&str, &str); 6] = [
    ("not-ready", "NoExecute"),
    ("unreachable", "NoExecute"),
    ("disk-pressure", "NoSchedule"),
    ("memory-pressure", "NoSchedule"),
    ("pid-pressure", "NoSchedule"),
    ("unschedulable", "NoSchedule"),
];

/// Keeps every DaemonSet of the cluster.
pub(super) fn controller() -> Controller {
    Box::new(|world| {
        let sets: Vec<(Key, Value)> =
            world.store.of("daemonsets").map(|(key, set)| (key.clone(), set.clone())).collect();
        let alive: BTreeSet<String> = sets.iter().map(|(_, set)| object::uid(set).to_owned()).collect();
        world.creating.retain(|(uid, _)| alive.contains(uid));
        for (key, set) in &sets {
            keep(world, key, set);
        }
    })
}

fn keep(world: &mut World, key: &Key, set: &Value) {
    let uid = object::uid(set).to_owned();
    let hash = ensure_revision(world, set);
    let pods = facts(world, set, &hash);
    let mut by_node: BTreeMap<&str, Vec<&PodFacts>> = BTreeMap::new();
    for pod in &pods {
        by_node.entry(&pod.node).or_default().push(pod);
    }
    let places: Vec<(String, Place)> =
        world.store.of("nodes").map(|(key, node)| (key.name.clone(), Place::of(set, node))).collect();
    let mut wanted = 0;
    for (node, place) in places {
        let here = by_node.get(node.as_str()).map_or(&[][..], Vec::as_slice);
        wanted += i64::from(place == Place::Wanted || (place == Place::Tolerated && !here.is_empty()));
        let slot = (uid.clone(), node.clone());
        if !here.is_empty() {
            world.creating.remove(&slot);
        } else if place == Place::Wanted && world.creating.insert(slot) {
            let key = key.clone();
            world.after(world.kata.pace.recreate, move |world| create_if_still_wanted(world, &key, &node));
        }
        for pod in here.iter().filter(|pod| (place == Place::Unwanted || pod.failed) && !pod.terminating) {
            delete_pod(world, &pod.key);
        }
    }
    if set["spec"]["updateStrategy"]["type"] != "OnDelete" {
        roll(world, set, &pods, wanted);
    }
    let count = |fits: fn(&PodFacts) -> bool| pods.iter().filter(|pod| fits(pod)).count();
    let status = json!({
        "observedGeneration": set["metadata"]["generation"], "desiredNumberScheduled": wanted, "numberMisscheduled": 0,
        "currentNumberScheduled": pods.len(), "updatedNumberScheduled": count(|pod| pod.current),
        "numberReady": count(|pod| pod.available), "numberAvailable": count(|pod| pod.available),
    });
    world.store.edit(key, |set| set["status"] = status);
}

/// What the controller needs to know about one of its pods.
#[expect(clippy::struct_excessive_bools, reason = "four independent facts, not a state")]
struct PodFacts {
    key: Key,
    node: String,
    current: bool,
    available: bool,
    terminating: bool,
    failed: bool,
}

fn facts(world: &World, set: &Value, hash: &str) -> Vec<PodFacts> {
    let ours = |pod: &Value| object::controller(pod).is_some_and(|owner| owner["uid"] == set["metadata"]["uid"]);
    let fact = |(key, pod): (&Key, &Value)| {
        let terminating = object::is_terminating(pod);
        PodFacts {
            key: key.clone(),
            node: object::text(pod, "/spec/nodeName").to_owned(),
            current: object::label(pod, "controller-revision-hash") == Some(hash),
            available: object::condition(pod, "Ready") == Some("True") && !terminating,
            terminating,
            failed: object::text(pod, "/status/phase") == "Failed",
        }
    };
    world.store.of("pods").filter(|(_, pod)| ours(pod)).map(fact).collect()
}

/// Whether a node should have a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Wanted,
    /// No new pod, but one that is there stays: an untolerated `NoSchedule` taint.
    Tolerated,
    Unwanted,
}

impl Place {
    fn of(set: &Value, node: &Value) -> Self {
        let spec = &set["spec"]["template"]["spec"];
        let tolerations = tolerations(spec);
        let untolerated = |effect: &str| {
            nodes::taints(node).iter().any(|taint| taint["effect"] == effect && !tolerates(&tolerations, taint))
        };
        if !node_fits(spec, node) || untolerated("NoExecute") {
            Self::Unwanted
        } else if untolerated("NoSchedule") {
            Self::Tolerated
        } else {
            Self::Wanted
        }
    }
}

fn tolerations(spec: &Value) -> Vec<Value> {
    let mut all = object::items(spec, "/tolerations").to_vec();
    let own = |(key, effect): (&str, &str)| json!({"key": format!("node.kubernetes.io/{key}"), "operator": "Exists", "effect": effect});
    all.extend(TOLERATED.map(own));
    all
}

fn create_if_still_wanted(world: &mut World, key: &Key, node: &str) {
    let Some(set) = world.store.find(key).cloned() else { return };
    let Some(found) = world.node(node) else { return };
    let taken = facts(world, &set, "").iter().any(|pod| pod.node == node);
    if taken || Place::of(&set, &found) != Place::Wanted {
        // Looked at again when the node or its pods change.
        world.creating.remove(&(object::uid(&set).to_owned(), node.to_owned()));
        return;
    }
    let pod = pod_for(world, &set, node);
    world.add_unseeded(pod);
}

/// A new pod for a node, from the current template.
pub(super) fn pod_for(world: &mut World, set: &Value, node: &str) -> Value {
    let hash = ensure_revision(world, set);
    let mut pod = set["spec"]["template"].clone();
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    let generation = object::annotation(set, "deprecated.daemonset.template.generation").unwrap_or("1").to_owned();
    object::set_label(&mut pod, "controller-revision-hash", &hash);
    object::set_label(&mut pod, "pod-template-generation", &generation);
    pod["metadata"]["generateName"] = json!(format!("{}-", object::name(set)));
    pod["metadata"]["namespace"] = json!(object::namespace(set));
    pod["metadata"]["ownerReferences"] = json!([owner_of("apps/v1", "DaemonSet", set)]);
    pod["spec"]["tolerations"] = json!(tolerations(&set["spec"]["template"]["spec"]));
    pod["spec"]["nodeName"] = json!(node);
    pod
}

/// An owner reference that controls.
pub(super) fn owner_of(version: &str, kind: &str, owner: &Value) -> Value {
    json!({"apiVersion": version, "kind": kind, "name": object::name(owner), "uid": object::uid(owner),
        "controller": true, "blockOwnerDeletion": true})
}

/// The ControllerRevision of the current template; going back to an old template renumbers its revision.
fn ensure_revision(world: &mut World, set: &Value) -> String {
    let template = &set["spec"]["template"];
    let hash = format!("{:010x}", fnv(&template.to_string()) & 0xff_ffff_ffff);
    let ours =
        |revision: &&Value| object::controller(revision).is_some_and(|owner| owner["uid"] == set["metadata"]["uid"]);
    let revisions: Vec<Value> = world.store.of("controllerrevisions").map(|(_, it)| it).filter(ours).cloned().collect();
    let newest = revisions.iter().filter_map(|it| it["revision"].as_i64()).max().unwrap_or(0);
    let name = format!("{}-{hash}", object::name(set));
    match revisions.iter().find(|it| object::name(it) == name) {
        Some(found) if found["revision"] == newest => {}
        Some(_) => {
            world.edit("controllerrevisions", object::namespace(set), &name, |it| it["revision"] = json!(newest + 1));
        }
        None => {
            let mut labels = template["metadata"]["labels"].clone();
            labels["controller-revision-hash"] = json!(hash);
            world.add(json!({
                "apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": newest + 1,
                "metadata": {"name": name, "namespace": object::namespace(set), "labels": labels,
                    "ownerReferences": [owner_of("apps/v1", "DaemonSet", set)]},
                "data": {"spec": {"template": template}},
            }));
        }
    }
    hash
}

/// `RollingUpdate`: replaces old pods while not too many are unavailable.
fn roll(world: &mut World, set: &Value, pods: &[PodFacts], wanted: i64) {
    let limit = set["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"].as_i64().unwrap_or(1);
    let available = pods.iter().filter(|pod| pod.available).count();
    let mut unavailable = wanted - i64::try_from(available).unwrap_or(i64::MAX);
    for pod in pods.iter().filter(|pod| !pod.current && !pod.terminating) {
        // An old pod that isn't available is replaced at once: that can't make things worse.
        if pod.available {
            if unavailable >= limit {
                continue;
            }
            unavailable += 1;
        }
        delete_pod(world, &pod.key);
    }
}

fn delete_pod(world: &mut World, key: &Key) {
    // Gone already is as good as deleted.
    let _ = delete::delete(&mut world.store, key, &DeleteOptions::default());
}

/// FNV-1a: the same in every run and with every compiler, so that names in snapshots stay.
fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Whether a node belongs to the control plane.
pub(crate) fn is_control_plane(node: &Value) -> bool {
    object::label(node, "node-role.kubernetes.io/control-plane").is_some()
}

/// Puts Ready pods of the current template on every node that should have one: for fixtures.
pub(crate) fn deploy_at_once(world: &mut World, namespace: &str, name: &str, skip: &[String]) -> Vec<String> {
    let key = Key::new(known("daemonsets"), namespace, name);
    let Some(set) = world.store.find(&key).cloned() else { return Vec::new() };
    let all: Vec<Value> = world.store.of("nodes").map(|(_, node)| node.clone()).collect();
    let mut deployed = Vec::new();
    let served = |node: &Value| {
        Place::of(&set, node) != Place::Unwanted
            && !is_control_plane(node)
            && !skip.iter().any(|it| it == object::name(node))
    };
    for node in all.iter().filter(|node| served(node)) {
        let mut pod = pod_for(world, &set, object::name(node));
        pod["status"] = super::kata_pod::ready_status(&pod, true, 0);
        world.add(pod);
        deployed.push(object::name(node).to_owned());
    }
    deployed
}
