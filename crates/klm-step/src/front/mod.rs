//! What the steps before the rollout have in common: what was asked for, what is there, and what that means.

mod budgets;
mod calls;
mod check;
mod installs;
mod judge;
mod live;
mod look;
mod outputs;
mod recorded;
mod request;
mod rights;

pub use budgets::{Obstacle, obstacles};
pub use calls::{expected, upgrade};
pub use check::{Findings, Known, check, rights, tools};
pub use judge::{Outcome, judge, of_release, plan_of};
pub use live::Live;
pub use look::{Seen, change_since, look, release_of};
pub use outputs::Outputs;
pub use recorded::{Recorded, is_of};
pub use request::{Draft, Request};
