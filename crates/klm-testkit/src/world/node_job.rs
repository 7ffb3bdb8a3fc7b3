//! The life of a per-node Job, and of any other Job: pods, conditions, deadlines, and the end by TTL.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::kata::Injection;
use super::kata_pod::{ready_status, waiting_status};
use super::nodes::RUNTIME_LABEL;
use super::profile::{Dispatcher, Profile, installed_by};
use super::{Controller, World, daemonset, known};
use crate::api::delete::{self, DeleteOptions, Propagation};
use crate::api::object;
use crate::api::store::Key;

/// What the dispatcher puts on its per-node Jobs.
pub(super) const NODE_ANNOTATION: &str = "kata-deploy-job-dispatcher/node-name";

/// Starts every Job that isn't over.
pub(super) fn controller() -> Controller {
    let mut started = BTreeSet::new();
    Box::new(move |world| {
        let fresh = |job: &Value| object::items(job, "/status/conditions").is_empty() && !object::is_terminating(job);
        let new: Vec<(Key, Value)> = world
            .store
            .of("jobs")
            .filter(|(_, job)| {
                fresh(job) && !started.contains(object::uid(job)) && !world.store.is_seeded(object::uid(job))
            })
            .map(|(key, job)| (key.clone(), job.clone()))
            .collect();
        for (key, job) in new {
            started.insert(object::uid(&job).to_owned());
            let this = JobLife { key, uid: object::uid(&job).to_owned() };
            if object::label(&job, "kata-deploy/dispatcher") == Some("install") {
                super::dispatch::begin(world, this);
            } else {
                world.after(world.kata.pace.pull, move |world| this.start(world, 0));
            }
        }
    })
}

/// One Job, by uid.
#[derive(Debug, Clone)]
pub(super) struct JobLife {
    pub(super) key: Key,
    pub(super) uid: String,
}

/// How a Job ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JobEnd {
    Complete,
    Failed(&'static str),
}

impl JobLife {
    /// The Job, while it lives and isn't over.
    pub(super) fn job(&self, world: &World) -> Option<Value> {
        let alive = |job: &&Value| object::uid(job) == self.uid && !object::is_terminating(job);
        let open = |job: &&Value| object::items(job, "/status/conditions").is_empty();
        world.store.find(&self.key).filter(alive).filter(open).cloned()
    }

    fn start(&self, world: &mut World, failures: u64) {
        let Some(job) = self.job(world) else { return };
        let spec = &job["spec"]["template"]["spec"];
        let node = object::text(spec, "/nodeName").to_owned();
        let stage = object::label(&job, "kata-deploy/stage").unwrap_or_default().to_owned();
        if failures == 0 {
            self.arm_deadline(world, &job);
        }
        if stage.is_empty() {
            // A Job that is none of kata-deploy's: its pod runs and ends well.
            self.run_pod(world, &job, &node);
            let life = self.clone();
            world.after(world.kata.pace.run, move |world| life.end(world, JobEnd::Complete));
            return;
        }
        if !world.kubelet_works(&node) {
            // Pinned to a node that isn't there or doesn't answer: nobody starts it.
            let life = self.clone();
            world.after(Duration::from_secs(5), move |world| life.start(world, failures));
            return;
        }
        let (tag, version) = installed_by(&spec["containers"][0]);
        self.run_pod(world, &job, &node);
        if world.kata.has(&node, &tag, Injection::BadImage) {
            self.set_pod(world, |pod| {
                let message = format!("Back-off pulling image {:?}", object::text(pod, "/spec/containers/0/image"));
                waiting_status(pod, "Pending", "ImagePullBackOff", &message, 0)
            });
            return;
        }
        if world.kata.has(&node, &tag, Injection::Hang) {
            return;
        }
        if world.kata.has(&node, &tag, Injection::Vanish) {
            let key = self.key.clone();
            world.after(world.kata.pace.pull, move |world| {
                world.store.remove(&key);
            });
            return;
        }
        let cleanup = stage == "cleanup";
        let time = if cleanup { world.kata.pace.uninstall } else { world.kata.install_time(&node, &tag) };
        let work = Work { node, tag, profile: Profile::of(&version), cleanup, failures };
        let life = self.clone();
        world.after(time, move |world| life.finish(world, &work));
    }

    fn finish(&self, world: &mut World, work: &Work) {
        let Some(job) = self.job(world) else { return };
        if !work.cleanup && world.kata.crashes(&work.node, &work.tag) {
            let failures = work.failures + 1;
            self.set_pod(world, |pod| ended_status(pod, 1));
            world.store.edit(&self.key, |job| job["status"]["failed"] = json!(failures));
            if failures > job["spec"]["backoffLimit"].as_u64().unwrap_or(6) {
                self.end(world, JobEnd::Failed("BackoffLimitExceeded"));
            } else {
                let life = self.clone();
                world.after(Duration::from_secs(10), move |world| life.start(world, failures));
            }
            return;
        }
        let labels_itself = work.profile.dispatcher != Some(Dispatcher::V4_1);
        if work.cleanup {
            world.kata.uninstalled(&work.node, &self.uid);
            if labels_itself {
                world.label_node(&work.node, RUNTIME_LABEL, None);
            }
        } else {
            world.kata.installed(&work.node, &work.tag, &self.uid);
            if labels_itself {
                world.label_node(&work.node, RUNTIME_LABEL, Some("true"));
                if world.kata.has(&work.node, &work.tag, Injection::LabelLost) {
                    let node = work.node.clone();
                    world.after(world.kata.pace.lose, move |world| {
                        world.label_node(&node, RUNTIME_LABEL, Some("false"));
                    });
                }
            }
        }
        self.end(world, JobEnd::Complete);
    }

