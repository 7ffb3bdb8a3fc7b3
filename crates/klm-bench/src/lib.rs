//! `cargo xtask bench`: what a rollout costs on thousands of simulated nodes.
//!
//! | module | what |
//! |---|---|
//! | [`scenario`] | what is measured: fleets, and what happens to each, as a list (pure) |
//! | `stage` | a cluster with a fleet on it, kata-deploy's stand-in, its player and our chart |
//! | `rollout`, `alone` | one run of ours; the same done by kata-deploy alone |
//! | [`timeline`], [`requests`], `sizes`, `usage` | what a run leaves behind, as numbers |
//! | [`record`] | all numbers of a benchmark, as they are stored |
//! | [`figures`] | numbers against their targets (pure) |
//! | [`report`] | the table, docs/performance.md and its plot (pure) |

mod alone;
mod bench;
pub mod figures;
pub mod record;
pub mod report;
pub mod requests;
mod rollout;
pub mod scenario;
mod sizes;
mod stage;
pub mod timeline;
mod usage;

pub use bench::{Options, run};
