//! The calls of helm that a run will make, for `plan` to print and for the check to rehearse.

use std::time::Duration;

use klm_core::gate;
use klm_core::helm_command::{self, Base, Change, Chart, HelmCommand};
use klm_core::journal::RunId;
use klm_core::name::NodeName;
use klm_core::plan::Mode;
use klm_core::release::{Release, next};
use klm_core::standing::Purpose;
use klm_core::values::text;
use klm_core::version::has_job_mode;

use super::judge::Outcome;
use super::look::release_of;
use super::request::Request;

/// A change to `version` from that chart.
fn change(request: &Request, base: &Release, chart: Chart, purpose: Purpose, version: &str) -> Change {
    let word = |text: &str| text.to_owned();
    Change {
        release: release_of(&request.settings),
        chart,
        run: RunId { namespace: word("<namespace>"), name: word("<workflow>"), uid: word("<uid>") },
        purpose: purpose.describe(version),
        timeout: Duration::from_secs(request.settings.helm_timeout),
        revision: next(&base.history),
        history_max: helm_command::history_max(base.history.len()),
    }
}

/// The upgrade to the target, of the first wave in job mode. Nothing when there is no node.
pub fn upgrade(request: &Request, outcome: &Outcome, base: &Release, chart: Chart) -> Option<HelmCommand> {
    let first: Vec<NodeName> =
        outcome.selection.nodes.iter().take(request.settings.batch_size).map(|node| node.0.clone()).collect();
    let change = change(request, base, chart, Purpose::Upgrade, &request.target_text);
    let user = &gate::not_taken(&base.user, &request.user.values);
    match outcome.detected.as_ref()?.mode {
        _ if first.is_empty() => None,
        Mode::Daemonset => Some(helm_command::upgrade_daemonset(&change, user, has_job_mode(&request.target))),
        Mode::Job => helm_command::upgrade_wave(&change, &Base::Release, user, &first),
    }
}

/// All of them, as text.
pub fn expected(request: &Request, outcome: &Outcome, base: &Release) -> Vec<String> {
    let at = |version: &str| {
        let reference = request.settings.kata_deploy_chart.clone();
        Chart { version: reference.contains("://").then(|| version.to_owned()), reference }
    };
    let Some(upgrade) = upgrade(request, outcome, base, at(&request.target_text)) else { return Vec::new() };
    let restore = |purpose| {
        let change = change(request, base, at(&request.target_text), purpose, &request.target_text);
        helm_command::restore_values(&change, base.user.clone()).to_string()
    };
    if outcome.detected.as_ref().is_some_and(|detected| detected.mode == Mode::Daemonset) {
        let version = &base.metadata.version;
        let arm = change(request, base, at(version), Purpose::Arm, version);
        let arm = (!base.is_on_delete()).then(|| helm_command::arm(&arm).to_string());
        let restore = text(&base.user, "verification.pod").map(|_| restore(Purpose::Upgrade));
        return arm.into_iter().chain([upgrade.to_string()]).chain(restore).collect();
    }
    let waves = outcome.selection.nodes.len().div_ceil(request.settings.batch_size);
    let once = if waves == 1 { String::new() } else { format!("   (and so for each of {waves} waves)") };
    vec![format!("{upgrade}{once}"), restore(Purpose::Restore)]
}
