//! The Job that a dispatcher makes for one node: its name, its labels, and how it stands.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::EnvVar;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt as _;
use sha2::{Digest as _, Sha256};

use crate::profile::Dispatcher;

/// The longest name of a Job, and the longest value of a label.
const LONGEST: usize = 63;

/// What all Jobs of one run have in common.
#[derive(Clone, Debug)]
pub struct Mould {
    /// How names are made.
    pub dispatcher: Dispatcher,
    /// What names begin with, and the value of the owner label.
    pub prefix: String,
    /// The prefix of the labels.
    pub tracking: String,
    /// The dispatcher's own Job.
    pub owner: OwnerReference,
    /// The Job as the chart wrote it.
    pub template: Job,
}

impl Mould {
    /// The label that says which dispatcher made a Job.
    pub fn owner_label(&self) -> String {
        format!("{}/owner", self.tracking)
    }

    /// The name of the Job for `node`.
    pub fn name(&self, node: &str) -> String {
        let plain = format!("{}-{}", self.prefix, sanitized(node));
        let ambiguous = self.dispatcher >= Dispatcher::V4_1 && sanitized(node) != node;
        if plain.len() <= LONGEST && !ambiguous {
            return plain;
        }
        hashed(&plain, node)
    }

    /// The value of the label that names the node.
    fn node_label(&self, node: &str) -> String {
        let plain = sanitized(node);
        let ambiguous = self.dispatcher >= Dispatcher::V4_1 && plain != node;
        if plain.len() <= LONGEST && !ambiguous { plain } else { hashed(&plain, node) }
    }

    /// The Job for `node`, with `env` added to every container.
    pub fn job(&self, node: &str, env: &[(&str, &str)]) -> Job {
        let mut job = self.template.clone();
        job.metadata.name = Some(self.name(node));
        job.metadata.owner_references = Some(vec![self.owner.clone()]);
        let labels = job.labels_mut();
        labels.insert(self.owner_label(), self.prefix.clone());
        labels.insert(format!("{}/node", self.tracking), self.node_label(node));
        job.annotations_mut().insert(format!("{}/node-name", self.tracking), node.to_owned());
        let Some(spec) = &mut job.spec else {
            return job;
        };
        let labels = spec.template.metadata.get_or_insert_default().labels.get_or_insert_with(BTreeMap::new);
        labels.insert(self.owner_label(), self.prefix.clone());
        if let Some(pod) = &mut spec.template.spec {
            pod.node_name = Some(node.to_owned());
            for container in pod.init_containers.iter_mut().flatten().chain(&mut pod.containers) {
                let added = env.iter().map(|(name, value)| EnvVar {
                    name: (*name).to_owned(),
                    value: Some((*value).to_owned()),
                    value_from: None,
                });
                container.env.get_or_insert_with(Vec::new).extend(added);
            }
        }
        job
    }

    /// Whether a Job that was there before carries our owner label.
    pub fn has_our_label(&self, job: &Job) -> bool {
        job.labels().get(&self.owner_label()) == Some(&self.prefix)
    }

    /// Whether a Job belongs to this very run.
    pub fn is_of_this_run(&self, job: &Job) -> bool {
        job.owner_references().iter().any(|owner| owner.uid == self.owner.uid)
    }
}

/// Small letters, digits and dashes only.
fn sanitized(node: &str) -> String {
    let dashed = node.chars().map(|letter| match letter.to_ascii_lowercase() {
        letter @ ('a'..='z' | '0'..='9' | '-') => letter,
        _ => '-',
    });
    dashed.collect::<String>().trim_matches('-').to_owned()
}

/// `plain`, cut so that a hash of `node` fits behind it.
fn hashed(plain: &str, node: &str) -> String {
    let hash = Sha256::digest(node.as_bytes()).iter().take(4).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    let kept = &plain[..plain.len().min(LONGEST - hash.len() - 1)];
    format!("{}-{hash}", kept.trim_end_matches('-'))
}

/// How a Job stands, by its conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It runs, or hasn't begun.
    Open,
    /// It succeeded.
    Complete,
    /// It failed for good.
    Failed,
}

