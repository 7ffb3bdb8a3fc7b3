//! How a step is tested: a fleet, one run, and the same run killed at every write and resumed.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use klm_testkit::fixtures::{Fleet, node};
use klm_testkit::{FakeCluster, FakeHelm, Injection, Invocation, PodFate, When, run_until_killed};
use kube::api::{Api, Patch, PatchParams};

const CHART: &str = "oci://ghcr.io/kata-containers/kata-deploy-charts/kata-deploy";

fn fleet() -> (FakeCluster, FakeHelm) {
    let (cluster, helm) = Fleet::new().version("3.31.0").node(node("worker-9").cordoned()).build();
    cluster.misbehave_at("worker-2", "4.0.0", Injection::Verification(PodFate::Exits(1)));
    (cluster, helm)
}

/// Stands for a step: one write, then helm.
async fn step(client: kube::Client, helm: klm_testkit::HelmProcess) {
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(client);
    let phase = serde_json::json!({"metadata": {"annotations": {"phase": "upgrading"}}});
    nodes.patch("worker-2", &PatchParams::default(), &Patch::Merge(&phase)).await.unwrap();
    let line = format!(
        "upgrade kata-deploy {CHART} -n kube-system --version 4.0.0 --reset-then-reuse-values --set updateStrategy.type=OnDelete"
    );
    let output = helm.run(Invocation::of(line.split(' '))).await;
    if output.stderr.contains("is in progress") {
        let last = helm.run(Invocation::of(["rollback", "kata-deploy", "1", "-n", "kube-system"])).await;
        assert_eq!(last.code, Some(0), "{}", last.stderr);
        helm.run(Invocation::of(line.split(' '))).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_killed_at_any_write_and_started_again_ends_as_an_undisturbed_one() {
    let (cluster, helm) = fleet();
    step(cluster.client(), helm.process()).await;
    let (wanted, writes) = (cluster.node_portrait(), cluster.writes());
    for when in When::ALL {
        for k in 1..=writes {
            let (cluster, helm) = fleet();
            cluster.kill_at(k, when);
            let killed = run_until_killed(&cluster, step(cluster.client(), helm.process())).await.was_killed();
            assert!(killed, "{when:?} write {k}");
            step(cluster.client(), helm.process()).await;
            assert_eq!(cluster.node_portrait(), wanted, "{when:?} write {k}");
            assert_eq!(helm.last("kube-system", "kata-deploy").status, "deployed", "{when:?} write {k}");
        }
    }
}
