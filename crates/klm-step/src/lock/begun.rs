//! Annotation on the Lease: which revision a helm of ours is about to make, and since when. It tells a dead helm of ours
//! from somebody else's, which may live.

use k8s_openapi::api::coordination::v1::Lease;
use klm_core::helm_command::ReleaseRef;
use klm_core::journal::RunId;
use klm_core::standing::Begun;
use serde_json::json;

use super::{ATTEMPTS, contended, holder_of, lease_name};
use crate::cluster::ApiError;
use crate::world::World;

/// A number and a time, RFC 3339. It stays when the lock is taken over.
const REVISION: &str = "katacontainers.io/kata-lifecycle-manager-revision";

/// What a helm of ours began, in this run or in one that left its lock, and wasn't seen to end.
pub async fn begun(world: &World, release: &ReleaseRef) -> Result<Option<Begun>, ApiError> {
    let lease = world.cluster.get::<Lease>(Some(&release.namespace), &lease_name(&release.name)).await?;
    Ok(lease.as_ref().and_then(|lease| {
        let (revision, at) = text(lease)?.split_once(' ')?;
        Some(Begun { revision: revision.parse().ok()?, age: world.clock.since(at.parse().ok()?) })
    }))
}

/// Writes down which revision a helm of ours is about to make, or that it is done. Fails when the lock isn't ours.
pub async fn write_begun(
    world: &World,
    release: &ReleaseRef,
    run: &RunId,
    revision: Option<u64>,
) -> anyhow::Result<()> {
    let (namespace, name) = (Some(release.namespace.as_str()), lease_name(&release.name));
    for _ in 0..ATTEMPTS {
        let lease = world.cluster.get::<Lease>(namespace, &name).await?;
        let Some(lease) = lease.filter(|lease| holder_of(lease).as_ref() == Some(run)) else {
            anyhow::bail!("lease `{}/{name}` isn't held by run `{run}` any more", release.namespace);
        };
        let patch = json!({ "metadata": {
            "resourceVersion": lease.metadata.resource_version,
            "annotations": { REVISION: revision.map(|revision| format!("{revision} {}", world.clock.now())) },
        } });
        match world.cluster.patch::<Lease>(namespace, &name, &patch).await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_conflict() || error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
    }
    contended(release, &name)
}

pub(super) fn is_written(lease: &Lease) -> bool {
    text(lease).is_some()
}

fn text(lease: &Lease) -> Option<&str> {
    Some(lease.metadata.annotations.as_ref()?.get(REVISION)?.as_str())
}
