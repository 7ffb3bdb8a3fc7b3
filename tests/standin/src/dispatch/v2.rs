//! The dispatcher of 4.1.0 and later. What it is given is the whole fleet to it: every other node that it owns loses Kata first.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::{Node, Toleration};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::job::Mould;
use super::v2_node::{self, Fate};
use super::{KILLED, World, read_template, select};
use crate::names::marker_label;
use crate::node;

/// How long Jobs of an earlier run may take to go.
pub const STALE_GONE_WITHIN: Duration = Duration::from_secs(60);

/// Runs until every node is done or failed; gives the exit code.
pub async fn run(world: World) -> Result<i32> {
    let wanted = find_nodes(&world).await?;
    let desired = select::names(&wanted);
    let world = Arc::new(world);
    let mut failed = Vec::new();
    if let Some(file) = &world.flags.cleanup_job_template {
        match clean_up(&world, file, &desired).await? {
            Some(names) => failed.extend(names),
            None => return Ok(KILLED),
        }
    }
    if wanted.is_empty() {
        info!("no node matches, nothing to do");
        return Ok(world.report(failed));
    }
    clear_stale_jobs(&world, &world.mould).await?;
    let work = admit(&world, wanted, &mut failed);
    let suffix = &world.flags.multi_install_suffix;
    for node in &work {
        if world.flags.claim_node_pending {
            node::claim(&world.client, &node.name_any(), suffix).await?;
        }
        if world.flags.node_label == Some(false) {
            demote(&world, &node.name_any()).await?;
        }
    }
    let Some(names) = fan_out(&world, &world.mould, work, world.flags.node_label).await? else {
        return Ok(KILLED);
    };
    failed.extend(names);
    Ok(world.report(failed))
}

/// The nodes to work on. Named ones must all exist, before anything is touched.
async fn find_nodes(world: &World) -> Result<Vec<Node>> {
    if let Some(names) = world.flags.named_nodes() {
        let mut nodes = Vec::new();
        for name in names {
            nodes.push(world.nodes.get(&name).await.with_context(|| format!("node `{name}` of --nodes"))?);
        }
        return Ok(nodes);
    }
    let wait = Duration::from_secs(world.flags.wait_for_nodes_secs.unwrap_or(0));
    let settle = Duration::from_secs(world.flags.node_settle_secs);
    let deadline = Instant::now() + wait;
    let mut nodes = matching_nodes(world).await?;
    let mut unchanged_since = Instant::now();
    while Instant::now() < deadline && (nodes.is_empty() || unchanged_since.elapsed() < settle) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = matching_nodes(world).await?;
        if select::names(&now) != select::names(&nodes) {
            unchanged_since = Instant::now();
        }
        nodes = now;
    }
    if nodes.is_empty() && world.flags.wait_for_nodes_secs.is_some() {
        bail!("no node matched within {} s", wait.as_secs());
    }
    Ok(nodes)
}

/// The union of what the selectors match; without a selector, every node.
async fn matching_nodes(world: &World) -> Result<Vec<Node>> {
    if world.flags.node_selector.is_empty() {
        return world.list_nodes(None).await;
    }
    let mut nodes = BTreeMap::new();
    for selector in &world.flags.node_selector {
        for node in world.list_nodes(Some(selector)).await? {
            nodes.insert(node.name_any(), node);
        }
    }
    Ok(nodes.into_values().collect())
}

/// Takes Kata off every node that carries our marker and isn't desired; gives the ones where that failed, or nothing if we were killed.
async fn clean_up(world: &Arc<World>, file: &str, desired: &[String]) -> Result<Option<Vec<String>>> {
    let owned = world.list_nodes(Some(&marker_label(&world.flags.multi_install_suffix))).await?;
    let gone = select::owned_but_not_desired(&select::names(&owned), desired);
    if gone.is_empty() {
        return Ok(Some(Vec::new()));
    }
    warn!(nodes = %gone.join(", "), "owned but not desired, cleaning up");
    let mould = Mould {
        prefix: format!("{}-removed", world.mould.prefix),
        template: read_template(file)?,
        ..world.mould.clone()
    };
    clear_stale_jobs(world, &mould).await?;
    for name in &gone {
        demote(world, name).await?;
    }
    let nodes = owned.into_iter().filter(|node| gone.contains(&node.name_any())).collect();
    fan_out(world, &mould, nodes, Some(false)).await
}

