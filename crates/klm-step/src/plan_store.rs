//! The plan's `ConfigMap`: written once by select-nodes, read by every later step, gone with its Workflow.

use std::collections::BTreeMap;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use klm_core::contract::RUN_LABEL;
use klm_core::journal::RunId;
use klm_core::node::NodeFacts;
use klm_core::plan::Plan;
use klm_core::selection::LeftOut;
use klm_core::settings::Settings;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::cluster::{ApiError, Cluster};
use crate::engine::inherit::failures;
use crate::exit::NodeFailure;

/// Name of the `ConfigMap`, in the Workflow's namespace.
pub fn plan_name(run: &RunId) -> String {
    format!("{}-plan", run.name)
}

const SETTINGS: &str = "settings.json";
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

impl Ended {
    /// The end of a run whose item failed with these nodes in flight.
    pub fn of(item: usize, nodes: &[NodeFacts], otherwise: &str) -> Self {
        Self { item, failures: failures(nodes, otherwise) }
    }

    /// The same with what an earlier try of the rollback has recorded: nodes that are back have lost their reason.
    #[must_use]
    pub fn merged_with(mut self, earlier: Option<&Self>) -> Self {
        let known = earlier.iter().flat_map(|ended| &ended.failures);
        let missing = known.filter(|failure| !self.failures.iter().any(|found| found.node == failure.node));
        let missing: Vec<NodeFailure> = missing.cloned().collect();
        self.failures.extend(missing);
        self
    }
}

/// A run's stored plan.
#[derive(Clone, Debug)]
pub struct StoredPlan {
    /// The plan.
    pub plan: Plan,
    /// Nodes that take no part, by reason.
    pub skipped: LeftOut,
    /// Set when the run has failed.
    pub ended: Option<Ended>,
}

/// Says which release a run is about, before it takes the release's lock: its exit handler must find the lock.
pub async fn begin(cluster: &Cluster, run: &RunId, settings: &Settings) -> anyhow::Result<()> {
    store(cluster, run, &[(SETTINGS, serde_json::to_string(settings)?)]).await
}

/// What [`begin`] or [`write`] has said; nothing when the run never got so far.
pub async fn settings(cluster: &Cluster, run: &RunId) -> anyhow::Result<Option<Settings>> {
    let Some(data) = data(cluster, run).await? else { return Ok(None) };
    let text = data.get(SETTINGS).with_context(|| broken(run))?;
    Ok(Some(serde_json::from_str(text).with_context(|| broken(run))?))
}

/// Writes a plan, or writes it again when a killed step had done so.
pub async fn write(cluster: &Cluster, plan: &Plan, skipped: &LeftOut) -> anyhow::Result<()> {
    let parts = [
        (SETTINGS, serde_json::to_string(&plan.settings)?),
        (PLAN, serde_json::to_string(plan)?),
        (SKIPPED, serde_json::to_string(skipped)?),
    ];
    store(cluster, &plan.run, &parts).await
}

/// The run's plan; nothing when the run never got so far.
pub async fn read(cluster: &Cluster, run: &RunId) -> anyhow::Result<Option<StoredPlan>> {
    let Some(data) = data(cluster, run).await? else { return Ok(None) };
    let Some(text) = data.get(PLAN) else { return Ok(None) };
    let plan: Plan = serde_json::from_str(text).with_context(|| broken(run))?;
    let skipped = data.get(SKIPPED).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let ended = data.get(ENDED).and_then(|text| serde_json::from_str(text).ok());
    Ok(Some(StoredPlan { plan, skipped, ended }))
}

/// What the `ConfigMap` holds, if it is this run's: an earlier Workflow of the same name may have left one.
async fn data(cluster: &Cluster, run: &RunId) -> anyhow::Result<Option<BTreeMap<String, String>>> {
    let Some(map) = cluster.get::<ConfigMap>(Some(&run.namespace), &plan_name(run)).await? else { return Ok(None) };
    let of_run = map.metadata.labels.as_ref().and_then(|labels| labels.get(RUN_LABEL)) == Some(&run.uid);
    Ok(of_run.then(|| map.data.unwrap_or_default()))
}

async fn store(cluster: &Cluster, run: &RunId, parts: &[(&str, String)]) -> anyhow::Result<()> {
    let namespace = Some(run.namespace.as_str());
    let mut map = ConfigMap::default();
    map.metadata.name = Some(plan_name(run));
    map.metadata.labels = Some([(RUN_LABEL.to_owned(), run.uid.clone())].into());
    map.metadata.owner_references = Some(vec![owner(run)]);
    map.data = Some(parts.iter().map(|(key, text)| ((*key).to_owned(), text.clone())).collect());
    match cluster.create(namespace, &map).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_already_there() => {
            let patch = json!({
                "metadata": { "labels": map.metadata.labels, "ownerReferences": map.metadata.owner_references },
                "data": map.data,
            });
            let patched = cluster.patch::<ConfigMap>(namespace, &plan_name(run), &patch).await;
            patched.map(drop).context("failed to write the plan")
        }
        Err(error) => Err(error).context("failed to write the plan"),
    }
}

fn broken(run: &RunId) -> String {
    format!("configmap `{}/{}` holds no plan that this version can read", run.namespace, plan_name(run))
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
