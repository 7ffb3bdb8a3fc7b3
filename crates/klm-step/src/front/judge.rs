//! What was asked for against what is there: one verdict for the check, the selection and the plan. Pure.

use std::collections::BTreeMap;

use klm_core::gate::{self, Found, Rollout};
use klm_core::hazard::{self, Situation};
use klm_core::journal::RunId;
use klm_core::mode::{self, Detected};
use klm_core::origin::{Change, Origin, given_back};
use klm_core::plan::{Mode, Plan};
use klm_core::refusal::Refusal;
use klm_core::release::{self, Release, Revision};
use klm_core::selection::{Circumstances, Selection, select};
use klm_core::settings::Settings;
use klm_core::standing::has_lent;
use klm_core::values::{Values, get, overlay, remove, text};
use klm_core::{version, wave};
use semver::Version;

use super::live::Live;
use super::look::{Seen, release_of};
use super::request::Request;

/// The verdict.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The release's mode, when it has one.
    pub detected: Option<Detected>,
    /// The nodes.
    pub selection: Selection,
    /// Consecutive waves of one workflow step.
    pub waves_per_item: usize,
    /// What somebody may not expect.
    pub hazards: Vec<String>,
    /// Every reason to refuse.
    pub refusals: Vec<Refusal>,
}

/// Decides.
pub fn judge(request: &Request, seen: &Seen) -> Outcome {
    let settings = &request.settings;
    let mut outcome = Outcome { refusals: of_release(settings, seen), ..Outcome::default() };
    let Some(Live { base, last }) = &seen.live else { return outcome };
    let detected = match mode::detect(base) {
        Ok(detected) => detected,
        Err(refusal) => {
            outcome.refusals.push(refusal);
            return outcome;
        }
    };
    let (mode, target, set) = (detected.mode, &request.target, &request.user.values);
    outcome.refusals.extend(mode::check(&settings.deployment_mode, mode, base, &settings.kata_deploy_chart));
    outcome.refusals.extend(gate::target(target, mode));
    outcome.refusals.extend(gate::origin(base, mode));
    outcome.refusals.extend(gate::values(base, set, target, mode));
    let origin = origin_of(seen.stored.as_ref().map(|stored| &stored.origin), seen.change.as_ref(), base, target);
    outcome.selection = select(&seen.nodes, &request.choice, &circumstances(request, seen, base, mode, &origin));
    let chosen = &outcome.selection.nodes;
    let mut values = base.all.clone();
    overlay(&mut values, set);
    outcome.refusals.extend(gate::nodes(&Rollout {
        all: &seen.nodes,
        chosen,
        choice: request.choice.taint.as_ref(),
        values: &values,
        mode,
        target,
        settings,
    }));
    match wave::waves_per_step(chosen.len().div_ceil(settings.batch_size), settings.waves_per_step) {
        Ok(waves) => outcome.waves_per_item = waves,
        Err(refusal) => outcome.refusals.push(refusal),
    }
    outcome.hazards = hazard::hazards(&Situation {
        release: &Release { metadata: last.metadata.clone(), ..base.clone() },
        set,
        target,
        mode,
        all: &seen.nodes,
        chosen,
        verification: &request.verification,
        classes: seen.classes.as_deref(),
        others: &seen.installs.others(&release_of(settings)),
    });
    outcome.hazards.extend(request.user.notices.iter().cloned().chain(hazard::custom_image(set)));
    outcome.hazards.extend(changed_since(&origin));
    outcome.detected = Some(detected);
    outcome
}

fn changed_since(origin: &Origin) -> Option<String> {
    origin.outdated.as_ref()?;
    Some(format!(
        "the release's values were changed since the run to {} that this one goes on with: a rollback to {} keeps the change, but for images; should that chart refuse it, the rollback goes without",
        origin.target, origin.chart_version
    ))
}

