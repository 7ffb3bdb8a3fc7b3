//! The order of nodes. See the parent module for the reasons.

use super::{is_in_flight, is_rolling_back};
use crate::name::NodeName;
use crate::node::NodeFacts;

const ZONE: &str = "topology.kubernetes.io/zone";
const ZONE_BEFORE: &str = "failure-domain.beta.kubernetes.io/zone";

/// What nodes are sorted by.
pub type Key = (bool, bool, bool, Vec<Part>, Vec<Part>);

pub fn key(node: &NodeFacts, hosts: &[NodeName]) -> Key {
    let zone = node.labels.get(ZONE).or_else(|| node.labels.get(ZONE_BEFORE)).map_or("", String::as_str);
    (
        hosts.contains(&node.name),
        !is_rolling_back(node),
        !is_in_flight(node),
        natural(zone),
        natural(node.name.as_str()),
    )
}

/// A piece of a name; numbers before letters, as people sort them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Digits: by how many, leading zeros aside, then as text.
    Number(usize, String),
    /// Anything else.
    Text(String),
}

/// Cuts a name so that `worker-2` comes before `worker-10`.
pub fn natural(name: &str) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let numeric = first.is_ascii_digit();
        let end = rest.find(|c: char| c.is_ascii_digit() != numeric).unwrap_or(rest.len());
        let (part, after) = rest.split_at(end);
        let value = part.trim_start_matches('0');
        parts.push(if numeric { Part::Number(value.len(), value.to_owned()) } else { Part::Text(part.to_owned()) });
        rest = after;
    }
    // `worker-01` and `worker-1` are two nodes: the names themselves decide then.
    parts.push(Part::Text(name.to_owned()));
    parts
}
