//! The stand-in itself: every trap of kata-deploy's charts that the product's own tests rely on must be there.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod daemonset;
mod jobs;
mod kata;
mod values;
