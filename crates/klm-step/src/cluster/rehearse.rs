//! Questions to the API server that change nothing: may we, would this pod be taken, would this eviction be allowed.

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview};
use k8s_openapi::api::core::v1::Pod;
use klm_core::drain::Answer;
use klm_core::gate::{Right, Scope};
use kube::api::PostParams;
use serde_json::{Value, json};

use super::error::{ApiError, Cause};
use super::{Cluster, describe, malformed, path};

impl Cluster {
    /// Whether we have a right.
    pub async fn may(&self, right: &Right) -> Result<bool, ApiError> {
        let (resource, subresource) = match right.resource.split_once('/') {
            Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
            None => (right.resource, None),
        };
        let mut review = SelfSubjectAccessReview::default();
        review.spec.resource_attributes = Some(ResourceAttributes {
            group: Some(right.group.to_owned()),
            resource: Some(resource.to_owned()),
            subresource,
            verb: Some(right.verb.to_owned()),
            name: Some(right.name.clone()).filter(|name| !name.is_empty()),
            namespace: match &right.scope {
                Scope::Cluster => None,
                Scope::Namespace(namespace) => Some(namespace.clone()),
            },
            ..ResourceAttributes::default()
        });
        Ok(self.create(None, &review).await?.status.is_some_and(|status| status.allowed))
    }

    /// Whether the API server, its quotas and its admission would take this pod.
    pub async fn rehearse_pod(&self, namespace: &str, manifest: &Value) -> Result<(), ApiError> {
        let name = manifest.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let action = || format!("try out {}", describe::<Pod>(Some(namespace), &name));
        let body = serde_json::to_vec(manifest).map_err(|error| malformed(action(), &error))?;
        let params = PostParams { dry_run: true, ..PostParams::default() };
        self.ask::<Value>(action, path::<Pod>(Some(namespace)).create(&params, body)).await.map(drop)
    }

    /// Whether an eviction of this pod would be allowed now; nothing when it would.
    pub async fn rehearse_eviction(&self, namespace: &str, pod: &str, uid: &str) -> Option<Answer> {
        let options = json!({"preconditions": {"uid": uid}, "dryRun": ["All"]});
        let body = json!({
            "apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": {"name": pod, "namespace": namespace}, "deleteOptions": options,
        });
        let params = PostParams { dry_run: true, ..PostParams::default() };
        let request =
            path::<Pod>(Some(namespace)).create_subresource("eviction", pod, &params, body.to_string().into_bytes());
        let answer = match request {
            Ok(request) => self.send_once(request).await,
            Err(error) => Err(Cause::Malformed(error.to_string())),
        };
        answer.err().map(|cause| refusal(&cause))
    }
}

/// A refused eviction as a decision reads it.
fn refusal(cause: &Cause) -> Answer {
    let mut answer = Answer { message: cause.to_string(), code: cause.code().unwrap_or(503), ..Answer::default() };
    if let Cause::Status(status) = cause {
        let details = status.details.as_ref();
        answer.causes =
            details.map(|it| it.causes.iter().map(|cause| cause.reason.clone()).collect()).unwrap_or_default();
        answer.retry_after = cause.retry_after().map(|after| after.as_secs());
        answer.reason.clone_from(&status.reason);
    }
    answer
}