/// Reasons that need no more than the settings.
pub fn of_release(settings: &Settings, seen: &Seen) -> Vec<Refusal> {
    let found = match &seen.live {
        Some(live) => Found::Release { release: &live.last, age: seen.age, abandoned: seen.abandoned },
        None => Found::Nothing { elsewhere: seen.installs.releases.iter().cloned().collect() },
    };
    let mut refusals = Vec::new();
    // A living run explains all that is odd about its release, and waiting for it may mend that.
    match &seen.held {
        Some(_) if settings.when_locked == "wait" => {}
        Some(held) => refusals.push(held.refusal(&release_of(settings))),
        None => refusals.extend(gate::release(&found, settings)),
    }
    refusals
}

fn circumstances<'a>(
    request: &'a Request,
    seen: &Seen,
    base: &Release,
    mode: Mode,
    origin: &'a Origin,
) -> Circumstances<'a> {
    Circumstances {
        target: &request.target_text,
        origin: &origin.chart_version,
        marker: version::marks_nodes(&request.target).then(|| base.marker()),
        installed: if mode == Mode::Daemonset { seen.installed.clone() } else { BTreeMap::new() },
        hosts: seen.host.iter().cloned().collect(),
        force: request.settings.force,
        include_cordoned: request.settings.cordoned_nodes == "include",
    }
}

/// What a rollback goes back to. A release that is at the target already was brought there by an earlier run to the
/// same target, if there was one: that run's origin stays, or the half-done target would be taken for it. `change` is
/// what somebody else has changed since.
pub fn origin_of(stored: Option<&Origin>, change: Option<&Change>, base: &Release, target: &Version) -> Origin {
    let target = target.to_string();
    if let Some(stored) = stored
        && stored.target == target
        && stored.chart_version != target
        && base.metadata.version == target
        && is_of(stored, base)
    {
        if let Some(change) = change {
            return stored.with(change, base);
        }
        let mut origin = stored.clone();
        if !holds_lent(base) {
            // Somebody may have changed them since, or taken them away.
            remove(&mut origin.values, "verification.pod");
            origin.values = given_back(mode_of(&base.user), &origin.values, &base.user);
        }
        return origin;
    }
    Origin {
        v: 1,
        target,
        chart_version: base.metadata.version.clone(),
        values: users_values(stored, base),
        revision: base.metadata.revision,
        armed: base.is_on_delete().then_some(base.metadata.revision),
        image: release::image(&base.all, &base.metadata.version).unwrap_or_default(),
        marked: Vec::new(),
        outdated: None,
    }
}

/// Whether the release is the one that the origin was recorded of: one that was uninstalled and installed anew under its
/// name counts from 1 again, and has no such revision, or another chart's. Helm may have pruned the right one.
pub fn is_of(stored: &Origin, base: &Release) -> bool {
    let recorded = release::numbered(&base.history, stored.revision);
    let is_it = |revision: &Revision| stored.outdated.is_some() || revision.chart_version() == stored.chart_version;
    stored.revision <= base.metadata.revision && recorded.is_none_or(is_it)
}

/// The release's user values. Those that a run of ours lent and could not give back are the user's again.
pub fn users_values(stored: Option<&Origin>, base: &Release) -> Values {
    match stored.filter(|_| holds_lent(base)) {
        Some(stored) => given_back(mode_of(&base.user), &base.user, &stored.values),
        None => base.user.clone(),
    }
}

fn holds_lent(base: &Release) -> bool {
    let revision = release::numbered(&base.history, base.metadata.revision);
    revision.is_some_and(|revision| has_lent(revision, &base.history))
}

/// Which mode's runs set these values: in job mode each wave says the mode, and its nodes.
fn mode_of(user: &Values) -> Mode {
    let is_job = get(user, "job.nodes").is_some() || text(user, "deploymentMode") == Some("job");
    if is_job { Mode::Job } else { Mode::Daemonset }
}

