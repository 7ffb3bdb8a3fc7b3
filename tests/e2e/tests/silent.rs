//! A node that falls silent under a run in job mode: its Job's pod runs on, and nobody is there to end it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use klm_e2e::fleet::{Fleet, Kata};
use klm_standin::injection::Injection;
use klm_standin::setup;
use kube::api::{Api, ListParams};

/// Jobs are given five minutes to go, and one more by the exit handler.
const LONG: Duration = Duration::from_secs(900);

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_job_on_a_silent_node_does_not_keep_the_other_from_going_back() -> Result<()> {
    let fleet = Fleet::open().await?;
    fleet.install(&Kata::job("4.0.0").set("job.parallelism=7")).await?;
    let before = fleet.before().await?;
    setup::inject(&fleet.client(), "kube-system", None, Some("4.1.0"), &[Injection::Hang]).await?;

    let limits = ["batch-size=2", "install-timeout=25s", "helm-timeout=40s", "rollback-timeout=90s"];
    let mut run = fleet.begin("4.1.0", &limits).await?;
    for node in ["worker-1", "worker-2"] {
        run.until_dispatched(&fleet, node).await?;
    }
    // Not the node of the dispatcher: as long as that one may still run, no other is started.
    let (silent, other) =
        if dispatchers_node(&fleet).await? == "worker-2" { ("worker-1", "worker-2") } else { ("worker-2", "worker-1") };
    let kubelet = fleet.freeze_kubelet(silent)?;

    let run = run.ended_within(LONG, &fleet).await?.badly()?;
    let said = run.messages().join("\n");
    ensure!(said.contains(&format!("job `kube-system/kata-deploy-install-{silent}`")), "{said}\n{}", run.log());
    assert_eq!(fleet.node(other).await?.status(), "rolled-back", "{}", run.log());
    let left = fleet.node(silent).await?;
    ensure!(left.cordoned && left.status() == "rolling-back", "nothing may land on it: {left:?}");
    assert_eq!(fleet.user_values()?["job"], serde_json::json!({"parallelism": 7}), "given back all the same");

    kubelet.thaw();
    let recovered = fleet.enter("recover", &[]).await?.well()?;
    assert_eq!(fleet.statuses().await?, ["rolled-back", "rolled-back", ""], "{}", recovered.log());
    assert_eq!(fleet.versions().await?, ["4.0.0"; 3]);
    fleet.nothing_left(&before, &recovered).await
}

async fn dispatchers_node(fleet: &Fleet) -> Result<String> {
    let pods: Api<Pod> = Api::namespaced(fleet.client(), "kube-system");
    let which = ListParams::default().labels("job-name=kata-deploy-install-dispatcher");
    let pod = pods.list(&which).await?.into_iter().next().context("the dispatcher has no pod")?;
    pod.spec.and_then(|spec| spec.node_name).context("the dispatcher's pod has no node")
}
