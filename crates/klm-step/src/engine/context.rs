//! A run as every step sees it: its plan, the release's origin, and the lock that makes it the only one.

use std::time::Duration;

use anyhow::Context as _;
use klm_core::helm_command::{Change, Chart, ReleaseRef, history_max};
use klm_core::journal::RunId;
use klm_core::origin::{Asked, Origin, RunInputs};
use klm_core::plan::{Mode, Plan};
use klm_core::refusal::Refusal;
use klm_core::release::{Revision, next};
use klm_core::settings::Settings;
use klm_core::standing::Purpose;
use klm_core::values;
use klm_core::verification::Template;
use klm_core::version::has_job_mode;
use semver::Version;

use crate::exit::StepError;
use crate::helm::chart_digest;
use crate::plan_store::StoredPlan;
use crate::world::World;
use crate::{lock, manifest, origin_store, plan_store};

/// Everything that moving nodes needs to know.
pub struct Run<'a> {
    /// The outside.
    pub world: &'a World,
    /// The Workflow that acts.
    pub id: RunId,
    /// The release.
    pub release: ReleaseRef,
    /// The settings.
    pub settings: Settings,
    /// How kata-deploy installs.
    pub mode: Mode,
    /// The version that nodes go to.
    pub target: Version,
    /// The release before the run.
    pub origin: Origin,
    /// Inputs that may be secret.
    pub inputs: RunInputs,
    /// The release's last revision when the run was planned.
    pub base_revision: u64,
    /// Whether somebody asked for the way back: then only nodes that are to go there are this run's.
    pub asked: bool,
    /// Whether the run that recorded the origin came to its own end.
    pub settled: bool,
}

/// Which way nodes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// To the run's target.
    Target,
    /// Back to the origin.
    Origin,
}

impl<'a> Run<'a> {
    /// The run of a wave step, with its plan, under its lock.
    pub async fn of_plan(world: &'a World, id: &RunId) -> Result<(Self, StoredPlan), StepError> {
        let stored = plan_store::read(&world.cluster, id).await?;
        let Some(stored) = stored else {
            let name = plan_store::plan_name(id);
            let refusal = Refusal::new(format!("configmap `{}/{name}` with the run's plan is gone", id.namespace));
            return Err(refusal.hint("submit again: nodes that are done are skipped").into());
        };
        let plan = &stored.plan;
        let release = release_of(&plan.settings);
        lock::hold(world, &release, id).await?;
        let Some(origin) = origin_store::read(&world.cluster, &release).await? else {
            let name = klm_core::origin::secret_name(&release.name);
            let refusal =
                Refusal::new(format!("secret `{}/{name}` with the release's origin is gone", release.namespace));
            return Err(refusal.hint("without it nothing could be taken back; submit again").into());
        };
        if origin.inputs.run != *id {
            let by = &origin.inputs.run;
            let refusal = Refusal::new(format!(
                "run `{by}` has moved the release `{}/{}` since",
                release.namespace, release.name
            ));
            return Err(refusal.hint("submit again: the plan of this run is out of date").into());
        }
        if origin.settled {
            // `argo retry` goes on with a run that had ended.
            origin_store::mark_settled(&world.cluster, &release, id, false).await?;
        }
        let target = Version::parse(&plan.target).context("failed to read the plan's target version")?;
        let run = Self {
            world,
            id: id.clone(),
            release,
            settings: plan.settings.clone(),
            mode: plan.mode,
            target,
            origin: origin.origin,
            inputs: origin.inputs,
            base_revision: plan.base_revision,
            asked: false,
            settled: false,
        };
        Ok((run, stored))
    }

    /// The release, as messages and records name it.
    pub fn release_name(&self) -> String {
        format!("{}/{}", self.release.namespace, self.release.name)
    }

    /// A run that has no plan of its own and puts right what others left. Nothing when no run was ever recorded.
    pub async fn of_origin(world: &'a World, id: &RunId, settings: &Settings) -> anyhow::Result<Option<Self>> {
        let release = release_of(settings);
        let Some(stored) = origin_store::read(&world.cluster, &release).await? else { return Ok(None) };
        let origin = stored.origin;
        let is_job = values::text(&origin.values, "deploymentMode") == Some("job");
        let has_jobs = Version::parse(&origin.chart_version).is_ok_and(|version| has_job_mode(&version));
        Ok(Some(Self {
            world,
            id: id.clone(),
            release,
            settings: settings.clone(),
            mode: if is_job && has_jobs { Mode::Job } else { Mode::Daemonset },
            target: Version::parse(&origin.target).context("failed to read the origin's target version")?,
            base_revision: origin.revision,
            origin,
            inputs: stored.inputs,
            asked: false,
            settled: stored.settled,
        }))
    }

