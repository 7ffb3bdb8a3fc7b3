//! Faults while a run is at work: whatever is killed, deleted, stopped or submitted twice, the fleet converges.
//!
//! Several faults share a fleet, and often a run: what counts is that each strikes at a known point of a wave, and that what
//! was really installed on the nodes is right in the end.

use std::time::Duration;

use anyhow::{Result, ensure};
use klm_bed::wait::{Seen, Wait};
use klm_e2e::fleet::{Before, Finished, Fleet, Kata, Lifecycle, Run, VerificationPod};
use klm_standin::injection::Injection;
use klm_standin::setup;

/// Where step pods run.
const HOST: &str = "worker-3";

/// A fleet that is slow enough to be struck: installs at this version take a while, and so do verifications.
async fn slow_fleet(kata: &Kata, target: &str) -> Result<(Fleet, Before)> {
    let fleet = Fleet::bare().await?;
    fleet.install_lifecycle(&Lifecycle::verifying_with(VerificationPod::running("sleep 4; echo fine\n")))?;
    fleet.install(kata).await?;
    let slow = [Injection::Slow(Duration::from_secs(8))];
    setup::inject(&fleet.client(), "kube-system", None, Some(target), &slow).await?;
    let before = fleet.before().await?;
    Ok((fleet, before))
}

async fn submit(fleet: &Fleet, target: &str, more: &[&str]) -> Result<Run> {
    let target = format!("target-version={target}");
    let arguments: Vec<&str> = [&*target].iter().chain(more).flat_map(|parameter| ["-p", *parameter]).collect();
    fleet.submit(&arguments).await
}

/// Each node is at the version that its status says, whatever happened; one that is done was done once.
async fn consistent(fleet: &Fleet, from: &str, to: &str) -> Result<()> {
    let versions = fleet.versions().await?;
    for (node, version) in fleet.nodes().await?.iter().zip(&versions) {
        let expected = if node.status() == "completed" { to } else { from };
        ensure!(version == expected, "node `{}` is `{}` and has {version}", node.name, node.status());
        ensure!(!node.is_in_flight(), "node `{}` is left `{}`", node.name, node.status());
    }
    Ok(())
}

