use klm_testkit::fixtures::Fleet;
use klm_testkit::{FakeCluster, FakeHelm};
use serde_json::json;

use super::*;
use crate::cli::Command;
use crate::testing::{POD, bare_world, command, refusals, world};

async fn checked(fleet: &(FakeCluster, FakeHelm), more: &[&str]) -> Result<(), StepError> {
    let line = [&["preflight", "--workflow-namespace", "flows"], more].concat();
    let Command::Preflight(args) = command(&line) else { panic!("{line:?}") };
    run(&args, &world(&fleet.0, &fleet.1)).await
}

fn fleet() -> (FakeCluster, FakeHelm) {
    let fleet = Fleet::new().build();
    fleet.0.add(json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": WORKFLOWS}, "spec": {},
    }));
    fleet
}

#[tokio::test(start_paused = true)]
async fn a_cluster_with_argo_and_all_rights_passes_and_stays_as_it_is() {
    let fleet = fleet();
    checked(&fleet, &["--verification-pod", POD]).await.unwrap();
    assert_eq!(fleet.0.write_transcript(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn the_template_is_looked_for_by_the_name_that_the_chart_gave_it() {
    for (more, name) in
        [(&[][..], "kata-lifecycle-manager"), (&["--workflow-template", "kata-rollout"], "kata-rollout")]
    {
        let fleet = fleet();
        checked(&fleet, &[more, &["--verification-pod", POD]].concat()).await.unwrap();
        let asked = format!("/namespaces/flows/workflowtemplates/{name}");
        let transcript = fleet.0.transcript();
        assert!(transcript.iter().any(|line| line.trim_end().ends_with(&asked)), "{asked}: {transcript:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn argo_must_be_there() {
    let said = refusals(checked(&Fleet::new().build(), &[]).await);
    assert!(said.contains("Argo Workflows isn't installed"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn missing_rights_and_wrong_defaults_are_named_together() {
    let (cluster, helm) = fleet();
    let poor = cluster.with_rules(&[], "flows", "klm");
    let line = ["preflight", "--workflow-namespace", "flows", "--node-selector", "a in", "--verification-pod", "x: y"];
    let Command::Preflight(args) = command(&line) else { panic!("{line:?}") };
    let said = refusals(run(&args, &bare_world(&poor, &helm)).await);
    for part in [
        "may not get, list, watch, patch nodes",
        "`a in` is not a label selector",
        "must be `Pod` of `v1`",
        "create pods/eviction",
    ] {
        assert_eq!(said.contains(part), part != "create pods/eviction", "{part}: {said}");
    }
}
