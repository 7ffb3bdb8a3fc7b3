//! Submitting a run with the real `argo`, and everything that can be known of it when it has ended.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use klm_bed::audit::{Audit, Mark};
use klm_bed::wait::{Seen, Wait};
use kube::ResourceExt as _;
use kube::api::{Api, ListParams, LogParams};
use serde_json::Value;

use super::history::Recording;
use super::{ARGO, Fleet, History, LIFECYCLE, Requests};
use crate::Outcome;

/// A run that was submitted.
pub struct Run {
    /// The Workflow's name.
    pub name: String,
    recording: Recording,
    audit: Option<(Audit, Mark)>,
    pods: BTreeMap<String, StepPod>,
}

/// The pod of a step.
#[derive(Clone, Debug)]
pub struct StepPod {
    /// The template that it ran, which is also klm-step's subcommand.
    pub step: String,
    /// `Succeeded` or `Failed`.
    pub phase: String,
    /// The node that it ran on.
    pub node: String,
    /// What it wrote.
    pub log: String,
    /// What it left for people in `argo get` and `kubectl describe`.
    pub message: String,
    /// Its exit code.
    pub code: i32,
}

/// A run that has ended.
#[derive(Debug)]
pub struct Finished {
    /// The Workflow's name.
    pub name: String,
    /// What the Workflow says.
    pub outcome: Outcome,
    /// Step pods in the order of their start.
    pub pods: Vec<StepPod>,
    /// What happened to the nodes meanwhile.
    pub history: History,
    /// What the steps asked of the API server; nothing on a cluster whose log can't be read.
    pub requests: Requests,
}

/// No run of a few nodes takes longer.
const DEADLINE: Duration = Duration::from_secs(900);

impl Fleet {
    /// `argo submit --from workflowtemplate/kata-lifecycle-manager` with these further arguments.
    pub async fn submit(&self, arguments: &[&str]) -> Result<Run> {
        let audit = match self.scene.cluster.audit() {
            Ok(audit) => {
                let mark = audit.mark()?;
                Some((audit, mark))
            }
            // Somebody else's cluster: what it was asked can't be known.
            Err(_) => None,
        };
        let recording = self.record().await?;
        let template = format!("workflowtemplate/{LIFECYCLE}");
        let all: Vec<&str> = ["submit", "-n", ARGO, "--from", &template, "-o", "name"]
            .into_iter()
            .chain(arguments.iter().copied())
            .collect();
        let said = self.scene.argo(&all)?;
        let name = said.lines().last().unwrap_or_default().trim().to_owned();
        ensure!(name.starts_with(LIFECYCLE), "`argo submit` named no workflow: {said}");
        Ok(Run { name, recording, audit, pods: BTreeMap::new() })
    }

    /// Submits a run to this version with these parameters, `name=value` each.
    pub async fn begin(&self, target: &str, parameters: &[&str]) -> Result<Run> {
        self.submit_with(&[], &[&[&*format!("target-version={target}")], parameters].concat()).await
    }

    /// The same, and waits until it has ended.
    pub async fn deploy(&self, target: &str, parameters: &[&str]) -> Result<Finished> {
        self.begin(target, parameters).await?.ended(self).await
    }

    /// Submits a run of another entrypoint and waits until it has ended.
    pub async fn enter(&self, entrypoint: &str, parameters: &[&str]) -> Result<Finished> {
        self.submit_with(&["--entrypoint", entrypoint], parameters).await?.ended(self).await
    }

    async fn submit_with(&self, flags: &[&str], parameters: &[&str]) -> Result<Run> {
        let given = parameters.iter().flat_map(|parameter| ["-p", *parameter]);
        let arguments: Vec<&str> = flags.iter().copied().chain(given).collect();
        self.submit(&arguments).await
    }
}

impl Run {
    /// Waits until the run has ended, well or not.
    pub async fn ended(self, fleet: &Fleet) -> Result<Finished> {
        self.ended_within(DEADLINE, fleet).await
    }

    /// The same for a run that takes longer.
    pub async fn ended_within(mut self, deadline: Duration, fleet: &Fleet) -> Result<Finished> {
        let name = self.name.clone();
        let workflows = fleet.scene.workflows(ARGO);
        Wait::new(format!("the workflow {ARGO}/{name} to end"), deadline)
            .every(Duration::from_millis(500))
            .until(async || {
                self.read_pods(fleet).await?;
                let workflow = workflows.get(&name).await?;
                let phase = workflow.data["status"]["phase"].as_str().unwrap_or_default().to_owned();
                let seen = || format!("{phase}; steps so far: {}", steps(self.pods.values()));
                Ok(if matches!(phase.as_str(), "Succeeded" | "Failed" | "Error") {
                    Seen::Done(())
                } else {
                    Seen::NotYet(seen())
                })
            })
            .await?;
        self.read_pods(fleet).await?;
        let outcome = fleet.scene.ended_workflow(ARGO, &name, DEADLINE).await?;
        let requests = self.requests()?;
        let mut pods: Vec<_> = self.pods.into_values().collect();
        let begun: BTreeMap<String, usize> = started(&outcome.object);
        pods.sort_by_key(|pod| begun.get(&pod.step).copied());
        Ok(Finished { name, outcome, pods, history: self.recording.stop(fleet).await?, requests })
    }