/// A run that ended well has moved everything; one that failed has given everything back, and the same run submitted
/// again moves it.
async fn converges(fleet: &Fleet, before: &Before, run: Finished, from: &str, to: &str) -> Result<()> {
    consistent(fleet, from, to).await?;
    fleet.nothing_left(before, &run).await?;
    if !run.succeeded() {
        let again = fleet.deploy(to, &["batch-size=3"]).await?.well()?;
        fleet.nothing_left(before, &again).await?;
    }
    ensure!(fleet.versions().await? == [to; 3], "{:?}", fleet.versions().await?);
    Ok(())
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_run_goes_on_whatever_is_killed_around_it_in_daemonset_mode() -> Result<()> {
    let (fleet, before) = slow_fleet(&Kata::daemonset("3.31.0"), "4.0.0").await?;
    let mut run = submit(&fleet, "4.0.0", &[]).await?;

    run.until_status(&fleet, "worker-1", "upgrading").await?;
    fleet.delete_step_pods(&run)?;
    run.until_status(&fleet, "worker-1", "verifying").await?;
    fleet.kill_control_plane("kube-apiserver")?;

    run.until_status(&fleet, "worker-2", "upgrading").await?;
    fleet.kill_control_plane("workflow-controller")?;
    fleet.kill_on_node("worker-2", "kubelet")?;
    run.until_status(&fleet, "worker-2", "verifying").await?;
    fleet.delete_step_pods(&run)?;

    run.until_status(&fleet, "worker-3", "upgrading").await?;
    fleet.kill_control_plane("kube-apiserver")?;
    run.until_status(&fleet, "worker-3", "verifying").await?;
    let kubelet = fleet.freeze_kubelet(HOST)?;
    fleet.kill_control_plane("workflow-controller")?;
    tokio::time::sleep(Duration::from_secs(8)).await;
    kubelet.thaw()?;

    let run = run.ended(&fleet).await?.well()?;
    ensure!(fleet.installs().await? == [2, 2, 2], "a node was done twice: {}", run.log());
    run.history.check_waves(1)?;
    converges(&fleet, &before, run, "3.31.0", "4.0.0").await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_killed_helm_costs_no_node_anything_in_daemonset_mode() -> Result<()> {
    let (fleet, before) = slow_fleet(&Kata::daemonset("3.31.0"), "4.0.0").await?;
    let run = submit(&fleet, "4.0.0", &["batch-size=3"]).await?;
    fleet.kill_helm().await?;
    let run = run.ended(&fleet).await?;
    converges(&fleet, &before, run, "3.31.0", "4.0.0").await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_run_goes_on_whatever_is_killed_around_it_in_job_mode() -> Result<()> {
    let kata = Kata::job("3.32.0").set("job.parallelism=7");
    let (fleet, before) = slow_fleet(&kata, "4.0.0").await?;
    let mut run = submit(&fleet, "4.0.0", &["batch-size=2"]).await?;

    run.until_status(&fleet, "worker-1", "upgrading").await?;
    fleet.kill_control_plane("kube-apiserver")?;
    fleet.kill_control_plane("workflow-controller")?;
    run.until_status(&fleet, "worker-1", "verifying").await?;
    fleet.delete_step_pods(&run)?;

    let run = run.ended(&fleet).await?;
    converges(&fleet, &before, run, "3.32.0", "4.0.0").await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_step_or_helm_that_is_killed_in_mid_dispatch_loses_no_node() -> Result<()> {
    let (fleet, before) = slow_fleet(&Kata::job("3.32.0"), "4.0.0").await?;
    let mut run = submit(&fleet, "4.0.0", &["batch-size=2"]).await?;

    run.until_status(&fleet, "worker-1", "upgrading").await?;
    fleet.kill_helm().await?;
    run.until_status(&fleet, "worker-3", "upgrading").await?;
    fleet.delete_step_pods(&run)?;

    let run = run.ended(&fleet).await?;
    converges(&fleet, &before, run, "3.32.0", "4.0.0").await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_step_whose_node_loses_power_is_made_good() -> Result<()> {
    let (fleet, before) = slow_fleet(&Kata::daemonset("3.31.0"), "4.0.0").await?;
    let mut run = submit(&fleet, "4.0.0", &["batch-size=2"]).await?;
    run.until_status(&fleet, "worker-1", "upgrading").await?;
    fleet.scene.cluster.stop_node(HOST)?;
    fleet.scene.cluster.start_node(HOST)?;
    let run = run.ended(&fleet).await?;
    // Its own kata-deploy starts again with it.
    Wait::new("every node to serve Kata", Duration::from_secs(60))
        .until(async || {
            let nodes = fleet.nodes().await?;
            let without: Vec<&str> = nodes.iter().filter(|it| !it.serves_kata()).map(|it| it.name.as_str()).collect();
            Ok(if without.is_empty() { Seen::Done(()) } else { Seen::NotYet(format!("not {without:?}")) })
        })
        .await?;
    converges(&fleet, &before, run, "3.31.0", "4.0.0").await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_stopped_run_gives_its_nodes_back_and_a_terminated_one_is_carried_on() -> Result<()> {
    let (fleet, before) = slow_fleet(&Kata::daemonset("3.31.0"), "4.0.0").await?;

    let mut stopped = submit(&fleet, "4.0.0", &[]).await?;
    stopped.until_status(&fleet, "worker-2", "upgrading").await?;
    fleet.scene.argo(&["stop", "-n", "argo", &stopped.name])?;
    let stopped = stopped.ended(&fleet).await?.badly()?;
    assert_eq!(fleet.statuses().await?, ["completed", "rolled-back", ""], "{}", stopped.log());
    consistent(&fleet, "3.31.0", "4.0.0").await?;
    fleet.nothing_left(&before, &stopped).await?;

    let mut terminated = submit(&fleet, "4.0.0", &[]).await?;
    terminated.until_status(&fleet, "worker-2", "verifying").await?;
    fleet.scene.argo(&["terminate", "-n", "argo", &terminated.name])?;
    terminated.ended(&fleet).await?.badly()?;

    let mut deleted = submit(&fleet, "4.0.0", &[]).await?;
    deleted.until_status(&fleet, "worker-3", "upgrading").await?;
    fleet.scene.argo(&["delete", "-n", "argo", &deleted.name])?;
    drop(deleted);

    let last = fleet.deploy("4.0.0", &[]).await?.well()?;
    converges(&fleet, &before, last, "3.31.0", "4.0.0").await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn recover_puts_right_what_a_terminated_run_left() -> Result<()> {
    let (fleet, before) = slow_fleet(&Kata::job("3.32.0").set("job.parallelism=7"), "4.0.0").await?;
    let mut run = submit(&fleet, "4.0.0", &["batch-size=2"]).await?;
    run.until_status(&fleet, "worker-1", "upgrading").await?;
    fleet.scene.argo(&["terminate", "-n", "argo", &run.name])?;
    run.ended(&fleet).await?.badly()?;

    let recovered = fleet.enter("recover", &[]).await?.well()?;
    assert_eq!(fleet.versions().await?, ["3.32.0"; 3], "{}", recovered.log());
    assert_eq!(fleet.statuses().await?, ["rolled-back", "rolled-back", ""]);
    fleet.nothing_left(&before, &recovered).await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_retry_is_refused_with_advice_and_a_second_run_waits_or_is_refused() -> Result<()> {
    let fleet = Fleet::bare().await?;
    fleet.install_lifecycle(&Lifecycle::verifying_with(VerificationPod::failing_first_on(&["worker-1"])))?;
    fleet.install(&Kata::daemonset("3.31.0")).await?;
    let before = fleet.before().await?;

    let failed = fleet.deploy("4.0.0", &[]).await?.badly()?;
    fleet.scene.argo(&["retry", "-n", "argo", &failed.name])?;
    let retried = fleet.scene.ended_workflow("argo", &failed.name, Duration::from_secs(120)).await?;
    let said: Vec<&str> = retried.steps.values().map(|step| step.message.as_str()).collect();
    ensure!(retried.phase == "Failed" && said.join("\n").contains("submit"), "{}: {said:?}", retried.phase);
    assert_eq!(fleet.statuses().await?, ["rolled-back", "", ""]);
    assert_eq!(fleet.installs().await?, [3, 1, 1], "the retry touched nothing");
    fleet.nothing_left(&before, &failed).await?;

    let slow = [Injection::Slow(Duration::from_secs(8))];
    setup::inject(&fleet.client(), "kube-system", None, Some("4.0.0"), &slow).await?;
    let mut first = submit(&fleet, "4.0.0", &["batch-size=3"]).await?;
    first.until_status(&fleet, "worker-1", "upgrading").await?;
    let waiting = submit(&fleet, "4.0.0", &["when-locked=wait"]).await?;
    let refused = fleet.deploy("4.0.0", &[]).await?.badly()?;
    let said = refused.messages().join("\n");
    ensure!(said.contains(&first.name), "the holder is named: {said}");

    let first = first.ended(&fleet).await?.well()?;
    let waited = waiting.ended(&fleet).await?.well()?;
    assert_eq!(fleet.installs().await?, [4, 2, 2], "the run that waited found nothing to do: {}", waited.log());
    converges(&fleet, &before, first, "3.31.0", "4.0.0").await
}
