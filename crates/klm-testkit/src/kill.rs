//! Ending a process at a chosen write, as `kill -9` does: no clean-up code of the killed one runs to effect.

use std::future::Future;

use crate::cluster::FakeCluster;

/// On which side of the write the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// The server never sees the write.
    Before,
    /// The server does it; the process never sees the answer.
    After,
}

impl When {
    /// Both sides, for loops.
    pub const ALL: [Self; 2] = [Self::Before, Self::After];
}

/// A kill that waits for its write.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kill {
    /// Counted from 1 over all writes of the cluster.
    pub(crate) at: u64,
    pub(crate) when: When,
}

/// How a piece of work ended.
#[derive(Debug)]
pub enum Outcome<T> {
    /// It came to its own end.
    Finished(T),
    /// The kill struck; the work was dropped where it stood.
    Killed,
}

impl<T> Outcome<T> {
    /// The result of work that was meant to finish.
    pub fn finished(self) -> Option<T> {
        match self {
            Self::Finished(value) => Some(value),
            Self::Killed => None,
        }
    }

    /// Whether the kill struck.
    pub fn was_killed(&self) -> bool {
        matches!(self, Self::Killed)
    }
}

/// Runs work until it ends or is killed by [`FakeCluster::kill_at`] or [`FakeCluster::kill_now`].
///
/// The future is dropped at the kill. Every connection made before it, also one that a detached task or a destructor
/// still holds, hangs from then on; connections made afterwards see the state as the killed process left it.
pub async fn run_until_killed<T>(cluster: &FakeCluster, work: impl Future<Output = T>) -> Outcome<T> {
    let killed = cluster.killed();
    tokio::select! {
        biased;
        () = killed => Outcome::Killed,
        value = work => Outcome::Finished(value),
    }
}
