//! The Jobs of an earlier dispatch, gone before the next one begins: some dispatchers adopt a finished one and report its
//! success as their own.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use klm_core::node::NodeFacts;
use klm_core::plan::Mode;
use klm_core::proof::JobEnd;
use tokio::time::Instant;

use super::context::Run;
use super::each::each;
use super::wave::{Turn, Wave};
use crate::cluster::{Dependents, Only, Query};
use crate::observe;
use crate::wait::{Seen, TimedOut, Wait, Waited, poll};

/// Time between two looks at what is being deleted.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// They are gone within this; one that still ran goes after its pods.
const CLEARED_WITHIN: Duration = Duration::from_secs(300);

/// Those that an earlier step has given all that time get only this: their node may be back.
const LAST_CHANCE: Duration = Duration::from_secs(60);

/// The dispatcher's Job and those of its nodes.
type OldJobs = [Vec<OldJob>; 2];

/// A Job of an earlier dispatch.
pub(super) struct OldJob {
    name: String,
    uid: String,
    /// Nothing for a dispatcher's.
    node: Option<String>,
    is_complete: bool,
    deleted_at: Option<Timestamp>,
}

impl OldJob {
    fn of(job: &Job) -> Option<Self> {
        let (uid, end) = observe::job_end(job)?;
        let node = observe::node_job(job).map(|job| job.node);
        let deleted_at = job.metadata.deletion_timestamp.as_ref().map(|time| time.0);
        let is_complete = end == Some(JobEnd::Complete);
        Some(Self { name: job.metadata.name.clone()?, uid, node, is_complete, deleted_at })
    }

    /// The pods of one that is complete have ended. Those of another may still work on their node: it goes after them.
    const fn dependents(&self) -> Dependents {
        if self.is_complete { Dependents::Background } else { Dependents::Foreground }
    }

    fn is_for(&self, node: &NodeFacts) -> bool {
        self.node.as_deref() == Some(node.name.as_str())
    }
}

