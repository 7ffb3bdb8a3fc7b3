//! Thin verbs on the Kubernetes API. Every request has a deadline and is repeated while that may help.

mod error;
mod events;
mod evict;
mod lean;
mod nodes;
mod rehearse;
mod request;
mod view;

use std::sync::{Arc, Mutex};

pub use error::{ApiError, Cause};
pub use events::Note;
use k8s_openapi::api::core::v1::Pod;
use klm_core::pod::PodFacts;
use kube::Client;
use kube::api::{DeleteParams, PostParams, Preconditions, PropagationPolicy};
pub use lean::{ApiDefinition, LeanNode, Workflow, WorkflowTemplate};
pub use nodes::{Changed, NodePatch};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;
pub use view::View;

/// The way to the API server.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    /// When the server was last out of reach; for all clones.
    lost: Arc<Mutex<Option<Instant>>>,
}

/// A kind that we know at compile time.
pub trait Kind: kube::Resource<DynamicType = ()> + DeserializeOwned {}
impl<K: kube::Resource<DynamicType = ()> + DeserializeOwned> Kind for K {}

/// Which objects of a collection.
#[derive(Clone, Debug, Default)]
pub struct Query {
    labels: Option<String>,
    fields: Option<String>,
}

impl Query {
    /// All of them.
    pub fn all() -> Self {
        Self::default()
    }

    /// Those that a label selector matches.
    pub fn labels(selector: impl Into<String>) -> Self {
        Self { labels: Some(selector.into()), fields: None }
    }

    /// Those whose fields match.
    pub fn fields(selector: impl Into<String>) -> Self {
        Self { labels: None, fields: Some(selector.into()) }
    }

    /// Both.
    #[must_use]
    pub fn and_fields(mut self, selector: impl Into<String>) -> Self {
        self.fields = Some(selector.into());
        self
    }
}

/// How much of an object's dependents a deletion takes along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dependents {
    /// Later, by the garbage collector.
    Background,
    /// First, so that the object is the last to go.
    Foreground,
}

