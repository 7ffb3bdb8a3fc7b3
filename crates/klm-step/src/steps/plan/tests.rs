use http::Method;
use klm_testkit::fixtures::{Fleet, node, pod};
use klm_testkit::{FakeCluster, FakeHelm};
use serde_json::{Value, json};

use super::*;
use crate::cli::Command;
use crate::testing::{POD, bare_world, chart_rules, command, post_render, world};

/// What the entrypoint `plan` prints.
async fn printed(fleet: &(FakeCluster, FakeHelm), target: &str, more: &[&str]) -> (String, Result<(), StepError>) {
    printed_in(step_on(world(&fleet.0, &fleet.1)), target, more).await
}

async fn printed_in(world: World, target: &str, more: &[&str]) -> (String, Result<(), StepError>) {
    let line = [&["plan", "--target-version", target, "--verification-pod", POD], more].concat();
    let Command::Plan(args) = command(&line) else { panic!("{line:?}") };
    print(&args, &world).await.unwrap()
}

fn step_on(mut world: World) -> World {
    world.here.pod = "plan-1".to_owned();
    world
}

fn fleet() -> (FakeCluster, FakeHelm) {
    Fleet::new()
        .workers(4)
        .version("3.32.0")
        .node(node("worker-3").cordoned())
        .node(node("control-1").control_plane().tainted("node-role.kubernetes.io/control-plane", "", "NoSchedule"))
        .build()
}

