//! check-prerequisites: every reason to refuse, found before anything is touched, said all at once. Changes nothing.

use crate::cli;
use crate::exit::StepError;
use crate::front::{Draft, check};
use crate::world::World;

/// The step.
pub async fn run(args: &cli::CheckPrerequisites, world: &World) -> Result<(), StepError> {
    let run = args.run.id();
    let draft = Draft::read(&args.target_version, &args.parameters);
    let findings = check(draft, world, Some(&run), &run.namespace).await?;
    if let Some(known) = &findings.known {
        if let Some(detected) = &known.outcome.detected {
            tracing::info!(mode = %detected.mode, how = %detected.how, "found the release's mode");
        }
        for hazard in &known.outcome.hazards {
            tracing::warn!("{hazard}");
        }
        let selection = &known.outcome.selection;
        tracing::info!(nodes = selection.nodes.len(), left_out = selection.skipped.len(), "chose nodes");
    }
    if findings.refusals.is_empty() { Ok(()) } else { Err(findings.refusals.into()) }
}

#[cfg(test)]
mod tests;