/// How `job` stands.
pub fn standing(job: &Job) -> Standing {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_ref());
    let is_true =
        |kind: &str| conditions.is_some_and(|all| all.iter().any(|one| one.type_ == kind && one.status == "True"));
    if is_true("Complete") {
        Standing::Complete
    } else if is_true("Failed") {
        Standing::Failed
    } else {
        Standing::Open
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn mould(dispatcher: Dispatcher) -> Mould {
        Mould {
            dispatcher,
            prefix: "kata-deploy-install".to_owned(),
            tracking: "kata-deploy-job-dispatcher".to_owned(),
            owner: OwnerReference { uid: "dispatcher-uid".to_owned(), ..OwnerReference::default() },
            template: serde_json::from_value(json!({
                "metadata": {"labels": {"kata-deploy/stage": "install"}},
                "spec": {"template": {"metadata": {"labels": {"kata-deploy/stage": "install"}},
                    "spec": {"initContainers": [{"name": "a"}], "containers": [{"name": "b"}]}}},
            }))
            .unwrap(),
        }
    }

    #[test]
    fn version_1_gives_two_nodes_one_name_and_version_2_does_not() {
        let old = mould(Dispatcher::V4_0);
        assert_eq!(old.name("worker-0"), "kata-deploy-install-worker-0");
        assert_eq!(old.name("worker.0"), old.name("worker-0"));
        let new = mould(Dispatcher::V4_1);
        assert_eq!(new.name("worker-0"), "kata-deploy-install-worker-0");
        assert_ne!(new.name("worker.0"), new.name("worker-0"));
    }

    #[rstest]
    #[case(Dispatcher::V3_32)]
    #[case(Dispatcher::External)]
    fn a_long_name_is_cut_and_stays_unique(#[case] dispatcher: Dispatcher) {
        let (one, two) = ("a".repeat(60) + "-one", "a".repeat(60) + "-two");
        let mould = mould(dispatcher);
        assert!(mould.name(&one).len() <= 63);
        assert_ne!(mould.name(&one), mould.name(&two));
    }

    #[test]
    fn a_job_names_its_node_exactly_and_is_pinned_there() {
        let job = mould(Dispatcher::V4_1).job("worker.0", &[("MACHINE", "m1")]);
        assert_eq!(job.annotations()["kata-deploy-job-dispatcher/node-name"], "worker.0");
        assert_eq!(job.labels()["kata-deploy-job-dispatcher/owner"], "kata-deploy-install");
        assert_eq!(job.labels()["kata-deploy/stage"], "install");
        assert_eq!(job.owner_references()[0].uid, "dispatcher-uid");
        let template = job.spec.unwrap().template;
        let labels = template.metadata.unwrap().labels.unwrap();
        assert_eq!(labels["kata-deploy-job-dispatcher/owner"], "kata-deploy-install");
        assert!(!labels.contains_key("kata-deploy-job-dispatcher/node"));
        let pod = template.spec.unwrap();
        assert_eq!(pod.node_name.as_deref(), Some("worker.0"));
        for container in pod.init_containers.unwrap().iter().chain(&pod.containers) {
            assert_eq!(container.env.as_ref().unwrap()[0].name, "MACHINE");
        }
    }

    #[test]
    fn the_label_is_the_same_for_a_job_of_another_run_but_the_owner_is_not() {
        let mould = mould(Dispatcher::V3_32);
        let mut stale = mould.job("worker-0", &[]);
        assert!(mould.is_of_this_run(&stale));
        stale.metadata.owner_references =
            Some(vec![OwnerReference { uid: "earlier".to_owned(), ..OwnerReference::default() }]);
        assert!(mould.has_our_label(&stale));
        assert!(!mould.is_of_this_run(&stale));
    }

    #[rstest]
    #[case(json!([]), Standing::Open)]
    #[case(json!([{"type": "Complete", "status": "True"}]), Standing::Complete)]
    #[case(json!([{"type": "FailureTarget", "status": "True"}]), Standing::Open)]
    #[case(json!([{"type": "Failed", "status": "True"}]), Standing::Failed)]
    #[case(json!([{"type": "Failed", "status": "False"}]), Standing::Open)]
    fn only_a_final_condition_ends_a_job(#[case] conditions: serde_json::Value, #[case] expected: Standing) {
        let job: Job = serde_json::from_value(json!({"status": {"conditions": conditions}})).unwrap();
        assert_eq!(standing(&job), expected);
    }
}
