//! Asking the API server to evict a pod, once: a refusal is an answer that a drain must see.

use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use kube::core::Status;
use kube::core::response::StatusSummary;
use serde_json::json;

use super::error::Cause;
use super::{Cluster, path};

impl Cluster {
    /// One eviction. The body is our own: `kube` spells `deleteOptions` in a way that the API server ignores, and then
    /// neither the UID nor the grace period would be honoured.
    pub async fn evict(&self, namespace: &str, pod: &str, uid: &str, grace_period: Option<i64>) -> Result<(), Cause> {
        let mut options = json!({ "preconditions": { "uid": uid } });
        if let Some(seconds) = grace_period {
            options["gracePeriodSeconds"] = json!(seconds);
        }
        let body = json!({
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": { "name": pod, "namespace": namespace },
            "deleteOptions": options,
        });
        let body = serde_json::to_vec(&body).map_err(|error| Cause::Malformed(error.to_string()))?;
        let request = path::<Pod>(Some(namespace))
            .create_subresource("eviction", pod, &PostParams::default(), body)
            .map_err(|error| Cause::Malformed(error.to_string()))?;
        let answer = self.send_once(request).await?;
        refused_in_the_body(&answer).map_or(Ok(()), |status| Err(Cause::Status(Box::new(status))))
    }
}

/// Two budgets for one pod are reported by a Status object inside a successful answer.
fn refused_in_the_body(answer: &[u8]) -> Option<Status> {
    let status: Status = serde_json::from_slice(answer).ok()?;
    let refused = status.code >= 400 || status.status == Some(StatusSummary::Failure);
    refused.then_some(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_inside_a_successful_answer_is_a_failure() {
        let two_budgets = br#"{"kind":"Status","status":"Failure","code":500,"message":"more than one budget"}"#;
        assert_eq!(refused_in_the_body(two_budgets).map(|status| status.code), Some(500));
        assert!(refused_in_the_body(br#"{"kind":"Status","status":"Success","code":201}"#).is_none());
        assert!(refused_in_the_body(br#"{"kind":"Eviction","metadata":{"name":"x"}}"#).is_none());
    }
}
