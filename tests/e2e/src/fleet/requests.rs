//! What a run asked of the API server.

use std::collections::BTreeMap;
use std::fmt;

use klm_bed::audit::Request;

use super::{ARGO, LIFECYCLE};

/// The requests of the steps' service account during a run.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    /// Those of `klm-step`.
    pub own: Vec<Request>,
    /// Those of helm.
    pub helm: Vec<Request>,
    /// Those of Argo's helper in each step pod.
    pub executor: Vec<Request>,
}

impl Requests {
    /// Sorts a log by who asked; others' requests are left out.
    pub fn of(all: Vec<Request>) -> Self {
        let account = format!("system:serviceaccount:{ARGO}:{LIFECYCLE}");
        let mut sorted = Self::default();
        for request in all.into_iter().filter(|request| request.user == account) {
            let agent = request.agent.to_lowercase();
            let group = if agent.starts_with("helm") {
                &mut sorted.helm
            } else if agent.starts_with("argoexec") || agent.contains("argo-workflows") {
                &mut sorted.executor
            } else {
                &mut sorted.own
            };
            group.push(request);
        }
        sorted
    }

    /// Our own requests about nodes and their pods, apart from waiting, shared out over so many nodes: without
    /// what a step asks once for all of them (plan, lock, origin, itself).
    pub fn per_node(&self, nodes: usize) -> usize {
        let about_nodes = |request: &&Request| {
            ["nodes", "pods", "pods/log", "pods/eviction", "events"].contains(&request.resource.as_str())
                && request.namespace != ARGO
                && !request.uri.contains("dryRun=All")
        };
        let counted = self.own.iter().filter(|request| !is_waiting(request)).filter(about_nodes).count();
        // Kubelets write their nodes as well: who loses the race looks and writes once more.
        let lost = self.own.iter().filter(|request| request.resource == "nodes" && request.code == 409).count();
        (counted - 2 * lost).div_ceil(nodes.max(1))
    }
}

/// Lists are how a step looks and waits: their number doesn't grow with the nodes.
fn is_waiting(request: &Request) -> bool {
    request.verb == "list" || request.verb == "watch"
}

impl fmt::Display for Requests {
    /// One line for each kind of request, with how often.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (who, requests) in [("klm-step", &self.own), ("helm", &self.helm), ("argoexec", &self.executor)] {
            writeln!(f, "{who}: {} requests", requests.len())?;
            let mut kinds: BTreeMap<(&str, &str), usize> = BTreeMap::new();
            for request in requests {
                *kinds.entry((&request.verb, &request.resource)).or_default() += 1;
            }
            for ((verb, resource), count) in kinds {
                writeln!(f, "  {count:4} {verb} {resource}")?;
            }
        }
        Ok(())
    }
}
