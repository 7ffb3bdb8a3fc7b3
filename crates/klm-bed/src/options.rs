//! What kind of cluster is wanted.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::run::Started;
use crate::turn;

/// A cluster to start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Options {
    /// Its name: several clusters can run at the same time.
    pub name: String,
    /// Nodes with a kubelet and a containerd of their own, `worker-1` and so on: 1 to 5.
    pub nodes: usize,
    /// Nodes that kwok plays, `sim-0001` and so on.
    pub simulated: usize,
    /// How long Argo's controller leaves a workflow alone between two looks: its own default is 10 s.
    pub requeue: Duration,
    /// Argo's full definitions instead of the minimal ones: the server then prunes and checks fields.
    pub full_crds: bool,
    /// The test run that it is for, and that it doesn't outlive. Nobody else's cluster is removed unasked.
    #[serde(default)]
    pub owner: Option<Started>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: "klm".to_owned(),
            nodes: 3,
            simulated: 0,
            requeue: Duration::from_secs(10),
            full_crds: false,
            owner: turn::owner(),
        }
    }
}

impl Options {
    /// The names of the real nodes.
    pub fn node_names(&self) -> Vec<String> {
        (1..=self.nodes).map(|n| format!("worker-{n}")).collect()
    }
}
