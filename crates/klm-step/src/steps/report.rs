//! The report of a run: read from the nodes' own labels, so that it is right whatever happened to the steps.

use std::collections::BTreeMap;

use klm_core::contract::RUN_LABEL;
use klm_core::name::NodeName;
use klm_core::node::NodeFacts;
use klm_core::phase::NodePhase;
use klm_core::report::{Ended, Report};

use crate::cluster::Query;
use crate::engine::TakenBack;
use crate::exit::NodeFailure;
use crate::plan_store::StoredPlan;
use crate::world::World;

/// What the run has come to.
pub async fn of(world: &World, stored: &StoredPlan, status: &str, settled: &TakenBack) -> anyhow::Result<Report> {
    let plan = &stored.plan;
    let touched = world.cluster.nodes(&Query::labels(format!("{RUN_LABEL}={}", plan.run.uid))).await?;
    let touched: BTreeMap<NodeName, NodeFacts> = touched.into_iter().map(|node| (node.name.clone(), node)).collect();
    let failures = stored.ended.iter().flat_map(|ended| &ended.failures).chain(&settled.stuck);
    let failures: BTreeMap<&str, &NodeFailure> = failures.map(|failure| (failure.node.as_str(), failure)).collect();
    let mut report = Report {
        run: plan.run.clone(),
        status: status.to_owned(),
        release: format!("{}/{}", plan.settings.helm_namespace, plan.settings.helm_release),
        mode: plan.mode,
        origin: plan.origin.clone(),
        target: plan.target.clone(),
        completed: Vec::new(),
        rolled_back: Vec::new(),
        stuck: Vec::new(),
        untouched: Vec::new(),
        skipped: stored.skipped.clone(),
        names_left_out: 0,
    };
    for name in plan.nodes.iter().map(|planned| &planned.0) {
        let reason = || failures.get(name.as_str()).map_or("", |failure| &*failure.cause).to_owned();
        match touched.get(name).map(|node| node.status) {
            None => report.untouched.push(name.clone()),
            Some(Some(NodePhase::Completed)) => report.completed.push(name.clone()),
            Some(Some(NodePhase::RolledBack)) => {
                let reason = Some(reason()).filter(|reason| !reason.is_empty()).unwrap_or_else(|| "stopped".to_owned());
                report.rolled_back.push(Ended { node: name.clone(), reason });
            }
            Some(_) => report.stuck.push(Ended { node: name.clone(), reason: reason() }),
        }
    }
    Ok(report)
}
