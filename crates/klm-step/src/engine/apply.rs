//! One wave from its first claim to the proof of its installs, whatever an earlier try has done of it.

use klm_core::node::{NodeFacts, Taint};
use klm_core::phase::NodePhase;
use klm_core::plan::{Mode, PlannedNode};
use klm_core::selection::Choice;
use klm_core::values::{self, overlay};
use serde_json::Value;

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
        let choice = Choice::parse(&self.settings).unwrap_or_default();
        let tolerations = self.tolerations();
        let lift = |taint: &Taint| {
            choice.taint.as_ref().is_some_and(|choice| choice.matches(taint))
                && Self::is_in_the_way(taint, &tolerations)
        };
        wave.turn(self, async |node| self.write(node, |node| record::cordon(node, &self.id, lift)).await).await?;
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

    /// What kata-deploy's pods tolerate, by the release's values and the run's.
    fn tolerations(&self) -> Vec<Value> {
        let mut all = self.origin.values.clone();
        overlay(&mut all, &self.inputs.set_values);
        values::get(&all, "tolerations").and_then(Value::as_array).cloned().unwrap_or_default()
    }

    /// Whether the taint that selects would keep the new install off the node. A Job is pinned to its node, but the
    /// dispatcher is scheduled: where every node is tainted so, the wave's own nodes are all that it has.
    fn is_in_the_way(taint: &Taint, tolerations: &[Value]) -> bool {
        taint.effect != "PreferNoSchedule" && !tolerations.iter().any(|toleration| tolerates(toleration, taint))
    }
}

/// As the scheduler reads a toleration.
fn tolerates(toleration: &Value, taint: &Taint) -> bool {
    let text = |key: &str| toleration[key].as_str().unwrap_or_default();
    let effect = ["", taint.effect.as_str()].contains(&text("effect"));
    let exists = text("operator") == "Exists";
    let key = text("key") == taint.key || (text("key").is_empty() && exists);
    let value = exists || text("value") == taint.value.as_deref().unwrap_or_default();
    effect && key && value
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case::everything(json!({"operator": "Exists"}), true)]
    #[case::key(json!({"operator": "Exists", "key": "window"}), true)]
    #[case::value(json!({"key": "window", "value": "pending", "effect": "NoSchedule"}), true)]
    #[case::other_value(json!({"key": "window", "value": "open"}), false)]
    #[case::other_effect(json!({"operator": "Exists", "key": "window", "effect": "NoExecute"}), false)]
    #[case::other_key(json!({"operator": "Exists", "key": "spot"}), false)]
    #[case::nothing(json!({}), false)]
    fn tolerations_are_read_as_the_scheduler_reads_them(#[case] toleration: Value, #[case] expected: bool) {
        let taint = Taint {
            key: "window".into(),
            value: Some("pending".into()),
            effect: "NoSchedule".into(),
            time_added: None,
        };
        assert_eq!(tolerates(&toleration, &taint), expected);
    }
}
