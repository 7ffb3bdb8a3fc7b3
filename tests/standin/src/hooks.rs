//! What runs around a release: the post-delete cleanup of kept objects, the chart's own verification, and kata-monitor.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::Resource;
use kube::api::{Api, DeleteParams, ListParams};
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

use crate::environment::Environment;
use crate::names::suffixed;
use crate::truth::Mode;

const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Deletes what `helm.sh/resource-policy: keep` left behind, once the last pod that needs it is gone.
pub async fn delete_kept() -> Result<i32> {
    let Environment { client, namespace, suffix, .. } = Environment::read().await?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let ours = ListParams::default().labels(&format!("name={}", suffixed("kata-deploy", &suffix)));
    // At most a minute: a pod on a node that is gone must not hold up the release's removal.
    for _ in 0..120 {
        if pods.list_metadata(&ours).await?.items.is_empty() {
            break;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let name = |name| suffixed(name, &suffix);
    delete(Api::<ClusterRoleBinding>::all(client.clone()), &name("kata-deploy-rb")).await?;
    delete(Api::<ClusterRole>::all(client.clone()), &name("kata-deploy-role")).await?;
    delete(Api::<ServiceAccount>::namespaced(client, &namespace), &name("kata-deploy-sa")).await?;
    Ok(0)
}

async fn delete<K>(objects: Api<K>, name: &str) -> Result<()>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned + Resource,
{
    match objects.delete(name, &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        done => done.map(drop).with_context(|| format!("deleting `{name}`")),
    }
}

/// The chart's own verification. Like `kubectl rollout status` it can't follow an `OnDelete` rollout.
pub async fn verify_release(mode: Mode, timeout: Duration) -> Result<i32> {
    if mode == Mode::Job {
        return Ok(0);
    }
    let Environment { client, namespace, suffix, .. } = Environment::read().await?;
    let name = suffixed("kata-deploy", &suffix);
    let daemonsets: Api<DaemonSet> = Api::namespaced(client, &namespace);
    let looks = timeout.as_millis() / LOOK_EVERY.as_millis();
    let mut seen = Rollout::Waiting("never seen".to_owned());
    for _ in 0..looks.max(1) {
        seen = rollout(&daemonsets.get(&name).await.with_context(|| format!("reading DaemonSet `{name}`"))?);
        match &seen {
            Rollout::Done => return Ok(0),
            Rollout::CannotTell => bail!("rollout status is only available for RollingUpdate strategy type"),
            Rollout::Waiting(why) => info!(%why, "waiting for the rollout"),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    bail!("DaemonSet `{name}` didn't roll out in time, last seen: {seen:?}")
}

/// How far a `DaemonSet` is.
#[derive(Debug, PartialEq, Eq)]
enum Rollout {
    Done,
    Waiting(String),
    CannotTell,
}

fn rollout(daemonset: &DaemonSet) -> Rollout {
    let strategy = daemonset.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref()?.type_.as_deref());
    if strategy == Some("OnDelete") {
        return Rollout::CannotTell;
    }
    let Some(status) = &daemonset.status else {
        return Rollout::Waiting("no status".to_owned());
    };
    let observed = status.observed_generation >= daemonset.metadata.generation;
    let (updated, available) = (status.updated_number_scheduled.unwrap_or(0), status.number_available.unwrap_or(0));
    let wanted = status.desired_number_scheduled;
    if observed && updated >= wanted && available >= wanted {
        Rollout::Done
    } else {
        Rollout::Waiting(format!("{updated} of {wanted} updated, {available} available"))
    }
}

/// kata-monitor does nothing until it is told to go.
pub async fn monitor() -> Result<i32> {
    let mut term = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    term.recv().await;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn daemonset(strategy: &str, updated: i32) -> DaemonSet {
        serde_json::from_value(json!({
            "metadata": {"generation": 2},
            "spec": {"selector": {}, "template": {}, "updateStrategy": {"type": strategy}},
            "status": {
                "observedGeneration": 2, "desiredNumberScheduled": 3, "currentNumberScheduled": 3, "numberMisscheduled": 0,
                "numberReady": 3, "updatedNumberScheduled": updated, "numberAvailable": 3,
            },
        }))
        .unwrap()
    }

    #[test]
    fn a_rollout_on_delete_cannot_be_followed_even_when_it_is_done() {
        assert_eq!(rollout(&daemonset("OnDelete", 3)), Rollout::CannotTell);
        assert_eq!(rollout(&daemonset("RollingUpdate", 3)), Rollout::Done);
        assert!(matches!(rollout(&daemonset("RollingUpdate", 2)), Rollout::Waiting(_)));
    }
}
