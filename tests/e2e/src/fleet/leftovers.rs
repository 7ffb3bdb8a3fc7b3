//! What a run must have given back when it has ended.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use klm_bed::wait::{Seen, Wait};
use klm_core::contract::{CURRENT_VERSION, KATA_RUNTIME, MARKER_PREFIX, RUN_LABEL, STATUS};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::Value;

use super::{ARGO, Finished, Fleet, KUBE_SYSTEM, NodeState, RELEASE};

/// What was there before a run.
#[derive(Clone, Debug)]
pub struct Before {
    nodes: Vec<NodeState>,
    values: Value,
    release: String,
    namespace: String,
}

impl Before {
    /// The same, for a run that is told to take a value of this map away.
    #[must_use]
    pub fn without(mut self, map: &str, key: &str) -> Self {
        if let Some(map) = self.values[map].as_object_mut() {
            map.remove(key);
        }
        self
    }
}

impl Fleet {
    /// Looks at what a run must leave as it is.
    pub async fn before(&self) -> Result<Before> {
        self.before_with(RELEASE, KUBE_SYSTEM).await
    }

    /// The same for another release.
    pub async fn before_with(&self, release: &str, namespace: &str) -> Result<Before> {
        let (release, namespace) = (release.to_owned(), namespace.to_owned());
        let values = self.user_values_of(&release, &namespace)?;
        Ok(Before { nodes: self.nodes().await?, values, release, namespace })
    }

    /// Nothing of a run is left: no cordon, no lifted taint, no lock, pod, Job or plan, and the user's values are what
    /// they were. Deletes the Workflow, because the plan belongs to it.
    pub async fn nothing_left(&self, before: &Before, run: &Finished) -> Result<()> {
        self.nodes_as_before(before).await?;
        self.values_as_before(before)?;
        let leases: Api<Lease> = Api::namespaced(self.client(), &before.namespace);
        let locks = names(&leases.list(&ListParams::default()).await?.items, |name| name.starts_with("klm-"));
        ensure!(locks.is_empty(), "locks are left in {}: {locks:?}", before.namespace);
        let pods: Api<Pod> = Api::all(self.client());
        let left = pods.list(&ListParams::default().labels(RUN_LABEL)).await?.items;
        let staying: Vec<_> = left.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect();
        ensure!(staying.is_empty(), "verification pods are left: {staying:?}");
        self.no_helm_operation_pending(before)?;
        self.plan_goes_with_its_workflow(run).await
    }

    /// No cordon, taint, label or status has changed.
    pub async fn nodes_as_before(&self, before: &Before) -> Result<()> {
        let now = self.nodes().await?;
        for (was, is) in before.nodes.iter().zip(&now) {
            ensure!(
                (is.cordoned, &is.taints, users(&is.labels)) == (was.cordoned, &was.taints, users(&was.labels)),
                "node `{}` isn't as it was:\nbefore {was:?}\nafter  {is:?}",
                is.name
            );
            ensure!(!is.is_in_flight(), "node `{}` is left `{}`: {is:?}", is.name, is.status());
            ensure!(
                is.serves_kata() || !was.serves_kata(),
                "node `{}` doesn't serve Kata any more: {:?}",
                is.name,
                is.labels
            );
            for name in [STATUS, CURRENT_VERSION] {
                ensure!(
                    is.annotations.get(name) == is.labels.get(name),
                    "node `{}`: annotation and label `{name}` differ: {is:?}",
                    is.name
                );
            }
        }
        Ok(())
    }

    fn values_as_before(&self, before: &Before) -> Result<()> {
        let now = self.user_values_of(&before.release, &before.namespace)?;
        ensure!(
            without_ours(&now) == without_ours(&before.values),
            "the user's values aren't as they were:\nbefore {}\nafter  {now}",
            before.values
        );
        Ok(())
    }

    // A killed helm's `pending-upgrade` stays in the history for good, but only behind the rollback that unlocked it.
    fn no_helm_operation_pending(&self, before: &Before) -> Result<()> {
        let revisions = self.revisions_of(&before.release, &before.namespace)?;
        let deployed = revisions.iter().filter(|revision| revision.status == "deployed").count();
        let newest = revisions.last().is_some_and(|newest| newest.status == "deployed");
        let unlocked = revisions
            .windows(2)
            .all(|pair| !pair[0].status.starts_with("pending") || pair[1].description.starts_with("Rollback to "));
        ensure!(newest && unlocked && deployed == 1, "the release isn't settled: {revisions:?}");
        Ok(())
    }

    async fn plan_goes_with_its_workflow(&self, run: &Finished) -> Result<()> {
        let maps: Api<ConfigMap> = Api::namespaced(self.client(), ARGO);
        self.scene
            .workflows(ARGO)
            .delete(&run.name, &DeleteParams::background())
            .await
            .context("deleting the workflow")?;
        let plan = format!("{}-plan", run.name);
        Wait::new(format!("the plan {plan} to go with its workflow"), Duration::from_secs(180))
            .until(async || {
                Ok(match maps.get_opt(&plan).await? {
                    None => Seen::Done(()),
                    Some(map) => Seen::NotYet(format!("owned by {:?}", map.owner_references())),
                })
            })
            .await
    }
}

/// A run may set these; everything else of the user's stays.
fn without_ours(values: &Value) -> Value {
    let mut values = values.clone();
    if let Some(all) = values.as_object_mut() {
        for ours in ["updateStrategy", "deploymentMode"] {
            all.remove(ours);
        }
        // The chart's own default.
        if all.get("verification") == Some(&serde_json::json!({"pod": ""})) {
            all.remove("verification");
        }
        // A list that was empty before is said to be empty afterwards.
        if all.get("job").is_some_and(|job| *job == serde_json::json!({"nodes": []}) || *job == serde_json::json!({})) {
            all.remove("job");
        }
    }
    values
}

/// Labels that neither a run nor kata-deploy writes.
fn users(labels: &BTreeMap<String, String>) -> BTreeMap<&str, &str> {
    let theirs = |name: &str| {
        [STATUS, CURRENT_VERSION, RUN_LABEL, KATA_RUNTIME].contains(&name) || name.starts_with(MARKER_PREFIX)
    };
    labels.iter().filter(|(name, _)| !theirs(name)).map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

fn names<K: kube::ResourceExt>(objects: &[K], which: impl Fn(&str) -> bool) -> Vec<String> {
    objects.iter().map(ResourceExt::name_any).filter(|name| which(name)).collect()
}
