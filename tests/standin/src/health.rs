//! The probes' server: `/healthz` answers at once, `/readyz` once the installation is done.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tracing::error;

/// The port that every chart of 3.31.0 and later names in its probes by default.
const PORT: u16 = 8090;

/// What a probe of `path` gets.
fn answer(path: &str, ready: bool) -> StatusCode {
    match path {
        "/healthz" => StatusCode::OK,
        "/readyz" if ready => StatusCode::OK,
        "/readyz" => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::NOT_FOUND,
    }
}

/// Serves until the process ends.
pub async fn serve(ready: Arc<AtomicBool>) {
    let listener = match TcpListener::bind(("0.0.0.0", port())).await {
        Ok(listener) => listener,
        Err(cause) => {
            // Without probes the pod never gets ready: that is what a person should see.
            error!(%cause, "can't listen for probes");
            return;
        }
    };
    while let Ok((connection, _)) = listener.accept().await {
        let ready = Arc::clone(&ready);
        let service = service_fn(move |request: Request<Incoming>| {
            let status = answer(request.uri().path(), ready.load(Ordering::SeqCst));
            let mut response = Response::new(Full::<Bytes>::default());
            *response.status_mut() = status;
            async move { Ok::<_, Infallible>(response) }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(connection), service));
    }
}

/// The chart's `health.port`.
fn port() -> u16 {
    std::env::var("HEALTH_PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(PORT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_readiness_waits_for_the_installation() {
        assert_eq!(answer("/healthz", false), StatusCode::OK);
        assert_eq!(answer("/readyz", false), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer("/readyz", true), StatusCode::OK);
        assert_eq!(answer("/", true), StatusCode::NOT_FOUND);
    }
}
