//! Which values a rollback goes back to when somebody changed them since the origin was recorded: the new ones, unless the
//! origin's chart refuses them; then those that it had, so that a node can always go back.
//!
//! Helm is asked in a rehearsal, right before the way back. To try in earnest and fall back would leave a failed revision,
//! and in job mode only helm's words tell a chart that refuses from a wave that fails. To ask when the run is planned
//! would need the old chart for a rollback that may never come, and its answer may be stale by then.

use klm_core::helm_command::{self, HelmCommand};
use klm_core::plan::Mode;
use klm_core::standing::Purpose;

use super::context::{Aim, Run};
use crate::exit::StepError;
use crate::helm::Trouble;

impl Run<'_> {
    /// Goes on with the values that the origin's chart takes.
    pub async fn choose_values(&mut self) -> anyhow::Result<()> {
        let Some(outdated) = self.origin.outdated.clone() else { return Ok(()) };
        let Some(why) = self.refused().await? else { return Ok(()) };
        tracing::warn!(
            release = %self.release_name(), chart = %self.origin.chart_version, cause = %why,
            "the rollback goes without what was changed in the release's values since"
        );
        self.origin.values = outdated;
        self.origin.outdated = None;
        Ok(())
    }

    /// Why the origin can't be made again with its values.
    async fn refused(&self) -> anyhow::Result<Option<String>> {
        // Helm refuses to look while a dead helm's revision is pending. Whoever moved the release is found later.
        let Ok(history) = self.release_is_free().await? else { return Ok(None) };
        let chart = match self.chart(Aim::Origin).await {
            Ok(chart) => chart,
            // Helm has the old revision itself; a wave of Jobs needs the chart in any case.
            Err(error) if self.mode == Mode::Daemonset => return Ok(Some(format!("{error:#}"))),
            Err(error) => return Err(error),
        };
        let change = self.change(chart, Purpose::TakeBack, &self.origin.chart_version, &history);
        let command = match self.mode {
            Mode::Daemonset => self.origin_again(&change)?,
            Mode::Job => helm_command::restore_values(&change, self.origin.values.clone()),
        };
        self.rehearse(helm_command::rehearse(command)).await
    }

    /// What helm says against a call; nothing when it has no objection, or none that is the chart's.
    async fn rehearse(&self, command: HelmCommand) -> anyhow::Result<Option<String>> {
        match self.call(&command).await {
            Ok(()) => Ok(None),
            Err(error) => match error.trouble {
                Trouble::Stopped => Err(StepError::Stopped.into()),
                Trouble::Other => Ok(Some(error.to_string())),
                // The call itself meets the same, and waits for it.
                _ => Ok(None),
            },
        }
    }
}
