//! A finished per-node Job of an earlier run, as the garbage collector leaves it for a while.

use anyhow::{Context as _, Result};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;

use super::{apply, prepare};
use crate::dispatch::Mould;
use crate::injection::CONFIG_MAP;
use crate::names::{TRACKING_PREFIX, suffixed};
use crate::profile::Dispatcher;

/// Leaves a Job for `node` that is complete, has the label of the installation's dispatcher and belongs to none of its runs.
/// The program of a dispatcher of 3.32.0 or 4.0.0 takes it for its own.
pub async fn leave_stale_job(client: &Client, namespace: &str, suffix: &str, node: &str) -> Result<String> {
    prepare(client, namespace).await?;
    let jobs: Api<Job> = Api::namespaced(client.clone(), namespace);
    let mould = Mould {
        dispatcher: Dispatcher::V4_0,
        prefix: format!("{}-install", suffixed("kata-deploy", suffix)),
        tracking: TRACKING_PREFIX.to_owned(),
        owner: living_owner(client, namespace).await?,
        template: template()?,
    };
    let job = jobs.create(&PostParams::default(), &mould.job(node, &[])).await.context("creating the stale Job")?;
    let name = job.name_any();
    let now = Timestamp::now().to_string();
    let done = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": now, "lastProbeTime": now});
    let status = json!({"status": {
        "startTime": now, "completionTime": now, "succeeded": 1,
        "conditions": [done("SuccessCriteriaMet"), done("Complete")],
    }});
    let finished = jobs.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await;
    finished.with_context(|| format!("finishing the stale Job `{name}`"))?;
    Ok(name)
}

/// Something that lives as long as the test wants: the garbage collector takes Jobs away whose owner is gone.
async fn living_owner(client: &Client, namespace: &str) -> Result<OwnerReference> {
    use k8s_openapi::api::core::v1::ConfigMap;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    apply(&maps, CONFIG_MAP, json!({"apiVersion": "v1", "kind": "ConfigMap"})).await?;
    let map = maps.get(CONFIG_MAP).await.context("reading the owner of the stale Job")?;
    Ok(OwnerReference {
        api_version: "v1".to_owned(),
        kind: "ConfigMap".to_owned(),
        name: CONFIG_MAP.to_owned(),
        uid: map.uid().context("an object without a UID")?,
        ..OwnerReference::default()
    })
}

fn template() -> Result<Job> {
    let job = json!({
        "metadata": {"labels": {"app.kubernetes.io/name": "kata-deploy", "kata-deploy/stage": "install"}},
        "spec": {
            // The cluster's own controller keeps its hands off: the Job's end is ours to tell.
            "managedBy": "standin.klm.test/stale",
            "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "label", "image": "none"}]}},
        },
    });
    serde_json::from_value(job).context("the stale Job's template")
}
