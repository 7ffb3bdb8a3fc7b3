//! Rollouts in job mode: only the wave's nodes get Jobs, the rest of the fleet stays installed, and a Job proves a node
//! only when it is this wave's.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use klm_e2e::fleet::{Fleet, Kata};
use klm_e2e::show;
use klm_standin::injection::Injection;
use klm_standin::setup;

const ALL: [&str; 3] = ["worker-1", "worker-2", "worker-3"];
const GOOD: [&str; 5] = ["preparing", "cordoned", "upgrading", "verifying", "completed"];

async fn inject(fleet: &Fleet, node: &str, version: &str, injection: Injection) -> Result<()> {
    setup::inject(&fleet.client(), "kube-system", Some(node), Some(version), &[injection]).await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn one_node_at_a_time_moves_and_the_users_own_job_values_come_back() -> Result<()> {
    let fleet = Fleet::open().await?;
    let kata = Kata::job("3.32.0").set("job.parallelism=7").set("job.backoffLimit=2").set("debug=true");
    fleet.install(&kata).await?;
    let before = fleet.before().await?;
    // A finished Job that carries our owner label, as an earlier dispatch leaves it: old dispatchers adopt it.
    let theirs = "kata-deploy-job-dispatcher/owner";
    fleet.scene.kubectl(&["delete", "jobs", "-n", "kube-system", "-l", theirs])?;
    setup::leave_stale_job(&fleet.client(), "kube-system", "", "worker-2").await?;

    let run = fleet.deploy("4.0.0", &[]).await?.well()?;

    assert_eq!(fleet.versions().await?, ["4.0.0"; 3], "{}", run.log());
    assert_eq!(fleet.installs().await?, [2, 2, 2]);
    run.history.check_waves(1)?;
    for node in ALL {
        assert_eq!(run.history.statuses(node), GOOD, "{node}");
    }
    assert_eq!(run.pod_count(), 9, "two pods a wave: {}", run.log());
    assert!(run.log_of("check-prerequisites")?.contains("deploymentMode=job"), "{}", run.log());
    let values = fleet.user_values()?;
    assert_eq!(values["job"], serde_json::json!({"parallelism": 7, "backoffLimit": 2}));
    show(format!("requests of a run over three nodes, job mode:\n{}", run.requests));
    show(format!("per node, apart from waiting: {}", run.requests.per_node(3)));
    fleet.nothing_left(&before, &run).await?;

    let revisions = fleet.revisions()?;
    let again = fleet.deploy("4.0.0", &[]).await?.well()?;
    assert_eq!(fleet.installs().await?, [2, 2, 2]);
    assert_eq!(fleet.revisions()?, revisions, "{}", again.log());
    fleet.nothing_left(&before, &again).await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn to_and_beyond_4_1_no_node_outside_the_wave_is_uninstalled() -> Result<()> {
    let fleet = Fleet::open().await?;
    // Charts from 4.1 on refuse this key, also when it is `null`: each of three waves has to go without it.
    fleet.install(&Kata::job("4.0.0").set(r"job.nodeSelector.kubernetes\.io/os=linux")).await?;
    let before = fleet.before().await?.without("job", "nodeSelector");

    // Three waves in one step are still one after the other; and the chart is in another place, as a mirror has it.
    let registry = fleet.scene.cluster.registry().context("no registry")?.to_owned();
    let folder = tempfile::tempdir()?;
    // Both: a rollback would need the old one.
    for version in ["4.0.0", "4.1.0"] {
        let package = klm_standin::chart::package(&version.parse()?, folder.path())?.display().to_string();
        fleet.scene.helm(&["push", &package, &format!("oci://{registry}/mirror"), "--plain-http"])?;
    }
    let chart = format!("kata-deploy-chart=oci://{registry}/mirror/kata-deploy");
    let parameters = ["waves-per-step=3", &chart, "helm-set-values=job.nodeSelector=null"];
    let to_marks = fleet.deploy("4.1.0", &parameters).await?.well()?;
    assert_eq!(fleet.versions().await?, ["4.1.0"; 3], "{}", to_marks.log());
    assert_eq!(fleet.installs().await?, [2, 2, 2]);
    assert_eq!(to_marks.pod_count(), 5, "check, select, apply, verify, finish");
    assert_eq!(to_marks.history.order_of("completed"), ALL);
    to_marks.history.check_waves(1)?;
    still_marked(&fleet).await?;
    fleet.nothing_left(&before, &to_marks).await?;

    // From 4.1 on the dispatcher looks after the label itself, and sets it again.
    inject(&fleet, "worker-2", "4.2.0", Injection::LabelLost).await?;
    let beyond = fleet.deploy("4.2.0", &["batch-size=2"]).await?.well()?;
    assert_eq!(fleet.versions().await?, ["4.2.0"; 3], "{}", beyond.log());
    assert_eq!(fleet.installs().await?, [3, 3, 3]);
    beyond.history.check_waves(2)?;
    still_marked(&fleet).await?;
    assert_eq!(beyond.pod_count(), 7, "check, select, two for each of two waves, finish");
    fleet.nothing_left(&before, &beyond).await
}

async fn still_marked(fleet: &Fleet) -> Result<()> {
    for node in fleet.nodes().await? {
        let marker = node.labels.get("kata-deploy.katacontainers.io/default").map(String::as_str);
        ensure!(marker == Some("true"), "node `{}` would take no Kata pod: {:?}", node.name, node.labels);
    }
    Ok(())
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_whole_fleet_in_one_wave_is_cordoned_and_its_dispatcher_still_runs() -> Result<()> {
    let fleet = Fleet::open().await?;
    fleet.install(&Kata::job("3.32.0").set("verification.pod=kind: Pod")).await?;
    let before = fleet.before().await?;
    inject(&fleet, "worker-1", "4.0.0", Injection::Slow(Duration::from_secs(5))).await?;
    inject(&fleet, "worker-2", "4.0.0", Injection::CrashOnce).await?;
    // It dies once its Job for worker-3 runs; that Job goes on alone.
    inject(&fleet, "worker-3", "4.0.0", Injection::DispatcherKilled).await?;

    let run = fleet.deploy("4.0.0", &["batch-size=3"]).await?.well()?;

    assert_eq!(fleet.versions().await?, ["4.0.0"; 3], "{}", run.log());
    run.history.check_waves(3)?;
    assert!(fleet.user_values()?["tolerations"].is_null(), "the dispatcher's toleration isn't the user's value");
    fleet.nothing_left(&before, &run).await
}

/// One wave of three nodes, each with a failure; all of them go back, and each is named with its phase.
async fn every_failure_is_taken_back(origin: &str, target: &str, failures: [Injection; 3]) -> Result<()> {
    let fleet = Fleet::open().await?;
    fleet.install(&Kata::job(origin)).await?;
    let before = fleet.before().await?;
    for (node, injection) in ALL.into_iter().zip(failures) {
        inject(&fleet, node, target, injection).await?;
    }

    let run = fleet.deploy(target, &["batch-size=3", "install-timeout=25s"]).await?.badly()?;

    assert_eq!(fleet.versions().await?, [origin; 3], "{}", run.log());
    assert_eq!(fleet.statuses().await?, ["rolled-back"; 3]);
    let said = run.messages().join("\n");
    for node in ALL {
        ensure!(said.contains(&format!("node `{node}`")), "{node} isn't in:\n{said}");
    }
    eprintln!("{said}");
    fleet.nothing_left(&before, &run).await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn what_fails_under_the_first_dispatcher_is_taken_back() -> Result<()> {
    // It waits for ever for a Job that has vanished, as for one that hangs.
    every_failure_is_taken_back("3.32.0", "4.0.0", [Injection::Hang, Injection::Crash, Injection::Vanish]).await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn what_fails_under_the_second_dispatcher_is_taken_back() -> Result<()> {
    // The Job of `node-not-ready` completes, and the dispatcher fails the node after that.
    every_failure_is_taken_back("4.0.0", "4.1.0", [Injection::NodeNotReady, Injection::Crash, Injection::Vanish]).await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_dispatcher_that_gives_up_costs_no_healthy_node_and_a_lost_label_is_noticed() -> Result<()> {
    let fleet = Fleet::open().await?;
    // Only 3.32's dispatcher gives up after one failed request, so the way there is down.
    fleet.install(&Kata::job("4.0.0")).await?;
    let before = fleet.before().await?;
    inject(&fleet, "worker-1", "3.32.0", Injection::ApiBlip).await?;
    inject(&fleet, "worker-3", "3.32.0", Injection::LabelLost).await?;

    let run = fleet.deploy("3.32.0", &["batch-size=3", "install-timeout=60s"]).await?.badly()?;

    assert_eq!(fleet.versions().await?, ["3.32.0", "3.32.0", "4.0.0"], "{}", run.log());
    assert_eq!(fleet.statuses().await?, ["completed", "completed", "rolled-back"]);
    assert_eq!(fleet.installs().await?[..2], [2, 2]);
    let said = run.messages().join("\n");
    ensure!(said.contains("node `worker-3`") && !said.contains("node `worker-1`"), "{said}");
    fleet.nothing_left(&before, &run).await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_step_that_is_killed_while_helm_waits_goes_on_where_it_was() -> Result<()> {
    let fleet = Fleet::open().await?;
    fleet.install(&Kata::job("3.32.0")).await?;
    let before = fleet.before().await?;
    inject(&fleet, "worker-1", "4.0.0", Injection::Slow(Duration::from_secs(4))).await?;

    let mut run = fleet.begin("4.0.0", &["batch-size=2"]).await?;
    run.until(&fleet, "helm to be at work", async || fleet.is_helm_at_work().await).await?;
    run.delete_running_pods(&fleet)?;
    let run = run.ended(&fleet).await?.well()?;

    assert_eq!(fleet.versions().await?, ["4.0.0"; 3], "{}", run.log());
    run.history.check_waves(2)?;
    fleet.nothing_left(&before, &run).await
}
