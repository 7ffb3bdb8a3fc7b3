//! Black-box suites against a real cluster: what they share.
//!
//! A suite is a file in `tests/`; each of its tests is `#[tokio::test]` and `#[ignore = "needs a cluster: …"]`, and begins
//! with [`Scene::open`]. `cargo xtask test cluster` gives each suite a cluster of its own and runs its tests one after another.

pub mod fleet;
mod metrics;
mod scene;
mod workflow;

use std::fmt::Display;
use std::io::Write as _;

pub use scene::{Scene, unique};
pub use workflow::{Outcome, Step};

/// Waiting with a name and a deadline.
pub use klm_bed::wait::{Seen, Wait};

/// Shows a figure, also when the test passes: the test harness keeps `eprintln!` of such a test to itself.
pub fn show(figure: impl Display) {
    // Nobody reads it when nobody listens.
    let _ = writeln!(std::io::stderr(), "{figure}");
}
