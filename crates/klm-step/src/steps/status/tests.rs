use klm_core::contract::{CURRENT_VERSION, JOURNAL, STATUS};
use klm_core::phase::NodePhase;
use klm_testkit::fixtures::{Fleet, node};
use klm_testkit::{FakeCluster, FakeHelm};
use serde_json::{Value, json};

use super::*;
use crate::testing::world;

fn fleet() -> (FakeCluster, FakeHelm) {
    let journal = json!({
        "v": 1, "run": {"namespace": "flows", "name": "up-x1", "uid": "u"}, "release": "katas/kd", "target": "4.0.0",
        "priorUnschedulable": false, "changed": true,
    });
    let done = node("worker-1").annotated(STATUS, "completed").annotated(CURRENT_VERSION, "4.0.0");
    let busy = node("worker-2").annotated(STATUS, "upgrading").annotated(JOURNAL, &journal.to_string());
    Fleet::new()
        .workers(3)
        .version("3.32.0")
        .node(done)
        .node(busy)
        .node(node("worker-3").cordoned())
        .node(node("web-1"))
        .without_kata("web-1")
        .build()
}

async fn seen(fleet: &(FakeCluster, FakeHelm), selector: Option<&str>) -> Vec<Row> {
    rows(&world(&fleet.0, &fleet.1).cluster, selector).await.unwrap()
}

fn text(lines: &[Line]) -> String {
    lines.iter().map(Line::plain).collect::<Vec<_>>().join("\n")
}

#[tokio::test(start_paused = true)]
async fn people_read_where_each_node_with_kata_stands() {
    let fleet = fleet();
    insta::assert_snapshot!(text(&picture(&seen(&fleet, None).await)));
    assert_eq!(fleet.0.write_transcript(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_selector_leaves_the_other_nodes_out() {
    let rows = seen(&fleet(), Some("kubernetes.io/hostname=worker-2")).await;
    assert_eq!(rows.iter().map(|row| row.node.as_str()).collect::<Vec<_>>(), ["worker-2"]);
}

#[tokio::test(start_paused = true)]
async fn programs_read_one_document_or_one_in_each_line() {
    let rows = seen(&fleet(), None).await;
    let whole: Value = serde_json::from_str(&json(&rows, false).unwrap()).unwrap();
    assert_eq!(whole["nodes"][1]["status"], "upgrading");
    assert_eq!(whole["nodes"][1]["run"], "flows/up-x1");
    assert_eq!(json(&rows, true).unwrap().lines().count(), 1);
}

#[test]
fn a_pipe_gets_a_line_for_each_node_that_changed_or_went() {
    let row = |node: &str, status| Row::new(node, Some(status), None);
    let before = [row("a", NodePhase::Preparing), row("b", NodePhase::Preparing), row("c", NodePhase::Completed)];
    let now = [row("a", NodePhase::Preparing), row("b", NodePhase::Cordoned)];
    let said = text(&news(&now, Some(&before)));
    assert!(said.starts_with('b') && said.contains("cordoned") && said.ends_with("c  gone"), "{said}");
    assert_eq!(said.lines().count(), 2);
    assert!(text(&news(&now, None)).starts_with("NODE"), "the first look shows everything");
}

#[test]
fn a_fleet_that_is_larger_than_the_screen_shows_what_is_under_way() {
    let mut rows: Vec<Row> = (100..200).map(|n| Row::new(format!("w-{n}"), Some(NodePhase::Completed), None)).collect();
    rows[90].run = Some("flows/up-x1".to_owned());
    let shown = fitted(&rows, 10);
    assert!(shown.len() < 10, "the cursor needs a line too: {}", shown.len());
    let said = text(&shown);
    assert!(said.contains("w-190") && said.contains("more") && said.contains("100 nodes: 100 completed"), "{said}");
    assert_eq!(fitted(&rows[..3], 10), picture(&rows[..3]));
}
