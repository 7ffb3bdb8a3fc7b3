//! recover: puts right what terminated runs left behind: nodes in flight, lent values, marks, pods, the lock.

use klm_core::journal::RunId;
use klm_core::refusal::Refusal;
use klm_core::settings::{Settings, text};

use crate::cli;
use crate::engine::Run;
use crate::engine::context::release_of;
use crate::exit::{StepError, count};
use crate::world::World;
use crate::{lock, manifest, plan_store};

/// The reason on nodes that a terminated run left.
const LEFT_BEHIND: &str = "its run ended without settling it";

/// The step.
pub async fn run(args: &cli::Recover, world: &World) -> Result<(), StepError> {
    let id = args.run.id();
    let given = args.parameters.resolve()?;
    let settings = Settings::parse(&given)?;
    let release = release_of(&settings);
    plan_store::begin(&world.cluster, &id, &settings).await?;
    // Refuses while a run that holds the lock is alive; takes over from one that isn't.
    lock::hold(world, &release, &id).await?;
    let recovered = recover(world, &id, &settings, text(&given, "verification-pod")).await;
    if !matches!(recovered, Err(StepError::Stopped)) {
        lock::release(world, &release, &id).await?;
    }
    recovered
}

async fn recover(world: &World, id: &RunId, settings: &Settings, pod: &str) -> Result<(), StepError> {
    let release = release_of(settings);
    let Some(mut run) = Run::of_origin(world, id, settings).await? else {
        tracing::info!(release = %release.name, "no run was ever recorded for the release: nothing to put right");
        return Ok(());
    };
    // The pod that the dead run used may be what kept its nodes from being taken back.
    if !pod.is_empty() {
        manifest::verification_pod_of(pod, settings, &id.namespace)?;
        pod.clone_into(&mut run.inputs.verification_pod);
    }
    let left = run.left_by_others().await?;
    if !left.unreadable.is_empty() {
        let nodes = left.unreadable.join("`, `");
        let refusal = Refusal::new(format!("nodes `{nodes}` have a journal that can't be read"));
        return Err(refusal
            .hint("look at the annotation, put the node right by hand, and remove the annotation")
            .into());
    }
    tracing::info!(nodes = left.nodes.len(), runs = left.runs.len(), "found what was left behind");
    let nodes = run.adopt(left.nodes, LEFT_BEHIND).await?;
    let taken = run.settle(nodes, LEFT_BEHIND).await?;
    tracing::info!(restored = %count(taken.restored.len(), "node"), "recovered");
    if taken.stuck.is_empty() { Ok(()) } else { Err(StepError::Stuck(taken.stuck)) }
}
