//! Moving the release in daemonset mode: armed once, upgraded once, taken back at most once; and putting right what a
//! killed helm left. Each function looks first, so it can be asked again after a kill.

use std::ops::ControlFlow::{self, Break, Continue};
use std::time::Duration;

use klm_core::gate;
use klm_core::helm_command::{self, Change, Chart, HelmCommand};
use klm_core::release::{Revision, Status};
use klm_core::standing::{Purpose, Standing, armed_since, standing};
use klm_core::values::Values;
use klm_core::version::has_job_mode;

use super::context::{Aim, Run};
use crate::exit::StepError;
use crate::helm::{HelmError, Trouble};
use crate::origin_store;
use crate::world::World;

/// The release can't be moved; nothing on any node was changed by trying.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unmoved(pub String);

/// Moves that follow on each other: put right, arm, upgrade, and a look at what came of it; with room for one repetition.
const MOVES: usize = 6;

/// A rollback takes its chart from the revision.
const NO_CHART: Chart = Chart { reference: String::new(), version: None };

/// Before a call is repeated that found no way to the API server.
pub(super) const PAUSE: Duration = Duration::from_secs(15);

impl Run<'_> {
    /// Brings the release to the target, so that pods that are deleted come back as the new version.
    pub async fn release_to_target(&mut self) -> anyhow::Result<Result<(), Unmoved>> {
        let otherwise = Unmoved(format!("release `{}` did not stay at the target", self.release_name()));
        moves(self.world, otherwise, async || {
            self.world.may_go_on()?;
            let history = self.history().await?;
            Ok(match self.standing(&history) {
                Standing::Target => Break(()),
                Standing::Pending { deployed } => Continue(self.put_right(deployed, &history).await),
                Standing::Origin | Standing::Failed => Continue(self.next_move(&history).await),
                Standing::Moved { revision, description } => Continue(Err(self.moved(revision, &description))),
                Standing::Uninstalled => Continue(Err(self.uninstalled())),
            })
        })
        .await
    }

    /// Brings the release back to where the run found it; `OnDelete` stays, or every verified node would be rolled too.
    pub async fn release_to_origin(&mut self) -> anyhow::Result<Result<(), Unmoved>> {
        let otherwise = Unmoved(format!("release `{}` did not stay at its origin", self.release_name()));
        moves(self.world, otherwise, async || {
            self.world.may_go_on()?;
            let history = self.history().await?;
            Ok(match self.standing(&history) {
                Standing::Uninstalled => Continue(Err(self.uninstalled())),
                Standing::Moved { revision, description } => Continue(Err(self.moved(revision, &description))),
                Standing::Origin if self.is_home(&history) => Break(()),
                Standing::Pending { deployed } => Continue(self.put_right(deployed, &history).await),
                Standing::Origin | Standing::Target | Standing::Failed => Continue(self.go_home(&history).await),
            })
        })
        .await
    }

    /// What a killed helm left in the way, put right before a wave in job mode; also whether the release is still ours
    /// to change. Returns the history.
    pub async fn release_is_free(&self) -> anyhow::Result<Result<Vec<Revision>, Unmoved>> {
        let otherwise = Unmoved("a pending revision of the release can't be put right".to_owned());
        moves(self.world, otherwise, async || {
            let history = self.history().await?;
            Ok(match self.standing(&history) {
                Standing::Pending { deployed } => Continue(self.put_right(deployed, &history).await),
                Standing::Moved { revision, description } => Continue(Err(self.moved(revision, &description))),
                Standing::Uninstalled => Continue(Err(self.uninstalled())),
                Standing::Origin | Standing::Target | Standing::Failed => Break(history),
            })
        })
        .await
    }

    /// The release's revisions, oldest first.
    pub async fn history(&self) -> anyhow::Result<Vec<Revision>> {
        Ok(self.world.helm.history(&self.release).await?)
    }

    /// Where the release stands for this run.
    pub fn standing(&self, history: &[Revision]) -> Standing {
        standing(history, self.base_revision, self.origin.armed)
    }

    /// Runs a call that makes a revision.
    pub async fn make_revision(&self, command: &HelmCommand) -> anyhow::Result<()> {
        tracing::info!(%command, "calling helm");
        Ok(Box::pin(self.claimed(command, self.call(command))).await??)
    }

    /// Runs a call. It may build on values that helm reads by itself: those of the release, which are the user's.
    pub async fn call(&self, command: &HelmCommand) -> Result<(), HelmError> {
        self.world.helm.never_quote(&self.origin.values);
        self.world.helm.change(command, self.helm_timeout()).await
    }

    /// Makes what `wanted` asks for, until it asks for nothing more. It looks each time, so a call that failed by something
    /// that passes is made again.
    pub(super) async fn make_wanted(
        &self,
        wanted: impl AsyncFn() -> anyhow::Result<Option<HelmCommand>>,
    ) -> anyhow::Result<()> {
        let otherwise = Unmoved(format!("release `{}` did not keep its values", self.release_name()));
        let made = moves(self.world, otherwise, async || {
            self.world.may_go_on()?;
            Ok(match wanted().await? {
                None => Break(()),
                Some(command) => Continue(self.make_revision(&command).await.map_err(MoveError::from)),
            })
        });
        Ok(made.await??)
    }

    /// The run's own values for an upgrade of the release as it is now.
    pub async fn set_values(&self) -> anyhow::Result<Values> {
        let set = &self.inputs.set_values;
        if gate::not_taken(&Values::new(), set) == *set {
            // Nothing in it depends on the release.
            return Ok(set.clone());
        }
        let release = self.world.helm.user_values(&self.release, None).await?;
        Ok(gate::not_taken(&release, set))
    }

    /// Runs a call whose manifests are limited to a wave.
    pub async fn make_post_rendered(&self, command: &HelmCommand, aim: Aim) -> anyhow::Result<Result<(), HelmError>> {
        let version = self.version(aim)?;
        tracing::info!(%command, "calling helm");
        self.world.helm.never_quote(&self.origin.values);
        let call = self.world.helm.change_scoped(command, self.helm_timeout(), &version);
        Box::pin(self.claimed(command, call)).await
    }

    /// Arms the release if nothing else is armed; else upgrades it.
    async fn next_move(&mut self, history: &[Revision]) -> Result<(), MoveError> {
        if !self.origin.is_armed() {
            self.origin.armed = armed_since(history, self.origin.revision);
            if self.origin.armed.is_some() {
                return Ok(origin_store::write_origin(&self.world.cluster, &self.release, &self.origin).await?);
            }
            let chart = self.chart(Aim::Origin).await?;
            let version = &self.origin.chart_version;
            let change = self.change(chart, Purpose::Arm, &format!("{version}: OnDelete, nothing restarts"), history);
            return Ok(self.make_revision(&helm_command::arm(&change)).await?);
        }
        let chart = self.chart(Aim::Target).await?;
        let change = self.change(chart, Purpose::Upgrade, &self.target.to_string(), history);
        let upgrade = helm_command::upgrade_daemonset(&change, &self.set_values().await?, has_job_mode(&self.target));
        Ok(self.make_revision(&upgrade).await?)
    }

    /// Whether the last revision is of the origin's chart and wasn't made to leave it.
    fn is_home(&self, history: &[Revision]) -> bool {
        let left = |revision| Purpose::of(revision) == Some(Purpose::Upgrade);
        let last = history.last().filter(|last| last.status == Status::Deployed);
        last.is_some_and(|last| last.chart_version() == self.origin.chart_version && !left(last))
    }

    async fn go_home(&self, history: &[Revision]) -> Result<(), MoveError> {
        let armed = self.origin.armed.or_else(|| armed_since(history, self.origin.revision));
        let known = |number: &u64| history.iter().any(|revision| revision.revision == *number);
        let change = |chart| self.change(chart, Purpose::TakeBack, &self.origin.chart_version, history);
        let is_current = self.origin.outdated.is_none();
        let command = match armed.filter(|armed| known(armed) && is_current) {
            Some(armed) => helm_command::rollback(&change(NO_CHART), armed),
            // Pruned from Helm's history, or older than the user's values: made again from what was recorded.
            None => self.origin_again(&change(self.chart(Aim::Origin).await?))?,
        };
        Ok(self.make_revision(&command).await?)
    }

    /// Makes a release that is at the origin already keep its pods until they are deleted.
    pub async fn arm(&self) -> anyhow::Result<()> {
        let history = self.release_is_free().await??;
        let chart = self.chart(Aim::Origin).await?;
        let change = self.change(chart, Purpose::Arm, &format!("{}: OnDelete", self.origin.chart_version), &history);
        self.make_revision(&helm_command::arm(&change)).await
    }

    /// The origin as a new revision, in daemonset mode.
    pub(super) fn origin_again(&self, change: &Change) -> anyhow::Result<HelmCommand> {
        let version = self.version(Aim::Origin)?;
        Ok(helm_command::origin_again(change, self.origin.values.clone(), has_job_mode(&version)))
    }

    /// Helm takes a release for locked whose last revision is pending; going back to a good revision unlocks it, once the
    /// helm that left it is dead.
    async fn put_right(&self, deployed: Option<u64>, history: &[Revision]) -> Result<(), MoveError> {
        let Some(deployed) = deployed else {
            return Err(MoveError::Unmoved(Unmoved(format!(
                "release `{}` is pending and has no good revision to go back to",
                self.release_name()
            ))));
        };
        if let Some(pending) = history.last()
            && Box::pin(self.outlive(pending)).await?
        {
            return Ok(());
        }
        tracing::warn!(
            revision = deployed,
            "a killed helm left the release pending; going back to its last good revision"
        );
        let change = self.change(NO_CHART, Purpose::TakeBack, "its last good revision", history);
        Ok(self.make_revision(&helm_command::rollback(&change, deployed)).await?)
    }

    fn moved(&self, revision: u64, description: &str) -> MoveError {
        MoveError::Unmoved(Unmoved(format!(
            "somebody else made revision {revision} of release `{}` while this run went on: {description}; `recover` doesn't go back over it, a new run or `rollback-node` starts from it",
            self.release_name()
        )))
    }

    fn uninstalled(&self) -> MoveError {
        MoveError::Unmoved(Unmoved(format!("release `{}` was uninstalled while this run went on", self.release_name())))
    }
}

