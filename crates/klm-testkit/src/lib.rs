//! Fakes at the edge, for tests: an API server that remembers, a world that reacts, a helm that misbehaves on demand.
//!
//! Time is tokio's: under `start_paused` a wait of ten minutes takes none, and everything that the world does in between
//! happens in order, computed when the next request looks.
#![allow(clippy::doc_markdown, reason = "Kubernetes' own words need no quoting")]
#![expect(clippy::expect_used, reason = "a fake that is used wrongly must stop the test on the spot")]

mod answer;
pub mod api;
mod cluster;
mod connection;
mod fault;
pub mod fixtures;
pub mod helm;
mod http;
mod kill;
mod portrait;
pub mod world;

pub use api::authorize::{Grant, Identity, Rbac};
pub use cluster::FakeCluster;
pub use connection::{Connection, Entry};
pub use fault::Fault;
pub use helm::{FakeHelm, HelmFault, HelmProcess, Invocation, Output};
pub use http::HttpServer;
pub use kill::{Outcome, When, run_until_killed};
pub use world::{Injection, Pace, PodFate, Truth, World};
