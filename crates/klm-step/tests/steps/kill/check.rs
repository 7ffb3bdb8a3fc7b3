//! The end of a killed run against how the fleet was found, and against the end of a run that nobody disturbed.

use std::collections::BTreeMap;

use klm_core::contract::{CURRENT_VERSION, RUN_LABEL, STATUS};
use serde_json::{Value, json};

use super::scenario::{Scenario, Script, TAKEN_BACK, WORKERS};
use super::script::{Kill, Next};
use crate::bed::{Bed, NAMESPACE, RELEASE};

/// The chart whose classes ask nodes for a second label.
const MARKING: &str = "4.1.0";
const MARKER: &str = "kata-deploy.katacontainers.io/default";

/// Nodes as a person would compare them: cordon, taints, labels, annotations, and what is truly installed.
pub type Portraits = BTreeMap<&'static str, Value>;

/// The fleet and its release before anything happened.
pub struct Before {
    nodes: Portraits,
    config: Value,
}

/// The end of a run that nobody disturbed.
pub struct Whole {
    nodes: Portraits,
    chart: String,
    config: Value,
    /// A kill before and one after each write, by the step that makes it.
    pub points: BTreeMap<String, u64>,
}

impl Before {
    pub fn of(bed: &Bed) -> Self {
        Self { nodes: portraits(bed), config: config(bed) }
    }

    /// The nodes that are settled at this moment, with the number of their installations: nobody may touch them again.
    pub fn settled(bed: &Bed) -> BTreeMap<&'static str, u32> {
        let settled = WORKERS.into_iter().filter(|node| bed.status(node) == "completed");
        settled.map(|node| (node, bed.installs(node))).collect()
    }
}

fn portraits(bed: &Bed) -> Portraits {
    WORKERS.into_iter().map(|node| (node, portrait(bed, node))).collect()
}

fn portrait(bed: &Bed, name: &str) -> Value {
    let node = bed.cluster.node(name);
    let mut labels = node["metadata"]["labels"].clone();
    // Which run was the last to settle a node differs by design.
    labels.as_object_mut().unwrap().remove(RUN_LABEL);
    json!({
        "cordoned": node["spec"]["unschedulable"] == true, "taints": node["spec"]["taints"], "labels": labels,
        "annotations": node["metadata"]["annotations"], "installed": bed.installed(name),
    })
}

/// The user's values of the release. In daemonset mode a run leaves there what keeps pods from restarting.
fn config(bed: &Bed) -> Value {
    let mut values = bed.helm.last(NAMESPACE, RELEASE).config;
    if values.get("deploymentMode") != Some(&json!("job")) {
        for own in ["deploymentMode", "updateStrategy"] {
            values.remove(own);
        }
    }
    json!(values)
}

impl Scenario {
    /// The script to its own end.
    pub async fn undisturbed(&self) -> Whole {
        let bed = self.bed();
        self.prepare(&bed).await;
        bed.written.borrow_mut().clear();
        assert!(self.perform(&bed, &Kill::default()).await.is_none());
        bed.assert_tidy();
        let points = bed.written.take().into_iter().map(|(step, writes)| (step, 2 * writes)).collect();
        Whole { nodes: portraits(&bed), chart: chart(&bed), config: config(&bed), points }
    }

    pub fn check(
        &self,
        bed: &Bed,
        found: &Before,
        settled: &BTreeMap<&'static str, u32>,
        whole: &Whole,
        next: Next,
        what: &str,
    ) {
        let seen = WORKERS.map(|node| format!("{node} {} {}", bed.status(node), bed.installed(node)));
        let context = format!("{what}:\n  {}\n  {}", seen.join("\n  "), bed.revisions().join("\n  "));
        eprintln!("{context}"); // shown when what follows fails
        bed.assert_tidy();
        bed.assert_nothing_uninstalled();
        let last = bed.helm.last(NAMESPACE, RELEASE);
        assert_eq!(last.status, "deployed", "{context}");
        for (node, installs) in settled {
            let asked_for = self.script == Script::RollbackNode && *node == TAKEN_BACK;
            assert!(asked_for || bed.installs(node) == *installs, "{node} was settled and is touched again, {context}");
        }
        if self.repeats_the_whole(next) {
            assert_eq!(portraits(bed), whole.nodes, "{context}");
            assert_eq!((chart(bed), config(bed)), (whole.chart.clone(), whole.config.clone()), "{context}");
            return;
        }
        for node in WORKERS {
            assert_eq!(portrait(bed, node), self.expected(bed, found, node), "{node}, {context}");
        }
        assert_eq!(config(bed), found.config, "{context}");
        if WORKERS.iter().all(|node| bed.status(node) != "completed") {
            assert_eq!(chart(bed), self.from, "no node depends on the new chart, {context}");
        }
    }

    /// Whether what follows a kill does all of what the kill cut short.
    fn repeats_the_whole(&self, next: Next) -> bool {
        match self.script {
            _ if next == Next::Retry => true,
            Script::Rollout => next == Next::NewRun,
            Script::Recover => next == Next::Recover,
            Script::RollbackNode => next == Next::Again,
        }
    }

    /// A node as it was found, but for what its status says was done to it.
    fn expected(&self, bed: &Bed, found: &Before, node: &str) -> Value {
        let mut expected = found.nodes[node].clone();
        let status = bed.status(node);
        let completed = status == "completed";
        expected["installed"] = json!(if completed { self.to } else { self.from });
        for map in ["labels", "annotations"] {
            if !status.is_empty() {
                expected[map][STATUS] = json!(status);
            }
            let version = bed.version(node);
            // Nodes that were never changed keep what was known of their version: nothing.
            if !version.is_empty() {
                expected[map][CURRENT_VERSION] = expected["installed"].clone();
            }
        }
        // While the release's classes ask for it, every node that serves Kata has it.
        if chart(bed) == MARKING || (completed && self.to == MARKING) {
            expected["labels"][MARKER] = json!("true");
        }
        expected
    }
}

fn chart(bed: &Bed) -> String {
    bed.helm.last(NAMESPACE, RELEASE).chart
}
