//! What every cluster does: pods that were told to stop do so, and the garbage collector comes round.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::nodes::is_ready;
use super::{Controller, World};
use crate::api::delete;
use crate::api::object;
use crate::api::store::Key;

/// How often a pod on a silent node is looked at.
const RETRY: Duration = Duration::from_secs(5);

/// How long pods outlive their node.
const ORPHANED: Duration = Duration::from_secs(20);

/// A pod with a deletion timestamp goes when it has stopped, at the latest when its grace is over.
pub(super) fn stop_terminating_pods() -> Controller {
    let mut planned = BTreeSet::new();
    Box::new(move |world| {
        let stopping: Vec<(Key, String, Duration)> = world
            .store
            .of("pods")
            .filter(|(_, pod)| object::is_terminating(pod) && !planned.contains(object::uid(pod)))
            .map(|(key, pod)| {
                let grace = pod["metadata"]["deletionGracePeriodSeconds"].as_u64().unwrap_or(0);
                let time = world.stop_time(pod).min(Duration::from_secs(grace));
                (key.clone(), object::uid(pod).to_owned(), time)
            })
            .collect();
        for (key, uid, time) in stopping {
            planned.insert(uid.clone());
            world.after(time, move |world: &mut World| stop(world, &key, &uid));
        }
    })
}

fn stop(world: &mut World, key: &Key, uid: &str) {
    let Some(pod) = world.store.find(key).filter(|pod| object::uid(pod) == uid).cloned() else { return };
    let node = world.node(object::text(&pod, "/spec/nodeName"));
    if node.is_some_and(|node| !is_ready(&node)) {
        // Nobody is there to stop it: the pod stays until the kubelet is back.
        let (key, uid) = (key.clone(), uid.to_owned());
        world.after(RETRY, move |world| stop(world, &key, &uid));
        return;
    }
    super::kata_pod::stopped(world, &pod);
    delete::confirm_stopped(&mut world.store, key);
}

/// Pods of a node that has been removed go some time after it.
pub(super) fn collect_orphaned_pods() -> Controller {
    let mut known = BTreeSet::new();
    let mut planned = BTreeSet::new();
    Box::new(move |world| {
        known.extend(world.store.of("nodes").map(|(key, _)| key.name.clone()));
        let lost = |pod: &Value| {
            let node = object::text(pod, "/spec/nodeName");
            known.contains(node) && world.store.get("nodes", "", node).is_none()
        };
        let orphans: Vec<(Key, String)> = world
            .store
            .of("pods")
            .filter(|(_, pod)| lost(pod) && !planned.contains(object::uid(pod)))
            .map(|(key, pod)| (key.clone(), object::uid(pod).to_owned()))
            .collect();
        for (key, uid) in orphans {
            planned.insert(uid.clone());
            world.after(ORPHANED, move |world| {
                if world.store.find(&key).is_some_and(|pod| object::uid(pod) == uid) {
                    world.store.remove(&key);
                }
            });
        }
    })
}

/// Dependents of a deleted owner go, but not at once: that gap is where tools go wrong.
pub(super) fn collect_garbage() -> Controller {
    let mut planned_at = None;
    Box::new(move |world| {
        let busy = planned_at.is_some_and(|due| due > world.elapsed());
        if !busy && delete::has_garbage(&world.store) {
            let delay = world.garbage_delay;
            planned_at = Some(world.elapsed() + delay);
            world.after(delay, |world| delete::collect_garbage(&mut world.store));
        }
    })
}
