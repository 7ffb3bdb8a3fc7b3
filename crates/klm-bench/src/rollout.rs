//! One run of ours, submitted as a user would, watched to its end and looked at afterwards.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use k8s_openapi::api::core::v1::Node;
use klm_bed::wait::{Seen, Wait};
use klm_core::contract::{RUN_LABEL, STATUS};
use klm_standin::truth::Truth;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use crate::record::{Outcome, Run, Sizes};
use crate::scenario::Rollout;
use crate::stage::{ARGO, LIFECYCLE, Stage, TARGET};
use crate::usage::Watch;
use crate::{requests, sizes, timeline};

/// No run of a scenario takes longer, unless all is let through.
const DEADLINE: Duration = Duration::from_secs(24 * 3600);

/// Between two looks at a run. The Workflow of a large one is a few hundred kilobytes.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Submits a run, waits for its end, stops it before if it is limited, and measures.
pub async fn measure(stage: &Stage, rollout: &Rollout) -> Result<Run> {
    stage.pace(rollout.install).await?;
    let failing = failing(stage, rollout).await?;
    stage.fail_on(&failing).await?;
    let before = stage.moved(TARGET).await?.len();
    let (audit, log) = (stage.cluster.audit()?, stage.cluster.audit()?.mark()?);
    let watch = Watch::begin(stage.cluster.bed()?.0);
    let name = submit(stage, rollout).await?;
    let seen = watched(stage, &name, rollout.limit).await?;
    let steps = watch.end();
    let workflow = &seen.workflow;
    let outcome = outcome(stage, workflow, before, failing).await?;
    let output = |name: &str| output(workflow, name);
    let run = Run {
        mode: stage.mode,
        fleet: stage.nodes,
        nodes: output("node-count")?,
        batch: rollout.batch,
        waves: output("wave-count")?,
        items: output("item-count")?,
        install_seconds: rollout.install.as_secs_f64(),
        verification_seconds: rollout.verification.as_secs_f64(),
        stopped_after: seen.stopped_after,
        outcome,
        timeline: timeline::read(workflow),
        requests: requests::count(&audit.since_by(log, requests::ACCOUNT)?),
        sizes: seen.sizes,
        steps,
    };
    check(&run)?;
    Ok(run)
}

/// Not how long it took: that it did what it was to do.
fn check(run: &Run) -> Result<()> {
    let Outcome { phase, moved, made_to_fail, taken_back, left_worse } = &run.outcome;
    ensure!(left_worse.is_empty(), "the run left nodes worse than it found them: {left_worse:?}");
    if run.stopped_after.is_some() {
        return Ok(());
    }
    ensure!(taken_back == made_to_fail, "{made_to_fail:?} were made to fail, but {taken_back:?} were taken back");
    let (expected, count) =
        if made_to_fail.is_empty() { ("Succeeded", run.nodes) } else { ("Failed", 2 * run.batch - made_to_fail.len()) };
    ensure!(phase == expected, "the run {phase}, but should have {expected}");
    ensure!(*moved == count, "{moved} nodes were moved, but {count} should have been");
    Ok(())
}

/// The nodes at the failing positions of the plan, which takes nodes in the order of their names.
async fn failing(stage: &Stage, rollout: &Rollout) -> Result<Vec<String>> {
    if rollout.failing.is_empty() {
        return Ok(Vec::new());
    }
    let moved: BTreeSet<String> = stage.moved(TARGET).await?.iter().map(ResourceExt::name_any).collect();
    let left: Vec<String> = klm_bed::simulated::names(stage.nodes).filter(|name| !moved.contains(name)).collect();
    let at = |position: &usize| left.get(*position).cloned().context("the fleet is smaller than its failing nodes");
    rollout.failing.iter().map(at).collect()
}

async fn submit(stage: &Stage, rollout: &Rollout) -> Result<String> {
    let mut parameters = vec![
        format!("target-version={TARGET}"),
        format!("batch-size={}", rollout.batch),
        format!("verification-pod={}", verification_pod(rollout.verification)),
        "rollback-timeout=5m".to_owned(),
        "install-timeout=5m".to_owned(),
    ];
    if let Some(waves) = rollout.waves_per_step {
        parameters.push(format!("waves-per-step={waves}"));
    }
    // In job mode the real node serves Kata as well, but it isn't what is measured.
    let nodes = match rollout.part {
        Some(part) => label_part(stage, part).await?,
        None => "bed.local/simulated".to_owned(),
    };
    parameters.push(format!("node-selector={nodes}"));
    let template = format!("workflowtemplate/{LIFECYCLE}");
    let mut arguments = vec!["submit", "-n", ARGO, "--from", &template, "-o", "name"];
    arguments.extend(parameters.iter().flat_map(|parameter| ["-p", parameter.as_str()]));
    let said = stage.cluster.run("argo", &arguments)?;
    let name = said.lines().last().unwrap_or_default().trim().to_owned();
    ensure!(name.starts_with(LIFECYCLE), "`argo submit` named no workflow: {said}");
    Ok(name)
}

/// Labels the first nodes of the fleet, and says how to select them. Not with `kubectl label`: it takes five nodes a second.
async fn label_part(stage: &Stage, part: usize) -> Result<String> {
    let label = format!("bench.local/first-{part}");
    let nodes: Api<Node> = Api::all(stage.client.clone());
    let (patch, parameters) = (Patch::Merge(json!({"metadata": {"labels": {&label: "true"}}})), PatchParams::default());
    for name in klm_bed::simulated::names(part.min(stage.nodes)) {
        nodes.patch_metadata(&name, &parameters, &patch).await.with_context(|| format!("labelling node `{name}`"))?;
    }
    Ok(label)
}

