//! Where a release stands for a run, read from its history: found, moved by us, moved by somebody else, left half done.

use std::time::Duration;

use crate::contract::CHART_NAME;
use crate::release::{Revision, Status, last_good, numbered};

/// What a run makes a revision for. The words begin the revision's description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Same chart and values, but `OnDelete`: what a rollback goes back to.
    Arm,
    /// To the target.
    Upgrade,
    /// Back to the origin.
    TakeBack,
    /// The user's values again.
    Restore,
}

impl Purpose {
    const ALL: [Self; 4] = [Self::Arm, Self::Upgrade, Self::TakeBack, Self::Restore];

    const fn words(self) -> &'static str {
        match self {
            Self::Arm => "arm",
            Self::Upgrade => "upgrade to",
            Self::TakeBack => "take back to",
            Self::Restore => "give values back",
        }
    }

    /// The text for a revision's description.
    pub fn describe(self, what: &str) -> String {
        format!("{} {what}", self.words())
    }

    /// What a run made a revision for, when a run made it. Whoever asks holds the release's lock, so it is the run that
    /// asks, or one that is over and that it carries on. A failed revision has lost its description.
    pub fn of(revision: &Revision) -> Option<Self> {
        let said = revision.description.strip_prefix(CHART_NAME)?.strip_prefix(": ")?;
        Self::ALL.into_iter().find(|purpose| said.starts_with(purpose.words()) && said.ends_with(')'))
    }
}

/// Where a release stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// As the run found it, as it armed it, or taken back: the chart is the old one.
    Origin,
    /// Moved to the target since the run was planned.
    Target,
    /// A helm call died in the middle of it.
    Pending {
        /// The last good revision, to go back to before anything else; nothing when there never was one.
        deployed: Option<u64>,
    },
    /// The last revision failed; what is live is a matter of its objects.
    Failed,
    /// Somebody else made a revision while this run went on.
    Moved {
        /// Its number.
        revision: u64,
        /// Its description.
        description: String,
    },
    /// There is no release any more.
    Uninstalled,
}

/// Reads a history, oldest first. `base` is the release's last revision when the run was planned, `home` the one that
/// its rollback goes back to.
pub fn standing(history: &[Revision], base: u64, home: Option<u64>) -> Standing {
    let gone = |status| matches!(status, Status::Uninstalled | Status::Uninstalling);
    let Some(last) = history.last().filter(|last| !gone(last.status)) else {
        return Standing::Uninstalled;
    };
    if last.status.is_pending() {
        return Standing::Pending { deployed: last_good(history).map(|revision| revision.revision) };
    }
    let shown = shown_by(last, history);
    let is_way_back = [Some(base), home].contains(&Some(shown.revision));
    match Purpose::of(shown) {
        _ if last.status == Status::Failed => Standing::Failed,
        // The way back may lead to what an earlier run had upgraded to.
        _ if last.revision <= base || is_way_back => Standing::Origin,
        Some(Purpose::Upgrade) => Standing::Target,
        Some(Purpose::Arm | Purpose::TakeBack | Purpose::Restore) => Standing::Origin,
        // Going back to the last good revision unlocks a release that a killed helm left, and moves it nowhere.
        None if shown.revision < base && unlocked_by(last, history).is_some() => Standing::Origin,
        None => Standing::Moved { revision: last.revision, description: last.description.clone() },
    }
}

/// What a helm of ours was about to do, as the release's lock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// The revision that it makes.
    pub revision: u64,
    /// Since when.
    pub age: Duration,
}

impl Begun {
    /// Whether that helm, or one that it was to unlock the release from, is behind a pending revision. A number alone
    /// doesn't tell: a helm of ours that never came to make its revision leaves it to the next one that comes.
    fn is_behind(self, pending: u64, age: Option<Duration>) -> bool {
        let Some(age) = age else { return [pending, pending + 1].contains(&self.revision) };
        if self.revision == pending {
            return age <= self.age + CLOCKS_DIFFER_BY && self.age <= age + MADE_WITHIN;
        }
        // Over a pending revision a run begins another one only to unlock it, and only when its helm is dead.
        self.revision == pending + 1 && self.age <= age + CLOCKS_DIFFER_BY
    }
}

/// From the word in the lock to the revision: the history is read once more, and helm renders the chart and looks at the
/// cluster, all of it with patience for an API server that can't be reached for minutes.
const MADE_WITHIN: Duration = Duration::from_secs(600);

/// Revisions are made on other machines than those that look at them.
const CLOCKS_DIFFER_BY: Duration = Duration::from_secs(30);

