//! What the steps have in common: moving a wave, verifying it, taking nodes back.

mod apply;
mod choose_values;
pub mod context;
mod daemonset;
mod drain;
pub mod each;
mod explain;
pub mod inherit;
mod job;
mod make_good;
mod marks;
mod old_jobs;
mod other_helms;
pub mod record;
mod release;
mod restore;
mod taints;
mod take_back;
mod tries;
mod verify;
pub mod wave;

pub use context::{Aim, Run};
pub use other_helms::begin_alone;
pub use release::Unmoved;
pub use take_back::TakenBack;
pub use wave::Wave;
