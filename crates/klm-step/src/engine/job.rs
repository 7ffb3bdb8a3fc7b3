//! A wave in job mode: one helm upgrade starts a dispatcher, the dispatcher one Job per node, and each node is judged by
//! its own Job of this wave and by its labels, whatever helm says.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use klm_core::helm_command::{self, Base, HelmCommand};
use klm_core::node::NodeFacts;
use klm_core::proof::{self, Expected, JobEnd, NodeJob, Proof};
use klm_core::release::{self, Revision};
use klm_core::standing::Purpose;
use klm_core::values::Values;
use semver::Version;
use tokio::time::{Instant, timeout_at};

use super::context::{Aim, Run};
use super::daemonset::{ready, still};
use super::record;
use super::release::Unmoved;
use super::wave::{Turn, Wave};
use crate::cluster::{Dependents, Note, Only, Query};
use crate::exit::{NodeFailure, StepError};
use crate::helm::{HelmError, Trouble};
use crate::observe;
use crate::wait::{Seen, Wait, poll};

/// Time between two looks at a wave.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Old Jobs are gone within this; a foreground deletion waits for their pods.
const CLEARED_WITHIN: Duration = Duration::from_secs(300);

/// After helm has given up, for the last verdicts.
const LAST_LOOKS: Duration = Duration::from_secs(30);

/// Times that a wave is dispatched: once more when a dispatcher died and left nodes installed but unlabelled.
const TRIES: usize = 2;