    /// A run that finishes the last rollback that somebody asked for. Nothing when nobody ever did.
    pub async fn of_asked(world: &'a World, id: &RunId, settings: &Settings) -> anyhow::Result<Option<Self>> {
        let release = release_of(settings);
        let Some(asked) = origin_store::asked(&world.cluster, &release).await? else { return Ok(None) };
        let Asked { mode, base_revision, origin, inputs } = asked;
        let target = Version::parse(&origin.target).context("failed to read the origin's target version")?;
        let (id, settings) = (id.clone(), settings.clone());
        let (asked, settled) = (true, false);
        Ok(Some(Self { world, id, release, settings, mode, target, origin, inputs, base_revision, asked, settled }))
    }

    /// Records where the node is to go, before the first change, for whoever goes on with it.
    pub async fn record_asked(&self) -> anyhow::Result<()> {
        let (mode, base_revision) = (self.mode, self.base_revision);
        let asked = Asked { mode, base_revision, origin: self.origin.clone(), inputs: self.inputs.clone() };
        origin_store::write_asked(&self.world.cluster, &self.release, &asked).await
    }

    /// The version that this run's nodes go back to, when somebody asked for it.
    pub fn back_to(&self) -> Option<&str> {
        self.asked.then_some(self.origin.chart_version.as_str())
    }

    /// The same with what a plan has settled.
    pub fn follow(&mut self, plan: &Plan) -> anyhow::Result<()> {
        self.target = Version::parse(&plan.target).context("failed to read the plan's target version")?;
        self.mode = plan.mode;
        self.base_revision = plan.base_revision;
        Ok(())
    }

    /// The version in that direction.
    pub fn version(&self, aim: Aim) -> anyhow::Result<Version> {
        match aim {
            Aim::Target => Ok(self.target.clone()),
            Aim::Origin => {
                Version::parse(&self.origin.chart_version).context("failed to read the origin's chart version")
            }
        }
    }

    /// What kata-deploy puts behind the names of its objects.
    pub fn suffix(&self) -> Option<&str> {
        values::text(&self.origin.values, "env.multiInstallSuffix")
    }

    /// Name of kata-deploy's `DaemonSet`, and the beginning of its Jobs' names.
    pub fn base_name(&self) -> String {
        self.suffix().map_or_else(|| "kata-deploy".to_owned(), |suffix| format!("kata-deploy-{suffix}"))
    }

    /// The chart in that direction, as a file.
    pub async fn chart(&self, aim: Aim) -> anyhow::Result<Chart> {
        let version = self.version(aim)?.to_string();
        let reference = &self.settings.kata_deploy_chart;
        let chart = self.world.helm.chart(reference, &version).await?;
        let planned = self.inputs.chart_digest.as_ref().filter(|_| aim == Aim::Target);
        let found = chart_digest(&chart).context("failed to read the chart")?;
        if let (Some(planned), Some(found)) = (planned, found)
            && *planned != found
        {
            let what = format!(
                "chart {version} from `{reference}` is not the one that the run was planned with: its sha256 was {planned} and is {found}"
            );
            return Err(StepError::from(Refusal::new(what).hint("find out who replaced it; then submit again")).into());
        }
        Ok(chart)
    }

    /// Fetches the charts that this step will need, so that a registry that is down costs nothing later. In daemonset
    /// mode the release moves in the first item alone.
    pub async fn fetch_charts(&self, item: usize) -> anyhow::Result<()> {
        let moves = self.mode == Mode::Job || item == 1;
        if moves {
            self.chart(Aim::Target).await?;
        }
        if moves && self.mode == Mode::Daemonset && !self.origin.is_armed() {
            self.chart(Aim::Origin).await?;
        }
        Ok(())
    }

    /// The common part of a call that makes a revision.
    pub fn change(&self, chart: Chart, purpose: Purpose, what: &str, history: &[Revision]) -> Change {
        Change {
            release: self.release.clone(),
            chart,
            run: self.id.clone(),
            purpose: purpose.describe(what),
            timeout: self.helm_timeout(),
            revision: next(history),
            history_max: history_max(history.len()),
        }
    }

    /// How long one call of helm may take.
    pub fn helm_timeout(&self) -> Duration {
        Duration::from_secs(self.settings.helm_timeout)
    }

    /// How long nodes may take in that direction.
    pub fn patience(&self, aim: Aim) -> Duration {
        Duration::from_secs(match aim {
            Aim::Target => self.settings.install_timeout,
            Aim::Origin => self.settings.rollback_timeout,
        })
    }

    /// The user's verification pod.
    pub fn verification_pod(&self) -> Result<Template, StepError> {
        Ok(manifest::verification_pod_of(&self.inputs.verification_pod, &self.settings, &self.id.namespace)?)
    }
}

/// The release that settings name.
pub fn release_of(settings: &Settings) -> ReleaseRef {
    ReleaseRef { name: settings.helm_release.clone(), namespace: settings.helm_namespace.clone() }
}
