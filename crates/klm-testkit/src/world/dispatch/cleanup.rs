//! Owned minus desired: what makes `job.nodes` destructive from 4.1.0 on.

use super::{Run, World, node_job};
use crate::api::object;
use crate::world::nodes::RUNTIME_LABEL;

/// Starts to take Kata off every node that carries the marker but wasn't asked for.
pub(super) fn begin(world: &mut World, run: &mut Run) {
    if !run.flags.cleans_up {
        return;
    }
    let marker = run.flags.marker();
    let owned = world.store.of("nodes").filter(|(_, node)| object::label(node, &marker).is_some());
    let surplus: Vec<String> =
        owned.map(|(key, _)| key.name.clone()).filter(|node| !run.nodes.contains_key(node)).collect();
    for node in surplus {
        world.label_node(&node, RUNTIME_LABEL, Some("false"));
        world.label_node(&node, &marker, Some("false"));
        let name = format!("{}-removed-{}", run.flags.name_prefix, node.replace('.', "-"));
        let Some(job) = run.node_job(world, &node, &name, "cleanup-job.yaml") else { continue };
        if world.add_unseeded(job).is_some() {
            run.removing.insert(node, name);
        }
    }
}

/// Whether every cleanup is over; the labels of nodes that are done go.
pub(super) fn is_over(world: &mut World, run: &mut Run) -> bool {
    let marker = run.flags.marker();
    let done: Vec<String> = run
        .removing
        .iter()
        .filter(|(_, name)| {
            let job = node_job::find(world, &run.life.key.namespace, name);
            job.is_none_or(|job| !object::items(job, "/status/conditions").is_empty())
        })
        .map(|(node, _)| node.clone())
        .collect();
    for node in done {
        world.label_node(&node, RUNTIME_LABEL, None);
        world.label_node(&node, &marker, None);
        run.removing.remove(&node);
    }
    run.removing.is_empty()
}
