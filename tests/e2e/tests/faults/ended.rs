//! Runs that are ended from outside: their helm killed, stopped, terminated, deleted.

use anyhow::{Result, ensure};
use klm_e2e::fleet::Kata;

use super::{PAIRS, consistent, slow_fleet, until_probed};

const ALL: &str = "batch-size=3";

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_run_that_fails_or_is_stopped_gives_its_nodes_back_and_the_next_one_goes_on_where_a_dead_one_was()
-> Result<()> {
    let (fleet, before) = slow_fleet(&Kata::daemonset("3.31.0"), "4.0.0").await?;

    let without_helm = fleet.begin("4.0.0", &[ALL]).await?;
    fleet.kill_helm().await?;
    let without_helm = without_helm.ended(&fleet).await?.badly()?;
    let said = without_helm.messages().join("\n");
    ensure!(said.contains("ended by a signal"), "{said}");
    assert_eq!(fleet.installs().await?, [1, 1, 1], "nothing was changed: {}", without_helm.log());
    fleet.nothing_left(&before, &without_helm).await?;

    let mut stopped = fleet.begin("4.0.0", &[ALL]).await?;
    stopped.until_status(&fleet, "worker-1", "upgrading").await?;
    fleet.scene.argo(&["stop", "--namespace", "argo", &stopped.name])?;
    let stopped = stopped.ended(&fleet).await?.badly()?;
    assert_eq!(fleet.statuses().await?, ["rolled-back"; 3], "{}", stopped.log());
    assert_eq!(fleet.versions().await?, ["3.31.0"; 3]);
    fleet.nothing_left(&before, &stopped).await?;

    let mut terminated = fleet.begin("4.0.0", &[ALL]).await?;
    terminated.until_status(&fleet, "worker-1", "upgrading").await?;
    let installs = fleet.installs().await?;
    let mut waits = fleet.begin("4.0.0", &[ALL, "when-locked=wait"]).await?;
    fleet.scene.argo(&["terminate", "--namespace", "argo", &terminated.name])?;
    terminated.ended(&fleet).await?.badly()?;

    until_probed(&mut waits, &fleet, "worker-1").await?;
    fleet.scene.argo(&["delete", "--namespace", "argo", &waits.name])?;

    let last = fleet.deploy("4.0.0", &[ALL]).await?.well()?;
    assert_eq!(fleet.versions().await?, ["4.0.0"; 3]);
    let once = |all: &[u32]| all.iter().map(|count| count + 1).collect::<Vec<_>>();
    assert_eq!(fleet.installs().await?, once(&installs), "three runs, one install: {}", last.log());
    consistent(&fleet, "3.31.0", "4.0.0").await?;
    fleet.nothing_left(&before, &last).await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn recover_puts_right_what_a_terminated_run_left() -> Result<()> {
    let (fleet, before) = slow_fleet(&Kata::job("3.32.0").set("job.parallelism=7"), "4.0.0").await?;
    let mut run = fleet.begin("4.0.0", &[PAIRS]).await?;
    run.until(&fleet, "helm to wait for its dispatcher", async || fleet.is_helm_at_work().await).await?;
    fleet.scene.argo(&["terminate", "--namespace", "argo", &run.name])?;
    run.ended(&fleet).await?.badly()?;

    let recovered = fleet.enter("recover", &[]).await?.well()?;
    assert_eq!(fleet.versions().await?, ["3.32.0"; 3], "{}", recovered.log());
    assert_eq!(fleet.statuses().await?, ["rolled-back", "rolled-back", ""]);
    fleet.nothing_left(&before, &recovered).await
}
