//! The release as it is, and as a run would start from it.

use anyhow::Context as _;
use klm_core::helm_command::ReleaseRef;
use klm_core::release::{Release, Status};

use crate::world::World;

/// A release of kata-deploy.
#[derive(Clone, Debug)]
pub struct Live {
    /// Its last revision, whatever became of it.
    pub last: Release,
    /// Its last good revision: what Helm takes values from, and what a run goes back to.
    pub base: Release,
}

impl Live {
    /// Reads it; nothing when there is no such release.
    pub async fn read(world: &World, release: &ReleaseRef) -> anyhow::Result<Option<Self>> {
        let helm = &world.helm;
        let Some(last) = helm.release(release).await.context("failed to read the release")? else { return Ok(None) };
        let deployed = last.last_deployed().map(|revision| revision.revision);
        let revision = match deployed {
            Some(revision) if last.metadata.status != Status::Deployed => Some(revision),
            // Nothing better is known; the gate says so where that matters.
            _ => return Ok(Some(Self { base: last.clone(), last })),
        };
        let base = Release {
            metadata: helm.metadata(release, revision).await?,
            user: helm.user_values(release, revision).await?,
            all: helm.all_values(release, revision).await?,
            ..last.clone()
        };
        Ok(Some(Self { last, base }))
    }

    /// When the last revision was made.
    pub fn made(&self) -> Option<jiff::Timestamp> {
        let listed = self.last.history.last().map(|revision| revision.updated.as_str());
        [Some(self.last.metadata.deployed_at.as_str()), listed].into_iter().flatten().find_map(|text| text.parse().ok())
    }
}
