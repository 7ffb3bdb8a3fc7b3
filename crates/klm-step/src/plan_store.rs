//! The plan's `ConfigMap`: written once by select-nodes, read by every later step, gone with its Workflow.

use anyhow::Context as _;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use klm_core::contract::RUN_LABEL;
use klm_core::journal::RunId;
use klm_core::plan::Plan;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::cluster::{ApiError, Cluster};
use crate::exit::NodeFailure;

/// Name of the `ConfigMap`, in the Workflow's namespace.
pub fn plan_name(run: &RunId) -> String {
    format!("{}-plan", run.name)
}

const PLAN: &str = "plan.json";
const SKIPPED: &str = "skipped.json";
const ENDED: &str = "ended.json";

/// How a run ended early. Once this is written, no wave of the run is touched any more: `argo retry` would otherwise
/// verify nodes that were just taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The item of the rollout that failed.
    pub item: usize,
    /// What failed.
    pub failures: Vec<NodeFailure>,
}

/// A run's stored plan.
#[derive(Clone, Debug)]
pub struct StoredPlan {
    /// The plan.
    pub plan: Plan,
    /// Nodes that take no part, with reasons: JSON as select-nodes wrote it.
    pub skipped: serde_json::Value,
    /// Set when the run has failed.
    pub ended: Option<Ended>,
}

/// Writes a plan, or writes it again when a killed step had done so.
pub async fn write(cluster: &Cluster, plan: &Plan, skipped: &impl Serialize) -> anyhow::Result<()> {
    let run = &plan.run;
    let namespace = Some(run.namespace.as_str());
    let data = [(PLAN, serde_json::to_string(plan)?), (SKIPPED, serde_json::to_string(skipped)?)];
    let mut map = ConfigMap::default();
    map.metadata.name = Some(plan_name(run));
    map.metadata.labels = Some([(RUN_LABEL.to_owned(), run.uid.clone())].into());
    map.metadata.owner_references = Some(vec![owner(run)]);
    map.data = Some(data.iter().map(|(key, text)| ((*key).to_owned(), text.clone())).collect());
    match cluster.create(namespace, &map).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_already_there() => {
            let patch = json!({
                "metadata": { "labels": map.metadata.labels, "ownerReferences": map.metadata.owner_references },
                "data": map.data,
            });
            cluster
                .patch::<ConfigMap>(namespace, &plan_name(run), &patch)
                .await
                .map(drop)
                .context("failed to write the plan")
        }
        Err(error) => Err(error).context("failed to write the plan"),
    }
}

/// The run's plan; nothing when the run never got so far.
pub async fn read(cluster: &Cluster, run: &RunId) -> anyhow::Result<Option<StoredPlan>> {
    let (namespace, name) = (run.namespace.as_str(), plan_name(run));
    let Some(map) = cluster.get::<ConfigMap>(Some(namespace), &name).await? else { return Ok(None) };
    let data = map.data.unwrap_or_default();
    let broken = || format!("configmap `{namespace}/{name}` holds no plan that this version can read");
    let Some(text) = data.get(PLAN) else { anyhow::bail!(broken()) };
    let plan: Plan = serde_json::from_str(text).with_context(broken)?;
    if plan.run.uid != run.uid {
        // Left by an earlier Workflow of the same name.
        return Ok(None);
    }
    let skipped = data.get(SKIPPED).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let ended = data.get(ENDED).and_then(|text| serde_json::from_str(text).ok());
    Ok(Some(StoredPlan { plan, skipped, ended }))
}

/// Records that the run has failed.
pub async fn end(cluster: &Cluster, run: &RunId, ended: &Ended) -> anyhow::Result<()> {
    let patch = json!({ "data": { ENDED: serde_json::to_string(ended)? } });
    match cluster.patch::<ConfigMap>(Some(&run.namespace), &plan_name(run), &patch).await {
        Ok(_) => Ok(()),
        // Gone with its Workflow: nobody will ask any more.
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(ApiError::into(error)),
    }
}

fn owner(run: &RunId) -> OwnerReference {
    OwnerReference {
        api_version: "argoproj.io/v1alpha1".to_owned(),
        kind: "Workflow".to_owned(),
        name: run.name.clone(),
        uid: run.uid.clone(),
        ..OwnerReference::default()
    }
}
