//! One simulated pod: from its start to its end, and its end when it is deleted.

use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use tokio::sync::mpsc;

use super::status::{Turn, of};
use crate::environment;
use crate::image::ImageRef;
use crate::injection::{Injection, Injections};
use crate::names::suffixed;
use crate::node;
use crate::perform::{Actor, Outcome, perform};
use crate::profile::{Profile, Stop};
use crate::script::{self, Stage};

/// What a pod is to kata-deploy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A pod of the `DaemonSet`.
    Daemon,
    /// A per-node Job's pod.
    NodeJob,
}

/// Whether this pod is kata-deploy's work on a node, and which.
pub fn part(pod: &Pod) -> Option<Part> {
    let owner = pod.owner_references().iter().find(|owner| owner.controller == Some(true))?;
    let named = |name: &str| pod.spec.as_ref().is_some_and(|spec| spec.containers.iter().any(|one| one.name == name));
    match owner.kind.as_str() {
        "DaemonSet" if named("kube-kata") => Some(Part::Daemon),
        "Job" if pod.labels().contains_key("kata-deploy/stage") => Some(Part::NodeJob),
        _ => None,
    }
}

/// A pod in play.
pub struct Player {
    client: Client,
    pod: Pod,
    actor: Actor,
    injections: Injections,
}

impl Player {
    /// Gets ready to play `pod`; an installation takes `install_time` unless the test says otherwise.
    pub async fn new(client: Client, pod: Pod, install_time: Option<Duration>) -> Result<Self> {
        let spec = pod.spec.as_ref().context("a pod without a spec")?;
        let namespace = pod.namespace().context("a pod without a namespace")?;
        let node = spec.node_name.clone().context("a pod without a node")?;
        let container = spec.containers.first().context("a pod without containers")?;
        let variable = |name: &str| container.env.iter().flatten().find(|one| one.name == name)?.value.clone();
        let image = ImageRef::parse(container.image.as_deref().unwrap_or_default());
        let settings = environment::settings(&client, &namespace).await?;
        let mut pace = settings.pace()?;
        pace.install = install_time.unwrap_or(pace.install);
        let handlers = variable("STANDIN_HANDLERS").unwrap_or_default();
        let actor = Actor {
            client: client.clone(),
            uid: pod.uid().context("a pod without a UID")?,
            suffix: variable("STANDIN_SUFFIX").unwrap_or_default(),
            version: image.label().to_owned(),
            profile: Profile::of(&image.version(variable("STANDIN_CHART_VERSION").as_deref())?),
            job: pod.labels().get("batch.kubernetes.io/job-name").cloned(),
            handlers: handlers.split(',').filter(|one| !one.is_empty()).map(str::to_owned).collect(),
            pace,
            node,
            namespace,
        };
        let injections = settings.injections(&actor.node, &actor.version)?;
        Ok(Self { client, pod, actor, injections })
    }

    /// Plays the pod until it ends, or has nothing more to do.
    pub async fn live(&self, part: Part) -> Result<()> {
        if self.injections.has(Injection::BadImage) {
            return self.show("Pending", &[Turn::Waiting("ImagePullBackOff")], 0).await;
        }
        match part {
            Part::Daemon => self.daemon().await,
            Part::NodeJob => self.node_job().await,
        }
    }