#[tokio::test(start_paused = true)]
async fn in_daemonset_mode_people_read_what_would_happen() {
    let fleet = fleet();
    let more = ["--batch-size", "2", "--helm-set-values", "image.repository=mirror/kata-deploy"];
    let (text, end) = printed(&fleet, "4.1.0", &more).await;
    insta::assert_snapshot!(text);
    end.unwrap();
    assert_eq!(fleet.0.write_transcript(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn in_job_mode_people_read_what_would_happen() {
    let fleet = Fleet::new().version("4.0.0").job().build();
    post_render(&fleet.1);
    let (text, end) = printed(&fleet, "4.1.0", &[]).await;
    insta::assert_snapshot!(text);
    end.unwrap();
}

#[tokio::test(start_paused = true)]
async fn in_daemonset_mode_a_pod_of_kata_deploys_own_verification_is_given_back() {
    for (values, calls) in [(json!({}), 2), (json!({"verification": {"pod": "kind: Pod"}}), 3)] {
        let fleet = Fleet::new().values(values).build();
        let (text, end) = printed(&fleet, "4.0.0", &["--output", "json"]).await;
        end.unwrap();
        let plan: Value = serde_json::from_str(&text).unwrap();
        let told = plan["commands"].as_array().unwrap();
        assert_eq!(told.len(), calls, "{told:#?}");
        let last = told.last().unwrap().as_str().unwrap();
        assert_eq!(last.contains("--no-hooks --reset-values -f <values file>"), calls == 3, "{last}");
    }
}

#[tokio::test(start_paused = true)]
async fn programs_read_json() {
    let (text, end) = printed(&fleet(), "4.1.0", &["--output", "json"]).await;
    let plan: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(plan["waves"][0][0], json!({"node": "worker-1", "source": "3.32.0"}));
    assert_eq!(plan["skipped"][0]["node"], "worker-3");
    assert_eq!(plan["refusals"], json!([]));
    end.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_would_be_refused_is_printed_with_the_reasons() {
    let fleet = Fleet::new().values(json!({"image": {"tag": "old"}})).build();
    let (text, end) = printed(&fleet, "4.0.0", &[]).await;
    assert!(text.contains("worker-1") && text.contains("refused:\n") && text.contains("`image.tag`"), "{text}");
    assert_eq!(end.unwrap_err().code(), 3);
}

#[tokio::test(start_paused = true)]
async fn pods_in_the_way_of_a_drain_are_listed_with_their_budgets() {
    let fleet = Fleet::new().build();
    for number in 1..=3 {
        fleet.0.add(
            pod(&format!("web-{number}"))
                .on(&format!("worker-{number}"))
                .owned_by("ReplicaSet", "web")
                .label("app", "web"),
        );
    }
    fleet.0.add(klm_testkit::fixtures::budget("web", "default", ("app", "web")).min_available(2));
    fleet.0.add(pod("web-4").on("worker-1").owned_by("ReplicaSet", "web").label("app", "web").not_ready());
    let (text, _) = printed(&fleet, "4.0.0", &["--drain-enabled", "true"]).await;
    assert!(!text.contains("in the way of a drain"), "one may go: {text}");
    fleet.0.remove("pods", "default", "web-2");
    let (text, _) = printed(&fleet, "4.0.0", &["--drain-enabled", "true"]).await;
    assert!(text.contains("pod `default/web-1` is blocked-now: budget `default/web` needs 2"), "{text}");
    assert_eq!(fleet.0.get("pods", "default", "web-1").unwrap()["metadata"].get("deletionTimestamp"), None);
}

#[tokio::test(start_paused = true)]
async fn an_eviction_that_a_webhook_refuses_is_found_by_trying() {
    let fleet = Fleet::new().build();
    fleet.0.add(pod("web-1").on("worker-1").owned_by("ReplicaSet", "web"));
    fleet.0.fail_once(Method::POST, "/api/v1/namespaces/default/pods/web-1/eviction", 403);
    let (text, end) = printed(&fleet, "4.0.0", &["--drain-enabled", "true"]).await;
    assert!(text.contains("pod `default/web-1` is never-opens: injected fault 403"), "{text}");
    assert_eq!(end.unwrap_err().code(), 3);
}

/// Rules of somebody who may look at everything that a run uses, and change nothing.
fn rules_to_look() -> Vec<Value> {
    let mut rules = chart_rules();
    let all = rules.iter_mut().filter_map(|object| object.get_mut("rules")?.as_array_mut()).flatten();
    for verbs in all.filter_map(|rule| rule["verbs"].as_array_mut()) {
        verbs.retain(|verb| ["get", "list", "watch"].map(Value::from).contains(verb));
    }
    rules
}

#[tokio::test(start_paused = true)]
async fn what_a_person_may_not_do_says_nothing_about_the_steps() {
    let (cluster, helm) = Fleet::new().build();
    cluster.add(pod("web-1").on("worker-1").owned_by("ReplicaSet", "web"));
    let cluster = cluster.with_rules(&rules_to_look(), "flows", klm_core::contract::CHART_NAME);
    let (text, end) = printed_in(bare_world(&cluster, &helm), "4.0.0", &["--drain-enabled", "true"]).await;
    end.unwrap();
    assert!(text.contains("from here you ask with your own rights: the steps' aren't checked"), "{text}");
    assert!(!text.contains("in the way of a drain"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn what_the_steps_may_not_do_is_refused() {
    let (cluster, helm) = Fleet::new().build();
    let cluster = cluster.with_rules(&rules_to_look(), "flows", klm_core::contract::CHART_NAME);
    let (text, end) = printed_in(step_on(bare_world(&cluster, &helm)), "4.0.0", &[]).await;
    let refused = end.unwrap_err();
    assert_eq!(refused.code(), 3);
    assert!(refused.report().contains("the step's service account may not patch nodes in the whole cluster"), "{text}");
    assert!(!text.contains("your own rights"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn no_secret_is_printed() {
    let fleet = Fleet::new().values(json!({"imagePullSecrets": [{"name": "hunter2"}]})).build();
    for output in ["text", "json"] {
        let (text, _) = printed(&fleet, "4.0.0", &["--output", output, "--helm-set-values", "logLevel=hunter2"]).await;
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_installed_template_gives_what_was_not_given() {
    let fleet = Fleet::new().workers(3).build();
    fleet.0.add(json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "WorkflowTemplate",
        "metadata": {"name": "klm", "namespace": "flows"},
        "spec": {"arguments": {"parameters": [
            {"name": "verification-pod", "value": POD}, {"name": "batch-size", "value": "2"},
        ]}},
    }));
    let plan = |more: &[&str]| {
        let line = [&["plan", "--target-version", "4.0.0", "--template", "flows/klm"], more].concat();
        let Command::Plan(args) = command(&line) else { panic!("{line:?}") };
        args
    };
    let (text, end) = print(&plan(&[]), &bare_world(&fleet.0, &fleet.1)).await.unwrap();
    assert!(text.contains("waves    2 of up to 2"), "{text}");
    end.unwrap();
    let (text, _) = print(&plan(&["--batch-size", "3"]), &bare_world(&fleet.0, &fleet.1)).await.unwrap();
    assert!(text.contains("waves    1 of up to 3"), "{text}");
    fleet.0.remove("workflowtemplates", "flows", "klm");
    let refused = print(&plan(&[]), &bare_world(&fleet.0, &fleet.1)).await.unwrap_err();
    assert!(refused.to_string().contains("refused") && refused.code() == 3, "{}", refused.report());
}
