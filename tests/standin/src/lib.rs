//! The stand-in kata-deploy: a chart that behaves like upstream's in each version, and the stub that its pods run.
//! No host is touched. What "happened" on a node is kept in annotations that only tests read.

pub mod chart;
pub mod image;
pub mod profile;