/// Both labels to `false`: no new Kata pod lands there while it is taken away.
async fn demote(world: &World, name: &str) -> Result<()> {
    let labels = [node::runtime("false"), node::marker(&world.flags.multi_install_suffix, "false")];
    node::set_own_labels(&world.client, name, &labels).await
}

/// Deletes Jobs that another run of ours left, and waits until they are gone.
async fn clear_stale_jobs(world: &World, mould: &Mould) -> Result<()> {
    let ours = ListParams::default().labels(&format!("{}={}", mould.owner_label(), mould.prefix));
    let deadline = Instant::now() + STALE_GONE_WITHIN;
    loop {
        let stale: Vec<_> =
            world.jobs.list(&ours).await?.items.into_iter().filter(|job| !mould.is_of_this_run(job)).collect();
        let Some(first) = stale.first() else {
            return Ok(());
        };
        if Instant::now() > deadline {
            bail!("{} Jobs of an earlier run are still there, `{}` among them", stale.len(), first.name_any());
        }
        for job in stale.iter().filter(|job| job.metadata.deletion_timestamp.is_none()) {
            info!(job = %job.name_any(), "deleting a Job of an earlier run");
            match world.jobs.delete(&job.name_any(), &DeleteParams::foreground()).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                done => drop(done?),
            }
        }
        tokio::time::sleep(world.poll).await;
    }
}

/// The nodes that may be worked on. Others fail if they were named, and are left out if they only matched.
fn admit(world: &World, wanted: Vec<Node>, failed: &mut Vec<String>) -> Vec<Node> {
    let pod = world.mould.template.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let tolerations: &[Toleration] = pod.and_then(|pod| pod.tolerations.as_deref()).unwrap_or_default();
    let mut admitted = Vec::new();
    for node in wanted {
        let name = node.name_any();
        if let (false, Err(taint)) = (world.flags.ignore_node_taints, select::admitted(&node, tolerations)) {
            if world.flags.nodes.is_some() {
                error!(node = %name, taint = %taint.key, "the node's taint isn't tolerated");
                failed.push(name);
            } else {
                info!(node = %name, taint = %taint.key, "skipped: its taint isn't tolerated");
            }
        } else if let Some(fact) = select::missing_fact(&node) {
            error!(node = %name, %fact, "the node doesn't tell it");
            failed.push(name);
        } else {
            admitted.push(node);
        }
    }
    admitted
}

/// Runs one Job on each node; gives the nodes that failed, or nothing if we were killed.
async fn fan_out(
    world: &Arc<World>,
    mould: &Mould,
    nodes: Vec<Node>,
    label: Option<bool>,
) -> Result<Option<Vec<String>>> {
    let slots = Arc::new(Semaphore::new(world.flags.parallelism.clamp(1, nodes.len().max(1))));
    let mut running = JoinSet::new();
    for node in nodes {
        let (world, mould, slots) = (Arc::clone(world), mould.clone(), Arc::clone(&slots));
        running.spawn(async move {
            let _slot = slots.acquire_owned().await;
            let fate = v2_node::work(&world, &mould, &node, label).await;
            (node.name_any(), fate)
        });
    }
    let mut failed = Vec::new();
    while let Some(done) = running.join_next().await {
        let (node, fate) = done.context("a node's task")?;
        match fate {
            Ok(Fate::Done) => info!(%node, "node done"),
            Ok(Fate::Killed) => return Ok(None),
            Err(cause) => {
                error!(%node, "{cause:#}");
                failed.push(node);
            }
        }
    }
    Ok(Some(failed))
}
