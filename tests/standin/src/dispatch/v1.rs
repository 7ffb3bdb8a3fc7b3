//! The dispatcher of 3.32.0 and 4.0.0, with its flaws: it adopts Jobs of earlier runs, and waits forever for one that vanished.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use anyhow::{Result, bail};
use kube::ResourceExt as _;
use kube::api::{ListParams, PostParams};
use tracing::{error, info, warn};

use super::job::{Standing, standing};
use super::{KILLED, World, select};
use crate::injection::Injection;
use crate::profile::Dispatcher;

/// Runs until every node is done or failed; gives the exit code.
pub async fn run(world: &World) -> Result<i32> {
    let nodes = match world.flags.named_nodes() {
        Some(named) => named,
        None => select::names(&world.list_nodes(world.flags.node_selector.first().map(String::as_str)).await?),
    };
    if nodes.is_empty() {
        info!("no node matches, nothing to do");
        return Ok(0);
    }
    info!(nodes = nodes.len(), "dispatching");
    let slots = world.flags.parallelism.clamp(1, nodes.len());
    let mut queue: VecDeque<String> = nodes.into();
    let mut open: BTreeMap<String, String> = BTreeMap::new();
    let mut failed = Vec::new();
    let mut blipped = BTreeSet::new();
    while !(queue.is_empty() && open.is_empty()) {
        while open.len() < slots {
            let Some(node) = queue.pop_front() else {
                break;
            };
            if create_or_adopt(world, &node).await {
                open.insert(world.mould.name(&node), node);
            } else {
                failed.push(node);
            }
        }
        for node in open.values() {
            if world.injections(node)?.has(Injection::DispatcherKilled) {
                return Ok(KILLED);
            }
        }
        tokio::time::sleep(world.poll).await;
        for (job, standing) in look(world, &open, &mut blipped).await? {
            let Some(node) = (standing != Standing::Open).then(|| open.remove(&job)).flatten() else {
                continue;
            };
            info!(%node, %job, ?standing, "node done");
            if standing == Standing::Failed {
                failed.push(node);
            }
        }
    }
    Ok(world.report(failed))
}

/// Makes the node's Job. One that is there already is taken for ours if its label says so, finished or not:
/// that is the flaw by which a node counts as done without anything having been installed.
async fn create_or_adopt(world: &World, node: &str) -> bool {
    let job = world.mould.job(node, &[]);
    let name = job.name_any();
    match world.jobs.create(&PostParams::default(), &job).await {
        Ok(_) => true,
        Err(kube::Error::Api(status)) if status.code == 409 => match world.jobs.get(&name).await {
            Ok(there) if world.mould.has_our_label(&there) => {
                info!(%node, job = %name, "Job exists already, adopting it");
                true
            }
            Ok(_) => {
                error!(%node, job = %name, "a Job of this name exists and isn't ours");
                false
            }
            Err(cause) => {
                error!(%node, job = %name, %cause, "can't read the Job that exists");
                false
            }
        },
        Err(cause) => {
            error!(%node, job = %name, %cause, "can't create the Job");
            false
        }
    }
}

/// How the open Jobs stand. One that isn't there any more is missing from the answer, and so waited for forever.
async fn look(
    world: &World,
    open: &BTreeMap<String, String>,
    blipped: &mut BTreeSet<String>,
) -> Result<Vec<(String, Standing)>> {
    let mut seen = Vec::new();
    if world.mould.dispatcher == Dispatcher::V3_32 {
        for node in open.values() {
            if world.injections(node)?.has(Injection::ApiBlip) && blipped.insert(node.clone()) {
                bail!("listing Jobs: the API server is unavailable (injected)");
            }
        }
        let ours = ListParams::default().labels(&format!("{}={}", world.mould.owner_label(), world.mould.prefix));
        // A failed list ends the dispatcher at once; the per-node Jobs go on without it.
        for job in world.jobs.list(&ours).await? {
            let name = job.name_any();
            if open.contains_key(&name) {
                seen.push((name, standing(&job)));
            }
        }
        return Ok(seen);
    }
    for (name, node) in open {
        if world.injections(node)?.has(Injection::ApiBlip) && blipped.insert(node.clone()) {
            warn!(job = %name, "can't read the Job, trying again: the API server is unavailable (injected)");
            continue;
        }
        match world.jobs.get_opt(name).await {
            Ok(Some(job)) => seen.push((name.clone(), standing(&job))),
            Ok(None) => warn!(job = %name, "the Job isn't there, waiting"),
            Err(cause) => warn!(job = %name, %cause, "can't read the Job, trying again"),
        }
    }
    Ok(seen)
}
