//! Daemonset mode: what the controller and kata-deploy's pods do, version by version.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::time::Duration;

use klm_testkit::fixtures::{Fleet, node};
use klm_testkit::{FakeCluster, FakeHelm, Injection, Invocation};
use serde_json::{Value, json};

const CHART: &str = "oci://ghcr.io/kata-containers/kata-deploy-charts/kata-deploy";
const RUNTIME: &str = "katacontainers.io/kata-runtime";

async fn upgrade(helm: &FakeHelm, version: &str, more: &str) {
    let line =
        format!("upgrade kata-deploy {CHART} -n kube-system --version {version} --reset-then-reuse-values{more}");
    let output = helm.process().run(Invocation::of(line.split(' '))).await;
    assert_eq!(output.code, Some(0), "{}", output.stderr);
}

fn kata_pod(cluster: &FakeCluster, node: &str) -> Option<Value> {
    let mut pods = cluster.objects("pods");
    pods.retain(|pod| pod["metadata"]["labels"]["name"] == "kata-deploy" && pod["spec"]["nodeName"] == node);
    assert!(pods.len() <= 1, "{node} has {} pods", pods.len());
    pods.pop()
}

async fn delete_pod(cluster: &FakeCluster, node: &str) {
    let name = kata_pod(cluster, node).unwrap()["metadata"]["name"].as_str().unwrap().to_owned();
    let request =
        http::Request::delete(format!("/api/v1/namespaces/kube-system/pods/{name}")).body(Vec::new()).unwrap();
    cluster.client().request::<Value>(request).await.unwrap();
}

