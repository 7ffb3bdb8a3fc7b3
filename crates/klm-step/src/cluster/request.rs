//! Sending one request: its deadline, its repetitions, and the reading of what comes back.

use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use futures::stream::BoxStream;
use http::Request;
use http_body_util::BodyExt as _;
use kube::api::{ListParams, WatchEvent};
use kube::client::Body;
use kube::core::Status;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use super::error::{ApiError, Cause};
use super::{Cluster, Kind, Query, malformed, path};

/// One answer may take this long; the client itself would wait for ever.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// The same for what only explains, such as a log.
const TEXT_WITHIN: Duration = Duration::from_secs(10);

/// An API server that restarts is back within this.
const REPEAT_FOR: Duration = Duration::from_secs(180);

/// An API server that has just been started again answers for some seconds as if nobody had any rights.
const RIGHTS_WITHIN: Duration = Duration::from_secs(30);

/// Pause before the second try; doubled each time up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Objects per page: about two megabytes with all their managed fields, and for nodes their images, and no more than a page
/// is ever held as it came.
fn page_of<K: Kind>() -> u32 {
    if K::plural(&()) == "nodes" { 100 } else { 250 }
}

/// A page of a list. Items stay in the type that the caller reads, without fields it has no use for.
#[derive(Deserialize)]
pub(super) struct Page<K> {
    pub metadata: PageMeta,
    #[serde(default = "Option::default")]
    pub items: Option<Vec<K>>,
}

#[derive(Deserialize)]
pub(super) struct PageMeta {
    #[serde(default, rename = "continue")]
    pub next: Option<String>,
    #[serde(default, rename = "resourceVersion")]
    pub version: String,
}

/// What a watch tells.
pub(super) type Event = Result<WatchEvent<Value>, kube::Error>;

/// A watch, as it comes.
pub(super) type Events = BoxStream<'static, Event>;

/// What a list is called in messages.
pub(super) fn listing<K: Kind>(namespace: Option<&str>) -> String {
    let plural = K::plural(&());
    namespace.map_or_else(|| format!("list {plural}"), |ns| format!("list {plural} in namespace `{ns}`"))
}

type Built = Result<Request<Vec<u8>>, kube::core::request::Error>;

impl Cluster {
    pub(super) async fn page<K: Kind, V: DeserializeOwned>(
        &self,
        namespace: Option<&str>,
        query: &Query,
        next: Option<String>,
    ) -> Result<Page<V>, ApiError> {
        let params = ListParams {
            label_selector: query.labels.clone(),
            field_selector: query.fields.clone(),
            limit: Some(page_of::<K>()),
            continue_token: next,
            ..ListParams::default()
        };
        self.ask(|| listing::<K>(namespace), path::<K>(namespace).list(&params)).await
    }

