//! Giving the release's values back after job mode: node list and parallelism as the user had them, and no hook runs.

use klm_core::helm_command;
use klm_core::origin::given_back;
use klm_core::release::last_good;
use klm_core::standing::{Purpose, has_lent};

use super::context::Run;

impl Run<'_> {
    /// Gives the values back, unless they are back, or the release is somebody else's by now.
    pub async fn restore_values(&self) -> anyhow::Result<()> {
        let history = match self.release_is_free().await? {
            Ok(history) => history,
            Err(why) => {
                tracing::warn!(cause = %why.0, "the release's values stay as they are");
                return Ok(());
            }
        };
        let Some(deployed) = last_good(&history) else {
            tracing::warn!("the release has no good revision, so its values stay as they are");
            return Ok(());
        };
        if !has_lent(deployed, &history) {
            return Ok(());
        }
        let current = self.world.helm.user_values(&self.release, Some(deployed.revision)).await?;
        let wanted = given_back(&current, &self.origin.values);
        if wanted == current {
            return Ok(());
        }
        let version = chart_version(&deployed.chart);
        let chart = self.world.helm.chart(&self.settings.kata_deploy_chart, version).await?;
        let change = self.change(chart, Purpose::Restore, "of job mode", history.len());
        Ok(self.make_revision(&helm_command::restore_values(&change, wanted)).await?)
    }
}

/// A revision's chart is `kata-deploy-<version>`.
pub fn chart_version(chart: &str) -> &str {
    chart.strip_prefix("kata-deploy-").unwrap_or(chart)
}
