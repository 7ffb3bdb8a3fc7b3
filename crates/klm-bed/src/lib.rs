//! A real Kubernetes cluster on one machine, for tests, demos and benchmarks.

pub mod image;
pub mod parts;
pub mod paths;
pub mod process;
pub mod utils;

pub use parts::Parts;
