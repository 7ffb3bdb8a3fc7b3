//! Where a node stands: the contract's eight words and the only ways from one to the next.

use std::fmt;
use std::str::FromStr;

/// A node's status, as its annotation and label say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodePhase {
    /// This run has claimed the node; nothing on it has changed.
    Preparing,
    /// No new pods land on it; its prior state is in the journal.
    Cordoned,
    /// Its pods are being evicted; the start time is in the journal.
    Draining,
    /// kata-deploy may be changing it; the version to return to is in the journal.
    Upgrading,
    /// The install is proven; the verification pod has the word.
    Verifying,
    /// Verified at the target, given back as it was found.
    Completed,
    /// The origin version is being restored; the reason is in the journal.
    RollingBack,
    /// The origin version was restored and verified, the node given back as it was found.
    RolledBack,
}

/// What can happen to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A run takes the node, whatever an earlier run left.
    Claimed,
    /// The cordon and the prior state were written in one patch.
    Cordoned,
    /// A drain begins.
    DrainStarted,
    /// The side effects on the node begin.
    ApplyStarted,
    /// This wave's install is proven.
    Proven,
    /// The verification pod succeeded.
    Verified,
    /// Something failed, or the run was stopped.
    Failed,
    /// The origin was restored, proven and verified.
    Restored,
}

/// An event that the phase does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a node that is `{from}` can't take `{on:?}`")]
pub struct IllegalTransition {
    /// The phase it was in.
    pub from: NodePhase,
    /// What happened.
    pub on: Event,
}

impl NodePhase {
    /// All of them, in the order of a successful node and then of a failed one.
    pub const ALL: [Self; 8] = [
        Self::Preparing,
        Self::Cordoned,
        Self::Draining,
        Self::Upgrading,
        Self::Verifying,
        Self::Completed,
        Self::RollingBack,
        Self::RolledBack,
    ];

    /// The contract's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Preparing => "preparing",
            Self::Cordoned => "cordoned",
            Self::Draining => "draining",
            Self::Upgrading => "upgrading",
            Self::Verifying => "verifying",
            Self::Completed => "completed",
            Self::RollingBack => "rolling-back",
            Self::RolledBack => "rolled-back",
        }
    }

    /// What is true of a node in this phase, for the table of states.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Preparing => "a run has claimed the node; nothing on it has changed",
            Self::Cordoned => "cordoned by the run; its state before is recorded",
            Self::Draining => "pods are being evicted; only with `drain-enabled=true`",
            Self::Upgrading => "kata-deploy may be changing the node",
            Self::Verifying => "the install is proven; the verification pod runs",
            Self::Completed => "verified at the target and given back as it was found",
            Self::RollingBack => "the version before is being restored",
            Self::RolledBack => {
                "the version before was restored and verified, or nothing had been changed; given back as it was found"
            }
        }
    }

    /// What the next run does with a node that it finds in this phase.
    pub const fn next_run(self) -> &'static str {
        match self {
            Self::Preparing | Self::Cordoned => "starts it again",
            Self::Draining => "goes on draining with the time that is left",
            Self::Upgrading => "looks at what is installed: verifies it or installs again",
            Self::Verifying => "verifies it again with a new pod",
            Self::Completed => "leaves it alone when it is at the target, else starts it",
            Self::RollingBack => "finishes the rollback first, never the upgrade",
            Self::RolledBack => "starts it",
        }
    }

    /// Whether a run has finished with the node.
    pub const fn is_settled(self) -> bool {
        matches!(self, Self::Completed | Self::RolledBack)
    }

    /// The phase after `on`.
    pub const fn next(self, on: Event) -> Result<Self, IllegalTransition> {
        use NodePhase::{Completed, Cordoned, Draining, Preparing, RolledBack, RollingBack, Upgrading, Verifying};
        match (self, on) {
            // A rollback that was cut short is finished before the node may be claimed for anything else.
            (Preparing | Cordoned | Draining | Upgrading | Verifying | Completed | RolledBack, Event::Claimed) => {
                Ok(Preparing)
            }
            (Preparing, Event::Cordoned) => Ok(Cordoned),
            (Cordoned, Event::DrainStarted) => Ok(Draining),
            (Cordoned | Draining, Event::ApplyStarted) => Ok(Upgrading),
            (Upgrading, Event::Proven) => Ok(Verifying),
            (Verifying, Event::Verified) => Ok(Completed),
            // `Completed` as well: `rollback-node` takes a verified node back on request.
            (Preparing | Cordoned | Draining | Upgrading | Verifying | Completed | RollingBack, Event::Failed) => {
                Ok(RollingBack)
            }
            (RollingBack, Event::Restored) => Ok(RolledBack),
            (from, on) => Err(IllegalTransition { from, on }),
        }
    }
}

impl Event {
    /// All of them, in the order in which a node meets them.
    pub const ALL: [Self; 8] = [
        Self::Claimed,
        Self::Cordoned,
        Self::DrainStarted,
        Self::ApplyStarted,
        Self::Proven,
        Self::Verified,
        Self::Failed,
        Self::Restored,
    ];
}

impl fmt::Display for NodePhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is none of the eight.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a status word")]
pub struct UnknownPhase(pub String);

impl FromStr for NodePhase {
    type Err = UnknownPhase;

    fn from_str(word: &str) -> Result<Self, UnknownPhase> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == word).ok_or_else(|| UnknownPhase(word.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn every_word_reads_back() {
        for phase in NodePhase::ALL {
            assert_eq!(phase.as_str().parse(), Ok(phase));
        }
        assert!("done".parse::<NodePhase>().is_err());
    }

    #[test]
    fn the_table_of_transitions_is_this() {
        let mut table = String::new();
        for from in NodePhase::ALL {
            for on in Event::ALL {
                let to = from.next(on).map_or("refused", NodePhase::as_str);
                writeln!(table, "{from:<12} {:<13} {to}", format!("{on:?}")).unwrap();
            }
        }
        insta::assert_snapshot!(table);
    }
}
