//! The chart as the real helm renders it, version by version. Needs no cluster; helm is built once if the cache has none.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where it stopped")]

mod daemonset;
mod dispatcher;
mod helm;
mod objects;
mod reused_values;
