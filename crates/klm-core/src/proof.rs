//! When a node counts as installed: only on something that can't be left over from before.

use std::collections::BTreeMap;

use semver::Version;
use serde_json::Value;

use crate::contract::{KATA_RUNTIME, MARKER_PREFIX};
use crate::node::NodeFacts;
use crate::version;

/// kata-deploy's `DaemonSet`, as far as a proof needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonSetFacts {
    /// Its UID: pods of an earlier `DaemonSet` of the same name aren't its own.
    pub uid: String,
    /// Counts changes of the pod template.
    pub template_generation: String,
    /// Image of the container that installs.
    pub image: String,
    /// Whether pods stay until they are deleted.
    pub on_delete: bool,
    /// The tolerations of its pods, as the API has them.
    pub tolerations: Vec<Value>,
}

/// A kata-deploy pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KataPod {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The node it is bound to.
    pub node: String,
    /// UID of the `DaemonSet` that controls it.
    pub owner: String,
    /// The template that it was made from.
    pub template_generation: String,
    /// Image of the container that installs.
    pub image: String,
    /// Its `Ready` condition.
    pub ready: bool,
    /// Whether it is on its way out.
    pub terminating: bool,
    /// How often the container that installs was started again.
    pub restarts: i32,
    /// Why that container isn't running, for example `ImagePullBackOff: …`.
    pub waiting: Option<String>,
}

/// A Job that installs on one node, started by kata-deploy's dispatcher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeJob {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The node, from the annotation with the exact name.
    pub node: String,
    /// UID of the dispatcher's Job that started it.
    pub owner: String,
    /// Images of its containers.
    pub images: Vec<String>,
    /// How it ended.
    pub end: Option<JobEnd>,
}

/// How a Job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobEnd {
    /// Condition `Complete`.
    Complete,
    /// Condition `Failed`, with its reason.
    Failed(String),
}

/// What the observations say of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Installed, and nothing stale says so.
    Proven,
    /// Not yet; what was seen.
    Waiting(String),
    /// Installed, but whoever should say so is gone: worth one more try.
    Again(String),
    /// It won't be: the cause.
    Failed(String),
}

/// What both modes expect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected<'a> {
    /// The chart's version.
    pub version: &'a Version,
    /// The install's suffix, when it has one.
    pub suffix: Option<&'a str>,
}

/// Restarts of the installing container that are one too many: three tries in a row have failed.
const TOO_MANY_RESTARTS: i32 = 3;

/// In daemonset mode: a pod of the current template, not the one that was there before, is ready, and the label that
/// was taken down before it came is up again.
pub fn daemonset(
    expected: &Expected<'_>,
    daemonset: &DaemonSetFacts,
    old_pod: Option<&str>,
    node: &NodeFacts,
    pods: &[&KataPod],
) -> Proof {
    let fresh = pods.iter().find(|pod| {
        !pod.terminating
            && pod.owner == daemonset.uid
            && Some(pod.uid.as_str()) != old_pod
            && pod.template_generation == daemonset.template_generation
    });
    let Some(pod) = fresh else {
        return Proof::Waiting(match pods.first() {
            Some(pod) if pod.terminating => format!("pod `{}` is still stopping", pod.name),
            Some(pod) => format!("pod `{}` is of the version before", pod.name),
            None => "no kata-deploy pod on the node".to_owned(),
        });
    };
    if pod.image != daemonset.image {
        return Proof::Failed(format!("pod `{}` runs image `{}`, not `{}`", pod.name, pod.image, daemonset.image));
    }
    let waiting = pod.waiting.as_deref().unwrap_or_default();
    if waiting.starts_with("CrashLoopBackOff") && pod.restarts >= TOO_MANY_RESTARTS {
        return Proof::Failed(format!("pod `{}` failed {} times in a row", pod.name, pod.restarts));
    }
    if waiting.starts_with("InvalidImageName") || waiting.starts_with("ErrImageNeverPull") {
        return Proof::Failed(format!("pod `{}`: {waiting}", pod.name));
    }
    if !pod.ready {
        let why = if waiting.is_empty() { "its container is not ready".to_owned() } else { waiting.to_owned() };
        return Proof::Waiting(format!("pod `{}`: {why}", pod.name));
    }
    // Up to 3.30 a pod is ready as soon as it runs; only the label tells that it has installed.
    labels(expected, node)
}

/// In job mode: this wave's own Job completed, and the label that was taken down before is up again. `dispatcher` is
/// the UID of this wave's dispatcher, `dispatcher_ended` whether it is over.
pub fn job(
    expected: &Expected<'_>,
    dispatcher: &str,
    dispatcher_ended: bool,
    image: Option<&str>,
    node: &NodeFacts,
    jobs: &[&NodeJob],
) -> Proof {
    let own = jobs.iter().find(|job| job.owner == dispatcher);
    let Some(job) = own else {
        return if dispatcher_ended {
            Proof::Failed("the dispatcher ended without a Job of this wave for the node".to_owned())
        } else {
            Proof::Waiting("no Job of this wave for the node yet".to_owned())
        };
    };
    match &job.end {
        None => Proof::Waiting(format!("job `{}` is running", job.name)),
        Some(JobEnd::Failed(why)) => Proof::Failed(format!("job `{}` failed: {why}", job.name)),
        Some(JobEnd::Complete) => match image {
            Some(image) if !job.images.iter().any(|seen| seen == image) => {
                Proof::Failed(format!("job `{}` ran image `{}`, not `{image}`", job.name, job.images.join("`, `")))
            }
            // From 4.1 on the dispatcher labels after the Job, and may fail the node then.
            _ => match labels(expected, node) {
                Proof::Waiting(seen) if dispatcher_ended => {
                    Proof::Again(format!("job `{}` completed and the dispatcher ended, but {seen}", job.name))
                }
                other => other,
            },
        },
    }
}

fn labels(expected: &Expected<'_>, node: &NodeFacts) -> Proof {
    let mut wanted = vec![KATA_RUNTIME.to_owned()];
    if version::marks_nodes(expected.version) {
        wanted.push(marker(expected.suffix));
    }
    let down = wanted.into_iter().find(|label| node.labels.get(label).is_none_or(|value| value != "true"));
    match down {
        None => Proof::Proven,
        Some(label) => {
            let value = node.labels.get(&label).map_or("absent", String::as_str);
            Proof::Waiting(format!("label `{label}` is `{value}`, not `true`"))
        }
    }
}

/// kata-deploy's second label, from 4.1 on.
pub fn marker(suffix: Option<&str>) -> String {
    format!("{MARKER_PREFIX}{}", suffix.unwrap_or("default"))
}

/// The labels that say "not installed" before the change begins, so that what comes after can't be stale.
pub fn demoted() -> BTreeMap<String, Option<String>> {
    // `false` rather than absence: kata-deploy's own uninstall finds nodes by the key.
    BTreeMap::from([(KATA_RUNTIME.to_owned(), Some("false".to_owned()))])
}

#[cfg(test)]
mod tests;
