//! Programs that die under a run: step pods, kubelets, the API server, the workflow controller.

use anyhow::Result;
use klm_e2e::fleet::Kata;

use super::{HOST, PAIRS, slow_fleet, submit, until_probed};

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn in_daemonset_mode_a_run_goes_on_whatever_is_killed_around_it() -> Result<()> {
    let (fleet, before) = slow_fleet(&Kata::daemonset("3.31.0"), "4.0.0").await?;
    let mut run = submit(&fleet, "4.0.0", &[PAIRS]).await?;

    run.until_status(&fleet, "worker-1", "upgrading").await?;
    let kubelet = fleet.freeze_kubelet(HOST)?;
    fleet.kill_kubelet("worker-2").await?;
    fleet.kill_control_plane(&["kube-apiserver"]).await?;
    run.until_status(&fleet, "worker-1", "verifying").await?;
    kubelet.thaw();

    until_probed(&mut run, &fleet, "worker-1").await?;
    run.delete_running_pods(&fleet)?;
    fleet.kill_control_plane(&["workflow-controller"]).await?;

    run.until_status(&fleet, HOST, "upgrading").await?;
    run.delete_running_pods(&fleet)?;
    fleet.kill_control_plane(&["kube-apiserver", "workflow-controller"]).await?;

    until_probed(&mut run, &fleet, HOST).await?;
    fleet.kill_kubelet(HOST).await?;

    let run = run.ended(&fleet).await?.well()?;
    assert_eq!(fleet.versions().await?, ["4.0.0"; 3]);
    assert_eq!(fleet.installs().await?, [2, 2, 2], "a node was done twice: {}", run.log());
    run.history.check_waves(2)?;
    fleet.nothing_left(&before, &run).await
}
