//! The work of every workflow step: look at the world, let `klm-core` decide, act.

pub mod cli;
pub mod cluster;
pub mod engine;
pub mod exit;
pub mod front;
pub mod helm;
pub mod lock;
pub mod logging;
pub mod manifest;
pub mod observe;
pub mod origin_store;
pub mod plan_store;
pub mod run;
pub mod signals;
pub mod steps;
pub mod terminal;
#[cfg(test)]
mod testing;
pub mod wait;
pub mod world;
