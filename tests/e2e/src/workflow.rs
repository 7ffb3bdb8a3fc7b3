//! Submitting workflows and reading how they went.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use klm_bed::wait::{Seen, Wait};
use kube::api::DynamicObject;
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use serde_json::Value;

use crate::Scene;

/// How a workflow ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// `Succeeded`, `Failed` or `Error`.
    pub phase: String,
    /// What the controller says about it.
    pub message: String,
    /// Every node of the workflow's tree, by its name as `argo get` shows it.
    pub steps: BTreeMap<String, Step>,
    /// The whole object.
    pub object: Value,
}

/// One node of a workflow's tree.
#[derive(Clone, Debug)]
pub struct Step {
    /// `Succeeded`, `Failed`, `Error`, `Omitted`, `Skipped`.
    pub phase: String,
    /// Why, in the controller's words.
    pub message: String,
    /// Its output parameters.
    pub outputs: BTreeMap<String, String>,
}

impl Scene {
    /// The workflows of a namespace.
    pub fn workflows(&self, namespace: &str) -> Api<DynamicObject> {
        workflows(self.client.clone(), namespace)
    }

    /// Waits until a workflow has ended, well or not.
    pub async fn ended_workflow(&self, namespace: &str, name: &str, deadline: Duration) -> Result<Outcome> {
        let workflows = self.workflows(namespace);
        Wait::new(format!("the workflow {namespace}/{name} to end"), deadline)
            .until(async || {
                let object = workflows.get(name).await?;
                let phase = text(&object.data["status"]["phase"]);
                Ok(match phase.as_str() {
                    "Succeeded" | "Failed" | "Error" => Seen::Done(Outcome::read(&object)?),
                    _ => Seen::NotYet(format!("{phase} {}", text(&object.data["status"]["message"]))),
                })
            })
            .await
    }
}

impl Outcome {
    fn read(object: &DynamicObject) -> Result<Self> {
        let status = &object.data["status"];
        let nodes = status["nodes"].as_object().context("the workflow has no nodes")?;
        let steps = nodes.values().map(|node| (text(&node["name"]), Step::read(node))).collect();
        Ok(Self {
            phase: text(&status["phase"]),
            message: text(&status["message"]),
            steps,
            object: serde_json::to_value(object)?,
        })
    }

    /// The step whose name ends so: names begin with the workflow's own and the steps above.
    pub fn step(&self, suffix: &str) -> Result<&Step> {
        self.steps
            .iter()
            .find(|(name, _)| name.ends_with(suffix))
            .map(|(_, step)| step)
            .with_context(|| format!("no step `{suffix}` among {:?}", self.steps.keys()))
    }
}

impl Step {
    fn read(node: &Value) -> Self {
        let outputs = node["outputs"]["parameters"].as_array().into_iter().flatten();
        Self {
            phase: text(&node["phase"]),
            message: text(&node["message"]),
            outputs: outputs.map(|each| (text(&each["name"]), text(&each["value"]))).collect(),
        }
    }
}

fn workflows(client: Client, namespace: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("argoproj.io", "v1alpha1", "Workflow");
    Api::namespaced_with(client, namespace, &ApiResource::from_gvk(&kind))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
