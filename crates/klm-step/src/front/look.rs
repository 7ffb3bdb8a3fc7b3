//! Everything that the decisions before a rollout need to know, read once.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use k8s_openapi::api::node::v1::RuntimeClass;
use klm_core::helm_command::ReleaseRef;
use klm_core::journal::RunId;
use klm_core::name::NodeName;
use klm_core::node::NodeFacts;
use klm_core::origin::{Asked, Change, Origin};
use klm_core::release::Release;
use klm_core::settings::Settings;
use klm_core::standing::{Begun, changed_since};

use super::installs::{self, Installs};
use super::live::Live;
use super::recorded::Recorded;
use crate::cluster::{ApiError, Query};
use crate::lock::{self, Held};
use crate::origin_store::{self, StoredOrigin};
use crate::world::World;

/// What was found.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The release, if there is one.
    pub live: Option<Live>,
    /// Seconds since its last revision was made, when that is known.
    pub age: Option<std::time::Duration>,
    /// All nodes.
    pub nodes: Vec<NodeFacts>,
    /// `RuntimeClass`es by name; nothing when they can't be listed.
    pub classes: Option<Vec<String>>,
    /// Those that kata-deploy made.
    pub kata_classes: BTreeSet<String>,
    /// kata-deploy's `DaemonSet`s.
    pub installs: Installs,
    /// Versions of this release's pods.
    pub installed: BTreeMap<NodeName, String>,
    /// The living run that holds the lock.
    pub held: Option<Held>,
    /// What the lock says that a run began.
    pub begun: Option<Begun>,
    /// What an earlier run recorded.
    pub stored: Option<StoredOrigin>,
    /// The last rollback that somebody asked for.
    pub asked: Option<Asked>,
    /// What somebody else has changed in the release since.
    pub change: Option<Change>,
    /// The node that we run on.
    pub host: Option<NodeName>,
}

impl Seen {
    /// What earlier runs recorded.
    pub fn recorded(&self) -> Recorded<'_> {
        let origin = self.stored.as_ref().map(|stored| &stored.origin);
        Recorded { origin, asked: self.asked.as_ref(), change: self.change.as_ref() }
    }
}

/// The release that the settings name.
pub fn release_of(settings: &Settings) -> ReleaseRef {
    ReleaseRef { name: settings.helm_release.clone(), namespace: settings.helm_namespace.clone() }
}

/// Reads it all. `live` was read before, because the rights depend on it; `run` is us, when we are a run.
pub async fn look(world: &World, settings: &Settings, live: Option<Live>, run: Option<&RunId>) -> anyhow::Result<Seen> {
    let release = release_of(settings);
    let cluster = &world.cluster;
    let nobody = RunId { namespace: String::new(), name: String::new(), uid: String::new() };
    let run = run.unwrap_or(&nobody);
    let suffix = live.as_ref().and_then(|live| live.base.suffix());
    let held = lock::holder(cluster, &release, run).await.context("failed to look at the release's lock")?;
    let begun = lock::begun(world, &release).await.context("failed to look at the release's lock")?;
    let stored = origin_store::read(cluster, &release).await?;
    let change = match (&stored, &live) {
        // At another version the release gets an origin of its own.
        (Some(stored), Some(live)) if live.base.metadata.version == stored.origin.target => {
            change_since(world, &release, &stored.origin, &live.base).await?
        }
        _ => None,
    };
    let classes = unless_forbidden(cluster.list(None, &Query::all(), class).await)?;
    Ok(Seen {
        age: live.as_ref().and_then(Live::made).map(|made| world.clock.since(made)),
        nodes: unless_forbidden(cluster.nodes(&Query::all()).await)?.unwrap_or_default(),
        kata_classes: classes.iter().flatten().filter(|class| class.1).map(|class| class.0.clone()).collect(),
        classes: classes.map(|classes| classes.into_iter().map(|class| class.0).collect()),
        installs: Installs::read(world).await?,
        installed: installs::versions(world, &release, suffix).await?,
        held,
        begun,
        asked: origin_store::asked(cluster, &release).await?,
        stored,
        change,
        host: NodeName::try_from(world.here.node.as_str()).ok(),
        live,
    })
}

/// What somebody else has changed in the release since the origin of this way was recorded.
pub async fn change_since(
    world: &World,
    release: &ReleaseRef,
    origin: &Origin,
    base: &Release,
) -> anyhow::Result<Option<Change>> {
    let Some((before, after)) = changed_since(&base.history, &origin.target, origin.revision) else { return Ok(None) };
    let before = world.helm.user_values(release, Some(before)).await?;
    let after = if after == base.metadata.revision {
        base.user.clone()
    } else {
        world.helm.user_values(release, Some(after)).await?
    };
    Ok(Some(Change { before, after }))
}

/// A class's name, and whether kata-deploy made it.
fn class(class: RuntimeClass) -> Option<(String, bool)> {
    let labels = class.metadata.labels.unwrap_or_default();
    let ours = labels.get("app.kubernetes.io/managed-by").is_some_and(|by| by == "kata-deploy");
    Some((class.metadata.name?, ours))
}

/// What we may not read is unknown; the gate for rights names it.
fn unless_forbidden<T>(answer: Result<T, ApiError>) -> Result<Option<T>, ApiError> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is_forbidden() => Ok(None),
        Err(error) => Err(error),
    }
}
