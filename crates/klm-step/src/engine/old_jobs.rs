//! The Jobs of an earlier dispatch, gone before the next one begins: some dispatchers adopt a finished one and report its
//! success as their own.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use klm_core::plan::Mode;
use klm_core::proof::JobEnd;

use super::context::Run;
use super::each::each;
use crate::cluster::{Dependents, Only};
use crate::observe;
use crate::wait::{Seen, Wait, poll};

/// Time between two looks at what is being deleted.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// They are gone within this; one that still ran goes after its pods.
const CLEARED_WITHIN: Duration = Duration::from_secs(300);

/// The dispatcher's Job and those of its nodes.
type OldJobs = [Vec<OldJob>; 2];

struct OldJob {
    name: String,
    uid: String,
    is_complete: bool,
}

impl OldJob {
    fn of(job: &Job) -> Option<Self> {
        let (uid, end) = observe::job_end(job)?;
        Some(Self { name: job.metadata.name.clone()?, uid, is_complete: end == Some(JobEnd::Complete) })
    }

    /// The pods of one that is complete have ended. Those of another may still work on their node: it goes after them.
    const fn dependents(&self) -> Dependents {
        if self.is_complete { Dependents::Background } else { Dependents::Foreground }
    }
}

impl Run<'_> {
    /// What the next dispatch would do first, while this wave is verified. A wave whose install failed keeps its Jobs until
    /// then, for whoever looks.
    pub async fn clear_jobs_ahead(&self) {
        if self.mode == Mode::Job
            && let Err(error) = self.clear_jobs().await
        {
            tracing::info!(%error, "the Jobs of this wave stay until the next one is dispatched");
        }
    }

    /// Takes every Job of an earlier dispatch away.
    pub(super) async fn clear_jobs(&self) -> anyhow::Result<()> {
        let wait = Wait::new("Jobs of an earlier dispatch to be gone", ASK_EVERY, CLEARED_WITHIN);
        let mut asked = BTreeSet::new();
        let waited = poll(self.world, &wait, async || {
            let mut left = self.old_jobs().await?;
            // What is complete goes at once, and its absence is worth a look without a pause.
            if self.delete_jobs(&left, &mut asked).await? && left.iter().flatten().all(|job| job.is_complete) {
                left = self.old_jobs().await?;
            }
            Ok(match left.iter().flatten().next_back() {
                None => Seen::Done(()),
                Some(job) => Seen::NotYet(format!("job `{}` is still there", job.name)),
            })
        });
        waited.await?.or_fail()
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
