//! Somebody else's helm at work on our release, told from a dead one of ours by the number that the lock holds: nothing is
//! begun beside it, and in the middle of a run it is waited for.

use std::time::Duration;

use klm_core::gate;
use klm_core::helm_command::{HelmCommand, ReleaseRef};
use klm_core::release::{Revision, next};
use klm_core::settings::Settings;
use klm_core::standing::may_work_for;

use super::context::Run;
use crate::exit::StepError;
use crate::helm::{HelmError, Trouble};
use crate::lock;
use crate::wait::{Seen, Wait, Waited, poll};
use crate::world::World;

/// Time between two looks at a revision that isn't ours.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// Refuses to begin while somebody else's helm may be at work. The lock is ours.
pub async fn begin_alone(world: &World, release: &ReleaseRef, settings: &Settings) -> Result<(), StepError> {
    let history = world.helm.history(release).await?;
    let age = history.last().and_then(|last| age(world, last));
    let begun = lock::begun(world, release).await?;
    let limit = Duration::from_secs(settings.helm_timeout);
    match gate::at_work(release, &history, begun, age, limit) {
        Some(refusal) => Err(refusal.into()),
        None => Ok(()),
    }
}

impl Run<'_> {
    /// Waits for the end of the helm that a pending revision is of, if somebody else's may still live. Whether it ended;
    /// else it is dead.
    pub(super) async fn outlive(&self, pending: &Revision) -> anyhow::Result<bool> {
        let Some(left) = self.may_work_for(pending).await? else { return Ok(false) };
        let Revision { revision, status, .. } = pending;
        let name = format!("the end of somebody else's helm at revision {revision} of `{}`", self.release_name());
        tracing::warn!(waiting_for = %name, within = ?left, "the release is {status}");
        let wait = Wait::new(name, LOOK_EVERY, left);
        let waited = poll(self.world, &wait, async || {
            let history = self.history().await?;
            let same = history.last().filter(|last| last.revision == *revision && last.status.is_pending());
            Ok(same.map_or(Seen::Done(()), |last| Seen::NotYet(format!("it is {}", last.status))))
        });
        Ok(matches!(waited.await?, Waited::Done(())))
    }

    /// Unlocks the release where a dead helm of ours left it pending.
    pub(super) async fn unlock(&self) -> anyhow::Result<()> {
        if lock::begun(self.world, &self.release).await?.is_none() {
            return Ok(());
        }
        let history = self.history().await?;
        let Some(pending) = history.last().filter(|last| last.status.is_pending()) else { return Ok(()) };
        if self.may_work_for(pending).await?.is_none()
            && let Err(why) = self.release_is_free().await?
        {
            tracing::warn!(cause = %why, "the release stays pending");
        }
        Ok(())
    }

    /// Runs a call with the number of the revision that it makes in the lock, so that whoever finds it pending knows whose
    /// it is.
    pub(super) async fn claimed(
        &self,
        command: &HelmCommand,
        call: impl Future<Output = Result<(), HelmError>>,
    ) -> anyhow::Result<Result<(), HelmError>> {
        lock::write_begun(self.world, &self.release, &self.id, command.makes).await?;
        // The number is as old as the look that it comes from, and `helm rollback` goes over whatever it finds.
        let ended = match self.overtaken(command).await {
            Ok(None) => call.await,
            Ok(Some(error)) | Err(error) => Err(error),
        };
        if !self.may_be_pending(command, &ended).await {
            lock::write_begun(self.world, &self.release, &self.id, None).await?;
        }
        Ok(ended)
    }

    async fn overtaken(&self, command: &HelmCommand) -> Result<Option<HelmError>, HelmError> {
        let history = self.world.helm.history(&self.release).await?;
        let is_overtaken = command.makes.is_some_and(|revision| revision != next(&history));
        Ok(is_overtaken.then(|| HelmError::overtaken(command)))
    }

    /// Whether a call of ours may have left its revision pending. A number that nothing came of would be the next helm's,
    /// whoever's that is.
    async fn may_be_pending(&self, command: &HelmCommand, ended: &Result<(), HelmError>) -> bool {
        match ended {
            Ok(()) => false,
            // The pending revision is the other helm's.
            Err(error) if error.trouble == Trouble::Locked => false,
            Err(_) => match self.world.helm.history(&self.release).await {
                Ok(history) => {
                    history.last().is_some_and(|last| last.status.is_pending() && command.makes == Some(last.revision))
                }
                Err(_) => true,
            },
        }
    }

    async fn may_work_for(&self, pending: &Revision) -> anyhow::Result<Option<Duration>> {
        let begun = lock::begun(self.world, &self.release).await?;
        Ok(may_work_for(pending.revision, begun, age(self.world, pending), self.helm_timeout()))
    }
}

fn age(world: &World, revision: &Revision) -> Option<Duration> {
    revision.updated.parse().ok().map(|made| world.clock.since(made))
}
