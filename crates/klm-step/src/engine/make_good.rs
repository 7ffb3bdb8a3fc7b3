//! A release in job mode whose last upgrade helm didn't finish, made good: its dispatcher died, or helm was killed, and
//! every node of the wave may be installed nevertheless. The next upgrade would start from the values and chart before.

use klm_core::contract::CURRENT_VERSION;
use klm_core::helm_command;
use klm_core::origin::{Origin, given_back};
use klm_core::plan::Mode;
use klm_core::release::{Revision, Status, last_good};
use klm_core::standing::{Purpose, has_lent, unfinished};
use klm_core::values::{self, Values};
use klm_core::version::label_value;
use serde_json::Value;

use super::context::Run;
use crate::cluster::{LeanNode, Query};

impl Run<'_> {
    /// Makes a good revision of what the nodes have, with the user's values, when helm didn't finish the last one of
    /// this run.
    pub async fn make_release_good(&self) -> anyhow::Result<()> {
        // Before a pending revision is unlocked: what is good then is the chart before it.
        let before = self.history().await?;
        let Some(failed) = unfinished(&before, self.base_revision) else { return Ok(()) };
        let lent = self.world.helm.user_values(&self.release, Some(failed.revision)).await?;
        let version = failed.chart_version();
        let reached = self.is_somewhere(version).await?;
        let found = if reached { None } else { self.found(&before, failed.revision).await? };
        let Some((version, values)) = good((version, &lent), reached, found, &self.origin) else { return Ok(()) };
        self.make_wanted(async || {
            let Ok(history) = self.release_is_free().await? else { return Ok(None) };
            let is_failed = history.last().is_some_and(|last| last.status == Status::Failed);
            if !is_failed && last_good(&history).is_some_and(|good| good.chart_version() == version) {
                return Ok(None);
            }
            tracing::warn!(revision = failed.revision, %version, "helm didn't finish the release's last upgrade; making a good revision");
            let chart = self.world.helm.chart(&self.settings.kata_deploy_chart, version).await?;
            let change = self.change(chart, Purpose::Restore, "of job mode", &history);
            Ok(Some(helm_command::restore_values(&change, values.clone())))
        })
        .await
    }

    /// Chart version and values that were good before: what the fleet runs, while the origin may be older than somebody's
    /// own upgrade, or only the place where one node was to go. A wave's own count where nodes have come from it and no
    /// wave of this run made it.
    async fn found<'b>(&self, history: &'b [Revision], failed: u64) -> anyhow::Result<Option<(&'b str, Values)>> {
        let range = self.origin.revision..failed;
        let before = history.iter().rev().filter(|revision| range.contains(&revision.revision) && revision.is_good());
        for revision in before {
            let version = revision.chart_version();
            let is_settled = !has_lent(revision, history);
            let is_of_before = revision.revision <= self.base_revision;
            if is_settled || (is_of_before && self.is_somewhere(version).await?) {
                return Ok(Some((version, self.values_of(revision, history).await?)));
            }
        }
        Ok(None)
    }

    /// The values of a revision, without what a wave set in it for itself.
    async fn values_of(&self, revision: &Revision, history: &[Revision]) -> anyhow::Result<Values> {
        let values = self.world.helm.user_values(&self.release, Some(revision.revision)).await?;
        Ok(if has_lent(revision, history) { given_back(Mode::Job, &values, &self.origin.values) } else { values })
    }

    /// Whether any node is verified at a version.
    async fn is_somewhere(&self, version: &str) -> anyhow::Result<bool> {
        let query = Query::labels(format!("{CURRENT_VERSION}={}", label_value(version)));
        Ok(!self.world.cluster.list(None, &query, |_: LeanNode| Some(())).await?.is_empty())
    }
}

/// Chart version and values of the good revision; nothing when the unfinished one isn't a wave's. `reached`: some node
/// has the unfinished revision's version. `found`: the release as it was before, where none has.
fn good<'a>(
    failed: (&'a str, &Values),
    reached: bool,
    found: Option<(&'a str, Values)>,
    origin: &'a Origin,
) -> Option<(&'a str, Values)> {
    // Every wave names its nodes; people who upgrade all of them don't.
    let names = values::get(failed.1, "job.nodes").and_then(Value::as_array);
    if names.is_none_or(Vec::is_empty) {
        return None;
    }
    if reached {
        return Some((failed.0, given_back(Mode::Job, failed.1, &origin.values)));
    }
    Some(found.unwrap_or_else(|| (origin.chart_version.as_str(), origin.values.clone())))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn map(value: Value) -> Values {
        serde_json::from_value(value).unwrap()
    }

    fn origin() -> Origin {
        Origin {
            v: 1,
            target: "4.0.0".into(),
            chart_version: "3.32.0".into(),
            values: Values::new(),
            revision: 3,
            armed: None,
            image: String::new(),
            marked: Vec::new(),
            outdated: None,
        }
    }

    #[rstest]
    #[case::its_nodes_are_there(json!({"debug": true, "job": {"nodes": ["a"]}}), true, Some("3.33.0"), Some(("4.0.0", json!({"debug": true}))))]
    #[case::no_node_is_there(json!({"debug": true, "job": {"nodes": ["a"]}}), false, None, Some(("3.32.0", json!({}))))]
    #[case::the_fleet_is_elsewhere_by_now(json!({"debug": true, "job": {"nodes": ["a"]}}), false, Some("3.33.0"), Some(("3.33.0", json!({"new": 1}))))]
    #[case::somebody_elses(json!({"debug": true}), true, None, None)]
    #[case::somebody_elses_by_our_own_words(json!({"verification": {"pod": ""}, "job": {"nodes": []}}), true, None, None)]
    fn a_failed_revision_becomes_good_at_the_version_that_nodes_have(
        #[case] failed: Value,
        #[case] reached: bool,
        #[case] found: Option<&str>,
        #[case] expected: Option<(&str, Value)>,
    ) {
        let (failed, origin) = (map(failed), origin());
        let found = found.map(|version| (version, map(json!({"new": 1}))));
        let good = good(("4.0.0", &failed), reached, found, &origin);
        assert_eq!(good.map(|(version, values)| (version, json!(values))), expected);
    }
}
