//! verify: runs the verification pod on every node of the item's last wave, and settles those that pass.

use klm_core::phase::NodePhase;

use crate::cli;
use crate::engine::{Run, Wave};
use crate::exit::{NodeFailure, StepError};
use crate::steps::not_ended;
use crate::world::World;

/// The step.
pub async fn run(args: &cli::WaveStep, world: &World) -> Result<(), StepError> {
    let (run, stored) = Run::of_plan(world, &args.run.id()).await?;
    not_ended(&stored)?;
    let number = *stored.plan.waves_of_item(args.item).end();
    let mut wave = Wave::look(&run, stored.plan.wave(number)).await?;
    let unproven = wave.going.extract_if(.., |node| node.status != Some(NodePhase::Verifying));
    let unproven: Vec<NodeFailure> = unproven
        .map(|node| {
            let phase = node.status.unwrap_or(NodePhase::Preparing);
            NodeFailure::new(&node.name, phase, "its install was never proven")
        })
        .collect();
    run.verify_at_target(&mut wave).await?;
    wave.failed.extend(unproven);
    if wave.failed.is_empty() { Ok(()) } else { Err(StepError::Unverified(wave.failed)) }
}
