//! Plays kata-deploy's pods on simulated nodes, where no kubelet runs containers: same decisions, same labels, same moments.
//!
//! Whatever else simulates those nodes must leave kata-deploy's pods alone: the ones of a `DaemonSet` with a container
//! `kube-kata`, and the ones of a Job with the label `kata-deploy/stage`. The chart's value `standin.playedBy` labels them
//! `bed.local/played-by`, which the bed's kwok understands.

mod pod;
mod status;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::Api;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch};
use kube::{Client, ResourceExt as _};
use tokio::sync::Mutex;
use tokio::task::AbortHandle;
use tracing::{error, info};

use pod::{Part, Player};

/// What to play.
pub struct Options {
    /// The release's namespace.
    pub namespace: String,
    /// How long an installation takes, unless the test's settings say otherwise for a node.
    pub install_time: Option<Duration>,
    /// The annotation (`name=value`) of simulated nodes.
    pub simulated: (String, String),
}

/// Where a pod is in its play.
enum Scene {
    Living(AbortHandle),
    Dying,
}

struct Theatre {
    client: Client,
    options: Options,
    /// Whether a node is simulated, once known.
    nodes: Mutex<BTreeMap<String, bool>>,
}

/// Plays until the process ends.
pub async fn play(client: Client, options: Options) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &options.namespace);
    info!(namespace = %options.namespace, "playing");
    let theatre = Arc::new(Theatre { client, options, nodes: Mutex::default() });
    let mut scenes: BTreeMap<String, Scene> = BTreeMap::new();
    let mut events = pin!(watch(pods, watcher::Config::default()).default_backoff());
    while let Some(event) = events.try_next().await.context("watching pods")? {
        match event {
            Event::Apply(pod) | Event::InitApply(pod) => next_scene(&theatre, &mut scenes, pod),
            Event::Delete(pod) => {
                if let Some(Scene::Living(task)) = pod.uid().and_then(|uid| scenes.remove(&uid)) {
                    task.abort();
                }
            }
            Event::Init | Event::InitDone => {}
        }
    }
    Ok(())
}

fn next_scene(theatre: &Arc<Theatre>, scenes: &mut BTreeMap<String, Scene>, pod: Pod) {
    let (Some(part), Some(uid)) = (pod::part(&pod), pod.uid()) else {
        return;
    };
    if pod.spec.as_ref().is_none_or(|spec| spec.node_name.is_none()) {
        return;
    }
    let dies = pod.metadata.deletion_timestamp.is_some();
    match scenes.get(&uid) {
        Some(Scene::Dying) => {}
        Some(Scene::Living(_)) if !dies => {}
        before => {
            if let Some(Scene::Living(task)) = before {
                task.abort();
            }
            let task = tokio::spawn(scene(Arc::clone(theatre), pod, part, dies));
            scenes.insert(uid, if dies { Scene::Dying } else { Scene::Living(task.abort_handle()) });
        }
    }
}

async fn scene(theatre: Arc<Theatre>, pod: Pod, part: Part, dies: bool) {
    let name = pod.name_any();
    // Boxed: thousands of these wait at once, most of them for something short.
    if let Err(cause) = Box::pin(theatre.play(pod, part, dies)).await {
        error!(pod = %name, "{cause:#}");
    }
}

impl Theatre {
    async fn play(&self, pod: Pod, part: Part, dies: bool) -> Result<()> {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
        if !self.simulates(&node).await? {
            return Ok(());
        }
        let phase = pod.status.as_ref().and_then(|status| status.phase.clone());
        let player = Player::new(self.client.clone(), pod, self.options.install_time).await?;
        if dies {
            return player.die(part).await;
        }
        // One that is past its beginning was played by an earlier process.
        if phase.is_none_or(|phase| phase == "Pending") {
            player.live(part).await?;
        }
        Ok(())
    }

    async fn simulates(&self, node: &str) -> Result<bool> {
        if let Some(known) = self.nodes.lock().await.get(node) {
            return Ok(*known);
        }
        let seen = Api::<Node>::all(self.client.clone()).get_metadata(node).await;
        let seen = seen.with_context(|| format!("reading node `{node}`"))?;
        let (name, value) = &self.options.simulated;
        let simulated = seen.annotations().get(name) == Some(value);
        self.nodes.lock().await.insert(node.to_owned(), simulated);
        Ok(simulated)
    }
}
