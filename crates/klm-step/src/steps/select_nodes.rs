//! select-nodes: takes the lock, chooses the nodes, and writes down what every later step will follow.

use std::time::Duration;

use anyhow::Context as _;
use klm_core::journal::RunId;
use klm_core::origin::RunInputs;
use klm_core::plan::Plan;
use klm_core::selection::left_out;

use crate::cli;
use crate::exit::StepError;
use crate::front::{Draft, Live, Outputs, Request, judge, look, plan_of, release_of};
use crate::helm::chart_digest;
use crate::world::World;
use crate::{lock, origin_store, plan_store};

/// A run that waits for another one waits this long; a fleet's rollout may take a night.
const WAIT_FOR_THE_LOCK: Duration = Duration::from_secs(24 * 3600);

/// The step.
pub async fn run(args: &cli::SelectNodes, world: &World) -> Result<(), StepError> {
    let request = Draft::read(&args.target_version, &args.parameters).complete()?;
    let run = args.run.id();
    let release = release_of(&request.settings);
    // Before the lock: the exit handler must find what to release, whenever this step is killed.
    plan_store::begin(&world.cluster, &run, &request.settings).await?;
    if request.settings.when_locked == "wait" {
        lock::hold_eventually(world, &release, &run, WAIT_FOR_THE_LOCK).await?;
    } else {
        lock::hold(world, &release, &run).await?;
    }
    let planned = plan(world, &request, &run).await;
    match &planned {
        Ok(plan) if !plan.nodes.is_empty() => {}
        // Nothing was touched and nothing will be: others need not wait for the end of this run.
        Ok(_) | Err(StepError::Refused(_)) => lock::release(world, &release, &run).await?,
        Err(_) => {}
    }
    let plan = planned?;
    let outputs = Outputs(&args.outputs.outputs);
    outputs.write("node-count", &plan.nodes.len().to_string())?;
    outputs.write("wave-count", &plan.wave_count().to_string())?;
    outputs.write("item-count", &plan.item_count().to_string())?;
    outputs.write("plan", &plan_store::plan_name(&run))?;
    Ok(())
}

/// Decides on what is there now, with the lock held, and writes it down: the origin first, because a plan means that
/// there is one.
async fn plan(world: &World, request: &Request, run: &RunId) -> Result<Plan, StepError> {
    let settings = &request.settings;
    let release = release_of(settings);
    let live = Live::read(world, &release).await?;
    let seen = look(world, settings, live, Some(run)).await?;
    let outcome = judge(request, &seen);
    let Some(live) = seen.live.as_ref().filter(|_| outcome.refusals.is_empty()) else {
        return Err(outcome.refusals.into());
    };
    let origin = seen.recorded().origin_of(&live.base, &request.target);
    let Some(plan) = plan_of(run, request, &outcome, &origin, &seen) else { return Err(outcome.refusals.into()) };
    for skipped in &outcome.selection.skipped {
        tracing::info!("left out: {skipped}");
    }
    if plan.nodes.is_empty() {
        tracing::info!(choice = %request.choice, target = %plan.target, "no node is left to move: nothing to do");
    } else {
        let inputs = RunInputs {
            run: run.clone(),
            set_values: request.user.values.clone(),
            verification_pod: request.verification_text.clone(),
            chart_digest: digest_of_target(world, request).await?,
        };
        origin_store::write(&world.cluster, &release, &origin, &inputs).await?;
        tracing::info!(
            nodes = plan.nodes.len(),
            waves = plan.wave_count(),
            mode = %plan.mode,
            from = %plan.origin,
            to = %plan.target,
            "planned"
        );
    }
    plan_store::write(&world.cluster, &plan, &left_out(&outcome.selection.skipped)).await?;
    Ok(plan)
}

/// What the target's chart is today.
async fn digest_of_target(world: &World, request: &Request) -> Result<Option<String>, StepError> {
    let chart = world.helm.chart(&request.settings.kata_deploy_chart, &request.target_text).await?;
    Ok(chart_digest(&chart).context("failed to read the chart")?)
}

#[cfg(test)]
mod tests;
