//! The stand-in kata-deploy: a chart that behaves like upstream's in each version, and the stub that its pods run.
//! No host is touched. What "happened" on a node is kept in annotations that only tests read.

pub mod chart;
pub mod daemon;
pub mod dispatch;
pub mod environment;
mod health;
pub mod hooks;
pub mod image;
pub mod injection;
pub mod names;
pub mod node;
pub mod perform;
pub mod play;
pub mod profile;
pub mod script;
pub mod setup;
pub mod truth;