impl Run<'_> {
    /// What the next dispatch would do first, while this wave is verified. A wave whose install failed keeps its Jobs until
    /// then, for whoever looks.
    pub async fn clear_jobs_ahead(&self) {
        if self.mode == Mode::Job
            && let Err(error) = self.delete_old_jobs(|_| true).await.and_then(Waited::or_fail)
        {
            tracing::info!(%error, "the Jobs of this wave stay until the next one is dispatched");
        }
    }

    /// Takes every Job of an earlier dispatch away. A node whose own Job stays, because its kubelet is silent and nobody
    /// ends the pod, fails; the others needn't wait for it.
    pub(super) async fn clear_jobs(&self, wave: &mut Wave) -> anyhow::Result<()> {
        let going = &wave.going;
        let in_the_way = |job: &OldJob| job.node.is_none() || going.iter().any(|node| job.is_for(node));
        let Waited::TimedOut(timed_out) = self.delete_old_jobs(in_the_way).await? else { return Ok(()) };
        let [dispatchers, jobs] = self.old_jobs().await?;
        if !dispatchers.is_empty() {
            return Err(timed_out.into());
        }
        wave.turn(self, async |node| {
            Ok(match jobs.iter().find(|job| job.is_for(&node)) {
                Some(job) => {
                    let after = klm_core::duration::format(self.since_deleted(job).unwrap_or(timed_out.after));
                    let why = format!(
                        "job `{}/{}` of an earlier dispatch is still there after {after}: its pod doesn't end",
                        self.release.namespace, job.name
                    );
                    Turn::Fails(Box::new(node), why)
                }
                None => Turn::On(Box::new(node)),
            })
        })
        .await
    }

    /// Deletes all and waits for those that are in the way of what comes next.
    async fn delete_old_jobs(&self, in_the_way: impl Fn(&OldJob) -> bool) -> anyhow::Result<Waited<()>> {
        let wait = Wait::new("Jobs of an earlier dispatch to be gone", ASK_EVERY, CLEARED_WITHIN);
        let (mut asked, mut released) = (BTreeSet::new(), BTreeSet::new());
        let began = Instant::now();
        let waited = poll(self.world, &wait, async || {
            let mut left = self.old_jobs().await?;
            self.release_dispatcher(&left, &asked, &mut released).await?;
            // What is complete goes at once, and its absence is worth a look without a pause.
            if self.delete_jobs(&left, &mut asked).await? && left.iter().flatten().all(|job| job.is_complete) {
                left = self.old_jobs().await?;
            }
            let left: Vec<_> = left.iter().flatten().filter(|job| in_the_way(job)).collect();
            let Some(job) = left.last() else { return Ok(Seen::Done(None)) };
            let last = format!("job `{}` is still there", job.name);
            let is_overdue = |job: &&OldJob| self.since_deleted(job).is_some_and(|time| time > CLEARED_WITHIN);
            let given_up = began.elapsed() >= LAST_CHANCE && left.iter().all(is_overdue);
            Ok(if given_up { Seen::Done(Some(last)) } else { Seen::NotYet(last) })
        })
        .await?;
        Ok(match waited {
            Waited::Done(None) => Waited::Done(()),
            Waited::Done(Some(last)) => Waited::TimedOut(TimedOut { name: wait.name, after: began.elapsed(), last }),
            Waited::TimedOut(timed_out) => Waited::TimedOut(timed_out),
        })
    }

    fn since_deleted(&self, job: &OldJob) -> Option<Duration> {
        Some(self.world.clock.since(job.deleted_at?))
    }

    /// A dispatcher goes after the Jobs of its nodes, and one of those may stay for long. Once its own pods are gone it
    /// starts nothing any more, so it needn't wait for them.
    async fn release_dispatcher(
        &self,
        left: &OldJobs,
        asked: &BTreeSet<String>,
        released: &mut BTreeSet<String>,
    ) -> anyhow::Result<()> {
        let (cluster, namespace) = (&self.world.cluster, Some(self.release.namespace.as_str()));
        let waits = |job: &&OldJob| asked.contains(&job.uid) && !released.contains(&job.uid);
        let Some(job) = left[0].iter().find(waits) else { return Ok(()) };
        let own = Query::labels(format!("job-name={}", job.name));
        if cluster.list(namespace, &own, |_: Pod| Some(())).await?.is_empty() {
            cluster.delete::<Job>(namespace, &job.name, Only::Uid(&job.uid), Dependents::Background).await?;
            released.insert(job.uid.clone());
        }
        Ok(())
    }

    async fn old_jobs(&self) -> anyhow::Result<OldJobs> {
        let cluster = &self.world.cluster;
        let namespace = Some(self.release.namespace.as_str());
        let dispatcher = cluster.get::<Job>(namespace, &self.dispatcher_name()).await?;
        let jobs = cluster.list(namespace, &self.node_jobs(), |job: Job| OldJob::of(&job)).await?;
        Ok([dispatcher.as_ref().and_then(OldJob::of).into_iter().collect(), jobs])
    }

    /// Asks for the deletion of those that were not asked for yet, and says whether there were any. The dispatcher first,
    /// or it would make the others again. The others side by side: a deletion of all that match would be one request, but
    /// it needs a right of its own and takes whatever carries the label by then.
    async fn delete_jobs(&self, left: &OldJobs, asked: &mut BTreeSet<String>) -> anyhow::Result<bool> {
        let namespace = Some(self.release.namespace.as_str());
        let mut any = false;
        for some in left {
            let new: Vec<_> = some.iter().filter(|job| asked.insert(job.uid.clone())).collect();
            any |= !new.is_empty();
            each(new, async |job| {
                tracing::info!(job = %job.name, "deleting a Job of an earlier dispatch");
                let cluster = &self.world.cluster;
                Ok(cluster.delete::<Job>(namespace, &job.name, Only::Uid(&job.uid), job.dependents()).await?)
            })
            .await?;
        }
        Ok(any)
    }
}
