//! A real Kubernetes cluster on one machine, for tests, demos and benchmarks.
//!
//! [`Cluster::up`] starts one, [`Cluster::named`] finds one that runs, [`Cluster::existing`] takes somebody else's.

pub mod address;
mod argo;
pub mod audit;
mod cargo;
mod cgroups;
mod cluster;
pub mod consent;
pub mod control_plane;
mod down;
pub mod guard;
pub mod image;
pub mod images;
mod leftovers;
pub mod netns;
pub mod node;
mod options;
pub mod parts;
pub mod paths;
mod pki;
pub mod preflight;
pub mod process;
pub mod run;
pub mod simulated;
pub mod tools;
pub mod tree;
pub mod turn;
mod unpacked;
pub mod up;
pub mod utils;
pub mod wait;
pub mod world;

pub use cargo::{cargo, patient_cargo};
pub use cluster::{Cluster, KUBECONFIG_VARIABLE, NAME_VARIABLE, REGISTRY_VARIABLE};
pub use down::down;
pub use leftovers::Leftovers;
pub use options::Options;
pub use parts::Parts;
