//! kata-deploy's Jobs into what a proof needs: one per node, and the dispatcher that starts them.

use k8s_openapi::api::batch::v1::Job;
use klm_core::proof::{JobEnd, NodeJob};

/// The exact name of the node; the label beside it is shortened and ambiguous.
const NODE_NAME: &str = "kata-deploy-job-dispatcher/node-name";

/// A Job that installs on one node; nothing for any other Job.
pub fn node_job(job: &Job) -> Option<NodeJob> {
    let metadata = &job.metadata;
    let owner = metadata.owner_references.iter().flatten().find(|owner| owner.kind == "Job");
    let pod = job.spec.as_ref().and_then(|spec| spec.template.spec.as_ref())?;
    let containers = pod.init_containers.iter().flatten().chain(&pod.containers);
    Some(NodeJob {
        name: metadata.name.clone()?,
        uid: metadata.uid.clone()?,
        node: metadata.annotations.as_ref()?.get(NODE_NAME)?.clone(),
        owner: owner.map(|owner| owner.uid.clone()).unwrap_or_default(),
        images: containers.filter_map(|container| container.image.clone()).collect(),
        end: end(job),
    })
}

/// A Job's UID and how it ended.
pub fn job_end(job: &Job) -> Option<(String, Option<JobEnd>)> {
    Some((job.metadata.uid.clone()?, end(job)))
}

fn end(job: &Job) -> Option<JobEnd> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let condition = |kind: &str| conditions.iter().find(|it| it.type_ == kind && it.status == "True");
    if let Some(failed) = condition("Failed") {
        let parts = [failed.reason.as_deref(), failed.message.as_deref()];
        let said: Vec<&str> = parts.into_iter().flatten().filter(|text| !text.is_empty()).collect();
        return Some(JobEnd::Failed(if said.is_empty() { "no reason given".to_owned() } else { said.join(": ") }));
    }
    condition("Complete").map(|_| JobEnd::Complete)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn job(conditions: &Value) -> Job {
        serde_json::from_value(json!({
            "metadata": {
                "name": "kata-deploy-install-blue-7", "uid": "j", "annotations": {NODE_NAME: "blue.7"},
                "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "d", "uid": "dispatcher"}],
            },
            "spec": {"template": {"spec": {
                "initContainers": [{"name": "artifacts", "image": "q/k:9"}], "containers": [{"name": "cri", "image": "q/k:9"}],
            }}},
            "status": {"conditions": conditions},
        }))
        .unwrap()
    }

    #[test]
    fn a_job_is_matched_by_its_exact_node_name_and_its_dispatcher() {
        let facts = node_job(&job(&json!([]))).unwrap();
        assert_eq!((facts.node.as_str(), facts.owner.as_str(), facts.end), ("blue.7", "dispatcher", None));
    }

    #[test]
    fn only_a_true_condition_ends_a_job() {
        let end = |conditions| node_job(&job(&conditions)).unwrap().end;
        assert_eq!(end(json!([{"type": "Complete", "status": "True"}])), Some(JobEnd::Complete));
        assert_eq!(end(json!([{"type": "Failed", "status": "False"}])), None);
        assert_eq!(
            end(json!([{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}])),
            Some(JobEnd::Failed("BackoffLimitExceeded".to_owned()))
        );
    }
}
