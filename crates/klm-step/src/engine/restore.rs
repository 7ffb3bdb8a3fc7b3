//! Giving the release's values back after a run: node list, parallelism and verification pod as the user had them, and no
//! hook runs.

use klm_core::helm_command::{self, HelmCommand};
use klm_core::origin::given_back;
use klm_core::plan::Mode;
use klm_core::release::last_good;
use klm_core::standing::{Purpose, has_lent};
use klm_core::values;

use super::context::Run;

impl Run<'_> {
    /// Gives the values back, unless they are back, or the release is somebody else's by now.
    pub async fn restore_values(&self) -> anyhow::Result<()> {
        if self.mode == Mode::Daemonset && values::text(&self.origin.values, "verification.pod").is_none() {
            return Ok(());
        }
        self.make_wanted(async || self.values_again().await).await
    }

    async fn values_again(&self) -> anyhow::Result<Option<HelmCommand>> {
        let history = match self.release_is_free().await? {
            Ok(history) => history,
            Err(why) => {
                tracing::warn!(cause = %why.0, "the release's values stay as they are");
                return Ok(None);
            }
        };
        let Some(deployed) = last_good(&history) else {
            tracing::warn!("the release has no good revision, so its values stay as they are");
            return Ok(None);
        };
        if !has_lent(deployed, &history) {
            return Ok(None);
        }
        let current = self.world.helm.user_values(&self.release, Some(deployed.revision)).await?;
        let wanted = given_back(self.mode, &current, &self.origin.values);
        if wanted == current {
            return Ok(None);
        }
        let version = deployed.chart_version();
        let chart = self.world.helm.chart(&self.settings.kata_deploy_chart, version).await?;
        let (purpose, what) = match (self.mode, Purpose::of(deployed)) {
            // It is the target still, and what a node that is taken back later has to leave.
            (Mode::Daemonset, Some(Purpose::Upgrade)) => {
                (Purpose::Upgrade, format!("{version}, the user's values again"))
            }
            (mode, _) => (Purpose::Restore, format!("of {mode} mode")),
        };
        let change = self.change(chart, purpose, &what, &history);
        Ok(Some(helm_command::restore_values(&change, wanted)))
    }
}
