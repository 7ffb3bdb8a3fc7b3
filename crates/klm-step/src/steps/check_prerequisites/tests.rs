use http::Method;
use klm_testkit::fixtures::{Fleet, budget, pod, workflow};
use klm_testkit::{FakeCluster, FakeHelm, HelmFault};
use serde_json::json;

use super::*;
use crate::cli::Command;
use crate::testing::{POD, RUN, bare_world, chart_rules, command, post_render, refusals, world};

fn args(target: &str, more: &[&str]) -> cli::CheckPrerequisites {
    let line: Vec<&str> = ["check-prerequisites", "--target-version", target, "--verification-pod", POD]
        .into_iter()
        .chain(RUN)
        .chain(more.iter().copied())
        .collect();
    match command(&line) {
        Command::CheckPrerequisites(args) => args,
        other => panic!("{other:?}"),
    }
}

async fn checked(fleet: &(FakeCluster, FakeHelm), target: &str, more: &[&str]) -> Result<(), StepError> {
    run(&args(target, more), &world(&fleet.0, &fleet.1)).await
}

#[tokio::test(start_paused = true)]
async fn a_healthy_fleet_passes_in_both_modes_and_nothing_is_changed() {
    for fleet in [Fleet::new().version("4.0.0").daemonset().build(), Fleet::new().version("4.0.0").job().build()] {
        post_render(&fleet.1);
        checked(&fleet, "4.1.0", &[]).await.unwrap();
        assert_eq!(fleet.0.write_transcript(), Vec::<String>::new());
        assert_eq!(fleet.1.revisions("kube-system", "kata-deploy").len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn every_reason_is_said_at_once() {
    let values = json!({"image": {"tag": "3.28.0"}, "job": {"nodeSelector": {"a": "b"}}});
    let fleet = Fleet::new().version("3.28.0").values(values).build();
    let taint = json!([{"key": "gpu", "value": "x", "effect": "NoSchedule"}]);
    fleet.0.edit("nodes", "", "worker-1", |node| node["spec"]["taints"] = taint);
    let said = refusals(checked(&fleet, "9.9.9", &["--deployment-mode", "job"]).await);
    insta::assert_snapshot!(said);
}

#[tokio::test(start_paused = true)]
async fn wrong_parameters_come_with_what_else_is_wrong() {
    let fleet = Fleet::new().release("lab").build();
    let said = refusals(checked(&fleet, "latest", &["--helm-set-values", "deploymentMode=job"]).await);
    for part in ["`latest`, which is not a version", "sets `deploymentMode`", "did you mean `kube-system/lab`"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_living_run_is_named_and_a_dead_one_is_not_in_the_way() {
    let fleet = Fleet::new().build();
    fleet.0.add(lease("up-0"));
    checked(&fleet, "4.0.0", &[]).await.unwrap();
    fleet.0.add(workflow("flows", "up-0", "Running"));
    fleet.0.edit("workflows", "flows", "up-0", |workflow| workflow["metadata"]["uid"] = json!("u-up-0"));
    assert!(refusals(checked(&fleet, "4.0.0", &[]).await).contains("is held by run `flows/up-0`"));
    checked(&fleet, "4.0.0", &["--when-locked", "wait"]).await.unwrap();
}

fn lease(run: &str) -> serde_json::Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"namespace": "kube-system", "name": "klm-kata-deploy"},
        "spec": {"holderIdentity": format!("flows/{run}/u-{run}")},
    })
}

#[tokio::test(start_paused = true)]
async fn a_pending_release_is_left_alone_unless_its_helm_was_a_dead_runs() {
    let fleet = Fleet::new().build();
    fleet.1.inject(HelmFault::die("upgrade"));
    let process = fleet.1.process();
    let upgrade = ["upgrade", "kata-deploy", "oci://x/kata-deploy", "--version", "4.0.0", "--namespace", "kube-system"];
    process.run(klm_testkit::Invocation::of(upgrade)).await;
    assert!(refusals(checked(&fleet, "4.0.0", &[]).await).contains("another helm is at work"));
    fleet.0.add(lease("up-0"));
    assert!(refusals(checked(&fleet, "4.0.0", &[]).await).contains("another helm is at work"), "not that run's");
    let begun = format!("2 {}", fleet.0.now());
    fleet.0.edit("leases", "kube-system", "klm-kata-deploy", |lease| {
        lease["metadata"]["annotations"] = json!({"katacontainers.io/kata-lifecycle-manager-revision": begun});
    });
    checked(&fleet, "4.0.0", &[]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_missing_right_is_named_with_its_rule() {
    let (cluster, helm) = Fleet::new().build();
    let mut rules = chart_rules();
    let verbs =
        rules.iter_mut().filter(|it| it["kind"] == "ClusterRole").flat_map(|it| it["rules"].as_array_mut().unwrap());
    for rule in
        verbs.filter(|rule| rule["resources"] == json!(["nodes"]) || rule["resources"] == json!(["pods/eviction"]))
    {
        rule["verbs"] = json!(["get", "list", "watch"]);
    }
    let poor = cluster.with_rules(&rules, "flows", "kata-lifecycle-manager");
    let said = refusals(run(&args("4.0.0", &["--drain-enabled", "true"]), &bare_world(&poor, &helm)).await);
    insta::assert_snapshot!(said);
}

#[tokio::test(start_paused = true)]
async fn a_verification_pod_that_the_cluster_would_not_take_is_refused() {
    let fleet = Fleet::new().build();
    fleet.0.fail_once(Method::POST, "/api/v1/namespaces/default/pods", 403);
    let said = refusals(checked(&fleet, "4.0.0", &[]).await);
    assert!(said.contains("wouldn't take the verification pod in namespace `default`"), "{said}");
    assert!(!said.contains("hunter2"));
}

#[tokio::test(start_paused = true)]
async fn what_the_chart_itself_refuses_is_found_before_anything_is_touched() {
    let fleet = Fleet::new().build();
    fleet.1.fail_once("upgrade", "UPGRADE FAILED: execution error at (kata-deploy/templates/x.yaml): no");
    let said = refusals(checked(&fleet, "4.0.0", &[]).await);
    assert!(said.contains("helm can't upgrade the release to 4.0.0") && said.contains("execution error"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_can_not_succeed_is_refused_before_the_first_cordon() {
    let fleet = Fleet::new().build();
    fleet.0.add(pod("bare").on("worker-1"));
    fleet.0.add(pod("web-1").on("worker-2").owned_by("ReplicaSet", "web").label("app", "web"));
    fleet.0.add(budget("web", "default", ("app", "web")).min_available(1));
    checked(&fleet, "4.0.0", &[]).await.unwrap();
    let said = refusals(checked(&fleet, "4.0.0", &["--drain-enabled", "true"]).await);
    assert!(said.contains("pod `default/bare`: nothing creates it again"), "{said}");
    assert!(said.contains("pod `default/web-1`: budget `default/web` needs 1"), "{said}");
    checked(&fleet, "4.0.0", &["--drain-enabled", "true", "--drain-scope", "kata"]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_chart_that_a_rollback_needs_must_be_there_too() {
    let gone = |fleet: Fleet| {
        let fleet = fleet.build();
        fleet.1.set_versions(&["4.0.0", "4.1.0"]);
        post_render(&fleet.1);
        fleet
    };
    let said = refusals(checked(&gone(Fleet::new()), "4.0.0", &[]).await);
    assert!(said.contains("chart version 3.31.0, what a rollback goes back to"), "{said}");
    let armed = Fleet::new().values(json!({"updateStrategy": {"type": "OnDelete"}}));
    checked(&gone(armed), "4.0.0", &[]).await.unwrap();
    let job = Fleet::new().version("3.32.0").job().values(json!({"updateStrategy": {"type": "OnDelete"}}));
    assert!(refusals(checked(&gone(job), "4.1.0", &[]).await).contains("chart version 3.32.0"));
}

#[tokio::test(start_paused = true)]
async fn an_old_helm_is_refused() {
    let fleet = Fleet::new().build();
    fleet.1.set_helm_version("v4.2.1");
    assert!(refusals(checked(&fleet, "4.0.0", &[]).await).contains("helm is 4.2.1"));
}

#[tokio::test(start_paused = true)]
async fn versions_that_uninstall_as_they_go_need_a_word() {
    let fleet = Fleet::new().version("3.28.0").build();
    assert!(refusals(checked(&fleet, "3.31.0", &[]).await).contains("accept-uninstall-window=true"));
    checked(&fleet, "3.31.0", &["--accept-uninstall-window", "true"]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_away_for_a_moment_is_no_refusal() {
    let fleet = Fleet::new().build();
    fleet.0.fail_once(Method::GET, "/api/v1/nodes", 503);
    checked(&fleet, "4.0.0", &[]).await.unwrap();
}
