//! Taking back: exactly the nodes that failed, proven and verified again; and by hand, any node, after any number of waves.

use anyhow::Result;
use klm_e2e::fleet::{Fleet, Kata, Lifecycle, VerificationPod};

/// A fleet whose new version is bad on these nodes, and only the new one.
async fn fleet_that_fails_on(nodes: &[&str]) -> Result<Fleet> {
    let fleet = Fleet::bare().await?;
    fleet.install_lifecycle(&Lifecycle::verifying_with(VerificationPod::failing_first_on(nodes)))?;
    Ok(fleet)
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn in_daemonset_mode_exactly_the_failed_node_goes_back_and_verified_ones_stay() -> Result<()> {
    let fleet = fleet_that_fails_on(&["worker-2"]).await?;
    fleet.install(&Kata::daemonset("3.31.0").set("debug=true")).await?;
    let before = fleet.before().await?;

    let run = fleet.deploy("4.0.0", &[]).await?.badly()?;

    assert_eq!(fleet.versions().await?, ["4.0.0", "3.31.0", "3.31.0"], "{}", run.log());
    assert_eq!(fleet.installs().await?, [2, 3, 1], "the verified node and the one that waited weren't touched");
    assert_eq!(fleet.statuses().await?, ["completed", "rolled-back", ""]);
    assert_eq!(fleet.node("worker-2").await?.version(), "3.31.0");
    run.history.check_waves(1)?;
    assert_eq!(
        run.history.statuses("worker-2"),
        ["preparing", "cordoned", "upgrading", "verifying", "rolling-back", "rolled-back"]
    );
    // Armed, upgraded, rolled back to the armed one; nothing over that, and still no pod restarts by itself.
    let revisions = fleet.revisions()?;
    let versions: Vec<_> = revisions.iter().map(|revision| revision.version.as_str()).collect();
    assert_eq!(versions, ["3.31.0", "3.31.0", "4.0.0", "3.31.0"], "{revisions:?}");
    assert_eq!(fleet.user_values()?["updateStrategy"]["type"], "OnDelete");
    let said = run.messages().join("\n");
    assert!(said.contains("node `worker-2`, verifying: the verification pod ended with exit code 7"), "{said}");
    assert!(run.log().contains("told to fail on worker-2"), "the pod's own words are shown: {}", run.log());
    fleet.nothing_left(&before, &run).await?;

    // By hand, a node that was upgraded well.
    let by_hand = fleet.enter("rollback-node", &["node-name=worker-1"]).await?.well()?;
    assert_eq!(fleet.versions().await?, ["3.31.0"; 3], "{}", by_hand.log());
    assert_eq!(fleet.installs().await?, [3, 3, 1]);
    assert_eq!(fleet.statuses().await?, ["rolled-back", "rolled-back", ""]);
    fleet.nothing_left(&before, &by_hand).await?;

    // And the cause is gone: the same run again goes through.
    let again = fleet.deploy("4.0.0", &["batch-size=3"]).await?.well()?;
    assert_eq!(fleet.versions().await?, ["4.0.0"; 3], "{}", again.log());
    fleet.nothing_left(&before, &again).await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn in_job_mode_exactly_the_failed_node_goes_back_and_verified_ones_stay() -> Result<()> {
    let fleet = fleet_that_fails_on(&["worker-2"]).await?;
    fleet.install(&Kata::job("3.32.0").set("job.parallelism=7").set("debug=true")).await?;
    let before = fleet.before().await?;

    let run = fleet.deploy("4.0.0", &[]).await?.badly()?;

    assert_eq!(fleet.versions().await?, ["4.0.0", "3.32.0", "3.32.0"], "{}", run.log());
    assert_eq!(fleet.installs().await?, [2, 3, 1]);
    assert_eq!(fleet.statuses().await?, ["completed", "rolled-back", ""]);
    run.history.check_waves(1)?;
    fleet.nothing_left(&before, &run).await?;

    let by_hand = fleet.enter("rollback-node", &["node-name=worker-1"]).await?.well()?;
    assert_eq!(fleet.versions().await?, ["3.32.0"; 3], "{}", by_hand.log());
    assert_eq!(fleet.installs().await?, [3, 3, 1]);
    fleet.nothing_left(&before, &by_hand).await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn from_4_1_on_taking_a_node_back_uninstalls_no_other() -> Result<()> {
    let fleet = fleet_that_fails_on(&["worker-2"]).await?;
    fleet.install(&Kata::job("4.1.0")).await?;
    let before = fleet.before().await?;

    let run = fleet.deploy("4.2.0", &["batch-size=2"]).await?.badly()?;

    // worker-1 was in the same wave and is verified: it stays.
    assert_eq!(fleet.versions().await?, ["4.2.0", "4.1.0", "4.1.0"], "{}", run.log());
    assert_eq!(fleet.statuses().await?, ["completed", "rolled-back", ""]);
    run.history.check_waves(2)?;
    fleet.nothing_left(&before, &run).await?;

    let by_hand = fleet.enter("rollback-node", &["node-name=worker-1", "rollback-version=4.1.0"]).await?.well()?;
    assert_eq!(fleet.versions().await?, ["4.1.0"; 3], "{}", by_hand.log());
    fleet.nothing_left(&before, &by_hand).await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn by_hand_a_node_goes_to_any_version_after_a_whole_rollout_in_daemonset_mode() -> Result<()> {
    let fleet = Fleet::open().await?;
    fleet.install(&Kata::daemonset("3.31.0")).await?;
    let before = fleet.before().await?;
    fleet.deploy("4.0.0", &["batch-size=2"]).await?.well()?;

    let asked = fleet.enter("rollback-node", &["node-name=worker-2", "rollback-version=3.29.0"]).await?.well()?;
    assert_eq!(fleet.versions().await?, ["4.0.0", "3.29.0", "4.0.0"], "{}", asked.log());
    assert_eq!(fleet.node("worker-2").await?.version(), "3.29.0");
    fleet.nothing_left(&before, &asked).await?;

    let recorded = fleet.enter("rollback-node", &["node-name=worker-3"]).await?.well()?;
    assert_eq!(fleet.versions().await?, ["4.0.0", "3.29.0", "3.31.0"], "{}", recorded.log());
    assert_eq!(fleet.installs().await?, [2, 3, 3]);
    fleet.nothing_left(&before, &recorded).await?;

    let nothing = fleet.enter("rollback-node", &["node-name=worker-9"]).await?.badly()?;
    assert!(nothing.messages().join("\n").contains("there is no node `worker-9`"), "{:?}", nothing.messages());
    Ok(())
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn by_hand_a_node_goes_to_any_version_after_a_whole_rollout_in_job_mode() -> Result<()> {
    let fleet = Fleet::open().await?;
    fleet.install(&Kata::job("4.0.0")).await?;
    let before = fleet.before().await?;
    fleet.deploy("4.1.0", &["batch-size=2"]).await?.well()?;

    let asked = fleet.enter("rollback-node", &["node-name=worker-2", "rollback-version=3.32.0"]).await?.well()?;
    assert_eq!(fleet.versions().await?, ["4.1.0", "3.32.0", "4.1.0"], "{}", asked.log());
    fleet.nothing_left(&before, &asked).await?;

    let recorded = fleet.enter("rollback-node", &["node-name=worker-3"]).await?.well()?;
    assert_eq!(fleet.versions().await?, ["4.1.0", "3.32.0", "4.0.0"], "{}", recorded.log());
    fleet.nothing_left(&before, &recorded).await?;

    // Older charts know no job mode and would put a DaemonSet on every node.
    let refused = fleet.enter("rollback-node", &["node-name=worker-1", "rollback-version=3.31.0"]).await?.badly()?;
    assert!(refused.messages().join("\n").contains("3.32.0"), "{:?}", refused.messages());
    assert_eq!(fleet.versions().await?, ["4.1.0", "3.32.0", "4.0.0"]);
    Ok(())
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn with_scope_wave_the_whole_wave_goes_back() -> Result<()> {
    let fleet = fleet_that_fails_on(&["worker-2"]).await?;
    fleet.install(&Kata::daemonset("3.31.0")).await?;
    let before = fleet.before().await?;

    let run = fleet.deploy("4.0.0", &["batch-size=2", "rollback-scope=wave"]).await?.badly()?;

    assert_eq!(fleet.versions().await?, ["3.31.0"; 3], "{}", run.log());
    assert_eq!(fleet.installs().await?, [3, 3, 1]);
    assert_eq!(fleet.statuses().await?, ["rolled-back", "rolled-back", ""]);
    fleet.nothing_left(&before, &run).await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_node_that_can_not_be_taken_back_stays_cordoned_until_recover_succeeds() -> Result<()> {
    let fleet = Fleet::bare().await?;
    fleet.install_lifecycle(&Lifecycle::verifying_with(VerificationPod::failing_on(&["worker-1"])))?;
    fleet.install(&Kata::daemonset("3.31.0")).await?;
    let before = fleet.before().await?;

    let run = fleet.deploy("4.0.0", &[]).await?.badly()?;

    let node = fleet.node("worker-1").await?;
    assert!(node.cordoned, "nothing may land on it: {node:?}");
    assert_eq!(node.status(), "rolling-back");
    assert_eq!(fleet.versions().await?, ["3.31.0"; 3], "the old version is there, but not verified: {}", run.log());
    let said = run.messages().join("\n");
    assert!(said.contains("recover") && said.contains("worker-1"), "{said}");

    // What was wrong was the pod. A submission's own pod counts, or nothing could ever be put right.
    fleet.install_lifecycle(&Lifecycle::default())?;
    let recovered = fleet.enter("recover", &[]).await?.well()?;
    assert_eq!(fleet.statuses().await?, ["rolled-back", "", ""], "{}", recovered.log());
    fleet.nothing_left(&before, &recovered).await
}
