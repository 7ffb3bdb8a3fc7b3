//! What the steps before the rollout have in common: what was asked for, what is there, and what that means.

mod budgets;
mod calls;
mod check;
mod installs;
mod judge;
mod live;
mod look;
mod outputs;
mod request;
mod rights;

pub use budgets::{Obstacle, obstacles};
pub use calls::{expected, upgrade};
pub use check::{Findings, Known, check, rights, tools};
pub use judge::{Outcome, is_of, judge, of_release, origin_of, plan_of, users_values};
pub use live::Live;
pub use look::{Seen, change_since, look, release_of};
pub use outputs::Outputs;
pub use request::{Draft, Request};