/// The plan that later steps follow.
pub fn plan_of(run: &RunId, request: &Request, outcome: &Outcome, origin: &Origin, seen: &Seen) -> Option<Plan> {
    Some(Plan {
        v: 1,
        run: run.clone(),
        target: request.target.to_string(),
        mode: outcome.detected.as_ref()?.mode,
        origin: origin.chart_version.clone(),
        settings: request.settings.clone(),
        nodes: outcome.selection.nodes.clone(),
        waves_per_item: outcome.waves_per_item,
        base_revision: seen.live.as_ref()?.last.metadata.revision,
    })
}

#[cfg(test)]
mod tests {
    use klm_core::release::{Metadata, Status};
    use serde_json::{Value, json};

    use super::*;

    fn map(value: Value) -> Values {
        serde_json::from_value(value).unwrap()
    }

    fn revision(revision: u64, version: &str, description: &str) -> Revision {
        Revision {
            revision,
            status: Status::Deployed,
            chart: format!("kata-deploy-{version}"),
            description: description.into(),
            updated: String::new(),
        }
    }

    fn at(version: &str, user: Value, all: Value, description: &str) -> Release {
        Release {
            name: "kata".into(),
            namespace: "apps".into(),
            metadata: Metadata {
                chart: "kata-deploy".into(),
                version: version.into(),
                app_version: version.into(),
                revision: 7,
                status: Status::Deployed,
                deployed_at: String::new(),
            },
            user: map(user),
            all: map(all),
            history: vec![revision(7, version, description)],
        }
    }

    fn stored(target: &str, values: Value) -> Origin {
        Origin {
            v: 1,
            target: target.into(),
            chart_version: "3.32.0".into(),
            values: map(values),
            revision: 3,
            armed: Some(4),
            image: "q/k:3.32.0".into(),
            marked: Vec::new(),
            outdated: None,
        }
    }

    const OURS: &str = "kata-lifecycle-manager: upgrade to 4.0.0 (run flows/up, u)";

    #[test]
    fn a_resumed_run_keeps_the_origin_of_the_run_that_began() {
        let half_done = at("4.0.0", json!({}), json!({}), OURS);
        let kept = stored("4.0.0", json!({"a": 1}));
        assert_eq!(origin_of(Some(&kept), None, &half_done, &"4.0.0".parse().unwrap()), kept);
    }

    #[test]
    fn a_release_that_was_installed_anew_has_an_origin_of_its_own() {
        let target = "4.0.0".parse().unwrap();
        let kept = stored("4.0.0", json!({"a": 1}));
        let revision = |number: u64, version: &str| revision(number, version, "Install complete");
        let origin_with = |others: &[Revision], last: u64| {
            let mut release = at("4.0.0", json!({"b": 2}), json!({}), "Upgrade complete");
            release.metadata.revision = last;
            release.history = [others, &[revision(last, "4.0.0")]].concat();
            origin_of(Some(&kept), None, &release, &target).chart_version
        };
        assert_eq!(origin_with(&[], 1), "4.0.0", "it has fewer revisions");
        assert_eq!(origin_with(&[revision(3, "4.0.0")], 5), "4.0.0", "that revision is of another chart");
        assert_eq!(origin_with(&[revision(3, "3.32.0")], 5), "3.32.0");
        assert_eq!(origin_with(&[], 15), "3.32.0", "helm keeps the last ones only");
    }

    #[test]
    fn what_somebody_changed_since_goes_back_too_and_an_older_revision_does_not_do() {
        let target = "4.0.0".parse().unwrap();
        let changed = at("4.0.0", json!({"a": 1, "b": 2}), json!({}), "Upgrade complete");
        let kept = stored("4.0.0", json!({"a": 1}));
        let change = Change { before: map(json!({"a": 1})), after: changed.user.clone() };
        let found = origin_of(Some(&kept), Some(&change), &changed, &target);
        assert_eq!((Value::Object(found.values.clone()), found.revision), (json!({"a": 1, "b": 2}), 7));
        assert_eq!((found.outdated.as_ref(), found.is_armed()), (Some(&kept.values), true));
        assert!(changed_since(&found).is_some_and(|said| said.contains("3.32.0")));
        assert_eq!(changed_since(&kept), None);
    }

