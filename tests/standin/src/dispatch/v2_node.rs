//! One node in the hands of the dispatcher of 4.1.0 and later: its Job, and the labels after it.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use super::World;
use super::job::{Mould, Standing, standing};
use super::v2::STALE_GONE_WITHIN;
use crate::injection::{Injection, Injections};
use crate::node;
use crate::perform::STABLE_READS;

/// How long questions about one Job may fail before its node counts as failed.
const API_FAILS_FOR: Duration = Duration::from_secs(300);

/// How long one question may take.
const ONE_QUESTION: Duration = Duration::from_secs(15);

/// How the dispatcher's work on a node ended, unless it failed.
pub enum Fate {
    /// All done.
    Done,
    /// The dispatcher itself has to die now.
    Killed,
}

/// Runs the node's Job and, if it succeeds, labels the node (`true`), takes its labels off (`false`) or leaves them.
pub async fn work(world: &World, mould: &Mould, node: &Node, label: Option<bool>) -> Result<Fate> {
    let name = node.name_any();
    let injections = world.injections(&name)?;
    create(world, mould, node).await?;
    if injections.has(Injection::DispatcherKilled) {
        // The other nodes' Jobs get made first, as they would with a dispatcher that dies of something else.
        tokio::time::sleep(world.poll).await;
        return Ok(Fate::Killed);
    }
    wait_for_job(world, &mould.name(&name), &injections).await?;
    match label {
        Some(true) => confirm(world, &name, &injections).await?,
        Some(false) => {
            node::remove_labels(&world.client, &name, &world.flags.multi_install_suffix, true).await?;
        }
        None => {}
    }
    Ok(Fate::Done)
}

/// Makes the node's Job. One of this run is taken over, one of an earlier run is replaced.
async fn create(world: &World, mould: &Mould, node: &Node) -> Result<()> {
    let info = node.status.as_ref().and_then(|status| status.node_info.as_ref());
    let env = [
        ("CONTAINER_RUNTIME_VERSION", info.map_or("", |info| info.container_runtime_version.as_str())),
        ("KATA_DEPLOY_NODE_MACHINE_ID", info.map_or("", |info| info.machine_id.as_str())),
    ];
    let job = mould.job(&node.name_any(), &env);
    let name = job.name_any();
    let deadline = Instant::now() + STALE_GONE_WITHIN;
    loop {
        match world.jobs.create(&PostParams::default(), &job).await {
            Ok(_) => return Ok(()),
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(cause) => return Err(cause).with_context(|| format!("creating Job `{name}`")),
        }
        let Some(there) = world.jobs.get_opt(&name).await? else {
            continue;
        };
        if mould.is_of_this_run(&there) {
            return Ok(());
        }
        if !mould.has_our_label(&there) {
            bail!("a Job `{name}` exists and isn't ours");
        }
        if Instant::now() > deadline {
            bail!("Job `{name}` of an earlier run is still there");
        }
        if there.metadata.deletion_timestamp.is_none() {
            info!(job = %name, "replacing a Job of an earlier run");
            world.jobs.delete(&name, &DeleteParams::foreground()).await?;
        }
        tokio::time::sleep(world.poll).await;
    }
}

async fn wait_for_job(world: &World, name: &str, injections: &Injections) -> Result<()> {
    let mut last_answer = Instant::now();
    let mut blip = injections.has(Injection::ApiBlip);
    loop {
        tokio::time::sleep(world.poll).await;
        let answer = timeout(ONE_QUESTION, world.jobs.get_opt(name)).await;
        if std::mem::take(&mut blip) {
            warn!(job = %name, "can't read the Job, trying again: the API server is unavailable (injected)");
            continue;
        }
        match answer {
            Ok(Ok(Some(job))) => {
                last_answer = Instant::now();
                match standing(&job) {
                    Standing::Open => {}
                    Standing::Complete => return Ok(()),
                    Standing::Failed => bail!("Job `{name}` failed"),
                }
            }
            Ok(Ok(None)) => bail!("Job `{name}` vanished"),
            failed if last_answer.elapsed() > API_FAILS_FOR => bail!("can't read Job `{name}`: {failed:?}"),
            failed => warn!(job = %name, ?failed, "can't read the Job, trying again"),
        }
    }
}

/// What comes after an installation: the node is Ready, its runtime serves us, and the labels stay.
async fn confirm(world: &World, name: &str, injections: &Injections) -> Result<()> {
    let ready_within = Duration::from_secs(world.flags.wait_node_ready_secs);
    let not_ready = injections.has(Injection::NodeNotReady);
    until(world, name, ready_within, |node| node::is_ready(node) && !not_ready)
        .await
        .with_context(|| format!("node `{name}` isn't Ready {} s after its Job", ready_within.as_secs()))?;
    let handlers = &world.flags.require_node_handlers;
    if !handlers.is_empty() {
        until(world, name, world.pace.handlers, |node| node::serves(node, handlers))
            .await
            .with_context(|| format!("the runtime of node `{name}` serves none of {}", handlers.join(", ")))?;
    }
    hold_labels(world, name, injections.has(Injection::LabelLost)).await?;
    remove_taints(world, name).await
}

async fn until(world: &World, name: &str, limit: Duration, holds: impl Fn(&Node) -> bool) -> Result<()> {
    let deadline = Instant::now() + limit;
    loop {
        if holds(&world.nodes.get(name).await?) {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("waited {} s", limit.as_secs());
        }
        tokio::time::sleep(world.poll).await;
    }
}

/// Labels the node, and again whenever a label is lost before it was seen often enough.
async fn hold_labels(world: &World, name: &str, mut lose: bool) -> Result<()> {
    let wanted = [node::runtime("true"), node::marker(&world.flags.multi_install_suffix, "true")];
    let mut seen = 0;
    for _ in 0..10 * STABLE_READS {
        if node::has_labels(&world.nodes.get(name).await?, &wanted) {
            seen += 1;
        } else {
            seen = 0;
            node::set_own_labels(&world.client, name, &wanted).await?;
            if std::mem::take(&mut lose) {
                node::set_own_labels(&world.client, name, &[node::runtime("false")]).await?;
            }
        }
        if seen == STABLE_READS {
            return Ok(());
        }
        tokio::time::sleep(world.pace.stable).await;
    }
    bail!("node `{name}` didn't keep its labels")
}

async fn remove_taints(world: &World, name: &str) -> Result<()> {
    let keys = &world.flags.remove_node_taints;
    let seen = world.nodes.get(name).await?;
    let taints = seen.spec.and_then(|spec| spec.taints).unwrap_or_default();
    let kept: Vec<_> = taints.iter().filter(|taint| !keys.contains(&taint.key)).collect();
    if kept.len() == taints.len() {
        return Ok(());
    }
    // With the version that was read: somebody else's new taint must not get lost.
    let patch = json!({"metadata": {"resourceVersion": seen.metadata.resource_version}, "spec": {"taints": kept}});
    world.nodes.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(())
}