/// How much longer the helm behind a pending revision may be at work; nothing when it is dead. `begun` is what the
/// release's lock says: whoever asks holds the lock, so that run's helm is over. Anybody else's helm has as long as ours
/// would; the status, and its `age`, are all that Helm itself knows.
pub fn may_work_for(pending: u64, begun: Option<Begun>, age: Option<Duration>, limit: Duration) -> Option<Duration> {
    if begun.is_some_and(|begun| begun.is_behind(pending, age)) {
        return None;
    }
    limit.checked_sub(age.unwrap_or_default()).filter(|left| !left.is_zero())
}

/// Whether a revision holds what a run set for itself: it is an upgrade of one, or goes back to one. Values that somebody
/// else set are not ours to change.
pub fn has_lent(revision: &Revision, history: &[Revision]) -> bool {
    matches!(Purpose::of(shown_by(revision, history)), Some(Purpose::Upgrade | Purpose::TakeBack))
}

/// The numbers of two revisions, when somebody else has changed the release at `target` since an origin was recorded: the
/// last one that the origin knows of, and theirs. What differs between the two is theirs, also after nodes were taken back
/// from there. `origin` is the revision that the origin was recorded at. Nothing when Helm has forgotten either: then nobody
/// can tell what runs set from what people did.
pub fn changed_since(history: &[Revision], target: &str, origin: u64) -> Option<(u64, u64)> {
    let is_ours = |revision: &Revision| Purpose::of(shown_by(revision, history)).is_some();
    let is_a_way_back = |revision: &Revision| {
        let purpose = Purpose::of(revision);
        purpose.is_some_and(|purpose| purpose != Purpose::Upgrade) || unlocked_by(revision, history).is_some()
    };
    let mut since = history.iter().rev().filter(|revision| revision.revision >= origin);
    let theirs = since.by_ref().find(|revision| revision.is_good() && !is_a_way_back(revision))?;
    if theirs.revision == origin || theirs.chart_version() != target || is_ours(theirs) {
        return None;
    }
    let known = |revision: &&Revision| revision.revision == origin || (revision.is_good() && is_ours(revision));
    Some((since.find(known)?.revision, theirs.revision))
}

/// The revision whose content a revision has: `helm rollback` makes a new one, and takes no description for it.
fn shown_by<'a>(last: &'a Revision, history: &'a [Revision]) -> &'a Revision {
    let to: Option<u64> = last.description.strip_prefix("Rollback to ").and_then(|text| text.trim().parse().ok());
    to.and_then(|to| numbered(history, to)).unwrap_or(last)
}

/// The pending revision right before a revision.
fn unlocked_by<'a>(last: &Revision, history: &'a [Revision]) -> Option<&'a Revision> {
    history.iter().find(|before| before.revision + 1 == last.revision && before.status.is_pending())
}

/// The revision since `base` that helm didn't bring to a good end, if nothing but its unlocking came after it.
pub fn unfinished(history: &[Revision], base: u64) -> Option<&Revision> {
    let mut last = history.last()?;
    while let Some(before) = unlocked_by(last, history) {
        last = before;
    }
    let is_unfinished = last.status == Status::Failed || last.status.is_pending();
    (is_unfinished && last.revision > base).then_some(last)
}

