//! What the steps have in common: moving a wave, verifying it, taking nodes back.

pub mod record;
