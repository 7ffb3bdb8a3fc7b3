//! Taints that would keep kata-deploy's next pod off a node: lifted for the time in which the node is worked on.

use klm_core::node::{AUTOSCALER_DELETES, Taint};
use klm_core::selection::Choice;
use klm_core::toleration::{self, keeps_off, tolerated};
use klm_core::values::overlay;
use serde_json::Value;

use super::context::{Aim, Run};
use super::record;
use super::wave::Wave;

impl Run<'_> {
    /// Whether the taint chose the node and would keep the new install off it. A Job is pinned to its node, but the
    /// dispatcher is scheduled: where every node is tainted so, the wave's own nodes are all that it has.
    pub(super) fn selecting_taints(&self) -> impl Fn(&Taint) -> bool {
        let mut values = self.origin.values.clone();
        overlay(&mut values, &self.inputs.set_values);
        self.selecting_against(toleration::of(&values).to_vec())
    }

    fn selecting_against(&self, tolerations: Vec<Value>) -> impl Fn(&Taint) -> bool {
        let choice = Choice::parse(&self.settings).unwrap_or_default();
        move |taint| {
            choice.taint.as_ref().is_some_and(|choice| choice.matches(taint))
                && taint.effect != "PreferNoSchedule"
                && !tolerated(taint, &tolerations)
        }
    }

    /// Clears the way back. What only this run's tolerations bore, and what selected a node that is completed and has its
    /// taint again, would keep the old version's pod off for ever. `tolerations` are those of the pods that are to come.
    pub(super) async fn clear_way_back(&self, wave: &mut Wave, tolerations: &[Value]) -> anyhow::Result<()> {
        let version = self.version(Aim::Origin)?;
        let selecting = self.selecting_against(tolerations.to_vec());
        let lift = |taint: &Taint| {
            taint.key != AUTOSCALER_DELETES && (selecting(taint) || keeps_off(taint, self.mode, &version, tolerations))
        };
        wave.turn(self, async |node| self.write(node, |node| record::lift(node, &self.id, lift)).await).await
    }
}
