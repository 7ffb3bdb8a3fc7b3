//! The Lease that makes a release one run's own. Only a run that is gone or over loses it to another.

mod begun;

use std::time::Duration;

use anyhow::Context as _;
pub use begun::{begun, write_begun};
use k8s_openapi::api::coordination::v1::Lease;
use klm_core::helm_command::ReleaseRef;
use klm_core::journal::RunId;
use klm_core::refusal::Refusal;
use klm_core::release::Revision;
use serde_json::json;

use crate::cluster::{ApiError, Cluster, Dependents, Only, Workflow};
use crate::exit::StepError;
use crate::wait::{Seen, Wait, Waited, poll};
use crate::world::World;

/// Name of the Lease, in the release's namespace.
pub fn lease_name(release: &str) -> String {
    format!("klm-{release}")
}

/// Annotation on the Lease: the pod that works under it. A pod that was told to stop may still be at work when the next
/// one of its run starts.
const STEP: &str = "katacontainers.io/kata-lifecycle-manager-step";

/// Somebody else's run that holds the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The run.
    pub by: RunId,
    /// What we know of it.
    pub seen: String,
}

impl Held {
    /// Why a step that needs the lock can't go on.
    pub fn refusal(&self, release: &ReleaseRef) -> Refusal {
        let ReleaseRef { name, namespace } = release;
        let Self { by, seen } = self;
        Refusal::new(format!("release `{namespace}/{name}` is held by run `{by}`, {seen}")).hint(format!(
            "wait for it, or end it with `argo stop -n {} {}`; `-p when-locked=wait` makes a run wait",
            by.namespace, by.name
        ))
    }
}

/// Lost races for the Lease before we give up.
const ATTEMPTS: usize = 10;

/// A pod that was told to stop has this long; then its node is taken for lost.
const PREDECESSOR_ENDS_WITHIN: Duration = Duration::from_secs(300);
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Pauses between questions that we seem to have no right to ask.
const RIGHTS_COME: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4), Duration::from_secs(8)];

/// Takes the lock, or renews it, and waits until an earlier pod under it has ended. Every step calls this first.
pub async fn hold(world: &World, release: &ReleaseRef, run: &RunId) -> Result<(), StepError> {
    match take(world, release, run).await? {
        None => Ok(()),
        Some(held) => Err(held.refusal(release).into()),
    }
}

/// Waits for the lock as long as it takes its holders, saying whose it is.
pub async fn hold_eventually(
    world: &World,
    release: &ReleaseRef,
    run: &RunId,
    within: Duration,
) -> Result<(), StepError> {
    let wait = Wait::new("the release's lock to become free", Duration::from_secs(10), within);
    let waited = poll(world, &wait, async || {
        Ok(match take(world, release, run).await? {
            None => Seen::Done(()),
            Some(held) => Seen::NotYet(format!("held by run `{}`, {}", held.by, held.seen)),
        })
    });
    Ok(waited.await?.or_fail()?)
}

/// Who holds the lock, if it isn't us and they are alive.
pub async fn holder(cluster: &Cluster, release: &ReleaseRef, run: &RunId) -> Result<Option<Held>, ApiError> {
    let lease = cluster.get::<Lease>(Some(&release.namespace), &lease_name(&release.name)).await?;
    match lease.as_ref().and_then(holder_of).filter(|by| by != run) {
        Some(by) => living(cluster, by).await,
        None => Ok(None),
    }
}

/// Gives the lock back if it is ours. While a helm's revision is pending it stays, under the name of a run that is over:
/// nothing else says whose that is.
pub async fn release(world: &World, release: &ReleaseRef, run: &RunId) -> anyhow::Result<()> {
    let (namespace, name) = (Some(release.namespace.as_str()), lease_name(&release.name));
    let Some(lease) = world.cluster.get::<Lease>(namespace, &name).await? else { return Ok(()) };
    if holder_of(&lease).as_ref() != Some(run) {
        return Ok(());
    }
    let is_pending = |history: &[Revision]| history.last().is_some_and(|last| last.status.is_pending());
    if begun::is_written(&lease) && is_pending(&world.helm.history(release).await?) {
        tracing::warn!(release = %release.name, "the release is pending; its lock is left to whoever puts that right");
        return Ok(());
    }
    let version = lease.metadata.resource_version.unwrap_or_default();
    // Taken over in the meantime: not ours to delete, and the precondition sees to it.
    let deleted = world.cluster.delete::<Lease>(namespace, &name, Only::Version(&version), Dependents::Background);
    Ok(deleted.await?)
}