    /// Writes the condition, ends the pod, and plans the end by TTL.
    pub(super) fn end(&self, world: &mut World, end: JobEnd) {
        let Some(job) = self.job(world) else { return };
        let stamp = world.store.stamp();
        let (kind, reason, code) = match end {
            JobEnd::Complete => ("Complete", "CompletionsReached", 0),
            JobEnd::Failed(reason) => ("Failed", reason, 1),
        };
        self.set_pod(world, |pod| ended_status(pod, code));
        world.store.edit(&self.key, |job| {
            job["status"]["active"] = Value::Null;
            object::drop_nulls(&mut job["status"]);
            if code == 0 {
                job["status"]["succeeded"] = json!(1);
                job["status"]["completionTime"] = stamp.clone();
            } else if job["status"]["failed"].is_null() {
                job["status"]["failed"] = json!(1);
            }
            job["status"]["conditions"] =
                json!([{"type": kind, "status": "True", "reason": reason, "lastTransitionTime": stamp}]);
        });
        if let Some(ttl) = job["spec"]["ttlSecondsAfterFinished"].as_u64() {
            let life = self.clone();
            world.after(Duration::from_secs(ttl), move |world| life.expire(world));
        }
    }

    fn expire(&self, world: &mut World) {
        if world.store.find(&self.key).is_some_and(|job| object::uid(job) == self.uid) {
            let options = DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
            let _ = delete::delete(&mut world.store, &self.key, &options);
        }
    }

    fn arm_deadline(&self, world: &mut World, job: &Value) {
        if let Some(seconds) = job["spec"]["activeDeadlineSeconds"].as_u64() {
            let life = self.clone();
            world.after(Duration::from_secs(seconds), move |world| life.end(world, JobEnd::Failed("DeadlineExceeded")));
        }
    }

    /// Gives the Job a running pod.
    pub(super) fn run_pod(&self, world: &mut World, job: &Value, node: &str) {
        let mut pod = job["spec"]["template"].clone();
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        pod["metadata"]["generateName"] = json!(format!("{}-", self.key.name));
        pod["metadata"]["namespace"] = json!(self.key.namespace);
        pod["metadata"]["ownerReferences"] = json!([daemonset::owner_of("batch/v1", "Job", job)]);
        pod["spec"]["nodeName"] = json!(node);
        let status = ready_status(&pod, true, 0);
        if world.add_unseeded(pod).is_some() {
            self.set_pod(world, |_| status);
        }
        let stamp = world.store.stamp();
        world.store.edit(&self.key, |job| {
            job["status"]["active"] = json!(1);
            if job["status"]["startTime"].is_null() {
                job["status"]["startTime"] = stamp;
            }
        });
    }

    /// Sets the status of the Job's pods that aren't over.
    pub(super) fn set_pod(&self, world: &mut World, status: impl FnOnce(&Value) -> Value) {
        let open = |pod: &Value| {
            object::controller(pod).is_some_and(|owner| owner["uid"] == self.uid.as_str())
                && !matches!(object::text(pod, "/status/phase"), "Succeeded" | "Failed")
        };
        let found = world.store.of("pods").find(|(_, pod)| open(pod)).map(|(key, pod)| (key.clone(), pod.clone()));
        if let Some((key, pod)) = found {
            let status = status(&pod);
            world.store.edit(&key, |pod| pod["status"] = status);
        }
    }

    /// The Job's pods by name.
    pub(super) fn pod_names(&self, world: &World) -> Vec<String> {
        let ours = |pod: &Value| object::controller(pod).is_some_and(|owner| owner["uid"] == self.uid.as_str());
        world.store.of("pods").filter(|(_, pod)| ours(pod)).map(|(key, _)| key.name.clone()).collect()
    }
}

struct Work {
    node: String,
    tag: String,
    profile: Profile,
    cleanup: bool,
    failures: u64,
}

fn ended_status(pod: &Value, code: i32) -> Value {
    let reason = if code == 0 { "Completed" } else { "Error" };
    let ended = |it: &Value| {
        json!({"name": it["name"], "image": it["image"], "ready": false, "restartCount": 0,
        "state": {"terminated": {"exitCode": code, "reason": reason}}})
    };
    let containers: Vec<Value> = object::items(pod, "/spec/containers").iter().map(ended).collect();
    json!({"phase": if code == 0 { "Succeeded" } else { "Failed" }, "containerStatuses": containers})
}

/// A Job as it is stored, by its key; nothing when it has gone.
pub(super) fn find<'a>(world: &'a World, namespace: &str, name: &str) -> Option<&'a Value> {
    world.store.find(&Key::new(known("jobs"), namespace, name))
}
