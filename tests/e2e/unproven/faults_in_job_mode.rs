//! What dies under a run in job mode; belongs to `tests/e2e/tests/faults/killed.rs`.

use anyhow::{Context as _, Result};
use k8s_openapi::api::batch::v1::Job;
use klm_e2e::fleet::{Fleet, Kata, Run};
use kube::api::Api;

use super::{HOST, PAIRS, slow_fleet, submit, until_probed};

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn in_job_mode_a_helm_or_a_node_that_dies_costs_no_node_anything() -> Result<()> {
    let kata = Kata::job("3.32.0").set("job.parallelism=7");
    let (fleet, before) = slow_fleet(&kata, "4.0.0").await?;

    let mut run = submit(&fleet, "4.0.0", &[PAIRS]).await?;

    until_dispatched(&mut run, &fleet, "worker-1").await?;
    fleet.kill_helm().await?;

    until_probed(&mut run, &fleet, "worker-1").await?;
    fleet.scene.cluster.stop_node(HOST)?;
    fleet.scene.cluster.start_node(HOST)?;

    until_dispatched(&mut run, &fleet, HOST).await?;
    fleet.kill_control_plane(&["kube-apiserver", "workflow-controller"]).await?;

    let run = run.ended(&fleet).await?.well()?;
    assert_eq!(fleet.versions().await?, ["4.0.0"; 3], "{}", run.log());
    run.history.check_waves(2)?;
    run.outcome.step("verify(1)").context("Argo starts the step again that was lost with its node")?;
    fleet.nothing_left(&before, &run).await
}

/// Waits until this run's Job for a node is there.
async fn until_dispatched(run: &mut Run, fleet: &Fleet, node: &str) -> Result<()> {
    let jobs: Api<Job> = Api::namespaced(fleet.client(), "kube-system");
    let name = format!("kata-deploy-install-{node}");
    let upgrading = async || Ok::<_, anyhow::Error>(fleet.node(node).await?.status() == "upgrading");
    run.until(fleet, &format!("the Job {name} to run"), async || {
        let job = jobs.get_opt(&name).await?;
        let runs = job.and_then(|job| job.status).is_some_and(|status| status.active == Some(1));
        Ok(runs && upgrading().await?)
    })
    .await
}
