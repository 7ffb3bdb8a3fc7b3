//! One module per step, named as its subcommand and its workflow template.

pub mod apply_wave;
pub mod check_prerequisites;
pub mod completion;
pub mod finish;
pub mod helm_postrender;
pub mod plan;
pub mod preflight;
pub mod recover;
pub mod report;
pub mod rollback;
pub mod rollback_node;
pub mod select_nodes;
pub mod status;
pub mod verify;
pub mod version;

use klm_core::refusal::Refusal;

use crate::exit::StepError;
use crate::plan_store::StoredPlan;

/// A run that has failed touches no wave any more: `argo retry` would verify nodes that were just taken back.
pub(crate) fn not_ended(stored: &StoredPlan) -> Result<(), StepError> {
    let Some(ended) = &stored.ended else { return Ok(()) };
    let what = format!("run `{}` has failed in item {} and taken back what failed", stored.plan.run, ended.item);
    Err(Refusal::new(what).hint("submit again instead of `argo retry`: nodes that are done are skipped").into())
}
