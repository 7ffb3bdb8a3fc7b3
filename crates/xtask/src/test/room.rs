//! Which suite begins while others run: the machine has so many inotify instances, and every node holds eight of them.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use klm_bed::preflight::watchers;

use super::suite::Suite;

/// The suites that wait for their turn, and what of the machine is free for them.
pub struct Room {
    state: Mutex<State>,
    freed: Condvar,
}

struct State {
    waiting: VecDeque<Suite>,
    free: usize,
    running: usize,
}

impl Room {
    /// So many inotify instances for these suites, which should begin in this order.
    pub fn new(suites: Vec<Suite>, instances: usize) -> Self {
        let state = State { waiting: suites.into(), free: instances, running: 0 };
        Self { state: Mutex::new(state), freed: Condvar::new() }
    }

    /// The next suite that there is room for, as soon as there is; none when no suite waits any more.
    pub fn take_next(&self) -> Option<Taken<'_>> {
        let stuck = |state: &mut State| !state.waiting.is_empty() && state.next().is_none();
        let mut state = self.freed.wait_while(self.state(), stuck).unwrap_or_else(PoisonError::into_inner);
        let next = state.next()?;
        let suite = state.waiting.remove(next)?;
        let held = needed(&suite).min(state.free);
        state.free -= held;
        state.running += 1;
        drop(state);
        // Whoever else waits may find only smaller suites, or none, from now on.
        self.freed.notify_all();
        Some(Taken { room: self, suite, held })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// One that needs more than there ever is runs alone: it says itself what it lacks.
    fn next(&self) -> Option<usize> {
        self.waiting.iter().position(|suite| needed(suite) <= self.free || self.running == 0)
    }
}

/// A suite that runs, and the room that it takes until this is dropped.
pub struct Taken<'a> {
    room: &'a Room,
    suite: Suite,
    held: usize,
}

impl Taken<'_> {
    /// The suite.
    pub const fn suite(&self) -> &Suite {
        &self.suite
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut state = self.room.state();
        state.free += self.held;
        state.running -= 1;
        drop(state);
        self.room.freed.notify_all();
    }
}

fn needed(suite: &Suite) -> usize {
    watchers(suite.needs.nodes)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::suite::Needs;
    use super::*;

    fn suites(all: &[(&str, usize)]) -> Vec<Suite> {
        let suite = |(name, nodes): &(&str, usize)| Suite {
            name: (*name).to_owned(),
            program: PathBuf::new(),
            needs: Needs { nodes: *nodes, ..Needs::default() },
        };
        all.iter().map(suite).collect()
    }

    fn name<'a>(taken: Option<&'a Taken<'_>>) -> &'a str {
        taken.map_or("nothing", |taken| &taken.suite().name)
    }

    #[test]
    fn a_small_suite_overtakes_a_large_one_that_has_no_room() {
        let room = Room::new(suites(&[("job", 3), ("drain", 3), ("bench", 1)]), 28 + 12);
        let (first, second) = (room.take_next(), room.take_next());
        assert_eq!((name(first.as_ref()), name(second.as_ref())), ("job", "bench"));
        drop(first);
        assert_eq!((name(room.take_next().as_ref()), name(second.as_ref())), ("drain", "bench"));
        assert!(room.take_next().is_none());
    }

    #[test]
    fn a_suite_waits_until_another_one_ends() {
        let room = Room::new(suites(&[("job", 3), ("drain", 3)]), 28);
        let first = room.take_next();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| name(room.take_next().as_ref()).to_owned());
            assert!(!waits.is_finished());
            drop(first);
            assert_eq!(waits.join().unwrap(), "drain");
        });
    }

    #[test]
    fn a_suite_that_the_machine_is_too_small_for_runs_alone_and_without_nodes_always() {
        let room = Room::new(suites(&[("job", 3), ("drain", 3), ("rendering", 0)]), 10);
        let (first, second) = (room.take_next(), room.take_next());
        assert_eq!((name(first.as_ref()), name(second.as_ref())), ("job", "rendering"));
        drop(first);
        assert_eq!(room.state().free, 10, "no more than there was");
    }
}
