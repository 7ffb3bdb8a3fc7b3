//! Which of the rights that a run needs we don't have.

use futures::StreamExt as _;
use klm_core::gate::{self, Right};
use klm_core::refusal::Refusal;

use crate::world::World;

/// Questions asked at the same time.
const AT_ONCE: usize = 8;

/// Asks for each right; what is missing as refusals.
pub async fn missing_rights(world: &World, needed: Vec<Right>) -> anyhow::Result<Vec<Refusal>> {
    let ask = async |right: Right| anyhow::Ok((world.cluster.may(&right).await?, right));
    let answers: Vec<anyhow::Result<(bool, Right)>> =
        futures::stream::iter(needed).map(ask).buffered(AT_ONCE).collect().await;
    let mut missing = Vec::new();
    for answer in answers {
        let (allowed, right) = answer?;
        if !allowed {
            missing.push(right);
        }
    }
    Ok(gate::missing(&missing, "the step's service account"))
}