    #[test]
    fn what_is_given_back_after_a_resumed_run_is_what_the_user_has_now() {
        let kept = |values: Value| stored("4.0.0", values);
        let of = |before: Value, now: Value, description: &str| {
            let half_done = at("4.0.0", now, json!({}), description);
            Value::Object(origin_of(Some(&kept(before)), None, &half_done, &"4.0.0".parse().unwrap()).values)
        };
        let pod = |text: &str| json!({"a": 1, "verification": {"pod": text}});
        assert_eq!(of(pod("x"), pod(""), OURS), pod("x"), "lent");
        assert_eq!(of(pod("x"), pod("y"), "Upgrade complete"), pod("y"), "changed by somebody since");
        assert_eq!(of(pod("x"), json!({}), "Upgrade complete"), json!({"a": 1, "verification": {}}), "taken away");
        let job = |parallelism: u32| json!({"deploymentMode": "job", "job": {"parallelism": parallelism}});
        assert_eq!(of(job(7), job(9), "Upgrade complete"), job(9));
    }

    #[test]
    fn another_target_or_another_start_has_an_origin_of_its_own() {
        let kept = stored("4.0.0", json!({"a": 1}));
        let next = origin_of(
            Some(&kept),
            None,
            &at("4.0.0", json!({"b": 2}), json!({}), "Upgrade complete"),
            &"4.1.0".parse().unwrap(),
        );
        assert_eq!((next.chart_version.as_str(), next.revision, next.values["b"].as_i64()), ("4.0.0", 7, Some(2)));
        let again = origin_of(
            Some(&kept),
            None,
            &at("3.32.0", json!({"b": 2}), json!({}), "Rollback to 4"),
            &"4.0.0".parse().unwrap(),
        );
        assert_eq!((again.chart_version.as_str(), again.revision, again.armed), ("3.32.0", 7, None));
    }

    #[test]
    fn a_run_that_did_a_version_again_is_no_way_back_for_the_next() {
        let again = Origin { chart_version: "4.0.0".into(), ..stored("4.0.0", json!({"a": 1})) };
        let origin =
            origin_of(Some(&again), None, &at("4.0.0", json!({"b": 2}), json!({}), "x"), &"4.0.0".parse().unwrap());
        assert_eq!((origin.values.get("a"), origin.revision), (None, 7));
    }

    #[test]
    fn an_armed_release_is_its_own_way_back() {
        let armed = at(
            "3.32.0",
            json!({}),
            json!({"updateStrategy": {"type": "OnDelete"}, "image": {"reference": "q/k"}}),
            "x",
        );
        let origin = origin_of(None, None, &armed, &"4.0.0".parse().unwrap());
        assert_eq!((origin.armed, origin.image.as_str()), (Some(7), "q/k:3.32.0"));
    }

    #[test]
    fn what_a_dead_run_left_in_the_values_is_not_taken_for_the_users() {
        let left = json!({"job": {"nodes": ["w-1"], "parallelism": 1, "backoffLimit": 5}, "debug": true});
        let of = |before: Value, description: &str| {
            let release = at("4.0.0", left.clone(), json!({}), description);
            Value::Object(origin_of(Some(&stored("4.0.0", before)), None, &release, &"4.1.0".parse().unwrap()).values)
        };
        assert_eq!(of(json!({}), OURS), json!({"job": {"backoffLimit": 5}, "debug": true}));
        assert_eq!(
            of(json!({"job": {"nodes": ["a", "b"]}}), OURS),
            json!({"job": {"nodes": ["a", "b"], "backoffLimit": 5}, "debug": true})
        );
        assert_eq!(of(json!({}), "Upgrade complete"), left, "somebody set them since");
    }
}
