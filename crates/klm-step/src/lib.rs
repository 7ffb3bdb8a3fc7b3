//! The work of every workflow step: look at the world, let `klm-core` decide, act.

pub mod cli;
