//! What a wave waits for: listed once, then kept up to date by a watch. A look at it costs no request.
//!
//! The other way would have been a list for every look, narrowed by selectors. Labels narrow nodes, Jobs and verification
//! pods to a wave, but kata-deploy's pods carry nothing of ours, so that each look reads the whole fleet's; and a look
//! every few seconds is what a wave's end then waits for.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use klm_core::pod::PodFacts;
use kube::ResourceExt as _;
use kube::api::{WatchEvent, WatchParams};
use tokio::time::Instant;

use super::error::{ApiError, Cause};
use super::request::Events;
use super::{Cluster, Kind, Query, path};

/// A watch is asked for this long. The server ends it well then, and it goes on where it was.
const LASTS: Duration = Duration::from_secs(240);

/// After this long without a word another watch is begun: the connection may be dead, and nobody told us. Servers send
/// a bookmark about every minute.
const SILENT_FOR: Duration = Duration::from_secs(90);

/// Objects as they are, by name (`namespace/name` where the view is of all namespaces), each reduced to what is needed of it.
pub struct View<K, T> {
    cluster: Cluster,
    namespace: Option<String>,
    query: Query,
    keep: Box<dyn Fn(K) -> Option<T>>,
    objects: BTreeMap<String, T>,
    /// Where the watch begins or goes on.
    version: String,
    watch: Option<Watch<K>>,
    changed: bool,
}

struct Watch<K> {
    events: Events<K>,
    heard: Instant,
}

/// What came of reading the events that are there.
enum Heard {
    /// All of them; more may come.
    Everything,
    /// The watch is over; the next goes on where it was.
    TheEnd,
    /// The server has forgotten where we were.
    Expired,
}

impl<K: Kind + Clone + 'static, T> View<K, T> {
    /// Lists the objects.
    pub async fn open(
        cluster: &Cluster,
        namespace: Option<&str>,
        query: Query,
        keep: impl Fn(K) -> Option<T> + 'static,
    ) -> Result<Self, ApiError> {
        let mut view = Self {
            cluster: cluster.clone(),
            namespace: namespace.map(str::to_owned),
            query,
            keep: Box::new(keep),
            objects: BTreeMap::new(),
            version: String::new(),
            watch: None,
            changed: true,
        };
        view.list_again().await?;
        Ok(view)
    }

    /// The objects as they were when [`Self::follow`] was called last.
    pub const fn objects(&self) -> &BTreeMap<String, T> {
        &self.objects
    }

    /// Lists them all again: for a verdict that must not rest on what a watch may not have told yet.
    pub async fn list_again(&mut self) -> Result<(), ApiError> {
        self.watch = None;
        let keep = |object: K| Some((self.key(&object), (self.keep)(object)?));
        let (objects, version) = self.cluster.list_at(self.namespace.as_deref(), &self.query, keep).await?;
        self.objects = objects.into_iter().collect();
        self.version = version;
        self.changed = true;
        Ok(())
    }

    /// Takes in what has changed, without waiting for anything. Says whether it did since the last call.
    pub async fn follow(&mut self) -> Result<bool, ApiError> {
        if self.watch.is_none() {
            match self.begin().await {
                Ok(watch) => self.watch = Some(watch),
                // So much has changed since the list that its version is gone.
                Err(error) if error.cause.code() == Some(410) => self.list_again().await?,
                Err(error) => return Err(error),
            }
        }
        if let Some(mut watch) = self.watch.take() {
            match self.hear(&mut watch) {
                Heard::Everything if watch.heard.elapsed() < SILENT_FOR => self.watch = Some(watch),
                Heard::Everything | Heard::TheEnd => {}
                Heard::Expired => self.list_again().await?,
            }
        }
        Ok(std::mem::take(&mut self.changed))
    }

    fn key(&self, object: &K) -> String {
        match object.namespace().filter(|_| self.namespace.is_none()) {
            Some(namespace) => format!("{namespace}/{}", object.name_any()),
            None => object.name_any(),
        }
    }

    async fn begin(&self) -> Result<Watch<K>, ApiError> {
        let params = WatchParams {
            label_selector: self.query.labels.clone(),
            field_selector: self.query.fields.clone(),
            timeout: u32::try_from(LASTS.as_secs()).ok(),
            ..WatchParams::default()
        };
        let plural = K::plural(&());
        let request = path::<K>(self.namespace.as_deref()).watch(&params, &self.version);
        let events = self.cluster.events(|| format!("watch {plural}"), request).await?;
        Ok(Watch { events, heard: Instant::now() })
    }

    fn hear(&mut self, watch: &mut Watch<K>) -> Heard {
        loop {
            let event = match watch.events.next().now_or_never() {
                None => return Heard::Everything,
                Some(None) => return Heard::TheEnd,
                Some(Some(event)) => event,
            };
            watch.heard = Instant::now();
            match event {
                Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                    self.version = object.resource_version().unwrap_or_default();
                    self.changed = true;
                    let key = self.key(&object);
                    match (self.keep)(object) {
                        Some(kept) => self.objects.insert(key, kept),
                        None => self.objects.remove(&key),
                    };
                }
                Ok(WatchEvent::Deleted(object)) => {
                    self.version = object.resource_version().unwrap_or_default();
                    self.changed = true;
                    self.objects.remove(&self.key(&object));
                }
                Ok(WatchEvent::Bookmark(bookmark)) => self.version = bookmark.metadata.resource_version,
                Ok(WatchEvent::Error(status)) if status.code == 410 => return Heard::Expired,
                Ok(WatchEvent::Error(status)) => {
                    let cause = Cause::Status(status);
                    tracing::warn!(%cause, "a watch was ended by the server");
                    return Heard::TheEnd;
                }
                Err(error) => {
                    tracing::warn!(%error, "a watch broke");
                    self.cluster.has_lost_the_server();
                    return Heard::TheEnd;
                }
            }
        }
    }
}

impl View<Pod, PodFacts> {
    /// Pods as decisions about pods read them.
    pub async fn of_pods(cluster: &Cluster, namespace: Option<&str>, query: Query) -> Result<Self, ApiError> {
        let facts = |pod: Pod| serde_json::to_value(pod).ok().map(|pod| PodFacts::from_json(&pod));
        Self::open(cluster, namespace, query, facts).await
    }
}