fn is_ready(pod: &Value) -> bool {
    pod["status"]["conditions"].as_array().unwrap().iter().any(|it| it["type"] == "Ready" && it["status"] == "True")
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_fleet_is_at_rest() {
    let (cluster, helm) = Fleet::new().build();
    let before = cluster.world(|world| world.store.revision());
    pass(3600).await;
    assert_eq!(cluster.world(|world| world.store.revision()), before);
    assert_eq!(helm.last("kube-system", "kata-deploy").status, "deployed");
    for node in ["worker-1", "worker-2", "worker-3"] {
        assert!(is_ready(&kata_pod(&cluster, node).unwrap()));
        assert_eq!(cluster.truth(node).installed.as_deref(), Some("3.31.0"));
    }
    let set = cluster.get("daemonsets", "kube-system", "kata-deploy").unwrap();
    assert_eq!((&set["status"]["desiredNumberScheduled"], &set["status"]["numberReady"]), (&json!(3), &json!(3)));
}

#[tokio::test(start_paused = true)]
async fn rolling_update_replaces_every_pod_one_by_one() {
    let (cluster, helm) = Fleet::new().build();
    upgrade(&helm, "3.32.0", "").await;
    pass(10).await;
    let at = |version: &str| {
        cluster
            .objects("nodes")
            .iter()
            .filter(|node| {
                cluster.truth(node["metadata"]["name"].as_str().unwrap()).installed.as_deref() == Some(version)
            })
            .count()
    };
    assert_eq!((at("3.31.0"), at("3.32.0")), (3, 0));
    pass(15).await;
    assert_eq!((at("3.31.0"), at("3.32.0")), (2, 1), "one at a time");
    pass(120).await;
    assert_eq!((at("3.31.0"), at("3.32.0")), (0, 3));
}

#[tokio::test(start_paused = true)]
async fn with_on_delete_only_a_deleted_pod_comes_back_new() {
    let (cluster, helm) = Fleet::new().build();
    upgrade(&helm, "3.32.0", " --set updateStrategy.type=OnDelete").await;
    pass(600).await;
    let old = kata_pod(&cluster, "worker-2").unwrap();
    assert_eq!(cluster.truth("worker-2").installed.as_deref(), Some("3.31.0"));
    delete_pod(&cluster, "worker-2").await;
    pass(5).await;
    let new = kata_pod(&cluster, "worker-2").unwrap();
    assert_ne!(new["metadata"]["uid"], old["metadata"]["uid"]);
    assert_ne!(
        new["metadata"]["labels"]["controller-revision-hash"],
        old["metadata"]["labels"]["controller-revision-hash"]
    );
    let set = cluster.get("daemonsets", "kube-system", "kata-deploy").unwrap();
    assert_eq!(
        new["metadata"]["labels"]["pod-template-generation"],
        set["metadata"]["annotations"]["deprecated.daemonset.template.generation"]
    );
    assert!(!is_ready(&new), "3.31.0 and later are Ready only when installed");
    pass(30).await;
    assert!(is_ready(&kata_pod(&cluster, "worker-2").unwrap()));
    assert_eq!(cluster.truth("worker-2").installs, 2);
    assert_eq!((cluster.truth("worker-1").installs, cluster.truth("worker-2").uninstalls), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_arming_revision_changes_no_template() {
    let (cluster, helm) = Fleet::new().version("3.29.0").build();
    let template = |cluster: &FakeCluster| {
        cluster.get("daemonsets", "kube-system", "kata-deploy").unwrap()["spec"]["template"].clone()
    };
    let before = template(&cluster);
    upgrade(&helm, "3.29.0", " --set updateStrategy.type=OnDelete").await;
    assert_eq!(template(&cluster), before);
    upgrade(&helm, "4.0.0", "").await;
    assert_ne!(template(&cluster), before);
    let output = helm.process().run(Invocation::of(["rollback", "kata-deploy", "2", "-n", "kube-system"])).await;
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    assert_eq!(template(&cluster), before, "a rollback brings back the very same template");
    pass(600).await;
    assert_eq!(cluster.truth("worker-1").installs, 1);
}

#[tokio::test(start_paused = true)]
async fn a_rollback_to_a_rolling_revision_reverts_verified_nodes_too() {
    let (cluster, helm) = Fleet::new().build();
    upgrade(&helm, "3.32.0", " --set updateStrategy.type=OnDelete").await;
    delete_pod(&cluster, "worker-1").await;
    pass(60).await;
    assert_eq!(cluster.truth("worker-1").installed.as_deref(), Some("3.32.0"));
    helm.process().run(Invocation::of(["rollback", "kata-deploy", "1", "-n", "kube-system"])).await;
    pass(120).await;
    assert_eq!(cluster.truth("worker-1").installed.as_deref(), Some("3.31.0"));
}

#[tokio::test(start_paused = true)]
async fn before_3_29_a_deleted_pod_uninstalls_and_the_label_stays_true() {
    let (cluster, _helm) =
        Fleet::new().version("3.27.0").values(json!({"updateStrategy": {"type": "OnDelete"}})).build();
    delete_pod(&cluster, "worker-1").await;
    pass(6).await;
    let truth = cluster.truth("worker-1");
    assert_eq!((truth.installed, truth.uninstalls), (None, 1));
    assert_eq!(cluster.label("worker-1", RUNTIME).as_deref(), Some("true"));
    pass(4).await;
    assert!(
        is_ready(&kata_pod(&cluster, "worker-1").unwrap()),
        "Ready long before it is installed: there are no probes"
    );
    assert_eq!(cluster.truth("worker-1").installed, None);
    pass(60).await;
    assert_eq!(cluster.truth("worker-1").installs, 2);
}

#[tokio::test(start_paused = true)]
async fn an_untolerated_taint_keeps_the_old_pod_and_prevents_a_new_one() {
    let (cluster, _helm) =
        Fleet::new().node(node("worker-1").tainted("kata-lifecycle-manager", "pending", "NoSchedule")).build();
    assert!(kata_pod(&cluster, "worker-1").is_some());
    delete_pod(&cluster, "worker-1").await;
    pass(600).await;
    assert!(kata_pod(&cluster, "worker-1").is_none());
    cluster.edit("nodes", "", "worker-1", |node| node["spec"]["taints"] = json!([]));
    pass(60).await;
    assert!(is_ready(&kata_pod(&cluster, "worker-1").unwrap()));
}

#[tokio::test(start_paused = true)]
async fn a_demoted_label_comes_back_only_from_a_real_install() {
    for (injection, label, ready, installs) in [
        (None, "true", true, 2),
        (Some(Injection::SilentNoop), "false", true, 1),
        (Some(Injection::LabelLost), "false", true, 2),
        (Some(Injection::Hang), "false", false, 1),
        (Some(Injection::Crash), "false", false, 1),
        (Some(Injection::CrashOnce), "true", true, 2),
        (Some(Injection::BadImage), "false", false, 1),
        (Some(Injection::Slow(Duration::from_secs(100))), "true", true, 2),
        (Some(Injection::Slow(Duration::from_secs(500))), "false", false, 1),
    ] {
        let (cluster, helm) = Fleet::new().build();
        upgrade(&helm, "4.0.0", " --set updateStrategy.type=OnDelete").await;
        if let Some(injection) = injection {
            cluster.misbehave_at("worker-1", "4.0.0", injection);
        }
        cluster.edit("nodes", "", "worker-1", |node| node["metadata"]["labels"][RUNTIME] = json!("false"));
        delete_pod(&cluster, "worker-1").await;
        pass(300).await;
        let pod = kata_pod(&cluster, "worker-1").unwrap();
        let seen = (cluster.label("worker-1", RUNTIME).unwrap(), is_ready(&pod), cluster.truth("worker-1").installs);
        assert_eq!(seen, (label.to_owned(), ready, installs), "{injection:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_kubelet_neither_stops_nor_starts_pods() {
    let (cluster, _helm) = Fleet::new().build();
    cluster.world(|world| world.set_node_ready("worker-1", false));
    delete_pod(&cluster, "worker-1").await;
    pass(900).await;
    assert!(!kata_pod(&cluster, "worker-1").unwrap()["metadata"]["deletionTimestamp"].is_null());
    cluster.world(|world| world.set_node_ready("worker-1", true));
    pass(60).await;
    assert!(is_ready(&kata_pod(&cluster, "worker-1").unwrap()));
}
