//! One module per step, named as its subcommand and its workflow template.

pub mod check_prerequisites;
pub mod plan;
pub mod preflight;
pub mod select_nodes;