impl Run<'_> {
    /// Installs on the wave's nodes and proves them.
    pub async fn dispatch(&self, wave: &mut Wave, aim: Aim, what: &str) -> anyhow::Result<()> {
        let mut arrived = Vec::new();
        for attempt in 1..=TRIES {
            if wave.going.is_empty() {
                break;
            }
            let mut again = self.dispatch_once(wave, &mut arrived, aim, what).await?;
            if attempt == TRIES {
                let turns = again.drain(..).map(|(node, why)| Turn::Fails(Box::new(node), why)).collect();
                wave.take_in(self, turns).await?;
            }
            for (node, why) in again {
                tracing::warn!(node = %node.name, cause = %why, "dispatching again");
                wave.going.push(node);
            }
        }
        wave.going = arrived;
        Ok(())
    }

    /// One upgrade for the wave. Returns the nodes that are worth another.
    async fn dispatch_once(
        &self,
        wave: &mut Wave,
        arrived: &mut Vec<NodeFacts>,
        aim: Aim,
        what: &str,
    ) -> anyhow::Result<Vec<(NodeFacts, String)>> {
        let history = match self.release_is_free().await? {
            Ok(history) => history,
            Err(Unmoved(why)) => {
                wave.fail_all(self, &why).await?;
                return Ok(Vec::new());
            }
        };
        self.clear_jobs().await?;
        wave.look_again(self).await?;
        wave.turn(self, async |node| {
            let first = record::ours(&node, &self.id).is_ok_and(|journal| !journal.changed);
            let begun = self.write(node, |node| record::begin_change(node, &self.id, None)).await?;
            begun
                .and(async |node| {
                    if first && aim == Aim::Target {
                        self.note(&node, Note::UpgradeStarted, &format!("moving kata-deploy to {}", self.target)).await;
                    }
                    Ok(Turn::On(Box::new(node)))
                })
                .await
        })
        .await?;
        let Some(command) = self.wave_command(wave, aim, what, &history).await? else { return Ok(Vec::new()) };
        let mut dispatched = Dispatched::default();
        let helm = self.helm_and_looks(&command, wave, arrived, &mut dispatched, aim).await?;
        self.conclude(wave, arrived, &mut dispatched, helm, aim).await
    }

    /// The call for the nodes that are on their way; nothing when there is none.
    async fn wave_command(
        &self,
        wave: &Wave,
        aim: Aim,
        what: &str,
        history: &[Revision],
    ) -> anyhow::Result<Option<HelmCommand>> {
        let chart = self.chart(aim).await?;
        let version = self.version(aim)?;
        let nodes: Vec<_> = wave.going.iter().map(|node| node.name.clone()).collect();
        let (purpose, base, user) = match aim {
            Aim::Target => (Purpose::Upgrade, Base::Release, self.inputs.set_values.clone()),
            // Not the current values: those hold the run's own.
            Aim::Origin => (Purpose::TakeBack, Base::Exactly(self.origin.values.clone()), Values::new()),
        };
        let mut change = self.change(chart, purpose, &format!("{version}, {what}"), history.len());
        change.timeout = change.timeout.min(self.patience(aim));
        Ok(helm_command::upgrade_wave(&change, &base, &user, &nodes))
    }

    /// Runs helm and looks at the wave meanwhile: a Job that has ended is kept for ten minutes only.
    async fn helm_and_looks(
        &self,
        command: &HelmCommand,
        wave: &mut Wave,
        arrived: &mut Vec<NodeFacts>,
        dispatched: &mut Dispatched,
        aim: Aim,
    ) -> anyhow::Result<Result<(), HelmError>> {
        let mut helm = std::pin::pin!(self.make_post_rendered(command, aim));
        loop {
            match timeout_at(Instant::now() + LOOK_EVERY, &mut helm).await {
                Ok(Err(error)) if error.trouble == Trouble::Stopped => return Err(StepError::Stopped.into()),
                Ok(result) => return Ok(result),
                Err(_) => self.look(wave, arrived, dispatched, aim).await?,
            }
        }
    }

    /// Judges what is left once helm has ended.
    async fn conclude(
        &self,
        wave: &mut Wave,
        arrived: &mut Vec<NodeFacts>,
        dispatched: &mut Dispatched,
        helm: Result<(), HelmError>,
        aim: Aim,
    ) -> anyhow::Result<Vec<(NodeFacts, String)>> {
        dispatched.helm_ended = true;
        if helm.is_err() {
            self.explain_dispatch().await;
        }
        dispatched.helm_said = helm.as_ref().err().map(ToString::to_string);
        let wait = Wait::new("the last Jobs of the wave", LOOK_EVERY, LAST_LOOKS.max(self.patience(aim)));
        let gave_up =
            helm.as_ref().is_err_and(|error| error.trouble == Trouble::Hook && error.said.contains("deadline"));
        let last_look = Instant::now() + LAST_LOOKS;
        poll(self.world, &wait, async || {
            self.look(wave, arrived, dispatched, aim).await?;
            let over = wave.going.is_empty() || (gave_up && Instant::now() >= last_look);
            Ok(if over { Seen::Done(()) } else { Seen::NotYet(still(&wave.going, &dispatched.seen)) })
        })
        .await?;
        let why = helm.err().map(|error| format!("; {error}")).unwrap_or_default();
        let late = |node: NodeFacts| {
            let last = dispatched.seen.get(node.name.as_str()).map_or("nothing", String::as_str);
            Turn::Fails(Box::new(node), format!("the install is not proven in time: {last}{why}"))
        };
        let turns: Vec<Turn> = std::mem::take(&mut wave.going).into_iter().map(late).collect();
        self.explain(&turns).await;
        wave.take_in(self, turns).await?;
        Ok(std::mem::take(&mut dispatched.again))
    }

    /// One look: Jobs first, then nodes, so that a label that is set after a Job's end is not missed.
    async fn look(
        &self,
        wave: &mut Wave,
        arrived: &mut Vec<NodeFacts>,
        dispatched: &mut Dispatched,
        aim: Aim,
    ) -> anyhow::Result<()> {
        self.look_at_jobs(dispatched).await?;
        if dispatched.uid.is_some() && !dispatched.knows_image {
            let all = self.world.helm.all_values(&self.release, None).await?;
            dispatched.image = release::image(&all, &self.version(aim)?.to_string());
            dispatched.knows_image = true;
        }
        self.refresh(wave, aim).await?;
        let version = self.version(aim)?;
        let mut turns = Vec::new();
        for node in std::mem::take(&mut wave.going) {
            match dispatched.judge(&node, &version, self.suffix()) {
                Proof::Proven => arrived.push(node),
                Proof::Waiting(why) => {
                    dispatched.seen.insert(node.name.to_string(), why);
                    turns.push(Turn::On(Box::new(node)));
                }
                Proof::Again(why) => dispatched.again.push((node, why)),
                Proof::Failed(why) => turns.push(Turn::Fails(Box::new(node), why)),
            }
        }
        self.explain(&turns).await;
        wave.take_in(self, turns).await?;
        self.mark_proven(arrived, wave, aim).await
    }

    async fn look_at_jobs(&self, dispatched: &mut Dispatched) -> anyhow::Result<()> {
        let namespace = Some(self.release.namespace.as_str());
        let found = self.world.cluster.get::<Job>(namespace, &self.dispatcher_name()).await?;
        match found.as_ref().and_then(observe::dispatcher) {
            Some((uid, end)) => {
                dispatched.ended = end.is_some();
                dispatched.uid = Some(uid);
            }
            // Its time to live is over, or somebody deleted it.
            None => dispatched.ended = dispatched.uid.is_some() || dispatched.helm_ended,
        }
        let jobs = self.world.cluster.list(namespace, &self.node_jobs(), |job: Job| observe::node_job(&job)).await?;
        // One that vanished before its end has none; one that vanished after it has done its work.
        dispatched.jobs.retain(|_, job| job.end.is_some());
        dispatched.jobs.extend(jobs.into_iter().map(|job| (job.uid.clone(), job)));
        Ok(())
    }

    /// Takes every Job of an earlier dispatch away: some dispatchers adopt a finished one and report its success as
    /// their own.
    async fn clear_jobs(&self) -> anyhow::Result<()> {
        let namespace = Some(self.release.namespace.as_str());
        let cluster = &self.world.cluster;
        let wait = Wait::new("Jobs of an earlier dispatch to be gone", LOOK_EVERY, CLEARED_WITHIN);
        let mut asked = std::collections::BTreeSet::new();
        let waited = poll(self.world, &wait, async || {
            let uid_of = |job: &Job| Some((job.metadata.name.clone()?, job.metadata.uid.clone()?));
            let mut old = cluster.list(namespace, &self.node_jobs(), |job: Job| uid_of(&job)).await?;
            old.extend(cluster.get::<Job>(namespace, &self.dispatcher_name()).await?.as_ref().and_then(uid_of));
            // The dispatcher first, or it would make the others again.
            for (name, uid) in old.iter().rev().filter(|(_, uid)| asked.insert(uid.clone())) {
                tracing::info!(job = %name, "deleting a Job of an earlier dispatch");
                cluster.delete::<Job>(namespace, name, Only::Uid(uid), Dependents::Foreground).await?;
            }
            Ok(match old.first() {
                None => Seen::Done(()),
                Some((name, _)) => Seen::NotYet(format!("job `{name}` is still there")),
            })
        });
        waited.await?.or_fail()
    }

    fn node_jobs(&self) -> Query {
        Query::labels(format!("kata-deploy-job-dispatcher/owner={}-install", self.base_name()))
    }

    fn dispatcher_name(&self) -> String {
        format!("{}-install-dispatcher", self.base_name())
    }
}

