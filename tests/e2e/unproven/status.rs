//! What a person sees: node columns, events, messages of failed steps, the report.

use anyhow::{Context as _, Result};
use klm_e2e::fleet::{Fleet, Kata, Lifecycle, VerificationPod};
use serde_json::Value;

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_failed_run_says_what_happened_wherever_a_person_looks() -> Result<()> {
    let fleet = Fleet::bare().await?;
    fleet.install_lifecycle(&Lifecycle::verifying_with(VerificationPod::failing_first_on(&["worker-2"])))?;
    fleet.install(&Kata::daemonset("3.31.0")).await?;

    let run = fleet.deploy("4.0.0", &[]).await?.badly()?;

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
