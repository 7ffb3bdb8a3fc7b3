//! A release in job mode whose last upgrade helm didn't finish, made good: its dispatcher died, or helm was killed, and
//! every node of the wave may be installed nevertheless. The next upgrade would start from the values and chart before.

use klm_core::contract::CURRENT_VERSION;
use klm_core::helm_command;
use klm_core::origin::given_back;
use klm_core::plan::Mode;
use klm_core::release::{Status, last_good};
use klm_core::standing::{Purpose, unfinished};
use klm_core::values::{self, Values};
use klm_core::version::label_value;
use serde_json::Value;

use super::context::Run;
use super::restore::chart_version;
use crate::cluster::Query;

impl Run<'_> {
    /// Makes a good revision of what the nodes have, with the user's values, when helm didn't finish the last one of
    /// this run.
    pub async fn make_release_good(&self) -> anyhow::Result<()> {
        // Before a pending revision is unlocked: what is good then is the chart before it.
        let before = self.history().await?;
        let Some(failed) = unfinished(&before, self.base_revision) else { return Ok(()) };
        let Ok(history) = self.release_is_free().await? else { return Ok(()) };
        let lent = self.world.helm.user_values(&self.release, Some(failed.revision)).await?;
        let version = chart_version(&failed.chart);
        let there =
            self.world.cluster.nodes(&Query::labels(format!("{CURRENT_VERSION}={}", label_value(version)))).await?;
        let origin = (self.origin.chart_version.as_str(), &self.origin.values);
        let Some((version, values)) = good((version, &lent), !there.is_empty(), origin) else { return Ok(()) };
        let is_failed = history.last().is_some_and(|last| last.status == Status::Failed);
        if !is_failed && last_good(&history).is_some_and(|good| chart_version(&good.chart) == version) {
            return Ok(());
        }
        tracing::warn!(revision = failed.revision, %version, "helm didn't finish the release's last upgrade; making a good revision");
        let chart = self.world.helm.chart(&self.settings.kata_deploy_chart, version).await?;
        let change = self.change(chart, Purpose::Restore, "of job mode", history.len());
        Ok(self.make_revision(&helm_command::restore_values(&change, values)).await?)
    }
}

/// Chart version and values of the good revision; nothing when the unfinished one isn't a wave's. `reached`: some node
/// has the unfinished revision's version.
fn good<'a>(failed: (&'a str, &Values), reached: bool, origin: (&'a str, &Values)) -> Option<(&'a str, Values)> {
    // Every wave names its nodes; people who upgrade all of them don't.
    let names = values::get(failed.1, "job.nodes").and_then(Value::as_array);
    if names.is_none_or(Vec::is_empty) {
        return None;
    }
    let values = given_back(Mode::Job, failed.1, origin.1);
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
    #[case::somebody_elses_by_our_own_words(json!({"verification": {"pod": ""}, "job": {"nodes": []}}), true, None)]
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
