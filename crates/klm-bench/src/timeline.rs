//! Where a run's time went, by the timestamps of its Workflow. They have whole seconds.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The parts of a run, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timeline {
    /// Submitted to ended.
    pub total: f64,
    /// Submitted to the first item's start: checks and selection.
    pub front: f64,
    /// The first item's start to the last one's end.
    pub rollout: f64,
    /// The rest: the exit handler.
    pub finish: f64,
    /// Items that were begun.
    pub items: usize,
    /// Step pods.
    pub pods: usize,
    /// Step pods' own time, start to end as Argo saw it, in items.
    pub in_pods: f64,
}

/// Reads a Workflow that has ended.
pub fn read(workflow: &Value) -> Timeline {
    let status = &workflow["status"];
    let nodes: Vec<&Value> = status["nodes"].as_object().into_iter().flat_map(|nodes| nodes.values()).collect();
    let begun = time(&workflow["metadata"]["creationTimestamp"]);
    let ended = time(&status["finishedAt"]);
    let items: Vec<&Value> = nodes.iter().copied().filter(|node| node["templateName"] == "wave").collect();
    let of_items = |key: &str| items.iter().filter_map(|item| time(&item[key])).collect::<Vec<_>>();
    let (first, last) = (of_items("startedAt").into_iter().min(), of_items("finishedAt").into_iter().max());
    let pods: Vec<&Value> = nodes.iter().copied().filter(|node| node["type"] == "Pod").collect();
    let in_items = ["apply-wave", "verify", "rollback"];
    Timeline {
        total: between(begun, ended),
        front: between(begun, first),
        rollout: between(first, last),
        finish: between(last, ended),
        items: items.len(),
        pods: pods.len(),
        in_pods: pods
            .iter()
            .filter(|pod| in_items.iter().any(|step| pod["templateName"] == *step))
            .map(|pod| between(time(&pod["startedAt"]), time(&pod["finishedAt"])))
            .sum(),
    }
}

fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

fn between(from: Option<Timestamp>, to: Option<Timestamp>) -> f64 {
    match (from, to) {
        (Some(from), Some(to)) => to.duration_since(from).as_secs_f64().max(0.0),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_run_is_its_front_its_items_and_its_finish() {
        let at = |second: u32| format!("2026-01-01T00:{:02}:{:02}Z", second / 60, second % 60);
        let node = |kind: &str, template: &str, from, to| json!({"type": kind, "templateName": template, "startedAt": at(from), "finishedAt": at(to)});
        let workflow = json!({
            "metadata": {"creationTimestamp": at(0)},
            "status": {"finishedAt": at(100), "nodes": {
                "a": node("Pod", "check-prerequisites", 1, 5),
                "b": node("DAG", "wave", 20, 50),
                "c": node("DAG", "wave", 50, 81),
                "d": node("Pod", "apply-wave", 21, 40),
                "e": node("Pod", "finish", 90, 95),
            }},
        });
        let expected =
            Timeline { total: 100.0, front: 20.0, rollout: 61.0, finish: 19.0, items: 2, pods: 3, in_pods: 19.0 };
        assert_eq!(read(&workflow), expected);
    }

    #[test]
    fn a_run_that_was_stopped_before_its_rollout_has_none() {
        let workflow = json!({"metadata": {}, "status": {}});
        assert_eq!(read(&workflow), Timeline::default());
    }
}
