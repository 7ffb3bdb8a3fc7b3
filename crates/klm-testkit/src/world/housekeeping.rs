//! What every cluster does: pods that were told to stop do so, and the garbage collector comes round.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Controller, World};
use crate::api::delete;
use crate::api::object;
use crate::api::store::Key;

/// A pod with a deletion timestamp goes when it has stopped, at the latest when its grace is over.
pub(super) fn stop_terminating_pods() -> Controller {
    let mut seen = BTreeSet::new();
    Box::new(move |world| {
        let stopping: Vec<(Key, String, Duration)> = world
            .store
            .of("pods")
            .filter(|(_, pod)| object::is_terminating(pod))
            .map(|(key, pod)| {
                let grace = pod["metadata"]["deletionGracePeriodSeconds"].as_u64().unwrap_or(0);
                let time = world.stop_time(pod).min(Duration::from_secs(grace));
                (key.clone(), object::uid(pod).to_owned(), time)
            })
            .filter(|(_, uid, _)| !seen.contains(uid))
            .collect();
        for (key, uid, time) in stopping {
            seen.insert(uid.clone());
            world.after(time, move |world: &mut World| {
                if world.store.find(&key).is_some_and(|pod| object::uid(pod) == uid) {
                    delete::confirm_stopped(&mut world.store, &key);
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
