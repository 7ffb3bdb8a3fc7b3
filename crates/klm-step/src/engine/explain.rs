//! Why an install failed, in the words of whoever did it: what kata-deploy's own containers printed last.

use klm_core::node::NodeFacts;
use klm_core::plan::Mode;
use klm_core::pod::{PodFacts, State};

use super::context::Run;
use crate::cluster::Query;

/// Of a container's log.
const LINES: i64 = 30;

impl Run<'_> {
    /// Prints the end of the installer's log on a node that failed. It explains, so whatever keeps us from reading it is
    /// left out.
    pub async fn explain_install(&self, node: &NodeFacts) {
        let labels = match self.mode {
            Mode::Daemonset => format!("name={}", self.base_name()),
            Mode::Job => format!("kata-deploy-job-dispatcher/owner={}-install", self.base_name()),
        };
        let query = Query::labels(labels).and_fields(format!("spec.nodeName={}", node.name));
        self.print_logs(&query).await;
    }

    /// Prints the end of the dispatcher's log.
    pub async fn explain_dispatch(&self) {
        self.print_logs(&Query::labels("kata-deploy/dispatcher=install")).await;
    }

    async fn print_logs(&self, query: &Query) {
        let namespace = Some(self.release.namespace.as_str());
        let pods = self.world.cluster.pods(namespace, query, |pod, _| Some(pod)).await.unwrap_or_default();
        for pod in &pods {
            let Some(container) = telling(pod) else { continue };
            let log = self.world.cluster.log_tail(&pod.namespace, &pod.name, container, LINES).await;
            for line in log.lines() {
                tracing::error!(pod = %pod.full_name(), container, "| {line}");
            }
        }
    }
}

/// The container that tells most: the first that failed, else the last that runs.
fn telling(pod: &PodFacts) -> Option<&str> {
    let failed = pod.containers.iter().find(|it| matches!(it.state, State::Terminated { code, .. } if code != 0));
    let began = || pod.containers.iter().rev().find(|it| !matches!(it.state, State::Unknown));
    failed.or_else(began).map(|container| container.name.as_str())
}
