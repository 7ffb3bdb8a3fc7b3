//! A pod of the `DaemonSet`: `install`, which runs until it is told to go, and 3.27.0's `cleanup`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Node;
use kube::api::Api;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use crate::environment::Environment;
use crate::names::suffixed;
use crate::perform::{Actor, Outcome, perform};
use crate::script::{self, Owner};
use crate::{health, node};

/// Installs, serves the probes, and runs until SIGTERM; gives the exit code.
pub async fn install() -> Result<i32> {
    // Before anything else: a container that is told to go while it starts must still go the way of its version.
    let mut term = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let environment = Environment::read().await?;
    let actor = environment.actor()?;
    let injections = environment.injections()?;
    let ready = Arc::new(AtomicBool::new(false));
    if actor.profile.probes {
        tokio::spawn(health::serve(Arc::clone(&ready)));
    }
    let acts = script::daemonset(actor.profile, &injections, &actor.pace);
    let becomes_ready = || {
        ready.store(true, Ordering::SeqCst);
        // Word for word: before 3.31.0 nothing else outside the node tells that an installation ended.
        info!("Install completed, daemonset mode: waiting for SIGTERM");
    };
    let run = async {
        match perform(&actor, &acts, becomes_ready).await? {
            Outcome::Exited(code) => Ok(code),
            Outcome::Running => std::future::pending().await,
        }
    };
    tokio::select! {
        code = run => return code,
        _ = term.recv() => {}
    }
    let owner = owner(&actor).await?;
    info!(?owner, "told to go");
    match perform(&actor, &script::stop(actor.profile, owner, &injections), || {}).await? {
        Outcome::Exited(code) => Ok(code),
        Outcome::Running => Ok(0),
    }
}

/// What 3.27.0's `preStop` runs beside `install`.
pub async fn cleanup() -> Result<i32> {
    let environment = Environment::read().await?;
    let actor = environment.actor()?;
    let owner = owner(&actor).await?;
    perform(&actor, &script::pre_stop(actor.profile, owner, &environment.injections()?), || {}).await?;
    Ok(0)
}

/// Runs one container of a per-node Job; gives the exit code.
pub async fn stage(stage: script::Stage) -> Result<i32> {
    let environment = Environment::read().await?;
    let actor = environment.actor()?;
    let acts = script::stage(stage, actor.profile, &environment.injections()?, &actor.pace);
    match perform(&actor, &acts, || {}).await? {
        Outcome::Exited(code) => Ok(code),
        Outcome::Running => {
            let mut term = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
            term.recv().await;
            warn!("told to go while hanging");
            Ok(143)
        }
    }
}

async fn owner(actor: &Actor) -> Result<Owner> {
    let daemonsets: Api<DaemonSet> = Api::namespaced(actor.client.clone(), &actor.namespace);
    let name = suffixed("kata-deploy", &actor.suffix);
    let daemonset = daemonsets.get_opt(&name).await.with_context(|| format!("reading DaemonSet `{name}`"))?;
    let nodes: Api<Node> = Api::all(actor.client.clone());
    let seen = nodes.get(&actor.node).await.with_context(|| format!("reading node `{}`", actor.node))?;
    Ok(node::owner(daemonset.as_ref(), &seen))
}
