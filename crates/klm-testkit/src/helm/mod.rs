//! A helm that can be told to fail: the same engine in process (for virtual time) and as a program (for real processes).
//!
//! It keeps releases where helm does, in Secrets, and makes helm's own requests; so RBAC, faults and kills apply to it.

mod apply;
mod argv;
pub mod chart;
mod engine;
mod fake;
mod hooks;
mod manifest;
mod post_render;
mod program;
mod query;
mod release;
mod rollback;
mod script;
mod storage;
mod upgrade;
mod values;

pub(crate) use apply::owned;
pub use engine::{Invocation, Output};
pub use fake::{FakeHelm, HelmProcess};
pub use post_render::PostRender;
pub use program::{DIRECTORY_ENV, HelmDirectory, beside_this_test, main};
pub use release::Release;
pub use script::{HelmFault, Stage};
pub(crate) use storage::encode as release_secret;
