//! The addresses inside a cluster. Every cluster has the same ones: each has network namespaces of its own.

/// The Kubernetes service, where the API server listens for pods, nodes and tests.
pub const SERVICE: &str = "10.96.0.1";
/// The range of service addresses.
pub const SERVICES: &str = "10.96.0.0/24";
/// The control plane on the nodes' network, and the nodes' way out.
pub const GATEWAY: &str = "10.97.0.254";
/// The API server.
pub const API: &str = "https://10.96.0.1:443";
/// The OCI registry, plain HTTP.
pub const REGISTRY: &str = "10.96.0.1:5000";

/// The address of the n-th node, counted from 1.
pub fn node(number: usize) -> String {
    format!("10.97.0.{number}")
}

/// The range of the pods on the n-th node.
pub fn pods(number: usize) -> String {
    format!("10.244.{number}.0/24")
}
