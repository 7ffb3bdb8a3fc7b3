//! What a drain of the chosen nodes would meet: pods that may not be evicted, budgets that are closed.

use std::collections::BTreeSet;

use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use klm_core::drain::{Budget, Fate, Next, Outlook, Rules, next};
use klm_core::gate::{Blocked, Right, Scope};
use klm_core::journal::RunId;
use klm_core::name::NodeName;
use klm_core::plan::PlannedNode;
use klm_core::pod::PodFacts;

use super::check::is_step;
use super::look::Seen;
use super::request::Request;
use crate::cluster::{ApiError, Query};
use crate::world::World;

/// A pod that a drain can't simply evict.
#[derive(Clone, Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Obstacle {
    /// Its node.
    pub node: NodeName,
    /// `namespace/name`.
    pub pod: String,
    /// `blocked-now`, `blocked-unhealthy`, `never-opens` or `not-evictable`.
    pub class: &'static str,
    /// Who says so.
    pub why: String,
    /// Whether no waiting helps.
    pub lasting: bool,
}

impl Obstacle {
    /// As a reason to refuse, if it is one.
    pub fn blocked(&self) -> Option<Blocked> {
        let Self { node, pod, why, lasting, .. } = self;
        lasting.then(|| Blocked { node: node.clone(), pod: pod.clone(), why: why.clone() })
    }
}

/// Evictions that are tried out, of the first wave's pods; budgets' numbers tell about the others.
const TRIED: usize = 50;

/// Looks at every pod on the chosen nodes; nothing when the run doesn't drain. `run` is us, when we are a run.
pub async fn obstacles(
    world: &World,
    request: &Request,
    seen: &Seen,
    chosen: &[PlannedNode],
    run: Option<&RunId>,
) -> Result<Vec<Obstacle>, ApiError> {
    let settings = &request.settings;
    if !settings.drain_enabled || chosen.is_empty() {
        return Ok(Vec::new());
    }
    let nodes: BTreeSet<&str> = chosen.iter().map(|node| node.0.as_str()).collect();
    let here = |pod: PodFacts, _| pod.node.as_deref().is_some_and(|node| nodes.contains(node)).then_some(pod);
    let pods = world.cluster.pods(None, &Query::all(), here).await?;
    let budget =
        |budget: PodDisruptionBudget| Some(Budget::from_json(&serde_json::to_value(budget).unwrap_or_default()));
    let budgets: Vec<Budget> = world.cluster.list(None, &Query::all(), budget).await?;
    let rules = Rules {
        kata_only: settings.drain_scope == "kata",
        selector: request.drained.clone(),
        delete_empty_dir: settings.drain_delete_emptydir_data,
        force: settings.drain_force,
        kata_classes: &seen.kata_classes,
        workflow: run.map_or(("", ""), |run| (&run.namespace, &run.name)),
        kata_namespace: &settings.helm_namespace,
    };
    let first_wave: BTreeSet<&str> = chosen.iter().take(settings.batch_size).map(|node| node.0.as_str()).collect();
    // A person who may not evict would be told that each eviction is forbidden.
    let may_try = is_step(world, run) || world.cluster.may(&Right::to_create("pods/eviction", Scope::Cluster)).await?;
    let mut tries = if may_try { TRIED } else { 0 };
    let mut found = Vec::new();
    for pod in &pods {
        let controller = pod.controller.as_ref().map(|owner| owner.uid.as_str()).unwrap_or_default();
        let fate = rules.fate(pod, seen.installs.daemonsets.contains(controller));
        let Some(node) = pod.node.as_deref().and_then(|node| NodeName::try_from(node).ok()) else { continue };
        let mut obstacle = of(&node, pod, &fate, &Outlook::of(pod, &budgets));
        if fate == Fate::Evict && obstacle.is_none() && tries > 0 && first_wave.contains(node.as_str()) {
            tries -= 1;
            obstacle = tried(world, &node, pod).await;
        }
        found.extend(obstacle);
    }
    Ok(found)
}

fn of(node: &NodeName, pod: &PodFacts, fate: &Fate, outlook: &Outlook) -> Option<Obstacle> {
    let obstacle = |class, why: &str, lasting| {
        Some(Obstacle { node: node.clone(), pod: pod.full_name(), class, why: why.to_owned(), lasting })
    };
    match (fate, outlook) {
        (Fate::Block(why), _) => obstacle("not-evictable", why, true),
        (Fate::Evict, Outlook::Never(why)) => obstacle(outlook.as_str(), why, true),
        (Fate::Evict, Outlook::Later(why) | Outlook::Unhealthy(why)) => obstacle(outlook.as_str(), why, false),
        _ => None,
    }
}

/// Asks the API server, which also knows of webhooks and of budgets that have just changed.
async fn tried(world: &World, node: &NodeName, pod: &PodFacts) -> Option<Obstacle> {
    let answer = world.cluster.rehearse_eviction(&pod.namespace, &pod.name, &pod.uid).await?;
    let (class, why, lasting) = match next(&answer, pod.deleting) {
        Next::Blocked { why, .. } => ("blocked-now", why, false),
        Next::Never(why) => ("never-opens", why, true),
        Next::Gone | Next::Await | Next::Look | Next::Busy(_) => return None,
    };
    Some(Obstacle { node: node.clone(), pod: pod.full_name(), class, why, lasting })
}