impl Wave {
    /// Every node that is on its way fails for the same reason.
    pub async fn fail_all(&mut self, run: &Run<'_>, why: &str) -> anyhow::Result<()> {
        let turns = std::mem::take(&mut self.going).into_iter().map(|node| Turn::Fails(Box::new(node), why.to_owned()));
        self.take_in(run, turns.collect()).await
    }

    /// The failures so far, taken out.
    pub fn take_failures(&mut self) -> Vec<NodeFailure> {
        std::mem::take(&mut self.failed)
    }
}

/// What has been seen of one dispatch. Jobs stay here when their time to live is over.
#[derive(Default)]
struct Dispatched {
    uid: Option<String>,
    ended: bool,
    helm_ended: bool,
    helm_said: Option<String>,
    image: Option<String>,
    knows_image: bool,
    jobs: BTreeMap<String, NodeJob>,
    seen: BTreeMap<String, String>,
    again: Vec<(NodeFacts, String)>,
}

impl Dispatched {
    fn judge(&self, node: &NodeFacts, version: &Version, suffix: Option<&str>) -> Proof {
        let Some(dispatcher) = &self.uid else {
            return if self.helm_ended {
                let why = self.helm_said.as_deref().unwrap_or("helm ended well, but started no dispatcher");
                Proof::Failed(why.to_owned())
            } else {
                Proof::Waiting("no dispatcher yet".to_owned())
            };
        };
        let jobs: Vec<&NodeJob> = self.jobs.values().filter(|job| job.node == node.name.as_str()).collect();
        let running = jobs.iter().any(|job| job.owner == *dispatcher && job.end.is_none());
        let ended = self.ended && !running;
        let image = self.image.as_deref();
        let expected = Expected { version, suffix };
        let proof = proof::job(&expected, dispatcher, ended, image, node, &jobs);
        match ready(proof, node) {
            Proof::Waiting(why) if jobs.iter().any(|job| job.end == Some(JobEnd::Complete)) => {
                Proof::Waiting(format!("its Job completed, but {why}"))
            }
            other => other,
        }
    }
}
