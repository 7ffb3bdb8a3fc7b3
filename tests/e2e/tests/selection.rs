//! Which nodes a run takes, which it leaves and says why, and that it gives back what selected them.

use anyhow::Result;
use klm_e2e::fleet::{Before, Fleet, Kata, Lifecycle};

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_label_selects_and_every_node_left_out_has_its_reason() -> Result<()> {
    let fleet = Fleet::open().await?;
    fleet.install(&Kata::daemonset("3.31.0")).await?;
    for node in ["worker-1", "worker-2", "worker-3"] {
        fleet.label(node, "node-pool", Some("kata-pool")).await?;
    }
    fleet.label("worker-2", "katacontainers.io/kata-lifecycle-manager-hold", Some("true")).await?;
    fleet.cordon("worker-3").await?;
    let before = fleet.before().await?;

    let run = fleet.deploy("4.0.0", &["node-selector=node-pool in (kata-pool),!gpu"]).await?.well()?;

    assert_eq!(fleet.versions().await?, ["4.0.0", "3.31.0", "3.31.0"], "{}", run.log());
    assert_eq!(run.output("select-nodes", "node-count"), "1");
    let said = run.log_of("select-nodes")?;
    assert!(said.contains("node `worker-2` is held back by its label"), "{said}");
    assert!(said.contains("node `worker-3` was cordoned by somebody else"), "{said}");
    assert!(fleet.node("worker-3").await?.cordoned, "somebody else's cordon stays");
    fleet.nothing_left(&before, &run).await?;

    // The cordoned one on request; it is given back cordoned.
    let included =
        fleet.deploy("4.0.0", &["node-selector=node-pool=kata-pool", "cordoned-nodes=include"]).await?.well()?;
    assert_eq!(fleet.versions().await?, ["4.0.0", "3.31.0", "4.0.0"], "{}", included.log());
    assert!(fleet.node("worker-3").await?.cordoned);
    fleet.nothing_left(&before, &included).await?;

    // A node without Kata is none of the run's business, even by name.
    fleet.label("worker-2", "katacontainers.io/kata-lifecycle-manager-hold", None).await?;
    fleet.label("worker-2", "katacontainers.io/kata-runtime", None).await?;
    let none = fleet.plan_by_hand("4.0.0", &["node-selector=kubernetes.io/hostname=worker-2"])?;
    assert!(none.said.contains("node `worker-2` doesn't serve Kata"), "{}", none.said);
    Ok(())
}

/// A taint selects; it is lifted while the node is worked on, and put back where it was.
async fn a_taint_selects_and_comes_back(fleet: &Fleet, before: &Before, origin: &str, target: &str) -> Result<()> {
    let parameters = ["node-taint-key=kata-lifecycle-manager", "node-taint-value=pending", "batch-size=2"];
    let by_value = fleet.deploy(target, &parameters).await?.well()?;
    assert_eq!(fleet.versions().await?, [target, origin, target], "the value counts: {}", by_value.log());
    by_value.history.check_waves(2)?;
    let lifted = by_value
        .history
        .moments
        .iter()
        .any(|moment| moment.node.name == "worker-1" && moment.node.taints == ["team=blue:PreferNoSchedule"]);
    assert!(lifted, "the selecting taint alone is lifted");
    fleet.nothing_left(before, &by_value).await
}

async fn tainted(kata: &Kata) -> Result<(Fleet, Before)> {
    let fleet = Fleet::bare().await?;
    // Every node is tainted, and the steps have to run somewhere.
    let tolerated = "kata-lifecycle-manager";
    fleet.install_lifecycle(
        &Lifecycle::default()
            .set(&format!("stepPods.tolerations[0].key={tolerated}"))
            .set("stepPods.tolerations[0].operator=Exists"),
    )?;
    fleet.install(kata).await?;
    fleet.taint("worker-1", "team=blue:PreferNoSchedule")?;
    fleet.taint("worker-1", "kata-lifecycle-manager=pending:NoSchedule")?;
    fleet.taint("worker-2", "kata-lifecycle-manager=later:NoSchedule")?;
    fleet.taint("worker-3", "kata-lifecycle-manager=pending:NoSchedule")?;
    fleet.label("worker-2", "node-pool", Some("kata-pool")).await?;
    let before = fleet.before().await?;
    Ok((fleet, before))
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_taint_selects_in_daemonset_mode() -> Result<()> {
    let (fleet, before) = tainted(&Kata::daemonset("3.31.0")).await?;
    a_taint_selects_and_comes_back(&fleet, &before, "3.31.0", "4.0.0").await?;

    let parameters = ["node-selector=node-pool=kata-pool", "node-taint-key=kata-lifecycle-manager"];
    let both = fleet.deploy("4.0.0", &parameters).await?.well()?;
    assert_eq!(fleet.versions().await?, ["4.0.0"; 3], "{}", both.log());
    assert_eq!(both.output("select-nodes", "node-count"), "1", "label and taint together, any value: {}", both.log());
    fleet.nothing_left(&before, &both).await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_taint_selects_in_job_mode() -> Result<()> {
    let (fleet, before) = tainted(&Kata::job("4.0.0")).await?;
    a_taint_selects_and_comes_back(&fleet, &before, "4.0.0", "4.1.0").await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_run_goes_zone_by_zone_and_leaves_the_control_plane_alone() -> Result<()> {
    let fleet = Fleet::open().await?;
    fleet.install(&Kata::daemonset("3.31.0").set("tolerations[0].operator=Exists")).await?;
    fleet.label("worker-1", "topology.kubernetes.io/zone", Some("zone-10")).await?;
    fleet.label("worker-2", "topology.kubernetes.io/zone", Some("zone-9")).await?;
    fleet.label("worker-3", "node-role.kubernetes.io/control-plane", Some("")).await?;
    fleet.taint("worker-3", "node-role.kubernetes.io/control-plane=:NoSchedule")?;
    // Step pods would be pinned to that node.
    fleet.install_lifecycle(&Lifecycle::default().with_step_pods_anywhere().set("stepPods.nodeSelector=null"))?;
    let before = fleet.before().await?;

    let run = fleet.deploy("4.0.0", &["batch-size=1", "waves-per-step=2"]).await?.well()?;

    assert_eq!(fleet.versions().await?, ["4.0.0", "4.0.0", "3.31.0"], "{}", run.log());
    let host = run.pods_of("select-nodes")[0].node.as_str();
    let expected = if host == "worker-2" { ["worker-1", "worker-2"] } else { ["worker-2", "worker-1"] };
    assert_eq!(
        run.history.order_of("completed"),
        expected,
        "zone-9 comes before zone-10; the step's own node goes last"
    );
    fleet.nothing_left(&before, &run).await
}
