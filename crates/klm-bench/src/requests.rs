//! What a run asked of the API server, counted from its audit log.

use klm_bed::audit::Request;
use serde::{Deserialize, Serialize};

/// Requests of the steps' service account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// klm-step about nodes, their pods, evictions and events: what grows with the nodes.
    pub about_nodes: usize,
    /// klm-step's looks: lists and watches.
    pub looks: usize,
    /// klm-step about everything else: plan, lock, origin, Jobs, rights.
    pub other: usize,
    /// helm.
    pub helm: usize,
    /// Argo's helper in the step pods.
    pub executor: usize,
    /// Answers 429 or 5xx to klm-step.
    pub refused: usize,
}

/// The account that step pods run as.
pub const ACCOUNT: &str = "system:serviceaccount:argo:kata-lifecycle-manager";

/// Counts the requests of our account.
pub fn count(requests: &[Request]) -> Counts {
    let mut counts = Counts::default();
    for request in requests.iter().filter(|request| request.user == ACCOUNT) {
        let agent = request.agent.to_lowercase();
        if agent.starts_with("helm") {
            counts.helm += 1;
            continue;
        }
        if agent.starts_with("argo") {
            counts.executor += 1;
            continue;
        }
        // A log that a simulated node hasn't got is refused by the way to it, not by the server.
        counts.refused += usize::from((request.code == 429 || request.code >= 500) && request.resource != "pods/log");
        match request.verb.as_str() {
            "list" | "watch" => counts.looks += 1,
            _ if is_about_nodes(request) => counts.about_nodes += 1,
            _ => counts.other += 1,
        }
    }
    counts
}

fn is_about_nodes(request: &Request) -> bool {
    let resource = ["nodes", "pods", "pods/log", "pods/eviction", "events"].contains(&request.resource.as_str());
    resource && request.namespace != "argo" && !request.uri.contains("dryRun=All")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(agent: &str, verb: &str, resource: &str) -> Request {
        Request {
            user: ACCOUNT.to_owned(),
            agent: agent.to_owned(),
            verb: verb.to_owned(),
            resource: resource.to_owned(),
            namespace: String::new(),
            name: String::new(),
            uri: String::new(),
            code: 200,
        }
    }

    #[test]
    fn looks_are_counted_apart_from_what_grows_with_the_nodes() {
        let somebody = Request { user: "somebody".to_owned(), ..request("kubectl", "get", "nodes") };
        let throttled = Request { code: 429, ..request("", "patch", "nodes") };
        let all = [
            request("", "list", "nodes"),
            request("", "patch", "nodes"),
            request("", "get", "configmaps"),
            request("Helm/4.2.4", "patch", "daemonsets"),
            request("argo-workflows/v3", "create", "workflowtaskresults"),
            throttled,
            somebody,
        ];
        let expected = Counts { about_nodes: 2, looks: 1, other: 1, helm: 1, executor: 1, refused: 1 };
        assert_eq!(count(&all), expected);
    }
}
