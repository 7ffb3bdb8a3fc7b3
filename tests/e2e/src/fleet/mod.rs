//! A fleet to roll out to: real nodes with the stand-in kata-deploy and our own chart, wiped before each test.
//!
//! A test begins with [`Fleet::open`], installs kata-deploy with [`Fleet::install`] and submits runs with [`Fleet::deploy`].
//! What happened is read from the stand-in's ground truth, from the nodes, from Helm and from the API server's audit log.

mod by_hand;
mod history;
mod kata;
mod leftovers;
mod lifecycle;
mod nodes;
mod release;
mod requests;
mod reset;
mod run;
mod strike;
mod verification;

use anyhow::{Context as _, Result};
use kube::Client;

pub use by_hand::Planned;
pub use history::{History, Moment};
pub use kata::Kata;
pub use leftovers::Before;
pub use lifecycle::Lifecycle;
pub use nodes::{NodeState, Taint};
pub use release::Revision;
pub use requests::Requests;
pub use run::{Finished, Run, StepPod};
pub use strike::Frozen;
pub use verification::VerificationPod;

use crate::Scene;

/// Where our chart and its workflows are.
pub const ARGO: &str = "argo";
/// Where kata-deploy's release is unless a test says otherwise.
pub const KUBE_SYSTEM: &str = "kube-system";
/// kata-deploy's release unless a test says otherwise.
pub const RELEASE: &str = "kata-deploy";
/// Our chart's release, its workflow template and the account of its steps.
pub const LIFECYCLE: &str = "kata-lifecycle-manager";

/// The fleet as a test sees it.
pub struct Fleet {
    /// The cluster, its client and its tools.
    pub scene: Scene,
}

impl Fleet {
    /// The cluster with nothing on it but our chart, as documented.
    pub async fn open() -> Result<Self> {
        let fleet = Self::bare().await?;
        fleet.install_lifecycle(&Lifecycle::default())?;
        Ok(fleet)
    }

    /// The cluster with nothing on it.
    pub async fn bare() -> Result<Self> {
        let fleet = Self { scene: Scene::open().await? };
        fleet.reset().await.context("wiping the cluster before the test")?;
        Ok(fleet)
    }

    /// An administrator's client.
    pub fn client(&self) -> Client {
        self.scene.client.clone()
    }

    pub(crate) fn kata_charts(&self) -> Result<String> {
        self.scene.cluster.kata_charts().context("the suites need the cluster's registry for kata-deploy's charts")
    }
}
