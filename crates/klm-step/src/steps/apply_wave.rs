//! apply-wave: installs the target on the nodes of one item; every wave but the item's last is verified here as well.

use crate::cli;
use crate::engine::Run;
use crate::exit::{StepError, count};
use crate::steps::not_ended;
use crate::world::World;

/// The step.
pub async fn run(args: &cli::WaveStep, world: &World) -> Result<(), StepError> {
    let (mut run, stored) = Run::of_plan(world, &args.run.id()).await?;
    not_ended(&stored)?;
    let plan = &stored.plan;
    // Before anything is touched: a registry that is down costs nothing then.
    run.fetch_charts(args.item).await?;
    if args.item == 1 {
        run.finish_old_rollbacks().await?;
        run.mark_waiting_nodes().await?;
    }
    let waves = plan.waves_of_item(args.item);
    let last = *waves.end();
    for number in waves {
        let what = format!("wave {number} of {}", plan.wave_count());
        tracing::info!(wave = number, of = plan.wave_count(), nodes = plan.wave(number).len(), "applying");
        let mut wave = run.apply(plan.wave(number), &what, number < last).await?;
        // Nodes that are installed beside one that failed have earned their verdict: it may let them stay.
        if !wave.failed.is_empty() {
            run.verify_at_target(&mut wave).await?;
        } else if number < last {
            // Where no node is left to be verified, that was done while helm waited, and so was this.
            let is_early = wave.going.is_empty();
            let ahead = async {
                if !is_early {
                    run.clear_jobs_ahead().await;
                }
            };
            let (verified, ()) = tokio::join!(run.verify_at_target(&mut wave), ahead);
            verified?;
        }
        if !wave.failed.is_empty() {
            return Err(StepError::Unverified(wave.failed));
        }
        tracing::info!(wave = number, done = %count(wave.done.len(), "node"), "wave applied");
    }
    Ok(())
}
