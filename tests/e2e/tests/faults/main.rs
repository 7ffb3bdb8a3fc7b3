//! Faults while a run is at work: whatever is killed, stopped, deleted or crossed by a person, the fleet converges.
//!
//! Several faults share a run: what counts is that each strikes at a known point of a wave, and that what was really
//! installed on the nodes is right in the end.

mod crossed;
mod ended;
mod killed;

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use klm_core::contract::RUN_LABEL;
use klm_e2e::fleet::{Before, Fleet, Kata, Lifecycle, Run, VerificationPod};
use klm_standin::injection::Injection;
use klm_standin::setup;
use kube::api::{Api, ListParams};

/// Where step pods run. The wave that it is in comes last.
const HOST: &str = "worker-3";

/// The first wave is of two nodes, and the last of [`HOST`].
const PAIRS: &str = "batch-size=2";

/// A fleet that is slow enough to be struck: installs at the target take a while, and so do verifications.
async fn slow_fleet(kata: &Kata, target: &str) -> Result<(Fleet, Before)> {
    let fleet = Fleet::bare().await?;
    fleet.install_lifecycle(&Lifecycle::verifying_with(VerificationPod::running("sleep 10; echo fine\n")))?;
    fleet.install(kata).await?;
    let slow = [Injection::Slow(Duration::from_secs(6))];
    setup::inject(&fleet.client(), "kube-system", None, Some(target), &slow).await?;
    let before = fleet.before().await?;
    Ok((fleet, before))
}

/// Waits until a verification pod is at work on a node.
async fn until_probed(run: &mut Run, fleet: &Fleet, node: &str) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(fleet.client(), "default");
    let fields = format!("spec.nodeName={node},status.phase=Running");
    let there = ListParams::default().labels(RUN_LABEL).fields(&fields);
    run.until(fleet, &format!("a verification pod to run on {node}"), async || {
        Ok(!pods.list(&there).await?.items.is_empty())
    })
    .await
}

/// Each node has the version that its status says, by the truth and not by labels.
async fn consistent(fleet: &Fleet, from: &str, to: &str) -> Result<()> {
    let versions = fleet.versions().await?;
    for (node, version) in fleet.nodes().await?.iter().zip(&versions) {
        let expected = if node.status() == "completed" { to } else { from };
        ensure!(version == expected, "node `{}` is `{}` and has {version}", node.name, node.status());
    }
    Ok(())
}
