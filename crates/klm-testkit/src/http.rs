//! The same fake over loopback HTTP, with a kubeconfig: for the real binary and for other programs.

use std::path::{Path, PathBuf};

use ::http::{Request, Response, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tower::BoxError;

use crate::answer::AnswerBody;
use crate::api::call::Call;
use crate::cluster::FakeCluster;
use crate::connection::{Connection, Trouble, complaint_response};

/// A listening fake; it stops when dropped. Needs a clock that isn't paused.
#[derive(Debug)]
pub struct HttpServer {
    url: String,
    user: String,
    task: JoinHandle<()>,
}

impl FakeCluster {
    /// Listens on a free loopback port until the next kill: a process that lives on after it gets no more answers.
    pub async fn listen(&self) -> std::io::Result<HttpServer> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let task = tokio::spawn(accept(self.clone(), self.incarnation(), listener));
        Ok(HttpServer { url, user: self.identity().user, task })
    }
}

impl HttpServer {
    /// The address, for example `http://127.0.0.1:40001`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A kubeconfig for the identity that the cluster had when it began to listen.
    pub fn kubeconfig(&self) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "fake",
            "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
            "users": [{"name": "fake", "user": {"token": self.user}}],
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake", "namespace": "default"}}],
        })
    }

    /// Writes the kubeconfig into a directory.
    pub fn write_kubeconfig(&self, directory: &Path) -> std::io::Result<PathBuf> {
        let path = directory.join("kubeconfig");
        // JSON is YAML, and every client reads it.
        std::fs::write(&path, self.kubeconfig().to_string())?;
        Ok(path)
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(cluster: FakeCluster, incarnation: u64, listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        let cluster = cluster.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(cluster.clone(), incarnation, request));
            // A client that goes away in mid-answer is its own business.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(
    cluster: FakeCluster,
    incarnation: u64,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, BoxError> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes().to_vec();
    let token = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = token.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default().to_owned();
    let call = Call::read(&Request::from_parts(parts, ()), body);
    let identity = cluster.inner().identity_of(&token);
    match Connection::new(cluster.inner(), identity, incarnation).serve(call).await {
        Ok(response) => Ok(response),
        // An error here makes hyper close the connection, which is what the fault asks for.
        Err(Trouble::Broken) => Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into()),
        Err(Trouble::Unknown(complaint)) => Ok(complaint_response(&complaint)),
    }
}