/// Takes or renews the lock; the living holder when there is another one.
async fn take(world: &World, release: &ReleaseRef, run: &RunId) -> anyhow::Result<Option<Held>> {
    let (namespace, name) = (Some(release.namespace.as_str()), lease_name(&release.name));
    for _ in 0..ATTEMPTS {
        let Some(lease) = current(world, &release.namespace, &name).await? else {
            match world.cluster.create(namespace, &fresh(world, release, run)).await {
                Ok(_) => return Ok(None),
                Err(error) if error.is_already_there() => continue,
                Err(error) => return Err(error.into()),
            }
        };
        let before = holder_of(&lease);
        if let Some(by) = before.clone().filter(|by| by != run) {
            if let Some(held) = living(&world.cluster, by.clone()).await? {
                return Ok(Some(held));
            }
            tracing::warn!(holder = %by, "taking over the lock of a run that is over");
        }
        // Before the Lease says that we are the one at work, or a kill right here would let both work at once.
        if let Some(pod) = step_of(&lease).filter(|pod| *pod != step_name(world)) {
            outlive(world, &pod).await?;
        }
        match world.cluster.patch::<Lease>(namespace, &name, &renewal(world, &lease, run, before.as_ref())).await {
            Ok(_) => return Ok(None),
            Err(error) if error.is_conflict() || error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
    }
    contended(release, &name)
}

fn contended<T>(release: &ReleaseRef, lease: &str) -> anyhow::Result<T> {
    anyhow::bail!("failed to take lease `{}/{lease}`: others change it all the time", release.namespace)
}

/// The Lease as it is now. This is a step's first question, and the check has seen that we may ask it: a server that
/// says otherwise has just been started, and knows nobody's rights yet.
async fn current(world: &World, namespace: &str, name: &str) -> anyhow::Result<Option<Lease>> {
    for pause in RIGHTS_COME {
        match world.cluster.get::<Lease>(Some(namespace), name).await {
            Err(error) if error.is_forbidden() => {
                tracing::warn!(%error, again_in = ?pause, "no right to the lock");
                world.sleep(pause).await?;
            }
            answer => return Ok(answer?),
        }
    }
    Ok(world.cluster.get::<Lease>(Some(namespace), name).await?)
}

/// Whether the Workflow behind a holder still runs. A Workflow that we may not read counts as running.
async fn living(cluster: &Cluster, by: RunId) -> Result<Option<Held>, ApiError> {
    let workflow = match cluster.get::<Workflow>(Some(&by.namespace), &by.name).await {
        Ok(workflow) => workflow,
        Err(error) if error.is_forbidden() => {
            let seen = "and its Workflow can't be read from here".to_owned();
            return Ok(Some(Held { by, seen }));
        }
        Err(error) => return Err(error),
    };
    let same = workflow.filter(|workflow| workflow.metadata.uid.as_deref() == Some(&by.uid));
    Ok(same.filter(Workflow::is_running).map(|workflow| {
        let phase = workflow.status.phase;
        let seen = if phase.is_empty() { "which has just been submitted".into() } else { format!("which is {phase}") };
        Held { by, seen }
    }))
}

/// Waits for the end of a pod that worked under the lock before us.
async fn outlive(world: &World, step: &str) -> anyhow::Result<()> {
    let Some((namespace, name)) = step.split_once('/').filter(|(_, name)| !name.is_empty()) else { return Ok(()) };
    let wait = Wait::new(format!("the end of step pod `{step}`"), LOOK_EVERY, PREDECESSOR_ENDS_WITHIN);
    let waited = poll(world, &wait, async || match world.cluster.pod(namespace, name).await {
        Ok(Some(pod)) if !pod.is_finished() => Ok(Seen::NotYet(format!("it is {:?}", pod.phase))),
        Ok(_) => Ok(Seen::Done(())),
        Err(error) if error.is_forbidden() => Ok(Seen::Done(())),
        Err(error) => Err(error.into()),
    });
    if let Waited::TimedOut(timed_out) = waited.await.context("failed to wait for an earlier step of the run")? {
        // Its node is lost: nothing that it does reaches the API server any more.
        tracing::warn!(%timed_out, "going on without the end of an earlier step");
    }
    Ok(())
}

fn identity(run: &RunId) -> String {
    format!("{}/{}/{}", run.namespace, run.name, run.uid)
}

fn holder_of(lease: &Lease) -> Option<RunId> {
    let identity = lease.spec.as_ref()?.holder_identity.as_deref()?;
    let mut parts = identity.splitn(3, '/').map(str::to_owned);
    Some(RunId { namespace: parts.next()?, name: parts.next()?, uid: parts.next()? })
}

fn step_of(lease: &Lease) -> Option<String> {
    lease.metadata.annotations.as_ref()?.get(STEP).cloned()
}

fn step_name(world: &World) -> String {
    format!("{}/{}", world.here.namespace, world.here.pod)
}

fn fresh(world: &World, release: &ReleaseRef, run: &RunId) -> Lease {
    let mut lease = Lease::default();
    lease.metadata.name = Some(lease_name(&release.name));
    lease.metadata.annotations = Some([(STEP.to_owned(), step_name(world))].into());
    let spec = lease.spec.get_or_insert_default();
    let now = k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime(world.clock.now());
    spec.holder_identity = Some(identity(run));
    spec.acquire_time = Some(now.clone());
    spec.renew_time = Some(now);
    spec.lease_duration_seconds = Some(HINT_SECONDS);
    lease
}

/// For people and tools that show Leases. Age alone never takes a lock away.
const HINT_SECONDS: i32 = 3600;

fn renewal(world: &World, lease: &Lease, run: &RunId, before: Option<&RunId>) -> serde_json::Value {
    let now = k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime(world.clock.now());
    let mut patch = json!({
        "metadata": {
            "resourceVersion": lease.metadata.resource_version,
            "annotations": { STEP: step_name(world) },
        },
        "spec": { "holderIdentity": identity(run), "renewTime": now },
    });
    if before != Some(run) {
        let changes = lease.spec.as_ref().and_then(|spec| spec.lease_transitions).unwrap_or_default() + 1;
        patch["spec"]["acquireTime"] = json!(now);
        patch["spec"]["leaseTransitions"] = json!(changes);
    }
    patch
}
