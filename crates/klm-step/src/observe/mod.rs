//! Kubernetes objects into the plain facts that `klm-core` decides on. Pure; an absent field is absent, not empty.

mod job;
mod kata_pod;
mod node;

pub use job::{job_end, node_job};
pub use kata_pod::{daemonset, kata_pod};
pub use node::node;
