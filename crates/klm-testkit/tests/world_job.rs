//! Job mode: the dispatchers and their per-node Jobs, with the mistakes of each version.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::time::Duration;

use klm_testkit::fixtures::{Fleet, node};
use klm_testkit::{FakeCluster, FakeHelm, Injection, Invocation, Output};
use serde_json::Value;

const CHART: &str = "oci://ghcr.io/kata-containers/kata-deploy-charts/kata-deploy";
const RUNTIME: &str = "katacontainers.io/kata-runtime";

async fn wave(helm: &FakeHelm, version: &str, nodes: &str, more: &str) -> Output {
    let line = format!(
        "upgrade kata-deploy {CHART} -n kube-system --version {version} --reset-then-reuse-values --set deploymentMode=job \
         --set job.parallelism=5 --set-string job.nodes={{{nodes}}} --timeout 20m{more}"
    );
    helm.process().run(Invocation::of(line.split_whitespace())).await
}

fn job_of(cluster: &FakeCluster, node: &str) -> Option<Value> {
    let ours = |job: &Value| job["metadata"]["annotations"]["kata-deploy-job-dispatcher/node-name"] == node;
    cluster.objects("jobs").into_iter().find(ours)
}

fn installed(cluster: &FakeCluster, node: &str) -> String {
    cluster.truth(node).installed.unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn a_wave_installs_its_nodes_and_no_others() {
    let (cluster, helm) = Fleet::new().workers(4).version("3.32.0").job().build();
    let output = wave(&helm, "4.0.0", "worker-1,worker-2", "").await;
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let versions: Vec<String> = (1..=4).map(|number| installed(&cluster, &format!("worker-{number}"))).collect();
    assert_eq!(versions, ["4.0.0", "4.0.0", "3.32.0", "3.32.0"]);
    let job = job_of(&cluster, "worker-1").unwrap();
    let dispatcher = cluster.get("jobs", "kube-system", "kata-deploy-install-dispatcher").unwrap();
    assert_eq!(job["metadata"]["name"], "kata-deploy-install-worker-1");
    assert_eq!(job["metadata"]["ownerReferences"][0]["uid"], dispatcher["metadata"]["uid"]);
    assert_eq!(job["status"]["conditions"][0]["type"], "Complete");
    assert_eq!(job["spec"]["template"]["spec"]["containers"][0]["image"], "quay.io/kata-containers/kata-deploy:4.0.0");
    tokio::time::sleep(Duration::from_secs(700)).await;
    assert!(job_of(&cluster, "worker-1").is_none(), "the TTL took it");
}

#[tokio::test(start_paused = true)]
async fn one_failed_node_fails_helm_and_leaves_the_others_done() {
    let (cluster, helm) = Fleet::new().version("3.32.0").job().build();
    cluster.misbehave_at("worker-2", "4.0.0", Injection::Crash);
    let output = wave(&helm, "4.0.0", "worker-1,worker-2,worker-3", "").await;
    assert!(output.stderr.contains("post-upgrade hooks failed: resource Job/kube-system/kata-deploy-install-dispatcher not ready. status: Failed"), "{}", output.stderr);
    assert_eq!(helm.last("kube-system", "kata-deploy").status, "failed");
    assert_eq!(
        (installed(&cluster, "worker-1"), installed(&cluster, "worker-2")),
        ("4.0.0".to_owned(), "3.32.0".to_owned())
    );
    let job = job_of(&cluster, "worker-2").unwrap();
    assert_eq!(
        (&job["status"]["conditions"][0]["reason"], &job["status"]["failed"]),
        (&"BackoffLimitExceeded".into(), &4.into())
    );
}

#[tokio::test(start_paused = true)]
async fn a_stale_job_is_adopted_before_4_1_and_replaced_from_then_on() {
    for (from, to, expected) in [("3.32.0", "4.0.0", "3.32.0"), ("4.0.0", "4.1.0", "4.1.0")] {
        let (cluster, helm) = Fleet::new().version(from).job().build();
        cluster.world(|world| world.leave_stale_job("kube-system", "worker-1"));
        let output = wave(&helm, to, "worker-1", "").await;
        assert_eq!(output.code, Some(0), "success is claimed either way: {}", output.stderr);
        assert_eq!(installed(&cluster, "worker-1"), expected, "{to}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_helm_run_seconds_later_meets_the_jobs_of_the_first() {
    let (cluster, helm) = Fleet::new().version("3.32.0").job().build();
    assert_eq!(wave(&helm, "4.0.0", "worker-1", "").await.code, Some(0));
    let output = wave(&helm, "3.32.0", "worker-1", " --timeout 1h").await;
    // The old Job is adopted and then collected under the dispatcher's eyes, which waits for it for ever.
    assert!(output.stderr.contains("context deadline exceeded"), "{output:?}");
    assert_eq!(installed(&cluster, "worker-1"), "4.0.0");
}

#[tokio::test(start_paused = true)]
async fn from_4_1_on_nodes_outside_the_wave_are_uninstalled() {
    let (cluster, helm) = Fleet::new().version("4.1.0").job().build();
    assert_eq!(wave(&helm, "4.2.0", "worker-1", "").await.code, Some(0));
    assert_eq!(installed(&cluster, "worker-1"), "4.2.0");
    for node in ["worker-2", "worker-3"] {
        let truth = cluster.truth(node);
        assert_eq!((truth.installed, truth.uninstalls), (None, 1));
        assert_eq!(cluster.label(node, RUNTIME), None);
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_cleanup_argument_4_1_leaves_the_rest_alone() {
    let (cluster, helm) = Fleet::new().version("4.1.0").job().build();
    helm.set_post_render(|text, _| {
        let kept = text.lines().filter(|line| !line.contains("--cleanup-job-template"));
        Ok(kept.fold(String::new(), |text, line| text + line + "\n"))
    });
    assert_eq!(wave(&helm, "4.2.0", "worker-1", " --post-renderer klm").await.code, Some(0));
    assert_eq!(
        (installed(&cluster, "worker-1"), installed(&cluster, "worker-2")),
        ("4.2.0".to_owned(), "4.1.0".to_owned())
    );
    assert_eq!(cluster.label("worker-1", "kata-deploy.katacontainers.io/default").as_deref(), Some("true"));
    assert_eq!(cluster.truth("worker-2").uninstalls, 0);
}

#[tokio::test(start_paused = true)]
async fn an_empty_wave_means_every_node_or_none_at_all() {
    let (cluster, helm) = Fleet::new().version("4.1.0").job().build();
    let output = wave(&helm, "4.2.0", "", "").await;
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    assert!(
        (1..=3).all(|number| cluster.truth(&format!("worker-{number}")).uninstalls == 1),
        "`{{}}` is a list of one empty name"
    );
}

#[tokio::test(start_paused = true)]
async fn a_dispatcher_without_a_node_to_run_on_stays_pending() {
    let cordoned = |name: &str| node(name).cordoned();
    let fleet = Fleet::new().workers(0).node(cordoned("worker-1")).node(cordoned("worker-2")).version("3.32.0").job();
    let (cluster, helm) = fleet.build();
    let output = wave(&helm, "4.0.0", "worker-1", " --timeout 5m").await;
    assert!(output.stderr.contains("context deadline exceeded"), "{}", output.stderr);
    assert_eq!(installed(&cluster, "worker-1"), "3.32.0");
    let toleration = " --set tolerations[0].key=node.kubernetes.io/unschedulable --set tolerations[0].operator=Exists";
    let output = wave(&helm, "4.0.0", "worker-1", toleration).await;
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    assert_eq!(installed(&cluster, "worker-1"), "4.0.0");
}

#[tokio::test(start_paused = true)]
async fn hangs_vanished_jobs_and_dead_dispatchers_differ_by_version() {
    for (from, to, injection, error, label) in [
        ("3.32.0", "4.0.0", Injection::Hang, "context deadline exceeded", "true"),
        ("3.32.0", "4.0.0", Injection::Vanish, "context deadline exceeded", "true"),
        ("4.0.0", "4.1.0", Injection::Vanish, "status: Failed", "true"),
        ("3.32.0", "4.0.0", Injection::DispatcherKilled, "status: Failed", "true"),
        ("4.0.0", "4.1.0", Injection::NodeNotReady, "status: Failed", "true"),
    ] {
        let (cluster, helm) = Fleet::new().version(from).job().build();
        cluster.misbehave_at("worker-1", to, injection);
        let output = wave(&helm, to, "worker-1", "").await;
        assert_eq!(output.code, Some(1), "{injection:?} {to}");
        assert!(output.stderr.contains(error), "{injection:?} {to}: {}", output.stderr);
        assert_eq!(
            cluster.label("worker-1", RUNTIME).as_deref(),
            Some(label),
            "{injection:?}: the old label is no proof"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_jobs_of_a_dead_dispatcher_go_on() {
    let (cluster, helm) = Fleet::new().version("3.32.0").job().build();
    cluster.misbehave_at("worker-1", "4.0.0", Injection::DispatcherKilled);
    assert_eq!(wave(&helm, "4.0.0", "worker-1", "").await.code, Some(1));
    assert_eq!(installed(&cluster, "worker-1"), "3.32.0");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(installed(&cluster, "worker-1"), "4.0.0");
}

#[tokio::test(start_paused = true)]
async fn only_3_32_ends_on_a_failed_list() {
    for (from, to, code) in [("4.0.0", "3.32.0", 1), ("3.32.0", "4.0.0", 0)] {
        let (cluster, helm) = Fleet::new().version(from).job().build();
        cluster.misbehave_at("worker-1", to, Injection::ApiBlip);
        assert_eq!(wave(&helm, to, "worker-1", "").await.code, Some(code), "{to}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_dispatcher_ends_on_a_new_flag() {
    let values = serde_json::json!({"job": {"dispatcherImage": {"tag": "4.0.0"}}});
    let (cluster, helm) = Fleet::new().version("4.0.0").job().values(values).build();
    let output = wave(&helm, "4.1.0", "worker-1", "").await;
    assert!(output.stderr.contains("status: Failed"), "{}", output.stderr);
    assert_eq!(installed(&cluster, "worker-1"), "4.0.0");
}
