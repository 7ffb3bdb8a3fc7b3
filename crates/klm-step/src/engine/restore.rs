//! Giving the release's values back after job mode: node list and parallelism as the user had them, and no hook runs.

use klm_core::helm_command;
use klm_core::release::{Revision, Status};
use klm_core::standing::Purpose;
use klm_core::values::{self, Values};
use serde_json::{Map, Value};

use super::context::Run;

/// What waves set in the release and the user should find again as it was.
const LENT: [&str; 3] = ["job.nodes", "job.parallelism", "verification.pod"];

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
        let Some(deployed) = history.iter().rev().find(|revision| revision.status == Status::Deployed) else {
            tracing::warn!("the release has no good revision, so its values stay as they are");
            return Ok(());
        };
        if !self.has_lent(deployed, &history) {
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

    /// Whether a revision is a wave's, or goes back to a wave's. Values that somebody else set are not ours to change.
    fn has_lent(&self, deployed: &Revision, history: &[Revision]) -> bool {
        let to: Option<u64> =
            deployed.description.strip_prefix("Rollback to ").and_then(|text| text.trim().parse().ok());
        let meant = to.and_then(|to| history.iter().find(|revision| revision.revision == to)).unwrap_or(deployed);
        let purpose = self.all_runs().find_map(|run| Purpose::of(meant, run));
        matches!(purpose, Some(Purpose::Upgrade | Purpose::TakeBack))
    }
}

/// A revision's chart is `kata-deploy-<version>`.
pub fn chart_version(chart: &str) -> &str {
    chart.strip_prefix("kata-deploy-").unwrap_or(chart)
}

/// The current values with the lent ones as they were at the origin, absent where they were absent.
pub fn given_back(current: &Values, origin: &Values) -> Values {
    let mut values = current.clone();
    for key in LENT {
        let (parent, leaf) = key.split_once('.').unwrap_or((key, ""));
        let mut section = values.remove(parent).and_then(into_map).unwrap_or_default();
        match values::get(origin, key) {
            Some(value) => section.insert(leaf.to_owned(), value.clone()),
            None => section.remove(leaf),
        };
        if !section.is_empty() || origin.contains_key(parent) {
            values.insert(parent.to_owned(), Value::Object(section));
        }
    }
    values
}

fn into_map(value: Value) -> Option<Map<String, Value>> {
    match value {
        Value::Object(map) => Some(map),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case::never_had_them(
        json!({"deploymentMode": "job", "job": {"nodes": ["a"], "parallelism": 1}, "verification": {"pod": ""}}),
        json!({"deploymentMode": "job"}),
        json!({"deploymentMode": "job"})
    )]
    #[case::had_them(
        json!({"job": {"nodes": ["a"], "parallelism": 1, "backoffLimit": 5}, "verification": {"pod": ""}}),
        json!({"job": {"parallelism": 7, "backoffLimit": 5}, "verification": {"pod": "x"}}),
        json!({"job": {"parallelism": 7, "backoffLimit": 5}, "verification": {"pod": "x"}})
    )]
    #[case::what_the_run_was_told_to_set_stays(
        json!({"image": {"tag": "new"}, "job": {"nodes": ["a"], "parallelism": 1}}),
        json!({"image": {"tag": "old"}}),
        json!({"image": {"tag": "new"}})
    )]
    fn the_user_finds_the_values_as_they_were(#[case] current: Value, #[case] origin: Value, #[case] wanted: Value) {
        let map = |value: &Value| value.as_object().cloned().unwrap();
        assert_eq!(Value::Object(given_back(&map(&current), &map(&origin))), wanted);
    }
}