    async fn daemon(&self) -> Result<()> {
        let acts = script::daemonset(self.actor.profile, &self.injections, &self.actor.pace);
        let mut restarts = 0;
        loop {
            // Without probes a container that runs counts as ready.
            self.show("Running", &[Turn::Running(!self.actor.profile.probes)], restarts).await?;
            let (sender, mut receiver) = mpsc::unbounded_channel();
            let run = perform(&self.actor, &acts, move || _ = sender.send(()));
            let show_ready = async {
                if receiver.recv().await.is_some() && self.actor.profile.probes {
                    self.show("Running", &[Turn::Running(true)], restarts).await?;
                }
                Ok::<_, anyhow::Error>(())
            };
            let (outcome, shown) = tokio::join!(run, show_ready);
            shown?;
            let Outcome::Exited(code) = outcome? else {
                return Ok(());
            };
            self.show("Running", &[Turn::Ended(code)], restarts).await?;
            restarts += 1;
            self.show("Running", &[Turn::Waiting("CrashLoopBackOff")], restarts).await?;
            // A kubelet's first pause; it doubles up to five minutes, which no test waits for.
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
    }

    async fn node_job(&self) -> Result<()> {
        let spec = self.pod.spec.clone().unwrap_or_default();
        let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
        let mut turns = Vec::new();
        let main = spec.init_containers.as_ref().map_or(0, Vec::len);
        for (index, container) in containers.enumerate() {
            let stage = Stage::of_container(&container.name)
                .with_context(|| format!("container `{}` plays no stage", container.name))?;
            if index == 0 || index == main {
                let phase = if index == main { "Running" } else { "Pending" };
                turns.push(Turn::Running(index == main));
                self.show(phase, &turns, 0).await?;
                turns.pop();
            }
            let acts = script::stage(stage, self.actor.profile, &self.injections, &self.actor.pace);
            let Outcome::Exited(code) = perform(&self.actor, &acts, || {}).await? else {
                return Ok(());
            };
            turns.push(Turn::Ended(code));
            if code != 0 {
                return self.show("Failed", &turns, 0).await;
            }
        }
        self.show("Succeeded", &turns, 0).await
    }

    /// Plays the end of a pod that is being deleted, and takes it off the API server as its kubelet would.
    pub async fn die(&self, part: Part) -> Result<()> {
        if part == Part::Daemon {
            let daemonsets: Api<DaemonSet> = Api::namespaced(self.client.clone(), &self.actor.namespace);
            let daemonset = daemonsets.get_opt(&suffixed("kata-deploy", &self.actor.suffix)).await?;
            let nodes: Api<Node> = Api::all(self.client.clone());
            if let Some(seen) = nodes.get_opt(&self.actor.node).await? {
                let owner = node::owner(daemonset.as_ref(), &seen);
                if self.actor.profile.stop == Stop::UninstallInPreStop {
                    let acts = script::pre_stop(self.actor.profile, owner, &self.injections);
                    perform(&self.actor, &acts, || {}).await?;
                }
                perform(&self.actor, &script::stop(self.actor.profile, owner, &self.injections), || {}).await?;
            }
        }
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.actor.namespace);
        let now = DeleteParams::default()
            .grace_period(0)
            .preconditions(kube::api::Preconditions { uid: Some(self.actor.uid.clone()), resource_version: None });
        match pods.delete(&self.pod.name_any(), &now).await {
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
            done => done.map(drop).with_context(|| format!("removing pod `{}`", self.pod.name_any())),
        }
    }

    async fn show(&self, phase: &str, turns: &[Turn], restarts: u32) -> Result<()> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.actor.namespace);
        let name = self.pod.name_any();
        let status = of(&self.pod, phase, turns, restarts);
        match pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await {
            // Deleted meanwhile: whoever deleted it is told by `die`.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            done => done.map(drop).with_context(|| format!("writing the status of pod `{name}`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case("DaemonSet", "kube-kata", json!({"name": "kata-deploy"}), Some(Part::Daemon))]
    #[case("DaemonSet", "kata-monitor", json!({"name": "kata-monitor"}), None)]
    #[case("Job", "cri", json!({"kata-deploy/stage": "install"}), Some(Part::NodeJob))]
    #[case("Job", "dispatcher", json!({"kata-deploy/dispatcher": "install"}), None)]
    #[case("ReplicaSet", "kube-kata", json!({}), None)]
    fn only_the_work_on_a_node_is_played(
        #[case] owner: &str,
        #[case] container: &str,
        #[case] labels: serde_json::Value,
        #[case] expected: Option<Part>,
    ) {
        let owner = json!([{"apiVersion": "v1", "kind": owner, "name": "x", "uid": "y", "controller": true}]);
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"labels": labels, "ownerReferences": owner},
            "spec": {"containers": [{"name": container}]},
        }))
        .unwrap();
        assert_eq!(part(&pod), expected);
    }
}
