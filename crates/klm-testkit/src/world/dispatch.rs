//! The dispatcher of job mode: fans per-node Jobs out, follows them, and judges. Each version has its own mistakes.

mod cleanup;
mod flags;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::World;
use super::kata::Injection;
use super::node_job::{self, JobEnd, JobLife, NODE_ANNOTATION};
use super::nodes::{self, RUNTIME_LABEL};
use super::profile::{Dispatcher, Profile, installed_by};
use crate::api::delete::{self, DeleteOptions, Propagation};
use crate::api::object;
use crate::api::selector::LabelSelector;
use crate::api::store::Key;
use flags::Flags;

/// The label by which a dispatcher knows its Jobs.
const OWNER_LABEL: &str = "kata-deploy-job-dispatcher/owner";

/// Where one node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    /// No Job yet.
    Waiting,
    /// Its Job runs, as far as the dispatcher knows.
    Running,
    /// Done.
    Done,
    /// Failed.
    Failed,
}

/// One dispatcher at work.
#[derive(Debug)]
pub struct Run {
    life: JobLife,
    behaviour: Dispatcher,
    tag: String,
    flags: Flags,
    nodes: BTreeMap<String, Stand>,
    /// Cleanup Jobs of nodes that are owned but not asked for, by node.
    removing: BTreeMap<String, String>,
}

/// Waits for a node that takes the dispatcher's pod, as the scheduler would.
pub(super) fn begin(world: &mut World, life: JobLife) {
    world.after(world.kata.pace.schedule, move |world| place(world, life));
}

fn place(world: &mut World, life: JobLife) {
    let Some(job) = life.job(world) else { return };
    let spec = &job["spec"]["template"]["spec"];
    let all: Vec<Value> = world.store.of("nodes").map(|(_, node)| node.clone()).collect();
    let Some(node) = all.iter().find(|node| nodes::misfit(node, spec).is_none()) else {
        if life.pod_names(world).is_empty() {
            life.run_pod(world, &job, "");
            let why = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                "message": format!("0/{} nodes are available", all.len())}]});
            life.set_pod(world, |_| why);
            world.event(
                &job,
                "Warning",
                "FailedScheduling",
                &format!("0/{} nodes are available: {} node(s) were unschedulable.", all.len(), all.len()),
            );
        }
        world.after(world.kata.pace.poll, move |world| place(world, life));
        return;
    };
    if life.pod_names(world).is_empty() {
        life.run_pod(world, &job, object::name(node));
    } else {
        life.set_pod(world, |pod| super::kata_pod::ready_status(pod, true, 0));
    }
    world.after(world.kata.pace.pull, move |world| start(world, &life));
}

fn start(world: &mut World, life: &JobLife) {
    let Some(job) = life.job(world) else { return };
    let container = &job["spec"]["template"]["spec"]["containers"][0];
    let (tag, version) = installed_by(container);
    // The external dispatcher has releases of its own; it behaves like the latest version here.
    let behaviour = if object::text(container, "/image").contains("k8s-job-dispatcher") {
        Dispatcher::V4_1
    } else {
        Profile::of(&version).dispatcher.unwrap_or(Dispatcher::V3_32)
    };
    let external = object::text(container, "/image").contains("k8s-job-dispatcher");
    let arguments = object::strings(container, "/args");
    let run = Flags::parse(&arguments, behaviour, external).and_then(|flags| {
        let nodes = asked_for(world, &flags, behaviour)?;
        let nodes = nodes.into_iter().map(|node| (node, Stand::Waiting)).collect();
        Ok(Run { life: life.clone(), behaviour, tag, flags, nodes, removing: BTreeMap::new() })
    });
    match run {
        Err(error) => fail(world, life, &format!("error: {error}\n")),
        Ok(mut run) => {
            if run.behaviour == Dispatcher::V4_1 {
                run.clear_stale_jobs(world);
                cleanup::begin(world, &mut run);
            }
            let uid = run.life.uid.clone();
            world.kata.runs.insert(uid.clone(), run);
            step(world, &uid);
        }
    }
}

fn fail(world: &mut World, life: &JobLife, log: &str) {
    for pod in life.pod_names(world) {
        world.set_log(&life.key.namespace, &pod, "dispatcher", log);
    }
    life.end(world, JobEnd::Failed("BackoffLimitExceeded"));
}