/// What kwok plays for it: it runs so long, and ends well.
pub fn verification_pod(runs_for: Duration) -> String {
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "${TEST_POD}",
            "annotations": {"bed.local/runs-for": format!("{}s", runs_for.as_secs())},
        },
        "spec": {
            "runtimeClassName": "kata-qemu",
            "restartPolicy": "Never",
            "tolerations": [{"operator": "Exists"}],
            "containers": [{"name": "verify", "image": klm_bed::images::VERIFY_IMAGE}],
        },
    });
    base64::engine::general_purpose::STANDARD.encode(pod.to_string())
}

/// What was seen of a run until its end.
struct Watched {
    workflow: Value,
    sizes: Sizes,
    stopped_after: Option<f64>,
}

async fn watched(stage: &Stage, name: &str, limit: Option<Duration>) -> Result<Watched> {
    let workflows = workflows(stage.client.clone());
    let mut sizes = Sizes::default();
    let mut rolling_since: Option<Instant> = None;
    let mut stopped_after = None;
    let workflow = Wait::new(format!("the workflow {ARGO}/{name} to end"), DEADLINE)
        .every(LOOK_EVERY)
        .until(async || {
            let workflow = workflows.get(name).await?;
            let uid = workflow.uid().unwrap_or_default();
            let workflow = workflow.data;
            sizes = sizes.max(sizes::look(stage, name, &uid).await?);
            let phase = workflow["status"]["phase"].as_str().unwrap_or_default();
            if matches!(phase, "Succeeded" | "Failed" | "Error") {
                return Ok(Seen::Done(()));
            }
            if rolling_since.is_none() && timeline::read(&workflow).items > 0 {
                rolling_since = Some(Instant::now());
            }
            let rolled = rolling_since.map(|since| since.elapsed()).unwrap_or_default();
            if stopped_after.is_none() && limit.is_some_and(|limit| rolled >= limit) {
                stage.cluster.run("argo", &["stop", "-n", ARGO, name])?;
                stopped_after = Some(rolled.as_secs_f64());
            }
            Ok(Seen::NotYet(phase.to_owned()))
        })
        .await;
    workflow?;
    let workflow = serde_json::to_value(workflows.get(name).await?)?;
    Ok(Watched { workflow, sizes, stopped_after })
}

fn workflows(client: Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("argoproj.io", "v1alpha1", "Workflow");
    Api::namespaced_with(client, ARGO, &ApiResource::from_gvk(&kind))
}

/// A number that select-nodes gave to the Workflow.
fn output(workflow: &Value, name: &str) -> Result<usize> {
    let nodes = workflow["status"]["nodes"].as_object().into_iter().flat_map(|nodes| nodes.values());
    let mut found = nodes.flat_map(|node| node["outputs"]["parameters"].as_array().into_iter().flatten());
    let parameter = found.find(|parameter| parameter["name"] == name);
    let parameter = parameter.with_context(|| {
        format!("the workflow has no output `{name}`; it {}: {}", workflow["status"]["phase"], messages(workflow))
    })?;
    parameter["value"].as_str().and_then(|value| value.parse().ok()).with_context(|| format!("`{name}` is no number"))
}

fn messages(workflow: &Value) -> String {
    let nodes = workflow["status"]["nodes"].as_object().into_iter().flat_map(|nodes| nodes.values());
    let said = nodes.filter(|node| node["type"] == "Pod").filter_map(|node| node["message"].as_str());
    said.collect::<Vec<_>>().join("; ")
}

async fn outcome(stage: &Stage, workflow: &Value, before: usize, made_to_fail: Vec<String>) -> Result<Outcome> {
    let nodes =
        Api::<Node>::all(stage.client.clone()).list(&ListParams::default().labels("bed.local/simulated")).await?;
    let uid = workflow["metadata"]["uid"].as_str().unwrap_or_default();
    let status = |node: &Node| node.labels().get(STATUS).cloned().unwrap_or_default();
    let ours = |node: &&Node| node.labels().get(RUN_LABEL).is_some_and(|run| run == uid);
    let at_target = |node: &&Node| Truth::of(node).installed_version.as_deref() == Some(TARGET);
    let mut taken_back: Vec<String> =
        nodes.iter().filter(ours).filter(|node| status(node) == "rolled-back").map(ResourceExt::name_any).collect();
    taken_back.sort();
    Ok(Outcome {
        phase: workflow["status"]["phase"].as_str().unwrap_or_default().to_owned(),
        moved: nodes.iter().filter(at_target).count().saturating_sub(before),
        made_to_fail,
        taken_back,
        left_worse: nodes.iter().filter(|node| is_worse(node)).map(ResourceExt::name_any).collect(),
    })
}

/// Cordoned, in flight, or without Kata: no node was so before.
fn is_worse(node: &Node) -> bool {
    let cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true);
    let status = node.labels().get(STATUS).map_or("", String::as_str);
    let truth = Truth::of(node);
    let serves = node.labels().get("katacontainers.io/kata-runtime").is_some_and(|value| value == "true");
    cordoned
        || !["", "completed", "rolled-back"].contains(&status)
        || truth.uninstall_count > 0
        || truth.installed_version.is_none()
        || !serves
}
