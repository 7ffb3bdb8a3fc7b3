//! Taking back: exactly the nodes that failed, proven and verified again; and by hand, any node, after any number of waves.

use anyhow::{Context as _, Result};
use klm_e2e::fleet::{Finished, Fleet, Kata, Lifecycle, VerificationPod};
use serde_json::Value;

/// A fleet whose new version is bad on these nodes, and only the new one.
async fn fleet_that_fails_on(nodes: &[&str]) -> Result<Fleet> {
    let fleet = Fleet::bare().await?;
    let failing = Lifecycle::verifying_with(VerificationPod::failing_first_on(nodes));
    fleet.install_lifecycle(&exporting(failing))?;
    Ok(fleet)
}

fn exporting(lifecycle: Lifecycle) -> Lifecycle {
    lifecycle.set("metrics.enabled=true")
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn in_daemonset_mode_the_failed_node_goes_back_and_verified_ones_only_by_hand() -> Result<()> {
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
    a_person_sees_it(&fleet, &run)?;
    fleet.nothing_left(&before, &run).await?;

    // The cause is gone: the same run again goes through, and any node goes back from there.
    let again = fleet.deploy("4.0.0", &["batch-size=3"]).await?.well()?;
    assert_eq!(fleet.versions().await?, ["4.0.0"; 3], "{}", again.log());
    assert_eq!(fleet.installs().await?, [2, 4, 2]);
    fleet.nothing_left(&before, &again).await?;

    // What somebody changes meanwhile goes back too.
    fleet.helm_kata("upgrade", &Kata::daemonset("4.0.0").set("debug=false").set("updateStrategy.type=OnDelete"))?;
    let before = fleet.before().await?;
    let asked = fleet.enter("rollback-node", &["node-name=worker-2", "rollback-version=3.29.0"]).await?.well()?;
    assert_eq!(fleet.versions().await?, ["4.0.0", "3.29.0", "4.0.0"], "{}", asked.log());
    assert_eq!(fleet.installs().await?, [2, 5, 2]);
    fleet.nothing_left(&before, &asked).await?;

    let recorded = fleet.enter("rollback-node", &["node-name=worker-3"]).await?.well()?;
    assert_eq!(recorded.metrics_error(), None);
    assert_eq!(fleet.versions().await?, ["4.0.0", "3.29.0", "3.31.0"], "{}", recorded.log());
    assert_eq!(fleet.user_values()?["debug"], false, "{}", recorded.log());
    assert_eq!(fleet.node("worker-2").await?.version(), "3.29.0");
    assert_eq!(fleet.installs().await?, [2, 5, 3]);
    assert_eq!(fleet.statuses().await?, ["completed", "rolled-back", "rolled-back"]);
    fleet.nothing_left(&before, &recorded).await?;

    let nothing = fleet.enter("rollback-node", &["node-name=worker-9"]).await?.badly()?;
    assert!(nothing.messages().join("\n").contains("there is no node `worker-9`"), "{:?}", nothing.messages());
    Ok(())
}

/// What a person sees of a failed run: node columns, events, the message of the failed step, the report.
fn a_person_sees_it(fleet: &Fleet, run: &Finished) -> Result<()> {
    // The documented command.
    let columns = fleet.scene.kubectl(&[
        "get",
        "nodes",
        "--no-headers",
        "-L",
        "katacontainers.io/kata-lifecycle-manager-status",
        "-L",
        "katacontainers.io/kata-current-version",
    ])?;
    let lines: Vec<Vec<&str>> = columns.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0][5..], ["completed", "4.0.0"], "{columns}");
    assert_eq!(lines[1][5..], ["rolled-back", "3.31.0"], "{columns}");
    assert_eq!(lines[2].len(), 5, "{columns}");

    let tree = fleet.scene.argo(&["get", "-n", "argo", &run.name, "--no-color"])?;
    let cause = "node `worker-2`, verifying: the verification pod ended with exit code 7";
    assert!(tree.contains(cause), "node, phase and cause: {tree}");
    assert!(tree.contains("submit again"), "and what now: {tree}");

    let events = |node: &str| -> Result<Vec<String>> {
        let field = format!("involvedObject.kind=Node,involvedObject.name={node}");
        let said =
            fleet.scene.kubectl(&["get", "events", "-n", "default", "--field-selector", &field, "-o", "json"])?;
        let listed: Value = serde_json::from_str(&said)?;
        let ours = listed["items"].as_array().into_iter().flatten();
        let ours = ours.filter(|event| event["source"]["component"] == "kata-lifecycle-manager");
        Ok(ours.map(|event| event["reason"].as_str().unwrap_or_default().to_owned()).collect())
    };
    assert_eq!(events("worker-1")?, ["KataUpgradeCompleted", "KataUpgradeStarted"]);
    let mut second = events("worker-2")?;
    second.sort();
    assert_eq!(second, ["KataRollbackStarted", "KataRolledBack", "KataUpgradeStarted"]);
    assert_eq!(events("worker-3")?, [""; 0]);

    let said = run.log_of("onExit")?;
    for part in [
        "completed:",
        "worker-1",
        "never begun:",
        "worker-3",
        "rolled back:",
        "worker-2: the verification pod",
        "submit again",
    ] {
        assert!(said.contains(part), "{part} isn't in:\n{said}");
    }
    let report: Value = serde_json::from_str(&run.output("onExit", "report")).context("the report as JSON")?;
    assert_eq!(report["status"], "Failed");
    assert_eq!((&report["origin"], &report["target"]), (&"3.31.0".into(), &"4.0.0".into()));
    assert_eq!(report["completed"], serde_json::json!(["worker-1"]));
    assert_eq!(report["rolledBack"][0]["node"], "worker-2");
    assert_eq!(report["untouched"], serde_json::json!(["worker-3"]));

    // What a run has done stays readable until the workflow goes: the plan.
    let plan = fleet.scene.kubectl(&["get", "configmap", "-n", "argo", &format!("{}-plan", run.name), "-o", "json"])?;
    let plan: Value = serde_json::from_str(&plan)?;
    assert_eq!(plan["metadata"]["ownerReferences"][0]["name"], run.name.as_str());
    Ok(())
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn in_job_mode_the_failed_node_goes_back_and_verified_ones_only_by_hand() -> Result<()> {
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
    fleet.install(&Kata::job("4.1.0").quick()).await?;
    let before = fleet.before().await?;

    let run = fleet.deploy("4.2.0", &["batch-size=2"]).await?.badly()?;

    // worker-1 was in the same wave and is verified: it stays.
    assert_eq!(fleet.versions().await?, ["4.2.0", "4.1.0", "4.1.0"], "{}", run.log());
    assert_eq!(fleet.statuses().await?, ["completed", "rolled-back", ""]);
    run.history.check_waves(2)?;
    fleet.nothing_left(&before, &run).await?;

    let again = fleet.deploy("4.2.0", &["batch-size=2"]).await?.well()?;
    assert_eq!(fleet.versions().await?, ["4.2.0"; 3], "{}", again.log());
    fleet.nothing_left(&before, &again).await?;

    // Cut short: whoever finishes it goes where it was to go, and not where runs go back to.
    let ask = ["--entrypoint", "rollback-node", "-p", "node-name=worker-2", "-p", "rollback-version=3.32.0"];
    let mut asked = fleet.submit(&ask).await?;
    asked.until(&fleet, "helm to take worker-2 back", async || fleet.is_helm_at_work().await).await?;
    fleet.scene.argo(&["terminate", "--namespace", "argo", &asked.name])?;
    asked.ended(&fleet).await?.badly()?;
    let finished = fleet.enter("recover", &[]).await?.well()?;
    assert_eq!(fleet.versions().await?, ["4.2.0", "3.32.0", "4.2.0"], "{}", finished.log());
    fleet.nothing_left(&before, &finished).await?;

    let recorded = fleet.enter("rollback-node", &["node-name=worker-3"]).await?.well()?;
    assert_eq!(fleet.versions().await?, ["4.2.0", "3.32.0", "4.1.0"], "{}", recorded.log());
    fleet.nothing_left(&before, &recorded).await?;

    // Older charts know no job mode and would put a DaemonSet on every node.
    let refused = fleet.enter("rollback-node", &["node-name=worker-1", "rollback-version=3.31.0"]).await?.badly()?;
    assert!(refused.messages().join("\n").contains("3.32.0"), "{:?}", refused.messages());
    assert_eq!(fleet.versions().await?, ["4.2.0", "3.32.0", "4.1.0"]);
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
    let failing = Lifecycle::verifying_with(VerificationPod::failing_on(&["worker-1"]));
    fleet.install_lifecycle(&exporting(failing))?;
    fleet.install(&Kata::daemonset("3.31.0")).await?;
    let before = fleet.before().await?;

    let run = fleet.deploy("4.0.0", &[]).await?.badly()?;
    assert_eq!(run.metrics_error(), None);
    fleet.scene.gauge_becomes("argo_workflows_klm_rollback_succeeded", "0").await?;

    let node = fleet.node("worker-1").await?;
    assert!(node.cordoned, "nothing may land on it: {node:?}");
    assert_eq!(node.status(), "rolling-back");
    assert_eq!(fleet.versions().await?, ["3.31.0"; 3], "the old version is there, but not verified: {}", run.log());
    let said = run.messages().join("\n");
    assert!(said.contains("recover") && said.contains("worker-1"), "{said}");

    // What was wrong was the pod. A submission's own pod counts, or nothing could ever be put right.
    fleet.install_lifecycle(&exporting(Lifecycle::default()))?;
    let recovered = fleet.enter("recover", &[]).await?.well()?;
    assert_eq!(recovered.metrics_error(), None);
    fleet.scene.gauge_becomes("argo_workflows_klm_rollback_succeeded", "1").await?;
    assert_eq!(fleet.statuses().await?, ["rolled-back", "", ""], "{}", recovered.log());
    fleet.nothing_left(&before, &recovered).await
}
