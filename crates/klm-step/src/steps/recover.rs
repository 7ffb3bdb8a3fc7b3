//! recover: puts right what terminated runs left behind: nodes in flight, lent values, marks, pods, the lock.

use klm_core::journal::RunId;
use klm_core::node::NodeFacts;
use klm_core::phase::NodePhase;
use klm_core::refusal::Refusal;
use klm_core::settings::{Settings, text};

use crate::cli;
use crate::engine::context::release_of;
use crate::engine::{Run, TakenBack, begin_alone};
use crate::exit::{NodeFailure, StepError, count};
use crate::world::World;
use crate::{lock, manifest, origin_store, plan_store};

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
    // Else the exit handler goes on under it.
    if matches!(recovered, Ok(()) | Err(StepError::Refused(_))) {
        lock::release(world, &release, &id).await?;
    }
    recovered
}

async fn recover(world: &World, id: &RunId, settings: &Settings, pod: &str) -> Result<(), StepError> {
    let release = release_of(settings);
    begin_alone(world, &release, settings).await?;
    let asked = Run::of_asked(world, id, settings).await?;
    let origin = Run::of_origin(world, id, settings).await?;
    // In the order of their time: a rollback that was asked for has the last word on the release.
    let mut runs: Vec<Run<'_>> = [origin, asked].into_iter().flatten().collect();
    let Some(first) = runs.first() else {
        tracing::info!(release = %release.name, "no run was ever recorded for the release: nothing to put right");
        return Ok(());
    };
    let left = first.left_by_others().await?;
    if !left.unreadable.is_empty() {
        let nodes = left.unreadable.join("`, `");
        let refusal = Refusal::new(format!("nodes `{nodes}` have a journal that can't be read"));
        return Err(refusal
            .hint("look at the annotation, put the node right by hand, and remove the annotation")
            .into());
    }
    tracing::info!(nodes = left.nodes.len(), runs = left.runs.len(), "found what was left behind");
    let (mut taken, mut nodes) = (TakenBack::default(), left.nodes);
    let is_only = runs.len() == 1;
    for run in &mut runs {
        // The pod that the dead run used may be what kept its nodes from being taken back.
        if !pod.is_empty() {
            manifest::verification_pod_of(pod, settings, &id.namespace)?;
            pod.clone_into(&mut run.inputs.verification_pod);
        }
        let (own, others) = run.own(nodes);
        nodes = others;
        // A run that came to its own end has left the release where it belongs.
        let has_nothing = own.is_empty() && (run.asked || run.settled || !nodes.is_empty());
        if !has_nothing {
            let own = run.adopt(own, LEFT_BEHIND).await?;
            taken.add(run.settle(own, LEFT_BEHIND).await?);
        } else if !run.asked || is_only {
            run.clear_up().await?;
        }
    }
    tracing::info!(restored = %count(taken.restored.len(), "node"), "recovered");
    taken.stuck.extend(nodes.iter().map(forgotten));
    if !taken.stuck.is_empty() {
        return Err(StepError::Stuck(taken.stuck));
    }
    if let Some(run) = runs.iter().find(|run| !run.asked) {
        origin_store::mark_settled(&world.cluster, &release, &run.inputs.run, true).await?;
    }
    Ok(())
}

/// Another rollback was asked for since, and its record took the place of this node's.
fn forgotten(node: &NodeFacts) -> NodeFailure {
    let journal = node.journal.as_ref().and_then(|journal| journal.as_ref().ok());
    let version = journal.and_then(|journal| journal.back_to.as_deref()).unwrap_or_default();
    let phase = node.status.unwrap_or(NodePhase::RollingBack);
    let cause = format!(
        "its rollback to {version} was asked for, and how isn't recorded any more: submit `rollback-node` again with `rollback-version={version}`"
    );
    NodeFailure::new(&node.name, phase, cause)
}
