//! The chart as Helm renders it, as Helm refuses it, and as Argo reads it: needs their programs, but no cluster.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod argo;
mod refusals;
mod rendered;
#[path = "../../../../crates/klm-chartgen/tests/support/mod.rs"]
mod support;
