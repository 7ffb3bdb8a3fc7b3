//! rollback: takes back what failed or was left in flight in one item, and ends the run.

use klm_core::phase::NodePhase;

use crate::cli;
use crate::engine::Run;
use crate::exit::{StepError, count};
use crate::plan_store::{self, Ended};
use crate::world::World;

/// The reason on nodes whose step was cut short before it could give one.
const CUT_SHORT: &str = "the step that was at work on it ended early";

/// The step.
pub async fn run(args: &cli::WaveStep, world: &World) -> Result<(), StepError> {
    let (mut run, stored) = Run::of_plan(world, &args.run.id()).await?;
    let mut nodes = run.unsettled().await?;
    // Before the first node goes back: `argo retry` must not verify nodes that are on their way back.
    let ended = Ended::of(args.item, &nodes, CUT_SHORT).merged_with(stored.ended.as_ref());
    plan_store::end(&world.cluster, &run.id, &ended).await?;
    if run.settings.rollback_scope == "wave" {
        nodes.extend(run.reopen_waves(&stored.plan, args.item, &nodes).await?);
    }
    if nodes.is_empty() {
        tracing::info!("no node of this item was left in flight");
    }
    let taken = run.take_back(nodes, CUT_SHORT).await?;
    tracing::info!(restored = %count(taken.restored.len(), "node"), phase = %NodePhase::RolledBack, "taken back");
    if taken.stuck.is_empty() { Ok(()) } else { Err(StepError::Stuck(taken.stuck)) }
}
