//! One wave from its first claim to the proof of its installs, whatever an earlier try has done of it.

use klm_core::node::NodeFacts;
use klm_core::phase::NodePhase;
use klm_core::plan::{Mode, PlannedNode};

use super::context::{Aim, Run};
use super::record::{self, Claim};
use super::release::Unmoved;
use super::wave::Wave;

impl Run<'_> {
    /// Installs the target on the planned nodes. Those that are proven stay in `going`; where the caller verifies them
    /// here, some may be in `verified` already.
    pub async fn apply(&mut self, planned: &[PlannedNode], what: &str, verified_here: bool) -> anyhow::Result<Wave> {
        let mut wave = Wave { verified_here, ..Wave::look(self, planned).await? };
        let ours = |node: &NodeFacts| record::ours(node, &self.id).is_ok();
        let at = |node: &NodeFacts, phase| ours(node) && node.status == Some(phase);
        let proven: Vec<NodeFacts> = wave.going.extract_if(.., |node| at(node, NodePhase::Verifying)).collect();
        let begun: Vec<NodeFacts> = wave.going.extract_if(.., |node| at(node, NodePhase::Upgrading)).collect();
        self.prepare(&mut wave, planned).await?;
        wave.going.extend(begun);
        if !wave.going.is_empty() {
            self.install(&mut wave, what).await?;
        }
        wave.going.extend(proven);
        Ok(wave)
    }

    /// Claims, cordons and drains: nothing on the nodes is changed yet.
    async fn prepare(&self, wave: &mut Wave, planned: &[PlannedNode]) -> anyhow::Result<()> {
        let release = self.release_name();
        let target = self.target.to_string();
        wave.turn(self, async |node| {
            let source = planned.iter().find(|planned| planned.0 == node.name).and_then(|planned| planned.2.as_deref());
            let claim = Claim { run: &self.id, release: &release, source, target: &target, back_to: self.back_to() };
            self.write(node, |node| record::claim(node, &claim)).await
        })
        .await?;
        let lift = self.selecting_taints();
        wave.turn(self, async |node| self.write(node, |node| record::cordon(node, &self.id, &lift)).await).await?;
        if self.settings.drain_enabled {
            self.drain(wave).await?;
        }
        self.world.may_go_on()?;
        Ok(())
    }

    async fn install(&mut self, wave: &mut Wave, what: &str) -> anyhow::Result<()> {
        match self.mode {
            Mode::Daemonset => match self.release_to_target().await? {
                Ok(()) => self.roll(wave, Aim::Target).await,
                Err(Unmoved(why)) => wave.fail_all(self, &why).await,
            },
            Mode::Job => self.dispatch(wave, Aim::Target, what).await,
        }
    }
}
