//! finish: the Workflow's exit handler. Settles what is in flight, gives values, marks and the lock back, reports.

use klm_core::journal::RunId;
use klm_core::settings::Settings;

use crate::cli;
use crate::engine::context::release_of;
use crate::engine::{Run, TakenBack, begin_alone};
use crate::exit::StepError;
use crate::front::Outputs;
use crate::plan_store::{self, StoredPlan};
use crate::steps::report;
use crate::world::World;
use crate::{lock, origin_store};

/// The reason on nodes that a stopped run leaves.
const STOPPED: &str = "the run was stopped";

/// Bytes of the output parameter `report`. A Workflow may have 1 MiB, and its waves need their share.
const REPORT_LIMIT: usize = 256 * 1024;

/// The step.
pub async fn run(args: &cli::Finish, world: &World) -> Result<(), StepError> {
    let id = args.run.id();
    let Some(settings) = plan_store::settings(&world.cluster, &id).await? else {
        tracing::info!("the run ended before it took anything: nothing to settle");
        return Ok(());
    };
    let release = release_of(&settings);
    if let Some(held) = lock::holder(&world.cluster, &release, &id).await? {
        // Refused for the lock, or given up: nothing of this run can be in flight.
        tracing::info!(holder = %held.by, "the release is held by another run: nothing to settle");
        return Ok(());
    }
    lock::hold(world, &release, &id).await?;
    let stored = plan_store::read(&world.cluster, &id).await?;
    let settled = Box::pin(settle(world, &id, &settings, stored.as_ref())).await?;
    let outputs = Outputs(&args.outputs.outputs);
    outputs.write("taken-back", &settled.restored.len().to_string())?;
    if let Some(stored) = &stored {
        let report = report::of(world, stored, &args.workflow_status, &settled).await?;
        // The one thing besides data that goes to stdout.
        (world.print)(&report.to_string())?;
        outputs.write("report", &report.to_json(REPORT_LIMIT))?;
    }
    if settled.stuck.is_empty() {
        origin_store::mark_settled(&world.cluster, &release, &id, true).await?;
    }
    lock::release(world, &release, &id).await?;
    if settled.stuck.is_empty() { Ok(()) } else { Err(StepError::Stuck(settled.stuck)) }
}

async fn settle(
    world: &World,
    id: &RunId,
    settings: &Settings,
    stored: Option<&StoredPlan>,
) -> Result<TakenBack, StepError> {
    let asked = if stored.is_some() { None } else { Run::of_asked(world, id, settings).await? };
    // A rollback that somebody asked for knows its own way: the release's origin is another run's.
    let is_asked = asked.as_ref().is_some_and(|run| run.inputs.run == *id);
    let origin = if is_asked { None } else { Run::of_origin(world, id, settings).await? };
    let mut settled = TakenBack::default();
    for mut run in [origin, asked].into_iter().flatten() {
        if let Some(stored) = stored {
            run.follow(&stored.plan)?;
        }
        let nodes = run.unsettled().await?;
        if nodes.is_empty() && run.asked && !is_asked {
            continue;
        }
        // A run that was refused has nothing of its own to settle. What a dead one left is put right here as well, but
        // not beside somebody else's helm.
        if nodes.is_empty() && run.inputs.run != *id && !is_alone(world, settings).await? {
            continue;
        }
        if nodes.is_empty() {
            run.clear_up().await?;
        } else {
            settled.add(run.settle(nodes, STOPPED).await?);
        }
    }
    Ok(settled)
}

async fn is_alone(world: &World, settings: &Settings) -> Result<bool, StepError> {
    match begin_alone(world, &release_of(settings), settings).await {
        Ok(()) => Ok(true),
        Err(StepError::Refused(refusals)) => {
            tracing::warn!(cause = %refusals[0].what, "what an earlier run left stays as it is");
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
