//! What earlier runs recorded of the release, against the release as it is: where a rollback would go, and which of its
//! values are the user's. Pure.

use klm_core::origin::{Asked, Change, Origin, given_back};
use klm_core::plan::Mode;
use klm_core::release::{self, Release, Revision};
use klm_core::standing::has_lent;
use klm_core::values::{Values, get, remove, text};
use semver::Version;

/// The records.
#[derive(Clone, Copy, Debug, Default)]
pub struct Recorded<'a> {
    /// The release before the last run, or before the first on the way to one target.
    pub origin: Option<&'a Origin>,
    /// The last rollback that somebody asked for.
    pub asked: Option<&'a Asked>,
    /// What somebody else has changed in the release since that origin.
    pub change: Option<&'a Change>,
}

impl Recorded<'_> {
    /// What a rollback goes back to. A release that is at the target already was brought there by an earlier run to the
    /// same target, if there was one: that run's origin stays, or the half-done target would be taken for it.
    pub fn origin_of(&self, base: &Release, target: &Version) -> Origin {
        let target = target.to_string();
        if let Some(stored) = self.origin
            && stored.target == target
            && stored.chart_version != target
            && base.metadata.version == target
            && is_of(stored, base)
        {
            if let Some(change) = self.change {
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
            values: self.users_values(base),
            revision: base.metadata.revision,
            armed: base.is_on_delete().then_some(base.metadata.revision),
            image: release::image(&base.all, &base.metadata.version).unwrap_or_default(),
            marked: Vec::new(),
            outdated: None,
        }
    }

    /// The release's user values. Those that a run of ours lent and could not give back are the user's again, as whoever
    /// lent them last had found them; where nobody knows that any more, they are the chart's.
    pub fn users_values(&self, base: &Release) -> Values {
        if !holds_lent(base) {
            return base.user.clone();
        }
        let found = self.lender(base).map(|origin| origin.values.clone()).unwrap_or_default();
        given_back(mode_of(&base.user), &base.user, &found)
    }

    fn lender(&self, base: &Release) -> Option<&Origin> {
        let is_later = |asked: &&Asked| self.origin.is_none_or(|origin| asked.base_revision >= origin.revision);
        // Of the release before, when it was made anew: that one had more revisions.
        let is_of_this = |asked: &&Asked| asked.base_revision <= base.metadata.revision;
        self.asked.filter(is_later).filter(is_of_this).map(|asked| &asked.origin).or(self.origin)
    }
}

/// Whether the release is the one that the origin was recorded of: one that was uninstalled and installed anew under its
/// name counts from 1 again, and has no such revision, or another chart's. Helm may have pruned the right one.
pub fn is_of(stored: &Origin, base: &Release) -> bool {
    let recorded = release::numbered(&base.history, stored.revision);
    let is_it = |revision: &Revision| stored.outdated.is_some() || revision.chart_version() == stored.chart_version;
    stored.revision <= base.metadata.revision && recorded.is_none_or(is_it)
}

