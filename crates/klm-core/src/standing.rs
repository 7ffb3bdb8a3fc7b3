//! Where a release stands for a run, read from its history: found, moved by us, moved by somebody else, left half done.

use crate::helm_command::is_of_run;
use crate::journal::RunId;
use crate::release::{Revision, Status};

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

    /// What this run made a revision for, when it made it. A failed revision has lost its description.
    pub fn of(revision: &Revision, run: &RunId) -> Option<Self> {
        let said = revision.description.split_once(": ").map_or("", |(_, said)| said);
        let ours = is_of_run(&revision.description, run);
        Self::ALL.into_iter().find(|purpose| ours && said.starts_with(purpose.words()))
    }
}

/// Where a release stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// As the run found it, as it armed it, or taken back: the chart is the old one.
    Origin,
    /// This run has moved it to its target.
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
pub fn standing(history: &[Revision], base: u64, home: Option<u64>, run: &RunId) -> Standing {
    let gone = |status| matches!(status, Status::Uninstalled | Status::Uninstalling);
    let Some(last) = history.last().filter(|last| !gone(last.status)) else {
        return Standing::Uninstalled;
    };
    if last.status.is_pending() {
        let deployed = history.iter().rev().find(|revision| revision.status == Status::Deployed);
        return Standing::Pending { deployed: deployed.map(|revision| revision.revision) };
    }
    match Purpose::of(last, run) {
        _ if last.status == Status::Failed => Standing::Failed,
        Some(Purpose::Upgrade) => Standing::Target,
        Some(Purpose::Arm | Purpose::TakeBack | Purpose::Restore) => Standing::Origin,
        None if last.revision <= base || goes_back(last, history, [Some(base), home], run) => Standing::Origin,
        None => Standing::Moved { revision: last.revision, description: last.description.clone() },
    }
}

/// `helm rollback` takes no description: going back to a revision that the run knows is the run's own doing.
fn goes_back(last: &Revision, history: &[Revision], known: [Option<u64>; 2], run: &RunId) -> bool {
    let to: Option<u64> = last.description.strip_prefix("Rollback to ").and_then(|text| text.trim().parse().ok());
    let made_by_us = |to| history.iter().any(|it| it.revision == to && Purpose::of(it, run).is_some());
    to.is_some_and(|to| known.contains(&Some(to)) || made_by_us(to))
}

/// The revision that a rollback in daemonset mode returns to: the newest one that this run armed.
pub fn armed_by(history: &[Revision], run: &RunId) -> Option<u64> {
    let armed =
        |revision: &&Revision| Purpose::of(revision, run) == Some(Purpose::Arm) && revision.status != Status::Failed;
    history.iter().rev().find(armed).map(|revision| revision.revision)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> RunId {
        RunId { namespace: "flows".into(), name: "up-x1".into(), uid: "u-1".into() }
    }

    fn revision(revision: u64, status: Status, description: &str) -> Revision {
        let chart = "kata-deploy-4.1.0".to_owned();
        Revision { revision, status, chart, description: description.to_owned(), updated: String::new() }
    }

    fn ours(number: u64, purpose: Purpose) -> Revision {
        let text = format!("kata-lifecycle-manager: {} (run flows/up-x1, u-1)", purpose.describe("4.1.0"));
        revision(number, Status::Deployed, &text)
    }

    #[test]
    fn a_runs_revision_says_what_it_was_made_for() {
        for purpose in Purpose::ALL {
            assert_eq!(Purpose::of(&ours(5, purpose), &run()), Some(purpose));
        }
        assert_eq!(Purpose::of(&ours(5, Purpose::Arm), &RunId { uid: "u-2".into(), ..run() }), None);
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
            (vec![base(), revision(5, Status::Deployed, "Upgrade complete")], moved("Upgrade complete")),
            (vec![base(), revision(5, Status::Uninstalled, "")], Standing::Uninstalled),
            (vec![], Standing::Uninstalled),
        ];
        for (history, expected) in cases {
            assert_eq!(standing(&history, 4, None, &run()), expected, "{history:?}");
        }
    }

    #[test]
    fn somebody_elses_rollback_to_somebody_elses_revision_is_somebody_elses() {
        let history = [
            revision(5, Status::Superseded, "Upgrade complete"),
            revision(6, Status::Superseded, "Upgrade complete"),
            revision(7, Status::Deployed, "Rollback to 5"),
        ];
        assert!(matches!(standing(&history, 4, None, &run()), Standing::Moved { revision: 7, .. }));
        assert_eq!(standing(&history, 4, Some(5), &run()), Standing::Origin, "unless that is the run's way back");
    }

    #[test]
    fn a_failed_arming_is_nothing_to_go_back_to() {
        let mut failed = ours(6, Purpose::Arm);
        failed.status = Status::Failed;
        assert_eq!(armed_by(&[ours(5, Purpose::Arm), failed], &run()), Some(5));
        assert_eq!(armed_by(&[revision(4, Status::Deployed, "")], &run()), None);
    }
}
