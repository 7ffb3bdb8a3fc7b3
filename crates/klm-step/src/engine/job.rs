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
use klm_core::toleration;
use klm_core::values::Values;
use semver::Version;
use tokio::time::{Instant, timeout_at};

use super::context::{Aim, Run};
use super::daemonset::{LOOK_EVERY, ready, still};
use super::record;
use super::release::Unmoved;
use super::wave::{Turn, Wave};
use crate::cluster::{ApiError, LeanNode, Note, Query, View};
use crate::exit::{NodeFailure, StepError};
use crate::helm::{HelmError, Trouble};
use crate::observe;
use crate::wait::{Seen, Wait, poll};

/// After helm has given up, for the last verdicts.
const LAST_LOOKS: Duration = Duration::from_secs(30);

impl Run<'_> {
    /// One upgrade for the wave. Returns the nodes that are worth another.
    pub(super) async fn dispatch_once(
        &self,
        wave: &mut Wave,
        arrived: &mut Vec<NodeFacts>,
        aim: Aim,
        what: &str,
    ) -> anyhow::Result<Again> {
        let history = match self.release_is_free().await? {
            Ok(history) => history,
            Err(Unmoved(why)) => {
                wave.fail_all(self, &why).await?;
                return Ok(Again::default());
            }
        };
        self.clear_jobs(wave).await?;
        wave.look_again(self).await?;
        if aim == Aim::Origin {
            self.clear_way_back(wave, toleration::of(&self.origin.values)).await?;
        }
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
        let Some(command) = self.wave_command(wave, aim, what, &history).await? else { return Ok(Again::default()) };
        let mut dispatched = Dispatched::new(self.watches(aim).await?);
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
            Aim::Target => (Purpose::Upgrade, Base::Release, self.set_values().await?),
            // Not the current values: those hold the run's own.
            Aim::Origin => (Purpose::TakeBack, Base::Exactly(self.origin.values.clone()), Values::new()),
        };
        let mut change = self.change(chart, purpose, &format!("{version}, {what}"), history);
        change.timeout = change.timeout.min(self.patience(aim));
        Ok(helm_command::upgrade_wave(&change, &base, &user, &nodes))
    }

    /// Runs helm and looks at the wave meanwhile: a Job that has ended is kept for ten minutes only. Helm waits for its
    /// dispatcher some seconds longer than nodes need to be proven; a wave that is verified here need not.
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
                Ok(ended) => return unless_stopped(ended?),
                Err(_) => self.look(wave, arrived, dispatched, aim).await?,
            }
            let all_is_well = wave.going.is_empty() && wave.failed.is_empty() && dispatched.again.is_empty();
            if wave.verified_here && all_is_well {
                let rest = async {
                    let ended = helm.await?;
                    if ended.is_ok() {
                        self.clear_jobs_ahead().await;
                    }
                    anyhow::Ok(ended)
                };
                let (ended, verified) = tokio::join!(rest, Box::pin(self.verify_early(wave, arrived)));
                verified?;
                return unless_stopped(ended?);
            }
        }
    }

    /// Verifies nodes that are proven while their wave's dispatch still goes on. They are settled when it is over.
    async fn verify_early(&self, wave: &mut Wave, arrived: &mut Vec<NodeFacts>) -> anyhow::Result<()> {
        let mut early = Wave { going: std::mem::take(arrived), ..Wave::default() };
        self.verify(&mut early, Aim::Target).await?;
        wave.failed.append(&mut early.failed);
        wave.verified.append(&mut early.going);
        Ok(())
    }

    /// Judges what is left once helm has ended.
    async fn conclude(
        &self,
        wave: &mut Wave,
        arrived: &mut Vec<NodeFacts>,
        dispatched: &mut Dispatched,
        helm: Result<(), HelmError>,
        aim: Aim,
    ) -> anyhow::Result<Again> {
        dispatched.helm_ended = true;
        // What helm's end means has not been judged yet, whether anything else has changed or not.
        dispatched.watches.list_again().await?;
        dispatched.take_in_jobs();
        if let (Err(error), None) = (&helm, &dispatched.uid)
            && error.may_pass()
        {
            return Ok(Again::Unbegun(error.to_string()));
        }
        if helm.is_err() {
            self.explain_dispatch().await;
        }
        dispatched.helm_said = helm.as_ref().err().map(ToString::to_string);
        let wait = Wait::new("the last Jobs of the wave", LOOK_EVERY, LAST_LOOKS.max(self.patience(aim)));
        let gave_up =
            helm.as_ref().is_err_and(|error| error.trouble == Trouble::Hook && error.said.contains("deadline"));
        let last_look = Instant::now() + LAST_LOOKS;
        poll(self.world, &wait, async || {
            if gave_up && Instant::now() >= last_look || Instant::now() >= wait.deadline {
                dispatched.watches.list_again().await?;
            }
            self.look(wave, arrived, dispatched, aim).await?;
            let over = wave.going.is_empty() || (gave_up && Instant::now() >= last_look);
            Ok(if over { Seen::Done(()) } else { Seen::NotYet(still(wave.going.iter(), &dispatched.seen)) })
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
        Ok(Again::Nodes(std::mem::take(&mut dispatched.again)))
    }

    /// One look: Jobs first, then nodes, so that a label that is set after a Job's end is not missed.
    async fn look(
        &self,
        wave: &mut Wave,
        arrived: &mut Vec<NodeFacts>,
        dispatched: &mut Dispatched,
        aim: Aim,
    ) -> anyhow::Result<()> {
        if !dispatched.watches.follow().await? {
            return Ok(());
        }
        let mut judged = self.judge_all(wave, dispatched, aim).await?;
        if judged.iter().any(|(_, proof)| is_bad(proof)) {
            // Two watches don't tell in the order in which things happened: a Job that is complete may be seen before
            // the label that it has set.
            dispatched.watches.list_again().await?;
            judged = self.judge_all(wave, dispatched, aim).await?;
        }
        let mut turns = Vec::new();
        for (node, proof) in judged {
            match proof {
                Proof::Proven => arrived.push(node),
                Proof::Waiting(why) => {
                    dispatched.seen.insert(node.name.to_string(), why);
                    turns.push(Turn::On(Box::new(node)));
                }
                Proof::Again(why) => dispatched.again.push((node, why)),
                Proof::Failed(why) => turns.push(Turn::Fails(Box::new(node), why)),
            }
        }
        wave.going.clear();
        self.explain(&turns).await;
        wave.take_in(self, turns).await?;
        self.mark_proven(arrived, wave, aim).await
    }

    /// What the watches say of each node that is on its way.
    async fn judge_all(
        &self,
        wave: &mut Wave,
        dispatched: &mut Dispatched,
        aim: Aim,
    ) -> anyhow::Result<Vec<(NodeFacts, Proof)>> {
        dispatched.take_in_jobs();
        if dispatched.uid.is_some() && !dispatched.knows_image {
            let all = self.world.helm.all_values(&self.release, None).await?;
            dispatched.image = release::image(&all, &self.version(aim)?.to_string());
            dispatched.knows_image = true;
        }
        self.refresh(wave, dispatched.watches.nodes.objects()).await?;
        let version = self.version(aim)?;
        let judged = |node: &NodeFacts| (node.clone(), dispatched.judge(node, &version, self.suffix()));
        Ok(wave.going.iter().map(judged).collect())
    }

    /// What a dispatch is judged by, from before it begins.
    async fn watches(&self, aim: Aim) -> anyhow::Result<Watches> {
        let cluster = &self.world.cluster;
        let namespace = Some(self.release.namespace.as_str());
        let dispatcher = Query::fields(format!("metadata.name={}", self.dispatcher_name()));
        Ok(Watches {
            dispatcher: View::open(cluster, namespace, dispatcher, |job| observe::job_end(&job)).await?,
            jobs: View::open(cluster, namespace, self.node_jobs(), |job| observe::node_job(&job)).await?,
            nodes: self.nodes_in_flight(aim).await?,
        })
    }

    pub(super) fn node_jobs(&self) -> Query {
        Query::labels(format!("kata-deploy-job-dispatcher/owner={}-install", self.base_name()))
    }

    pub(super) fn dispatcher_name(&self) -> String {
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

/// What a dispatch leaves to the next one.
pub(super) enum Again {
    /// These nodes, with reasons.
    Nodes(Vec<(NodeFacts, String)>),
    /// Every node that was on its way, and is still: helm ended before there was a dispatcher, for a reason that passes.
    Unbegun(String),
}

impl Default for Again {
    fn default() -> Self {
        Self::Nodes(Vec::new())
    }
}

/// A helm that was told to end says nothing about the wave.
fn unless_stopped(ended: Result<(), HelmError>) -> anyhow::Result<Result<(), HelmError>> {
    match ended {
        Err(error) if error.trouble == Trouble::Stopped => Err(StepError::Stopped.into()),
        ended => Ok(ended),
    }
}

/// What a dispatch is judged by.
struct Watches {
    dispatcher: View<Job, (String, Option<JobEnd>)>,
    jobs: View<Job, NodeJob>,
    nodes: View<LeanNode, NodeFacts>,
}

impl Watches {
    /// Says whether anything has changed. Jobs first: a label that is set after a Job's end is then not missed.
    async fn follow(&mut self) -> Result<bool, ApiError> {
        Ok(self.dispatcher.follow().await? | self.jobs.follow().await? | self.nodes.follow().await?)
    }

    async fn list_again(&mut self) -> Result<(), ApiError> {
        self.dispatcher.list_again().await?;
        self.jobs.list_again().await?;
        self.nodes.list_again().await
    }
}

/// Whether a node has no chance any more: that must not rest on what a watch may not have told yet.
const fn is_bad(proof: &Proof) -> bool {
    matches!(proof, Proof::Again(_) | Proof::Failed(_))
}

/// What has been seen of one dispatch. Jobs stay here when their time to live is over.
struct Dispatched {
    watches: Watches,
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
    const fn new(watches: Watches) -> Self {
        Self {
            watches,
            uid: None,
            ended: false,
            helm_ended: false,
            helm_said: None,
            image: None,
            knows_image: false,
            jobs: BTreeMap::new(),
            seen: BTreeMap::new(),
            again: Vec::new(),
        }
    }

    fn take_in_jobs(&mut self) {
        match self.watches.dispatcher.objects().values().next() {
            Some((uid, end)) => {
                self.ended = end.is_some();
                self.uid = Some(uid.clone());
            }
            // Its time to live is over, or somebody deleted it.
            None => self.ended = self.uid.is_some() || self.helm_ended,
        }
        // One that vanished before its end has none; one that vanished after it has done its work.
        self.jobs.retain(|_, job| job.end.is_some());
        self.jobs.extend(self.watches.jobs.objects().values().map(|job| (job.uid.clone(), job.clone())));
    }

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
