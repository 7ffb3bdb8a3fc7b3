//! What the steps have in common: moving a wave, verifying it, taking nodes back.

pub mod context;
mod daemonset;
mod drain;
pub mod each;
mod job;
pub mod record;
mod release;
mod take_back;
mod verify;
pub mod wave;

pub use context::{Aim, Run};
pub use release::Unmoved;
pub use take_back::TakenBack;
pub use wave::Wave;
