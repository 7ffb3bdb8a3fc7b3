//! Taints that the way up bears and the way back doesn't: a node that is worked on gets its kata-deploy pod either way, and
//! its taints afterwards.

use klm_testkit::fixtures::{Fleet, node};
use klm_testkit::{Injection, PodFate};
use serde_json::{Value, json};

use crate::bed::{Bed, unverified};

const BOTH: [&str; 2] = ["worker-1", "worker-2"];

fn tainted(key: &str, effect: &str) -> Bed {
    let fleet = BOTH.into_iter().fold(Fleet::new(), |fleet, name| fleet.node(node(name).tainted(key, "yes", effect)));
    let bed = Bed::new(fleet.values(json!({"tolerations": []})));
    // kata-deploy came before the taints did.
    assert_eq!(BOTH.map(|name| bed.installed(name)), ["3.31.0", "3.31.0"]);
    bed
}

fn taints(bed: &Bed) -> [Value; 2] {
    BOTH.map(|name| bed.cluster.node(name)["spec"]["taints"].clone())
}

#[tokio::test(start_paused = true)]
async fn a_node_goes_back_although_only_the_runs_own_toleration_bore_its_taint() {
    let bed = tainted("team", "NoSchedule");
    let before = taints(&bed);
    bed.cluster.misbehave_at("worker-1", "4.0.0", Injection::Verification(PodFate::Exits(7)));
    let tolerate = "tolerations[0].key=team,tolerations[0].operator=Exists";
    let flow = bed.flow(
        "up",
        &[("helm-set-values", tolerate), ("node-selector", "kubernetes.io/hostname in (worker-1,worker-2)")],
    );
    bed.plan(&flow, "4.0.0", &BOTH).await;
    unverified(bed.rollout(&flow, 2).await);
    assert_eq!((bed.installed("worker-1"), bed.status("worker-1")), ("3.31.0".to_owned(), "rolled-back".to_owned()));
    assert_eq!(taints(&bed), before);
    bed.assert_tidy();
}

#[tokio::test(start_paused = true)]
async fn a_completed_node_that_a_taint_selected_goes_back_with_its_wave() {
    let bed = tainted("window", "NoSchedule");
    let before = taints(&bed);
    bed.cluster.misbehave_at("worker-2", "4.0.0", Injection::Verification(PodFate::Exits(7)));
    let flow = bed.flow("up", &[("node-taint-key", "window"), ("batch-size", "2"), ("rollback-scope", "wave")]);
    bed.plan(&flow, "4.0.0", &BOTH).await;
    unverified(bed.rollout(&flow, 1).await);
    assert_eq!(BOTH.map(|name| bed.installed(name)), ["3.31.0", "3.31.0"]);
    assert_eq!(taints(&bed), before);
    bed.assert_tidy();
}

#[tokio::test(start_paused = true)]
async fn a_tainted_node_goes_back_on_request() {
    let bed = tainted("window", "NoSchedule");
    let before = taints(&bed);
    let flow = bed.flow("up", &[("node-taint-key", "window"), ("batch-size", "2")]);
    bed.plan(&flow, "4.0.0", &BOTH).await;
    bed.rollout(&flow, 1).await.unwrap();
    let back = bed.flow("back", &[]);
    bed.step(&back, &["rollback-node", "--node-name=worker-1"]).await.unwrap();
    assert_eq!(BOTH.map(|name| bed.installed(name)), ["3.31.0", "4.0.0"]);
    assert_eq!(taints(&bed), before);
    bed.assert_tidy();
}