    /// Waits until a node has this status; the run goes on.
    pub async fn until_status(&mut self, fleet: &Fleet, node: &str, status: &str) -> Result<()> {
        self.until(fleet, &format!("node {node} to be {status}"), async || {
            Ok(fleet.node(node).await?.status() == status)
        })
        .await
    }

    /// Waits until this run's Job for a node runs.
    pub async fn until_dispatched(&mut self, fleet: &Fleet, node: &str) -> Result<()> {
        let jobs: Api<Job> = Api::namespaced(fleet.client(), "kube-system");
        let name = format!("kata-deploy-install-{node}");
        self.until(fleet, &format!("the Job {name} to run"), async || {
            let job = jobs.get_opt(&name).await?;
            let runs = job.and_then(|job| job.status).is_some_and(|status| status.active == Some(1));
            // Or it may be an earlier run's.
            Ok(runs && fleet.node(node).await?.status() == "upgrading")
        })
        .await
    }

    /// Waits until something is so; the run goes on. A run that ends before that is an error.
    pub async fn until(&mut self, fleet: &Fleet, what: &str, so: impl AsyncFn() -> Result<bool>) -> Result<()> {
        let workflows = fleet.scene.workflows(ARGO);
        let name = self.name.clone();
        let ended = Wait::new(what, DEADLINE)
            .until(async || {
                self.read_pods(fleet).await?;
                if so().await? {
                    return Ok(Seen::Done(None));
                }
                let phase = workflows.get(&name).await?.data["status"]["phase"].as_str().unwrap_or_default().to_owned();
                Ok(match phase.as_str() {
                    "Succeeded" | "Failed" | "Error" => Seen::Done(Some(phase)),
                    _ => Seen::NotYet(steps(self.pods.values())),
                })
            })
            .await?;
        match ended {
            None => Ok(()),
            Some(phase) => {
                anyhow::bail!("waited for {what}, but the run {phase}:\n{}", logs(self.pods.values()))
            }
        }
    }

    /// Deletes the run's step pods that run now, as a person in a hurry would. Waits for one to run: a kubelet that is busy
    /// tells of it late.
    pub fn delete_running_pods(&self, fleet: &Fleet) -> Result<()> {
        let label = format!("workflows.argoproj.io/workflow={}", self.name);
        let running = "--field-selector=status.phase=Running";
        let delete =
            ["delete", "pod", "--namespace", ARGO, "--selector", &label, running, "--grace-period=0", "--force"];
        Wait::new(format!("a pod of the run {} to delete", self.name), Duration::from_secs(30)).until_blocking(|| {
            let said = fleet.scene.kubectl(&delete)?;
            Ok(if said.contains("deleted") { Seen::Done(()) } else { Seen::NotYet(said) })
        })
    }

    /// Argo deletes pods soon after the workflow's end.
    async fn read_pods(&mut self, fleet: &Fleet) -> Result<()> {
        let pods: Api<Pod> = Api::namespaced(fleet.client(), ARGO);
        let label = format!("workflows.argoproj.io/workflow={}", self.name);
        for pod in pods.list(&ListParams::default().labels(&label)).await? {
            let name = pod.name_any();
            let phase = pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
            if !matches!(phase.as_str(), "Succeeded" | "Failed") || self.pods.contains_key(&name) {
                continue;
            }
            let main = LogParams { container: Some("main".to_owned()), ..LogParams::default() };
            let log = pods.logs(&name, &main).await.unwrap_or_else(|error| format!("(no log: {error})"));
            self.pods.insert(name, StepPod::of(&pod, phase, log));
        }
        Ok(())
    }

    fn requests(&self) -> Result<Requests> {
        let Some((audit, mark)) = &self.audit else { return Ok(Requests::default()) };
        Ok(Requests::of(audit.since(*mark)?))
    }
}

impl StepPod {
    fn of(pod: &Pod, phase: String, log: String) -> Self {
        let path = pod.annotations().get("workflows.argoproj.io/node-name").cloned().unwrap_or_default();
        let ended = pod
            .status
            .iter()
            .flat_map(|status| status.container_statuses.iter().flatten())
            .find(|container| container.name == "main")
            .and_then(|container| container.state.as_ref()?.terminated.clone());
        Self {
            step: path,
            phase,
            node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
            log,
            message: ended.as_ref().and_then(|ended| ended.message.clone()).unwrap_or_default(),
            code: ended.map_or(-1, |ended| ended.exit_code),
        }
    }
}