/// The revision that a rollback in daemonset mode returns to: the newest that was armed since the origin was recorded.
pub fn armed_since(history: &[Revision], origin: u64) -> Option<u64> {
    let armed = |revision: &&Revision| {
        revision.revision > origin && Purpose::of(revision) == Some(Purpose::Arm) && revision.status != Status::Failed
    };
    history.iter().rev().find(armed).map(|revision| revision.revision)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(revision: u64, status: Status, description: &str) -> Revision {
        let chart = "kata-deploy-4.1.0".to_owned();
        Revision { revision, status, chart, description: description.to_owned(), updated: String::new() }
    }

    fn ours(number: u64, purpose: Purpose) -> Revision {
        let text = format!("kata-lifecycle-manager: {} (run flows/up-x1, u-1)", purpose.describe("4.1.0"));
        revision(number, Status::Deployed, &text)
    }

    #[test]
    fn an_upgrade_that_helm_did_not_finish_is_known_after_it_was_unlocked() {
        let good = || revision(4, Status::Deployed, "Upgrade complete");
        let pending = || revision(5, Status::PendingUpgrade, "Preparing upgrade");
        let unlocked = || revision(6, Status::Deployed, "Rollback to 4");
        let cases = [
            (vec![good()], None),
            (vec![good(), pending()], Some(5)),
            (vec![good(), pending(), unlocked()], Some(5)),
            (vec![good(), pending(), revision(6, Status::PendingRollback, "Preparing rollback")], Some(5)),
            (vec![good(), pending(), unlocked(), ours(7, Purpose::Restore)], None),
            (vec![good(), revision(5, Status::Failed, "Upgrade \"x\" failed: y")], Some(5)),
            (vec![good(), ours(5, Purpose::Upgrade)], None),
        ];
        for (history, expected) in cases {
            assert_eq!(unfinished(&history, 4).map(|revision| revision.revision), expected, "{history:?}");
        }
        assert_eq!(unfinished(&[good(), pending()], 5), None, "it was there before the run");
    }

    #[test]
    fn a_pending_revision_that_the_lock_does_not_name_is_somebody_elses_until_it_is_old() {
        let limit = Duration::from_secs(600);
        let left = |begun: Option<(u64, u64)>, age: Option<u64>| {
            let begun = begun.map(|(revision, age)| Begun { revision, age: Duration::from_secs(age) });
            may_work_for(7, begun, age.map(Duration::from_secs), limit)
        };
        let seconds = |left| Some(Duration::from_secs(left));
        assert_eq!(left(Some((7, 12)), Some(10)), None, "ours, and dead");
        assert_eq!(left(Some((8, 5)), Some(10)), None, "a run of ours was about to unlock it");
        assert_eq!(left(None, Some(10)), seconds(590));
        assert_eq!(left(Some((6, 12)), Some(10)), seconds(590), "ours was another one");
        assert_eq!(left(None, Some(600)), None);
        assert_eq!(left(None, None), Some(limit), "since when isn't known");
        assert_eq!(left(Some((7, 12)), None), None, "since when isn't known");
        // Ours was killed before it made its revision, and somebody else's makes it later.
        assert_eq!(left(Some((7, 3600)), Some(10)), seconds(590));
        // The release was made anew, and counts from 1 again.
        assert_eq!(left(Some((8, 3600)), Some(10)), seconds(590));
        assert_eq!(left(Some((7, 10)), Some(20)), None, "its machine's clock goes ahead of the other's");
        assert_eq!(left(Some((7, 10)), Some(100)), seconds(500), "it was there before ours began");
    }

    #[test]
    fn a_runs_revision_says_what_it_was_made_for() {
        for purpose in Purpose::ALL {
            assert_eq!(Purpose::of(&ours(5, purpose)), Some(purpose));
        }
        assert_eq!(Purpose::of(&revision(5, Status::Deployed, "Upgrade complete")), None);
    }

    #[test]
    fn where_the_release_stands_follows_from_its_last_revision() {
        let base = || revision(4, Status::Superseded, "Upgrade complete");
        let moved = |description: &str| Standing::Moved { revision: 5, description: description.to_owned() };
        let cases = [
            (vec![revision(4, Status::Deployed, "Upgrade complete")], Standing::Origin),
            (vec![base(), ours(5, Purpose::Arm)], Standing::Origin),
            (vec![base(), ours(5, Purpose::Upgrade)], Standing::Target),
            (vec![base(), ours(5, Purpose::TakeBack)], Standing::Origin),
            (vec![base(), revision(5, Status::Deployed, "Rollback to 4")], Standing::Origin),
            (vec![base(), ours(5, Purpose::Arm), revision(6, Status::Deployed, "Rollback to 5")], Standing::Origin),
            (vec![base(), revision(5, Status::Failed, "Upgrade \"x\" failed: y")], Standing::Failed),
            (
                vec![revision(4, Status::Deployed, ""), revision(5, Status::PendingUpgrade, "")],
                Standing::Pending { deployed: Some(4) },
            ),
            (vec![base(), revision(5, Status::PendingUpgrade, "")], Standing::Pending { deployed: Some(4) }),
            (vec![revision(1, Status::PendingInstall, "")], Standing::Pending { deployed: None }),
            (vec![base(), revision(5, Status::Deployed, "Upgrade complete")], moved("Upgrade complete")),
            (vec![base(), revision(5, Status::Uninstalled, "")], Standing::Uninstalled),
            (vec![], Standing::Uninstalled),
        ];
        for (history, expected) in cases {
            assert_eq!(standing(&history, 4, None), expected, "{history:?}");
        }
    }

    #[test]
    fn somebody_elses_rollback_to_somebody_elses_revision_is_somebody_elses() {
        let history = [
            revision(5, Status::Superseded, "Upgrade complete"),
            revision(6, Status::Superseded, "Upgrade complete"),
            revision(7, Status::Deployed, "Rollback to 5"),
        ];
        assert!(matches!(standing(&history, 4, None), Standing::Moved { revision: 7, .. }));
        assert_eq!(standing(&history, 4, Some(5)), Standing::Origin, "unless that is the run's way back");
    }

    #[test]
    fn the_way_back_may_be_what_an_earlier_run_had_upgraded_to() {
        let before = || [revision(3, Status::Superseded, ""), ours(4, Purpose::Upgrade)];
        let back = |to: u64| revision(6, Status::Deployed, &format!("Rollback to {to}"));
        let of = |last: Revision, home| {
            let history = [&before()[..], &[ours(5, Purpose::Upgrade), last]].concat();
            standing(&history, 4, home)
        };
        assert_eq!(of(back(4), Some(4)), Standing::Origin);
        assert_eq!(of(back(4), Some(3)), Standing::Origin, "a run that goes on where another one was begins there");
        assert_eq!(of(back(5), Some(4)), Standing::Target);
    }

    #[test]
    fn going_back_to_unlock_a_release_moves_it_nowhere() {
        let pending = |number| revision(number, Status::PendingUpgrade, "");
        let unlocked = |to: u64, number| revision(number, Status::Deployed, &format!("Rollback to {to}"));
        let found = [revision(3, Status::Superseded, ""), pending(4), unlocked(3, 5)];
        assert_eq!(standing(&found, 4, None), Standing::Origin, "an earlier run's helm was killed");
        let ours = [revision(4, Status::Superseded, ""), ours(5, Purpose::Upgrade), pending(6), unlocked(5, 7)];
        assert_eq!(standing(&ours, 4, None), Standing::Target, "our own was killed in a later wave");
    }

    #[test]
    fn values_are_lent_by_a_wave_and_by_going_back_to_one() {
        let back = |to: u64| revision(7, Status::Deployed, &format!("Rollback to {to}"));
        let history = [revision(4, Status::Superseded, ""), ours(5, Purpose::Upgrade), ours(6, Purpose::Restore)];
        let lent = |revision: &Revision| has_lent(revision, &history);
        assert_eq!(history.each_ref().map(lent), [false, true, false]);
        assert_eq!([4, 5, 6].map(|to| lent(&back(to))), [false, true, false]);
    }

    #[test]
    fn what_somebody_changed_since_is_told_from_what_runs_did() {
        let theirs = |number| revision(number, Status::Superseded, "Upgrade complete");
        let failed = |number| revision(number, Status::Failed, "Upgrade \"x\" failed: y");
        let back = |number, to: u64| revision(number, Status::Deployed, &format!("Rollback to {to}"));
        let pending = |number| revision(number, Status::PendingUpgrade, "");
        let elsewhere = |revision| Revision { chart: "kata-deploy-3.29.0".to_owned(), ..revision };
        let taken_back = |number| elsewhere(ours(number, Purpose::TakeBack));
        let run = || vec![theirs(3), ours(5, Purpose::Upgrade)];
        let cases = [
            (vec![], None, "nobody did anything"),
            (vec![theirs(6)], Some((5, 6)), "after the run"),
            (vec![failed(6), theirs(7), theirs(8)], Some((5, 8)), "twice"),
            (vec![back(6, 5)], None, "back to what the run did"),
            (vec![theirs(6), taken_back(7)], Some((5, 6)), "and then a node went elsewhere"),
            (vec![theirs(6), taken_back(7), failed(8), taken_back(9)], Some((5, 6)), "and so did another"),
            (vec![theirs(6), ours(7, Purpose::Arm), pending(8), back(9, 7)], Some((5, 6)), "and helm was killed at it"),
            (vec![taken_back(6)], None, "a node went elsewhere, and nobody did anything"),
            (vec![theirs(6), back(7, 5)], None, "and somebody took it back"),
            (vec![theirs(6), ours(7, Purpose::Upgrade)], None, "and the next run has it"),
            (vec![theirs(6), elsewhere(theirs(7))], None, "and left the target"),
        ];
        for (after, expected, what) in cases {
            assert_eq!(changed_since(&[run(), after].concat(), "4.1.0", 3), expected, "{what}");
        }
        assert_eq!(changed_since(&[theirs(3), theirs(4)], "4.1.0", 3), Some((3, 4)), "the run did nothing");
        assert_eq!(changed_since(&[theirs(8), theirs(9)], "4.1.0", 3), None, "all that the origin knew is forgotten");
        assert_eq!(changed_since(&[theirs(3)], "4.1.0", 3), None, "the origin itself");
    }

    #[test]
    fn a_failed_arming_is_nothing_to_go_back_to() {
        let mut failed = ours(6, Purpose::Arm);
        failed.status = Status::Failed;
        assert_eq!(armed_since(&[ours(5, Purpose::Arm), failed], 4), Some(5));
        assert_eq!(armed_since(&[revision(4, Status::Deployed, "")], 3), None);
        assert_eq!(armed_since(&[ours(5, Purpose::Arm)], 7), None, "of an earlier origin");
    }
}
