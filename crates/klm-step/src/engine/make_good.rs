//! A release in job mode whose last revision failed, made good: helm calls an upgrade failed when its dispatcher died,
//! although every node of the wave was installed. The next upgrade would start from the values and chart before.

use klm_core::contract::CURRENT_VERSION;
use klm_core::helm_command;
use klm_core::origin::given_back;
use klm_core::release::Status;
use klm_core::standing::Purpose;
use klm_core::values::Values;

use super::context::Run;
use super::restore::chart_version;
use crate::cluster::Query;

impl Run<'_> {
    /// Makes a good revision of what the nodes have, with the user's values, when the last one of this run failed.
    pub async fn make_release_good(&self) -> anyhow::Result<()> {
        let Ok(history) = self.release_is_free().await? else { return Ok(()) };
        let failed = history.last().filter(|last| last.status == Status::Failed && last.revision > self.base_revision);
        let Some(failed) = failed else { return Ok(()) };
        let lent = self.world.helm.user_values(&self.release, Some(failed.revision)).await?;
        let version = chart_version(&failed.chart);
        let there = self.world.cluster.nodes(&Query::labels(format!("{CURRENT_VERSION}={version}"))).await?;
        let origin = (self.origin.chart_version.as_str(), &self.origin.values);
        let Some((version, values)) = good((version, &lent), !there.is_empty(), origin) else { return Ok(()) };
        tracing::warn!(revision = failed.revision, %version, "the release's last revision failed; making a good one");
        let chart = self.world.helm.chart(&self.settings.kata_deploy_chart, version).await?;
        let change = self.change(chart, Purpose::Restore, "of job mode", history.len());
        Ok(self.make_revision(&helm_command::restore_values(&change, values)).await?)
    }
}

/// Chart version and values of the good revision; nothing when the failed one isn't a wave's. `reached`: some node has
/// the failed revision's version.
fn good<'a>(failed: (&'a str, &Values), reached: bool, origin: (&'a str, &Values)) -> Option<(&'a str, Values)> {
    let values = given_back(failed.1, origin.1);
    if values == *failed.1 {
        return None;
    }
    Some(if reached { (failed.0, values) } else { (origin.0, origin.1.clone()) })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    #[rstest]
    #[case::its_nodes_are_there(json!({"debug": true, "job": {"nodes": ["a"]}}), true, Some(("4.0.0", json!({"debug": true}))))]
    #[case::no_node_is_there(json!({"debug": true, "job": {"nodes": ["a"]}}), false, Some(("3.32.0", json!({}))))]
    #[case::somebody_elses(json!({"debug": true}), true, None)]
    fn a_failed_revision_becomes_good_at_the_version_that_nodes_have(
        #[case] failed: Value,
        #[case] reached: bool,
        #[case] expected: Option<(&str, Value)>,
    ) {
        let failed: Values = serde_json::from_value(failed).unwrap();
        let found = good(("4.0.0", &failed), reached, ("3.32.0", &Values::new()));
        assert_eq!(found.map(|(version, values)| (version, json!(values))), expected);
    }
}