/// Which object of a name a deletion may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Only<'a> {
    /// Whichever has the name.
    Whichever,
    /// The one with this UID.
    Uid(&'a str),
    /// The one that was read, unchanged since.
    Version(&'a str),
}

impl Cluster {
    /// A cluster behind this client. The client must not repeat requests by itself: that would hide a refused
    /// eviction for minutes.
    pub fn new(client: Client) -> Self {
        Self { client, lost: Arc::default() }
    }

    /// The cluster of the pod we run in, or of the kubeconfig on a laptop.
    pub async fn connect() -> anyhow::Result<Self> {
        use anyhow::Context as _;
        let mut config =
            kube::Config::infer().await.context("failed to find a cluster: no kubeconfig, not in a pod")?;
        config.default_retry = false;
        Ok(Self::new(Client::try_from(config).context("failed to set up the connection to the cluster")?))
    }

    /// The object, or nothing when there is none.
    pub async fn get<K: Kind>(&self, namespace: Option<&str>, name: &str) -> Result<Option<K>, ApiError> {
        let action = || format!("get {}", describe::<K>(namespace, name));
        let request = path::<K>(namespace).get(name, &kube::api::GetParams::default());
        absent_as_none(self.ask(action, request).await)
    }

    /// All objects that match, page by page, each turned into what the caller needs as soon as it is read.
    pub async fn list<K: Kind, T>(
        &self,
        namespace: Option<&str>,
        query: &Query,
        keep: impl FnMut(K) -> Option<T>,
    ) -> Result<Vec<T>, ApiError> {
        Ok(self.list_as::<K, K, T>(namespace, query, keep).await?.0)
    }

    /// The same for pods as plain JSON, which is what decisions about pods read.
    pub async fn pods<T>(
        &self,
        namespace: Option<&str>,
        query: &Query,
        mut keep: impl FnMut(PodFacts, Value) -> Option<T>,
    ) -> Result<Vec<T>, ApiError> {
        let keep = |pod: Value| keep(PodFacts::from_json(&pod), pod);
        Ok(self.list_as::<Pod, Value, T>(namespace, query, keep).await?.0)
    }

    /// One pod's facts.
    pub async fn pod(&self, namespace: &str, name: &str) -> Result<Option<PodFacts>, ApiError> {
        let action = || format!("get {}", describe::<Pod>(Some(namespace), name));
        let request = path::<Pod>(Some(namespace)).get(name, &kube::api::GetParams::default());
        let found: Option<Value> = absent_as_none(self.ask(action, request).await)?;
        Ok(found.map(|pod| PodFacts::from_json(&pod)))
    }

    /// All objects, read as another type than their kind's, and the version that a watch goes on from.
    async fn list_as<K: Kind, V: DeserializeOwned, T>(
        &self,
        namespace: Option<&str>,
        query: &Query,
        mut keep: impl FnMut(V) -> Option<T>,
    ) -> Result<(Vec<T>, String), ApiError> {
        let mut kept = Vec::new();
        let mut next = None;
        let mut restarted = false;
        loop {
            match self.page::<K, V>(namespace, query, next.take()).await {
                Ok(page) => {
                    kept.extend(page.items.unwrap_or_default().into_iter().filter_map(&mut keep));
                    next = page.metadata.next.filter(|token| !token.is_empty());
                    if next.is_none() {
                        return Ok((kept, page.metadata.version));
                    }
                }
                // The list took so long that its snapshot is gone: begin again, once.
                Err(error) if error.cause.code() == Some(410) && !restarted => {
                    kept.clear();
                    restarted = true;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Stores a new object.
    pub async fn create<K: Kind + Serialize>(&self, namespace: Option<&str>, object: &K) -> Result<K, ApiError> {
        let name = object.meta().name.clone().unwrap_or_default();
        let action = || format!("create {}", describe::<K>(namespace, &name));
        let body = serde_json::to_vec(object).map_err(|error| malformed(action(), &error))?;
        self.ask(action, path::<K>(namespace).create(&PostParams::default(), body)).await
    }

    /// Stores a new pod from a manifest, fields that this build doesn't know included.
    pub async fn create_pod(&self, namespace: &str, manifest: &Value) -> Result<Pod, ApiError> {
        let name = manifest.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let action = || format!("create pod `{namespace}/{name}`");
        let body = serde_json::to_vec(manifest).map_err(|error| malformed(action(), &error))?;
        self.ask(action, path::<Pod>(Some(namespace)).create(&PostParams::default(), body)).await
    }

    /// Merges `patch` into the object.
    pub async fn patch<K: Kind>(&self, namespace: Option<&str>, name: &str, patch: &Value) -> Result<K, ApiError> {
        let action = || format!("patch {}", describe::<K>(namespace, name));
        let patch = kube::api::Patch::Merge(patch);
        self.ask(action, path::<K>(namespace).patch(name, &kube::api::PatchParams::default(), &patch)).await
    }

    /// Deletes the object if it is still this one. Already gone, or another one by now, is fine.
    pub async fn delete<K: Kind>(
        &self,
        namespace: Option<&str>,
        name: &str,
        only: Only<'_>,
        dependents: Dependents,
    ) -> Result<(), ApiError> {
        let action = || format!("delete {}", describe::<K>(namespace, name));
        let propagation = match dependents {
            Dependents::Background => PropagationPolicy::Background,
            Dependents::Foreground => PropagationPolicy::Foreground,
        };
        let (uid, resource_version) = match only {
            Only::Whichever => (None, None),
            Only::Uid(uid) => (Some(uid.to_owned()), None),
            Only::Version(version) => (None, Some(version.to_owned())),
        };
        let how = DeleteParams {
            propagation_policy: Some(propagation),
            preconditions: (only != Only::Whichever).then_some(Preconditions { uid, resource_version }),
            ..DeleteParams::default()
        };
        match self.ask::<Value>(action, path::<K>(namespace).delete(name, &how)).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() || (only != Only::Whichever && error.is_conflict()) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The last lines of a container's log; empty when there is none to be had.
    pub async fn log_tail(&self, namespace: &str, pod: &str, container: &str, lines: i64) -> String {
        let params = kube::api::LogParams {
            container: Some(container.to_owned()),
            tail_lines: Some(lines),
            limit_bytes: Some(LOG_LIMIT),
            ..Default::default()
        };
        let request = path::<Pod>(Some(namespace)).logs(pod, &params);
        // A log explains a verdict, it never is one: whatever keeps us from reading it is left out.
        self.ask_text(request).await.unwrap_or_default()
    }
}

/// Of a container's log.
const LOG_LIMIT: i64 = 16 * 1024;

fn path<K: Kind>(namespace: Option<&str>) -> kube::core::Request {
    kube::core::Request::new(K::url_path(&(), namespace))
}

/// `node `worker-1``, `pod `kube-system/x``.
pub(crate) fn describe<K: Kind>(namespace: Option<&str>, name: &str) -> String {
    let kind = K::kind(&()).to_lowercase();
    match namespace {
        Some(namespace) => format!("{kind} `{namespace}/{name}`"),
        None => format!("{kind} `{name}`"),
    }
}

fn absent_as_none<T>(answer: Result<T, ApiError>) -> Result<Option<T>, ApiError> {
    match answer {
        Ok(object) => Ok(Some(object)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

fn malformed(action: String, error: &dyn std::fmt::Display) -> ApiError {
    ApiError { action, cause: Cause::Malformed(error.to_string()) }
}