/// The nodes that the arguments name or select.
fn asked_for(world: &World, flags: &Flags, behaviour: Dispatcher) -> Result<Vec<String>, String> {
    if let Some(nodes) = &flags.nodes {
        let mut nodes: Vec<String> = nodes.split(',').filter(|node| !node.is_empty()).map(str::to_owned).collect();
        nodes.sort();
        nodes.dedup();
        // 4.1.0 looks each one up before it touches anything; earlier ones pin a Job to whatever they are told.
        let unknown = nodes.iter().find(|node| behaviour == Dispatcher::V4_1 && world.node(node).is_none());
        return unknown.map_or(Ok(nodes.clone()), |node| Err(format!("failed to get node {node:?}: not found")));
    }
    let selectors: Vec<LabelSelector> = flags
        .selectors
        .iter()
        .map(|text| LabelSelector::parse(text).map_err(|_| format!("bad selector {text:?}")))
        .collect::<Result<_, _>>()?;
    let chosen = |node: &Value| selectors.is_empty() || selectors.iter().any(|selector| selector.matches(node));
    Ok(world.store.of("nodes").filter(|(_, node)| chosen(node)).map(|(key, _)| key.name.clone()).collect())
}

/// One look of the dispatcher at its Jobs.
fn step(world: &mut World, uid: &str) {
    let Some(mut run) = world.kata.runs.remove(uid) else { return };
    if run.life.job(world).is_none() {
        // Deleted with its Job: the per-node Jobs go on until the collector comes.
        return;
    }
    if !cleanup::is_over(world, &mut run) {
        return again(world, run);
    }
    if let Err(why) = run.advance(world) {
        return fail(world, &run.life.clone(), &format!("error: {why}\n"));
    }
    if run.nodes.values().all(|stand| matches!(stand, Stand::Done | Stand::Failed)) {
        return run.conclude(world);
    }
    again(world, run);
}

fn again(world: &mut World, run: Run) {
    let uid = run.life.uid.clone();
    world.kata.runs.insert(uid.clone(), run);
    world.after(world.kata.pace.poll, move |world| step(world, &uid));
}

impl Run {
    fn advance(&mut self, world: &mut World) -> Result<(), String> {
        for node in self.in_state(Stand::Running) {
            let stand = self.judge(world, &node)?;
            self.nodes.insert(node, stand);
        }
        let free = self.flags.parallelism.max(1).saturating_sub(self.in_state(Stand::Running).len());
        for node in self.in_state(Stand::Waiting).into_iter().take(free) {
            let stand = self.create(world, &node);
            self.nodes.insert(node.clone(), stand);
            if world.kata.has(&node, &self.tag, Injection::DispatcherKilled) {
                return Err("killed".to_owned());
            }
        }
        Ok(())
    }

    fn in_state(&self, wanted: Stand) -> Vec<String> {
        self.nodes.iter().filter(|(_, stand)| **stand == wanted).map(|(node, _)| node.clone()).collect()
    }

    fn job_name(&self, node: &str) -> String {
        let sanitized = node.replace('.', "-").to_lowercase();
        let name = format!("{}-{sanitized}", self.flags.name_prefix);
        // 4.1.0 hashes a name that was changed, so that two nodes can't share a Job.
        let changed = sanitized != node && self.behaviour == Dispatcher::V4_1;
        if changed || name.len() > 63 {
            let head: String = name.chars().take(54).collect();
            return format!("{}-{:08x}", head.trim_end_matches('-'), crc(node));
        }
        name
    }

    fn create(&self, world: &mut World, node: &str) -> Stand {
        let name = self.job_name(node);
        let namespace = self.life.key.namespace.clone();
        if let Some(found) = node_job::find(world, &namespace, &name) {
            let ours = object::label(found, OWNER_LABEL) == Some(self.flags.name_prefix.as_str());
            // Before 4.1.0 a Job of an earlier run is adopted, finished or not.
            return if ours && self.behaviour != Dispatcher::V4_1 { Stand::Running } else { Stand::Failed };
        }
        if self.behaviour == Dispatcher::V4_1 {
            let marker = self.flags.marker();
            for label in [RUNTIME_LABEL, marker.as_str()] {
                let absent = world.node(node).is_some_and(|node| object::label(&node, label).is_none());
                if absent {
                    world.label_node(node, label, Some("false"));
                }
            }
        }
        let Some(job) = self.node_job(world, node, &name, "install-job.yaml") else { return Stand::Failed };
        if world.add_unseeded(job).is_some() { Stand::Running } else { Stand::Failed }
    }