/// What somebody may not expect of such a way back.
pub(super) fn keeps_change(origin: &Origin) -> Option<String> {
    origin.outdated.as_ref()?;
    Some(format!(
        "the release's values were changed since the run to {} that this one goes on with: a rollback to {} keeps the change, but for images; should that chart refuse it, the rollback goes without",
        origin.target, origin.chart_version
    ))
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

#[cfg(test)]
mod tests {
    use klm_core::journal::RunId;
    use klm_core::origin::RunInputs;
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

    fn of_run(origin: &Origin) -> Recorded<'_> {
        Recorded { origin: Some(origin), ..Recorded::default() }
    }

    const OURS: &str = "kata-lifecycle-manager: upgrade to 4.0.0 (run flows/up, u)";

    #[test]
    fn a_resumed_run_keeps_the_origin_of_the_run_that_began() {
        let half_done = at("4.0.0", json!({}), json!({}), OURS);
        let kept = stored("4.0.0", json!({"a": 1}));
        assert_eq!(of_run(&kept).origin_of(&half_done, &"4.0.0".parse().unwrap()), kept);
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
            of_run(&kept).origin_of(&release, &target).chart_version
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
        let found = Recorded { change: Some(&change), ..of_run(&kept) }.origin_of(&changed, &target);
        assert_eq!((Value::Object(found.values.clone()), found.revision), (json!({"a": 1, "b": 2}), 7));
        assert_eq!((found.outdated.as_ref(), found.is_armed()), (Some(&kept.values), true));
        assert!(keeps_change(&found).is_some_and(|said| said.contains("3.32.0")));
        assert_eq!(keeps_change(&kept), None);
    }

    #[test]
    fn what_is_given_back_after_a_resumed_run_is_what_the_user_has_now() {
        let kept = |values: Value| stored("4.0.0", values);
        let of = |before: Value, now: Value, description: &str| {
            let half_done = at("4.0.0", now, json!({}), description);
            Value::Object(of_run(&kept(before)).origin_of(&half_done, &"4.0.0".parse().unwrap()).values)
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
        let next = of_run(&kept)
            .origin_of(&at("4.0.0", json!({"b": 2}), json!({}), "Upgrade complete"), &"4.1.0".parse().unwrap());
        assert_eq!((next.chart_version.as_str(), next.revision, next.values["b"].as_i64()), ("4.0.0", 7, Some(2)));
        let again = of_run(&kept)
            .origin_of(&at("3.32.0", json!({"b": 2}), json!({}), "Rollback to 4"), &"4.0.0".parse().unwrap());
        assert_eq!((again.chart_version.as_str(), again.revision, again.armed), ("3.32.0", 7, None));
    }

    #[test]
    fn a_run_that_did_a_version_again_is_no_way_back_for_the_next() {
        let again = Origin { chart_version: "4.0.0".into(), ..stored("4.0.0", json!({"a": 1})) };
        let origin = of_run(&again).origin_of(&at("4.0.0", json!({"b": 2}), json!({}), "x"), &"4.0.0".parse().unwrap());
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
        let origin = Recorded::default().origin_of(&armed, &"4.0.0".parse().unwrap());
        assert_eq!((origin.armed, origin.image.as_str()), (Some(7), "q/k:3.32.0"));
    }

    #[test]
    fn what_a_dead_run_left_in_the_values_is_not_taken_for_the_users() {
        let left = json!({"job": {"nodes": ["w-1"], "parallelism": 1, "backoffLimit": 5}, "debug": true});
        let of = |before: Value, description: &str| {
            let release = at("4.0.0", left.clone(), json!({}), description);
            Value::Object(of_run(&stored("4.0.0", before)).origin_of(&release, &"4.1.0".parse().unwrap()).values)
        };
        assert_eq!(of(json!({}), OURS), json!({"job": {"backoffLimit": 5}, "debug": true}));
        assert_eq!(
            of(json!({"job": {"nodes": ["a", "b"]}}), OURS),
            json!({"job": {"nodes": ["a", "b"], "backoffLimit": 5}, "debug": true})
        );
        assert_eq!(of(json!({}), "Upgrade complete"), left, "somebody set them since");
    }

    #[test]
    fn who_lent_values_of_a_release_that_is_gone_has_no_word_on_those_of_the_next() {
        let parallelism = |number: u32| json!({"deploymentMode": "job", "job": {"parallelism": number}});
        let run = stored("4.0.0", parallelism(3));
        let lent = json!({"deploymentMode": "job", "job": {"nodes": ["w-1"], "parallelism": 1}});
        let release = at("4.0.0", lent, json!({}), OURS);
        let found = |base_revision: u64| {
            let run_id = RunId { namespace: "flows".into(), name: "back".into(), uid: "u".into() };
            let asked = Asked {
                mode: Mode::Job,
                base_revision,
                origin: stored("4.0.0", parallelism(9)),
                inputs: RunInputs {
                    run: run_id,
                    set_values: Values::new(),
                    verification_pod: String::new(),
                    chart_digest: None,
                },
            };
            Value::Object(Recorded { asked: Some(&asked), ..of_run(&run) }.users_values(&release))
        };
        assert_eq!(found(6), parallelism(9), "the later one lent them");
        assert_eq!(found(12), parallelism(3), "there is no twelfth revision: it was of another release");
    }
}