    /// Sends a request until it is answered for good, and reads the answer.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        action: impl Fn() -> String,
        request: Built,
    ) -> Result<T, ApiError> {
        let bytes = self.ask_bytes(&action, request).await?;
        // The text of an answer never goes into a message: it may be a Secret.
        serde_json::from_slice(&bytes)
            .map_err(|error| malformed(action(), &format!("the answer is not what was asked for: {error}")))
    }

    /// Sends a request for a text that only explains: once, and once more when the way to the API server broke. A kubelet
    /// that is away must not hold up a whole wave.
    pub(super) async fn ask_text(&self, request: Built) -> Option<String> {
        let request = request.ok()?;
        for last in [false, true] {
            match timeout(TEXT_WITHIN, self.send_once(request.clone())).await {
                Ok(Ok(bytes)) => return Some(String::from_utf8_lossy(&bytes).into_owned()),
                Ok(Err(Cause::Unreachable(_))) if !last => sleep(FIRST_PAUSE).await,
                _ => return None,
            }
        }
        None
    }

    async fn ask_bytes(&self, action: &impl Fn() -> String, request: Built) -> Result<Vec<u8>, ApiError> {
        let request = request.map_err(|error| malformed(action(), &error))?;
        self.repeated(action, async || self.send_once(request.clone()).await).await
    }

    /// Begins a watch. It may end or break whenever it likes; that is for whoever reads the events.
    pub(super) async fn events(&self, action: impl Fn() -> String, request: Built) -> Result<Events, ApiError> {
        let request = request.map_err(|error| malformed(action(), &error))?;
        self.repeated(&action, async || {
            match timeout(ANSWER_WITHIN, self.client.request_events(request.clone())).await {
                Ok(Ok(events)) => Ok(Box::pin(events) as Events),
                Ok(Err(kube::Error::Api(status))) => Err(Cause::Status(status)),
                Ok(Err(error)) => Err(unreachable(&error)),
                Err(_) => Err(no_answer()),
            }
        })
        .await
    }

    /// Tries until there is an answer for good.
    async fn repeated<T>(
        &self,
        action: &impl Fn() -> String,
        once: impl AsyncFn() -> Result<T, Cause>,
    ) -> Result<T, ApiError> {
        let until = Instant::now() + REPEAT_FOR;
        let mut pause = FIRST_PAUSE;
        loop {
            let cause = match once().await {
                Ok(answer) => return Ok(answer),
                Err(cause) => cause,
            };
            if matches!(cause, Cause::Unreachable(_)) {
                self.has_lost_the_server();
            }
            let may_pass = cause.may_pass() || (cause.denies_rights() && self.may_just_have_started());
            let wait = cause.retry_after().unwrap_or(pause);
            if !may_pass || Instant::now() + wait > until {
                return Err(ApiError { action: action(), cause });
            }
            tracing::warn!(action = %action(), %cause, again_in = ?wait, "request failed");
            sleep(wait).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// The way to the server broke: it may be another one, just started, that answers next.
    pub(super) fn has_lost_the_server(&self) {
        *self.lost() = Some(Instant::now());
    }

    fn may_just_have_started(&self) -> bool {
        self.lost().is_some_and(|lost| lost.elapsed() < RIGHTS_WITHIN)
    }

    fn lost(&self) -> MutexGuard<'_, Option<Instant>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request once.
    pub(super) async fn send_once(&self, request: Request<Vec<u8>>) -> Result<Vec<u8>, Cause> {
        let exchange = async {
            let response = self.client.send(request.map(Body::from)).await.map_err(|error| unreachable(&error))?;
            let code = response.status();
            let body = response.into_body().collect().await.map_err(|error| Cause::Unreachable(error.to_string()))?;
            let bytes = body.to_bytes();
            if code.is_success() {
                Ok(bytes.into())
            } else {
                Err(Cause::Status(Box::new(status(code.as_u16(), &bytes))))
            }
        };
        timeout(ANSWER_WITHIN, exchange).await.unwrap_or_else(|_| Err(no_answer()))
    }
}

fn no_answer() -> Cause {
    Cause::Unreachable(format!("no answer within {}s", ANSWER_WITHIN.as_secs()))
}

/// The server's own explanation, or as much of one as a proxy in between gives.
fn status(code: u16, body: &[u8]) -> Status {
    let mut status: Status = serde_json::from_slice(body).unwrap_or_default();
    status.code = code;
    status
}

fn unreachable(error: &kube::Error) -> Cause {
    // Wrappers say "client error"; the last one says "connection refused".
    let mut last: &dyn std::error::Error = error;
    while let Some(source) = last.source() {
        last = source;
    }
    Cause::Unreachable(last.to_string())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use klm_testkit::{FakeCluster, Fault};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_kubelet_that_is_away_does_not_hold_up_the_wave_for_a_log() {
        let fake = FakeCluster::new();
        fake.inject(Fault::status(None, "*/log*", 500).always());
        let cluster = Cluster::new(fake.client());
        let began = Instant::now();
        assert_eq!(cluster.log_tail("default", "probe", "main", 10).await, "");
        assert!(began.elapsed() < REPEAT_FOR / 10, "{:?} of virtual time", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_has_just_started_may_deny_rights_for_a_while_and_no_other() {
        let fake = FakeCluster::new();
        let cluster = Cluster::new(fake.client());
        let ask = async || cluster.get::<ConfigMap>(Some("default"), "none").await;
        fake.inject(Fault::status(None, "*/configmaps/*", 403));
        assert!(ask().await.is_err_and(|error| error.is_forbidden()), "it was there all the time");
        fake.inject(Fault::disconnect(None, "*/configmaps/*"));
        fake.inject(Fault::status(None, "*/configmaps/*", 403).times(2));
        assert!(ask().await.is_ok(), "gone, and then without rights for a moment");
        fake.inject(Fault::disconnect(None, "*/configmaps/*"));
        fake.inject(Fault::status(None, "*/configmaps/*", 403).always());
        let began = Instant::now();
        assert!(ask().await.is_err_and(|error| error.is_forbidden()), "the right is really missing");
        assert!(began.elapsed() < 2 * RIGHTS_WITHIN, "{:?} of virtual time", began.elapsed());
    }
}