/// The order in which the workflow's nodes began, by their names.
fn started(workflow: &Value) -> BTreeMap<String, usize> {
    let nodes = workflow["status"]["nodes"].as_object().into_iter().flat_map(|nodes| nodes.values());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut all: Vec<_> = nodes.map(|node| (text(&node["startedAt"]), text(&node["name"]))).collect();
    all.sort();
    all.into_iter().enumerate().map(|(at, (_, name))| (name, at)).collect()
}

fn steps<'a>(pods: impl Iterator<Item = &'a StepPod>) -> String {
    pods.map(|pod| format!("{} {}", pod.step, pod.phase)).collect::<Vec<_>>().join(", ")
}

fn logs<'a>(pods: impl Iterator<Item = &'a StepPod>) -> String {
    pods.map(|pod| format!("--- {} ({}, exit {}) on {}\n{}", pod.step, pod.phase, pod.code, pod.node, pod.log))
        .collect::<Vec<_>>()
        .join("\n")
}

impl Finished {
    /// Whether the run succeeded.
    pub fn succeeded(&self) -> bool {
        self.outcome.phase == "Succeeded"
    }

    /// The run, if it succeeded.
    pub fn well(self) -> Result<Self> {
        ensure!(
            self.succeeded(),
            "the run {} {}: {}\n{}",
            self.name,
            self.outcome.phase,
            self.outcome.message,
            self.log()
        );
        Ok(self)
    }

    /// The run, if it failed.
    pub fn badly(self) -> Result<Self> {
        ensure!(self.outcome.phase == "Failed", "the run {} {}:\n{}", self.name, self.outcome.phase, self.log());
        Ok(self)
    }

    /// What all steps wrote.
    pub fn log(&self) -> String {
        logs(self.pods.iter())
    }

    /// The pods of one step, in the order of their start.
    pub fn pods_of(&self, step: &str) -> Vec<&StepPod> {
        self.pods.iter().filter(|pod| pod.is(step)).collect()
    }

    /// What the first pod of a step wrote.
    pub fn log_of(&self, step: &str) -> Result<&str> {
        let pod = self.pods.iter().find(|pod| pod.is(step));
        Ok(&pod.with_context(|| format!("no pod of step `{step}`:\n{}", self.log()))?.log)
    }

    /// The failed pods' messages, as `argo get` shows them.
    pub fn messages(&self) -> Vec<String> {
        let nodes = self.outcome.object["status"]["nodes"].as_object().into_iter().flat_map(|nodes| nodes.values());
        nodes
            .filter(|node| node["type"] == "Pod" && node["phase"] != "Succeeded")
            .map(|node| node["message"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// What Argo says of a metric that it could not export.
    pub fn metrics_error(&self) -> Option<&str> {
        let conditions = self.outcome.object["status"]["conditions"].as_array()?;
        let failed = conditions.iter().find(|condition| condition["type"] == "MetricsError")?;
        failed["message"].as_str()
    }

    /// How many pods the run had.
    pub fn pod_count(&self) -> usize {
        let nodes = self.outcome.object["status"]["nodes"].as_object().into_iter().flat_map(|nodes| nodes.values());
        nodes.filter(|node| node["type"] == "Pod").count()
    }

    /// An output parameter of a step; empty when it has none of that name.
    pub fn output(&self, step: &str, parameter: &str) -> String {
        let mut found = self.outcome.steps.iter().filter(|(name, _)| is_step(name, step));
        found.find_map(|(_, step)| step.outputs.get(parameter).cloned()).unwrap_or_default()
    }
}

impl StepPod {
    /// Whether it is a pod of this step, the first try or a later one.
    pub fn is(&self, step: &str) -> bool {
        is_step(&self.step, step)
    }
}

/// `run.wave(0:1).apply(0)` and `run[2].wave(0:1).apply` are pods of step `apply`; the exit handler's is `run.onExit`.
fn is_step(path: &str, step: &str) -> bool {
    let last = path.rsplit('.').next().unwrap_or_default();
    last.split('(').next() == Some(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_argo_names_its_step() {
        for path in ["klm-x[2][0].wave(0:1).apply(0)", "klm-x[2][0].wave(0:1).apply"] {
            assert!(is_step(path, "apply"), "{path}");
        }
        assert!(is_step("klm-x.onExit(0)", "onExit"));
        assert!(!is_step("klm-x[2][0].wave(0:1).apply(0)", "wave"));
    }
}
