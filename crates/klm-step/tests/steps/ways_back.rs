//! Where a rollback goes when more than one run, or somebody else, had a hand in the release.

use klm_testkit::fixtures::Fleet;
use klm_testkit::{Injection, Invocation, PodFate};
use serde_json::{Value, json};

use crate::bed::{Bed, NAMESPACE, RELEASE, unverified};

const ALL: [&str; 3] = ["worker-1", "worker-2", "worker-3"];

fn fleets(version: &str) -> [Fleet; 2] {
    [Fleet::new().version(version), Fleet::new().version(version).job()]
}

/// Somebody's own `helm upgrade` of values alone.
async fn by_hand(bed: &Bed, version: &str, more: &str) {
    let line = format!("upgrade kata-deploy oci://x/kata-deploy -n kube-system --version {version} --no-hooks {more}");
    let ended = bed.helm.process().run(Invocation::of(line.split_whitespace())).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

/// A run of which only the first item is done.
async fn half_a_run(bed: &Bed, target: &str, given: &[(&str, &str)]) {
    let flow = bed.flow("half", given);
    bed.plan(&flow, target, &ALL).await;
    bed.item(&flow, 1).await.unwrap();
    bed.step(&flow, &["finish", "--workflow-status", "Failed"]).await.unwrap();
    bed.end(&flow, "Failed");
}

async fn whole_run(bed: &Bed, name: &str, target: &str) {
    let flow = bed.flow(name, &[("batch-size", "3")]);
    bed.plan(&flow, target, &ALL).await;
    bed.rollout(&flow, 1).await.unwrap();
}

/// What a run ends as whose first node, `worker-2`, fails at the target.
async fn rest_fails(bed: &Bed, target: &str) {
    bed.cluster.misbehave_at("worker-2", target, Injection::Verification(PodFate::Exits(7)));
    let flow = bed.flow("rest", &[]);
    bed.plan(&flow, target, &ALL[1..]).await;
    assert_eq!(unverified(bed.rollout(&flow, 2).await).len(), 1);
}

fn last(bed: &Bed) -> (String, Value) {
    let last = bed.helm.last(NAMESPACE, RELEASE);
    assert_eq!(last.status, "deployed", "{:?}", bed.revisions());
    (last.chart, json!(last.config))
}

#[tokio::test(start_paused = true)]
async fn values_that_somebody_changed_between_two_runs_are_there_after_a_rollback() {
    for fleet in fleets("3.32.0") {
        let bed = Bed::new(fleet.values(json!({"logLevel": "warn", "podLabels": {"team": "blue"}})));
        half_a_run(&bed, "4.0.0", &[("helm-set-values", "imagePullPolicy=Never")]).await;
        by_hand(&bed, "4.0.0", "--reset-then-reuse-values --set debug=true,logLevel=trace").await;
        rest_fails(&bed, "4.0.0").await;
        let (chart, values) = last(&bed);
        assert_eq!((chart.as_str(), bed.installed("worker-2").as_str()), ("3.32.0", "3.32.0"));
        assert_eq!((&values["debug"], &values["logLevel"]), (&json!(true), &json!("trace")), "{values}");
        assert_eq!(values["podLabels"], json!({"team": "blue"}), "{values}");
        assert_eq!(values.get("imagePullPolicy"), None, "that was the run's own, for the target: {values}");
        assert_eq!(values["job"].get("nodes"), None, "{values}");
        bed.assert_nothing_uninstalled();
        bed.assert_tidy();
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_killed_after_somebody_changed_values_is_taken_back_to_the_changed_ones() {
    for fleet in fleets("3.32.0") {
        let bed = Bed::new(fleet);
        half_a_run(&bed, "4.0.0", &[]).await;
        by_hand(&bed, "4.0.0", "--reset-then-reuse-values --set debug=true").await;
        let flow = bed.flow("killed", &[]);
        bed.plan(&flow, "4.0.0", &ALL[1..]).await;
        bed.step(&flow, &["apply-wave", "--item", "1"]).await.unwrap();
        bed.end(&flow, "Failed");
        bed.step(&bed.flow("recovery", &[]), &["recover"]).await.unwrap();
        let (chart, values) = last(&bed);
        assert_eq!((chart.as_str(), bed.installed("worker-2").as_str()), ("3.32.0", "3.32.0"));
        assert_eq!(values["debug"], true, "{values}");
        bed.assert_tidy();
    }
}

#[tokio::test(start_paused = true)]
async fn a_rollback_that_is_asked_for_keeps_what_somebody_changed_since_the_run() {
    for fleet in fleets("3.32.0") {
        let bed = Bed::new(fleet);
        whole_run(&bed, "first", "4.0.0").await;
        by_hand(&bed, "4.0.0", "--reset-then-reuse-values --set debug=true").await;
        bed.step(&bed.flow("back", &[]), &["rollback-node", "--node-name", "worker-2"]).await.unwrap();
        assert_taken_back(&bed, "3.32.0");
        let (chart, values) = last(&bed);
        assert_eq!((chart.as_str(), &values["debug"]), ("3.32.0", &json!(true)), "{values}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rollback_goes_without_values_that_the_old_chart_refuses() {
    // Charts from 4.1.0 on refuse `job.nodeSelector`, in both modes.
    for fleet in fleets("4.1.0") {
        let bed = Bed::new(fleet.values(json!({"logLevel": "warn"})));
        half_a_run(&bed, "4.0.0", &[]).await;
        by_hand(&bed, "4.0.0", "--reset-then-reuse-values --set job.nodeSelector.pool=kata,logLevel=trace").await;
        rest_fails(&bed, "4.0.0").await;
        let (chart, values) = last(&bed);
        assert_eq!((chart.as_str(), bed.installed("worker-2").as_str()), ("4.1.0", "4.1.0"));
        assert_eq!(values["logLevel"], "warn", "what the old chart is known to take: {values}");
        assert_eq!(values["job"].get("nodeSelector"), None, "{values}");
        bed.assert_tidy();
    }
}

#[tokio::test(start_paused = true)]
async fn without_its_old_chart_a_release_with_changed_values_still_goes_back() {
    let bed = Bed::new(Fleet::new().values(json!({"logLevel": "warn"})));
    half_a_run(&bed, "4.0.0", &[]).await;
    by_hand(&bed, "4.0.0", "--reset-then-reuse-values --set logLevel=trace").await;
    bed.helm.set_versions(&["4.0.0"]);
    rest_fails(&bed, "4.0.0").await;
    let (chart, values) = last(&bed);
    assert_eq!((chart.as_str(), bed.installed("worker-2").as_str()), ("3.31.0", "3.31.0"));
    assert_eq!(values["logLevel"], "warn", "{values}");
    bed.assert_tidy();
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_only_submitted_again_goes_back_as_the_first_one_would() {
    let bed = Bed::new(Fleet::new());
    half_a_run(&bed, "4.0.0", &[]).await;
    rest_fails(&bed, "4.0.0").await;
    assert_eq!(bed.helm.calls_of("rollback").len(), 1, "to the revision that was armed");
    assert_eq!(bed.revisions().last().unwrap(), "3.31.0 deployed");
    bed.assert_tidy();
}

#[tokio::test(start_paused = true)]
async fn a_second_run_goes_back_to_where_the_first_one_went() {
    for fleet in fleets("3.32.0") {
        let bed = Bed::new(fleet);
        whole_run(&bed, "first", "4.0.0").await;
        bed.cluster.misbehave_at("worker-1", "4.1.0", Injection::Verification(PodFate::Exits(7)));
        let flow = bed.flow("second", &[]);
        bed.plan(&flow, "4.1.0", &ALL).await;
        assert_eq!(unverified(bed.rollout(&flow, 3).await).len(), 1);
        assert_eq!(bed.installed("worker-1"), "4.0.0");
        bed.assert_tidy();
    }
}

fn assert_taken_back(bed: &Bed, version: &str) {
    assert_eq!((bed.status("worker-2"), bed.installed("worker-2")), ("rolled-back".to_owned(), version.to_owned()));
    assert_eq!(bed.version("worker-2"), version);
    bed.assert_nothing_uninstalled();
    bed.assert_tidy();
}