    /// A per-node Job from its template in the ConfigMap, as it is now.
    fn node_job(&self, world: &World, node: &str, name: &str, template: &str) -> Option<Value> {
        let job = self.life.job(world)?;
        let volumes = object::items(&job, "/spec/template/spec/volumes");
        let map = object::text(volumes.first()?, "/configMap/name").to_owned();
        let map = world.store.get("configmaps", &self.life.key.namespace, &map)?;
        let mut new: Value = serde_yaml::from_str(map["data"][template].as_str()?).ok()?;
        new["metadata"]["name"] = json!(name);
        new["metadata"]["namespace"] = json!(self.life.key.namespace);
        let sanitized: String = node.replace('.', "-").chars().take(63).collect();
        object::set_label(&mut new, OWNER_LABEL, &self.flags.name_prefix);
        object::set_label(&mut new, "kata-deploy-job-dispatcher/node", &sanitized);
        object::set_annotation(&mut new, NODE_ANNOTATION, node);
        new["metadata"]["ownerReferences"] = json!([{
            "apiVersion": "batch/v1", "kind": "Job", "name": self.life.key.name, "uid": self.life.uid,
            "controller": false, "blockOwnerDeletion": false,
        }]);
        object::set_label(&mut new["spec"]["template"], OWNER_LABEL, &self.flags.name_prefix);
        new["spec"]["template"]["spec"]["nodeName"] = json!(node);
        Some(new)
    }

    fn judge(&self, world: &mut World, node: &str) -> Result<Stand, String> {
        if world.kata.has(node, &self.tag, Injection::ApiBlip) && self.behaviour == Dispatcher::V3_32 {
            return Err("failed to list jobs: the server is currently unable to handle the request".to_owned());
        }
        let name = self.job_name(node);
        let Some(job) = node_job::find(world, &self.life.key.namespace, &name) else {
            // Before 4.1.0 a Job that has vanished is waited for for ever.
            return Ok(if self.behaviour == Dispatcher::V4_1 { Stand::Failed } else { Stand::Running });
        };
        if object::condition(job, "Failed") == Some("True") {
            return Ok(Stand::Failed);
        }
        if object::condition(job, "Complete") != Some("True") {
            return Ok(Stand::Running);
        }
        if self.behaviour != Dispatcher::V4_1 {
            return Ok(Stand::Done);
        }
        if world.kata.has(node, &self.tag, Injection::NodeNotReady) || !world.kubelet_works(node) {
            return Ok(Stand::Failed);
        }
        world.label_node(node, RUNTIME_LABEL, Some("true"));
        world.label_node(node, &self.flags.marker(), Some("true"));
        Ok(Stand::Done)
    }

    /// Jobs of this prefix that another dispatcher owns are deleted before anything is created.
    fn clear_stale_jobs(&self, world: &mut World) {
        let stale: Vec<Key> = world
            .store
            .of("jobs")
            .filter(|(key, job)| {
                key.namespace == self.life.key.namespace
                    && object::label(job, OWNER_LABEL) == Some(self.flags.name_prefix.as_str())
            })
            .filter(|(_, job)| {
                !object::items(job, "/metadata/ownerReferences")
                    .iter()
                    .any(|owner| owner["uid"] == self.life.uid.as_str())
            })
            .map(|(key, _)| key.clone())
            .collect();
        for key in stale {
            let options = DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
            let _ = delete::delete(&mut world.store, &key, &options);
        }
    }

    fn conclude(self, world: &mut World) {
        let failed = self.in_state(Stand::Failed);
        if failed.is_empty() {
            return self.life.end(world, JobEnd::Complete);
        }
        let log = format!(
            "{} node(s) failed: {}. Inspect the per-node Job logs with: kubectl logs -l {OWNER_LABEL}={}\n",
            failed.len(),
            failed.join(", "),
            self.flags.name_prefix
        );
        fail(world, &self.life, &log);
    }
}

fn crc(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

impl World {
    /// Leaves a finished per-node Job of an earlier dispatcher behind: what 3.32.0 and 4.0.0 take for their own success.
    pub fn leave_stale_job(&mut self, namespace: &str, node: &str) {
        let owner = json!([{"apiVersion": "batch/v1", "kind": "Job", "name": "kata-deploy-install-dispatcher", "uid": "earlier-dispatcher"}]);
        self.add(json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": format!("kata-deploy-install-{node}"), "namespace": namespace, "ownerReferences": owner,
                "labels": {OWNER_LABEL: "kata-deploy-install", "kata-deploy/stage": "install"}, "annotations": {NODE_ANNOTATION: node}},
            "spec": {"template": {"spec": {"nodeName": node, "restartPolicy": "Never", "containers": [{"name": "cri"}]}}},
            "status": {"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]},
        }));
    }
}
