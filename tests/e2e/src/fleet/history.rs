//! Every change of every node while a run works: what no look afterwards can tell.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures::StreamExt as _;
use klm_bed::wait::{Seen, Wait};
use kube::Client;
use kube::api::{ListParams, WatchEvent, WatchParams};
use tokio::task::JoinHandle;

use super::nodes::node_api;
use super::{Fleet, NodeState};

/// A node just after a change.
#[derive(Clone, Debug)]
pub struct Moment {
    /// Since the recording began.
    pub at: Duration,
    /// The node as it was then.
    pub node: NodeState,
}

/// All moments, oldest first. It begins with each node as it was before.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The moments.
    pub moments: Vec<Moment>,
}

/// A recording that goes on.
pub(crate) struct Recording {
    moments: Arc<Mutex<Vec<Moment>>>,
    task: JoinHandle<()>,
}

impl Fleet {
    /// Begins to record.
    pub(crate) async fn record(&self) -> Result<Recording> {
        let client = self.client();
        let moments = Arc::new(Mutex::new(Vec::new()));
        let started = Instant::now();
        let listed = node_api(&client).list(&ListParams::default()).await.context("listing nodes")?;
        let version = listed.metadata.resource_version.unwrap_or_default();
        note(&moments, started, listed.items.iter().map(NodeState::of));
        let task = tokio::spawn(watch(client, version, started, Arc::clone(&moments)));
        Ok(Recording { moments, task })
    }
}

async fn watch(client: Client, mut version: String, started: Instant, moments: Arc<Mutex<Vec<Moment>>>) {
    let nodes = node_api(&client);
    loop {
        if let Ok(stream) = nodes.watch(&WatchParams::default(), &version).await {
            let mut stream = stream.boxed();
            while let Some(Ok(event)) = stream.next().await {
                match event {
                    WatchEvent::Added(node) | WatchEvent::Modified(node) => {
                        version = node.metadata.resource_version.clone().unwrap_or_default();
                        note(&moments, started, [NodeState::of(&node)]);
                    }
                    WatchEvent::Error(_) => break,
                    _ => {}
                }
            }
        }
        // It ends after some minutes. An API server that was started again knows nothing of versions before that.
        tokio::time::sleep(Duration::from_millis(200)).await;
        if let Ok(listed) = nodes.list(&ListParams::default()).await {
            version = listed.metadata.resource_version.unwrap_or_default();
            note(&moments, started, listed.items.iter().map(NodeState::of));
        }
    }
}

fn note(moments: &Mutex<Vec<Moment>>, started: Instant, nodes: impl IntoIterator<Item = NodeState>) {
    let at = started.elapsed();
    let mut moments = moments.lock().unwrap_or_else(PoisonError::into_inner);
    for node in nodes {
        // Heartbeats change nothing of interest.
        if moments.iter().rev().find(|last| last.node.name == node.name).is_none_or(|last| last.node != node) {
            moments.push(Moment { at, node });
        }
    }
}

impl Recording {
    /// Ends it once it has caught up with the present.
    pub(crate) async fn stop(self, fleet: &Fleet) -> Result<History> {
        let moments = Wait::new("the recording to catch up", Duration::from_secs(120))
            .until(async || {
                let now = fleet.nodes().await?;
                let moments = self.moments.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let last = last_of_each(&moments);
                let behind: Vec<_> = now
                    .iter()
                    .filter(|node| last.get(node.name.as_str()) != Some(node))
                    .map(|node| &node.name)
                    .collect();
                Ok(if behind.is_empty() { Seen::Done(moments) } else { Seen::NotYet(format!("{behind:?}")) })
            })
            .await?;
        self.task.abort();
        Ok(History { moments })
    }
}

fn last_of_each(moments: &[Moment]) -> BTreeMap<&str, &NodeState> {
    moments.iter().map(|moment| (moment.node.name.as_str(), &moment.node)).collect()
}

impl History {
    /// The statuses that a node went through, in their order, without the one that it had before.
    pub fn statuses(&self, node: &str) -> Vec<&str> {
        let all = self.moments.iter().filter(|moment| moment.node.name == node).map(|moment| moment.node.status());
        let mut seen: Vec<&str> = all.collect();
        seen.dedup();
        seen.into_iter().skip(1).collect()
    }

    /// The nodes in the order in which they reached this status.
    pub fn order_of(&self, status: &str) -> Vec<&str> {
        let mut order: Vec<&str> = Vec::new();
        let mut before: BTreeMap<&str, &str> = BTreeMap::new();
        for Moment { node, .. } in &self.moments {
            let previous = before.insert(&node.name, node.status());
            if previous.is_some_and(|previous| previous != node.status()) && node.status() == status {
                order.push(&node.name);
            }
        }
        order
    }

    /// A rollout in waves never did any of this: worked on more nodes than a wave has, cordoned a node that it didn't
    /// work on, lost a taint or Kata's label of such a node, or took Kata off any node.
    pub fn check_waves(&self, batch: usize) -> Result<()> {
        let mut now: BTreeMap<&str, &NodeState> = BTreeMap::new();
        let mut first: BTreeMap<&str, &NodeState> = BTreeMap::new();
        for Moment { node, .. } in &self.moments {
            let before = *first.entry(&node.name).or_insert(node);
            now.insert(&node.name, node);
            let in_flight: Vec<_> = now.values().filter(|node| node.is_in_flight()).map(|node| &node.name).collect();
            ensure!(in_flight.len() <= batch, "waves of {batch}, but {in_flight:?} were in flight at once");
            ensure!(
                node.truth.uninstall_count == before.truth.uninstall_count,
                "Kata was taken off node `{}`: {:?}",
                node.name,
                node.truth
            );
            if node.is_in_flight() {
                continue;
            }
            ensure!(node.cordoned == before.cordoned, "node `{}` was left cordoned: {node:?}", node.name);
            ensure!(node.taints == before.taints, "node `{}` has other taints than before: {node:?}", node.name);
            // An installation that ends well sets the label just before the truth is written: no claim about that.
            ensure!(
                node.serves_kata() || !before.serves_kata(),
                "node `{}` lost Kata's label while no run worked on it: {node:?}",
                node.name
            );
        }
        Ok(())
    }

    /// How long a node was in flight, from its first status to its last settled one.
    pub fn time_in_flight(&self, node: &str) -> Option<Duration> {
        let mut own = self.moments.iter().filter(|moment| moment.node.name == node);
        let begun = own.find(|moment| moment.node.is_in_flight())?.at;
        let ended = own.find(|moment| !moment.node.is_in_flight())?.at;
        Some(ended.saturating_sub(begun))
    }
}
