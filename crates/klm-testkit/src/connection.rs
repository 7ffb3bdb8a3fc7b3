//! One process's connection to the fake: a tower service, alive until the process is killed.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ::http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use kube::client::Body;
use serde_json::json;
use tower::{BoxError, Service};

use crate::answer::{AnswerBody, Watching};
use crate::api::authorize::Identity;
use crate::api::call::Call;
use crate::api::serve::{Body as Shape, Served, Unknown};
use crate::api::status::Answer;
use crate::api::watch::Watch;
use crate::cluster::{Inner, State};
use crate::fault::Effect;
use crate::kill::When;

/// One request, as recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Who asked.
    pub user: String,
    /// `METHOD path?query body`.
    pub line: String,
    /// HTTP status of the answer; 0 when there was none.
    pub code: u16,
    /// Whether it counts as a write.
    pub is_write: bool,
}

/// A connection of one identity.
#[derive(Clone)]
pub struct Connection {
    inner: Arc<Inner>,
    identity: Identity,
    incarnation: u64,
}

/// Why a request has no answer.
pub(crate) enum Trouble {
    /// The connection broke.
    Broken,
    /// The fake doesn't know the route: the test must fail.
    Unknown(String),
}

/// What a request comes to.
enum Fate {
    Answered(Response<AnswerBody>),
    Broken,
    Never,
    Unknown(String),
}

impl Connection {
    pub(crate) fn new(inner: Arc<Inner>, identity: Identity, incarnation: u64) -> Self {
        Self { inner, identity, incarnation }
    }

    /// A client on this connection.
    pub fn client(self) -> kube::Client {
        kube::Client::new(self, "default")
    }

    /// Serves one request whose body has arrived.
    pub(crate) async fn serve(self, call: Call) -> Result<Response<AnswerBody>, Trouble> {
        if let Some(delay) = self.delay(&call) {
            tokio::time::sleep(delay).await;
        }
        match self.decide(&call) {
            Fate::Answered(response) => Ok(response),
            Fate::Broken => Err(Trouble::Broken),
            Fate::Never => std::future::pending().await,
            Fate::Unknown(complaint) => Err(Trouble::Unknown(complaint)),
        }
    }

    fn delay(&self, call: &Call) -> Option<Duration> {
        let mut state = self.inner.state();
        let faults = state.faults.iter_mut().filter(|fault| matches!(fault.effect, Effect::Slow(_)));
        let delays = faults.filter_map(|fault| {
            let Effect::Slow(time) = fault.effect else {
                return None;
            };
            fault.strikes(call).then_some(time)
        });
        Some(delays.sum()).filter(|total: &Duration| !total.is_zero())
    }

    fn decide(&self, call: &Call) -> Fate {
        let mut state = self.inner.state();
        if state.incarnation > self.incarnation {
            return Fate::Never;
        }
        let effect = strike(&mut state, call);
        let is_write = call.is_write();
        state.writes += u64::from(is_write);
        let kill = state.kill.filter(|kill| is_write && kill.at == state.writes).map(|kill| kill.when);
        let record = |state: &mut State, code| {
            let user = self.identity.user.clone();
            let line = call.line();
            state.entries.push(Entry { user, line, code, is_write });
        };
        if kill == Some(When::Before) {
            state.kill_all(&self.inner.kills);
            return Fate::Never;
        }
        match &effect {
            Some(Effect::Answer(status)) => {
                record(&mut state, status.code);
                return self.end(&mut state, kill, Fate::Answered(response(Err(status.clone()))));
            }
            Some(Effect::Disconnect) => {
                record(&mut state, 0);
                return self.end(&mut state, kill, Fate::Broken);
            }
            Some(Effect::Hang) => {
                record(&mut state, 0);
                return self.end(&mut state, kill, Fate::Never);
            }
            Some(Effect::LoseAnswer | Effect::Slow(_)) | None => {}
        }
        let State { world, version, .. } = &mut *state;
        match world.serve(call, &self.identity, version) {
            Err(Unknown(complaint)) => {
                record(&mut state, 500);
                state.complaints.push(complaint.clone());
                Fate::Unknown(complaint)
            }
            Ok(answer) => {
                let code = answer.as_ref().map_or_else(|status| status.code, |served| served.code);
                record(&mut state, code);
                if answer.is_ok() {
                    state.react(call);
                }
                let lost = matches!(effect, Some(Effect::LoseAnswer));
                let fate = match answer {
                    _ if lost => Fate::Broken,
                    Ok(Served { body: Shape::Watch(watch), .. }) => Fate::Answered(self.watching(&state, watch)),
                    answer => Fate::Answered(response(answer)),
                };
                self.end(&mut state, kill, fate)
            }
        }
    }

    fn watching(&self, state: &State, watch: Watch) -> Response<AnswerBody> {
        let watching = Watching::new(Arc::clone(&self.inner), self.incarnation, state.watch_breaks, watch);
        let mut response = Response::new(AnswerBody::Watch(Box::new(watching)));
        response.headers_mut().insert("content-type", ::http::HeaderValue::from_static("application/json"));
        response
    }

    /// After the write, a kill takes the answer away.
    fn end(&self, state: &mut State, kill: Option<When>, fate: Fate) -> Fate {
        if kill.is_some() {
            state.kill_all(&self.inner.kills);
            return Fate::Never;
        }
        fate
    }
}

fn strike(state: &mut State, call: &Call) -> Option<Effect> {
    let mut faults = state.faults.iter_mut().filter(|fault| !matches!(fault.effect, Effect::Slow(_)));
    faults.find_map(|fault| fault.strikes(call).then(|| fault.effect.clone()))
}

fn response(answer: Answer<Served>) -> Response<AnswerBody> {
    let (code, retry_after, kind, text) = match answer {
        Ok(Served { code, body: Shape::Json(value) }) => (code, None, "application/json", value.to_string()),
        Ok(Served { code, body: Shape::Text(text) }) => (code, None, "text/plain", text),
        Ok(Served { body: Shape::Watch(_), .. }) => unreachable!("a watch has a body of its own"),
        Err(status) => (status.code, status.retry_after, "application/json", status.body.to_string()),
    };
    let mut builder = Response::builder().status(code).header("content-type", kind);
    if let Some(seconds) = retry_after {
        builder = builder.header("retry-after", seconds);
    }
    builder.body(whole(text)).expect("status and headers are valid")
}

fn whole(text: String) -> AnswerBody {
    AnswerBody::Whole(Full::new(Bytes::from(text)))
}

/// What a complaint looks like over HTTP, where a panic would reach nobody.
pub(crate) fn complaint_response(complaint: &str) -> Response<AnswerBody> {
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 500, "message": complaint});
    Response::builder()
        .status(500)
        .header("content-type", "application/json")
        .body(whole(body.to_string()))
        .expect("status and headers are valid")
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Connection").field("user", &self.identity.user).finish_non_exhaustive()
    }
}

impl Service<Request<Body>> for Connection {
    type Response = Response<AnswerBody>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let connection = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await?.to_bytes().to_vec();
            let call = Call::read(&Request::from_parts(parts, ()), body);
            match connection.serve(call).await {
                Ok(response) => Ok(response),
                Err(Trouble::Broken) => Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into()),
                Err(Trouble::Unknown(complaint)) => {
                    panic!("the fake API server doesn't know this: {complaint}")
                }
            }
        })
    }
}
