//! The nodes as they change, one by one, until a run has ended: watched, because a look now and then would miss most of it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Node;
use klm_bed::wait::{Seen, Wait};
use klm_core::contract::{CURRENT_VERSION, JOURNAL, KATA_RUNTIME, STATUS};
use klm_core::fleet_table::Row;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, WatchEvent, WatchParams};
use kube::{Api, Client, ResourceExt as _};
use tokio::time::{Instant, interval, sleep};

use super::painter::Beat;
use super::screen::Screen;
use super::stage::ARGO;

/// No run of five nodes takes longer, not even on a machine that does other things too.
const DEADLINE: Duration = Duration::from_secs(600);

/// kata-deploy's first installation may have to be pulled.
const INSTALLED: Duration = Duration::from_secs(180);

/// The nodes that take part, and the version that was on them before any run.
pub struct Fleet {
    client: Client,
    before: String,
    rows: BTreeMap<String, Row>,
}

impl Fleet {
    /// Waits until every node serves Kata that isn't reserved for the control plane.
    pub async fn serving(client: Client, version: &str) -> Result<Self> {
        let nodes: Api<Node> = Api::all(client.clone());
        let mut fleet = Self { client, before: version.to_owned(), rows: BTreeMap::new() };
        let listed = Wait::new("every node to serve Kata", INSTALLED)
            .until(async || {
                let workers: Vec<Node> =
                    nodes.list(&ListParams::default()).await?.items.into_iter().filter(is_worker).collect();
                let behind: Vec<String> =
                    workers.iter().filter(|node| !serves(node)).map(kube::ResourceExt::name_any).collect();
                Ok(if behind.is_empty() && !workers.is_empty() {
                    Seen::Done(workers)
                } else {
                    Seen::NotYet(format!("not yet: {}", behind.join(", ")))
                })
            })
            .await?;
        fleet.rows = listed.iter().map(|node| (node.name_any(), fleet.row(node))).collect();
        Ok(fleet)
    }

    /// Their names, in the order in which a run takes them.
    pub fn names(&self) -> Vec<String> {
        self.rows.keys().cloned().collect()
    }

    /// The nodes as they are known.
    pub fn rows(&self) -> Vec<Row> {
        self.rows.values().cloned().collect()
    }

    /// Shows every change until the workflow has ended, and returns the workflow.
    pub async fn follow(&mut self, screen: &mut Screen, workflow: &str) -> Result<DynamicObject> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let workflows = workflows(self.client.clone());
        let started = Instant::now();
        let mut look = interval(Duration::from_millis(500));
        loop {
            // A watch ends after some minutes; what was missed meanwhile is in the list.
            let listed = nodes.list(&ListParams::default()).await.context("cannot list nodes")?;
            self.take(screen, &listed.items);
            let version = listed.metadata.resource_version.unwrap_or_default();
            let mut changes =
                nodes.watch(&WatchParams::default(), &version).await.context("cannot watch nodes")?.boxed();
            loop {
                tokio::select! {
                    change = changes.next() => match change {
                        Some(Ok(WatchEvent::Added(node) | WatchEvent::Modified(node))) => self.take(screen, &[node]),
                        Some(Ok(_)) => {}
                        Some(Err(_)) | None => break,
                    },
                    _ = look.tick() => {
                        let object = workflows.get(workflow).await.with_context(|| format!("cannot read the workflow {ARGO}/{workflow}"))?;
                        let phase = object.data["status"]["phase"].as_str().unwrap_or_default();
                        if matches!(phase, "Succeeded" | "Failed" | "Error") {
                            self.take(screen, &nodes.list(&ListParams::default()).await?.items);
                            return Ok(object);
                        }
                        if started.elapsed() > DEADLINE {
                            bail!("gave up waiting for the workflow {ARGO}/{workflow} to end after {} s; last seen: {phase}", DEADLINE.as_secs());
                        }
                    }
                }
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    fn take(&mut self, screen: &mut Screen, nodes: &[Node]) {
        for node in nodes {
            let row = self.row(node);
            // Heartbeats change nothing of interest; other nodes take no part.
            if let Some(known) = self.rows.get_mut(&row.node)
                && *known != row
            {
                *known = row.clone();
                screen.show(Beat::Node(row));
            }
        }
    }

    fn row(&self, node: &Node) -> Row {
        let annotation = |name: &str| node.annotations().get(name);
        let journal = annotation(JOURNAL).and_then(|text| serde_json::from_str(text).ok());
        let status = annotation(STATUS).and_then(|word| word.parse().ok());
        Row {
            version: Some(annotation(CURRENT_VERSION).unwrap_or(&self.before).clone()),
            cordoned: node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or_default(),
            ..Row::new(node.name_any(), status, journal.as_ref())
        }
    }
}

fn serves(node: &Node) -> bool {
    node.labels().get(KATA_RUNTIME).is_some_and(|value| value == "true")
}

/// A run takes none that is reserved for the control plane, unless it is told to.
fn is_worker(node: &Node) -> bool {
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    !taints.into_iter().any(|taint| taint.key == "node-role.kubernetes.io/control-plane")
}

fn workflows(client: Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("argoproj.io", "v1alpha1", "Workflow");
    Api::namespaced_with(client, ARGO, &ApiResource::from_gvk(&kind))
}