/// Looks and moves, until a look finds nothing to move. A move that failed by something that passes is looked at again
/// after a pause; any other failure is the release's last word. `otherwise`: why not, when the moves don't end.
async fn moves<T>(
    world: &World,
    otherwise: Unmoved,
    mut look: impl AsyncFnMut() -> anyhow::Result<ControlFlow<T, Result<(), MoveError>>>,
) -> anyhow::Result<Result<T, Unmoved>> {
    let mut cause = None;
    for _ in 0..MOVES {
        let moved = match look().await? {
            Break(found) => return Ok(Ok(found)),
            Continue(moved) => moved,
        };
        cause = match moved {
            Ok(()) => None,
            Err(MoveError::Unmoved(unmoved)) => return Ok(Err(unmoved)),
            Err(MoveError::Other(error)) => return Err(error),
            Err(MoveError::Helm(error)) if error.trouble == Trouble::Stopped => return Err(StepError::Stopped.into()),
            Err(MoveError::Helm(error)) if error.may_pass() => {
                tracing::warn!(%error, again_in = ?PAUSE, "helm call failed");
                world.sleep(PAUSE).await?;
                Some(Unmoved(error.to_string()))
            }
            Err(MoveError::Helm(error)) => return Ok(Err(Unmoved(error.to_string()))),
        };
    }
    Ok(Err(cause.unwrap_or(otherwise)))
}

/// Why a move didn't happen.
enum MoveError {
    Helm(HelmError),
    Unmoved(Unmoved),
    Other(anyhow::Error),
}

impl From<HelmError> for MoveError {
    fn from(error: HelmError) -> Self {
        Self::Helm(error)
    }
}

impl From<anyhow::Error> for MoveError {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<HelmError>() {
            Ok(error) => Self::Helm(error),
            Err(error) => Self::Other(error),
        }
    }
}
