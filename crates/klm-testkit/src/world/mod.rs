//! What happens by itself: a simulation on virtual time that runs when somebody looks.
//!
//! Events carry the time at which they are due. A request first plays everything that was due before it, in order, each
//! at its own time; there are no background tasks, so a test sees the same history every time.

mod bare_pods;
pub(crate) mod daemonset;
mod dispatch;
mod housekeeping;
mod kata;
mod kata_pod;
mod node_job;
mod nodes;
pub mod profile;
mod taints;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

pub use kata::{Injection, Kata, Pace, PodFate, Truth};

use crate::api::authorize::Identity;
use crate::api::call::Call;
use crate::api::create;
use crate::api::kinds::{self, Kind};
use crate::api::object;
use crate::api::serve::{self, Served, Unknown};
use crate::api::status::Answer;
use crate::api::store::{Key, Store};

/// Something that happens once.
pub type Event = Box<dyn FnOnce(&mut World) + Send>;
/// Something that looks at the world whenever it has changed, and reacts or plans an event.
pub type Controller = Box<dyn FnMut(&mut World) + Send>;
/// How long a pod takes to stop.
pub type StopTime = Box<dyn Fn(&Value) -> Option<Duration> + Send>;

const SETTLING_ROUNDS: usize = 200;

/// The cluster's objects and everything that acts on them by itself.
pub struct World {
    /// The objects.
    pub store: Store,
    epoch: Timestamp,
    elapsed: Duration,
    queue: BTreeMap<(Duration, u64), Event>,
    planned: u64,
    controllers: Vec<Controller>,
    settled_at: Option<u64>,
    logs: BTreeMap<(Key, String), String>,
    stop_times: Vec<StopTime>,
    /// Kata: what is true, what goes wrong, how long it takes.
    pub kata: Kata,
    /// Pods that the DaemonSet controller is about to create: uid of the set, node.
    creating: BTreeSet<(String, String)>,
    /// How long the garbage collector takes to notice.
    pub garbage_delay: Duration,
}

impl std::fmt::Debug for World {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("World").field("now", &self.now()).field("planned", &self.queue.len()).finish_non_exhaustive()
    }
}

impl World {
    /// An empty cluster with the namespaces that every cluster has.
    pub fn new(epoch: Timestamp) -> Self {
        let mut world = Self {
            store: Store::new(epoch),
            epoch,
            elapsed: Duration::ZERO,
            queue: BTreeMap::new(),
            planned: 0,
            controllers: Vec::new(),
            settled_at: None,
            logs: BTreeMap::new(),
            stop_times: Vec::new(),
            kata: Kata::default(),
            creating: BTreeSet::new(),
            garbage_delay: Duration::from_secs(3),
        };
        for name in ["default", "kube-system"] {
            world.ensure_namespace(name);
        }
        world.add_controller(housekeeping::stop_terminating_pods());
        world.add_controller(housekeeping::collect_orphaned_pods());
        world.add_controller(housekeeping::collect_garbage());
        world.add_controller(taints::controller());
        world.add_controller(daemonset::controller());
        world.add_controller(kata_pod::controller());
        world.add_controller(bare_pods::controller());
        world.add_controller(node_job::controller());
        world.add_controller(Box::new(|world| {
            crate::api::evict::refresh_budgets(&mut world.store);
        }));
        world
    }

    /// The time of the event that is being played, or of the request.
    pub fn now(&self) -> Timestamp {
        self.epoch + SignedDuration::try_from(self.elapsed).unwrap_or(SignedDuration::MAX)
    }

    /// Time since the cluster was made.
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// Plans an event, counted from the event or request that is being played.
    pub fn after(&mut self, delay: Duration, event: impl FnOnce(&mut World) + Send + 'static) {
        self.planned += 1;
        self.queue.insert((self.elapsed + delay, self.planned), Box::new(event));
    }

    /// Adds something that reacts to every change.
    pub fn add_controller(&mut self, controller: Controller) {
        self.controllers.push(controller);
        self.settled_at = None;
    }

    /// Adds an opinion on how long pods take to stop; the latest one that has any counts, one second without.
    pub fn add_stop_time(&mut self, opinion: StopTime) {
        self.stop_times.push(opinion);
    }

    /// How long this pod takes to stop.
    pub fn stop_time(&self, pod: &Value) -> Duration {
        self.stop_times
            .iter()
            .rev()
            .find_map(|opinion| opinion(pod))
            .or_else(|| kata_pod::stop_time(self, pod))
            .unwrap_or(Duration::from_secs(1))
    }

    /// Plays everything that is due until then.
    pub(crate) fn advance_to(&mut self, elapsed: Duration) {
        loop {
            self.settle();
            let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= elapsed) else {
                break;
            };
            let ((due, _), event) = entry.remove_entry();
            self.set_elapsed(due.max(self.elapsed));
            event(self);
        }
        self.set_elapsed(elapsed.max(self.elapsed));
    }

    fn set_elapsed(&mut self, elapsed: Duration) {
        self.elapsed = elapsed;
        let now = self.now();
        self.store.set_now(now);
    }

    /// Lets every controller look until none of them changes anything.
    pub(crate) fn settle(&mut self) {
        for _ in 0..SETTLING_ROUNDS {
            if self.settled_at == Some(self.store.revision()) {
                return;
            }
            self.settled_at = Some(self.store.revision());
            let mut controllers = std::mem::take(&mut self.controllers);
            for controller in &mut controllers {
                controller(self);
            }
            controllers.append(&mut self.controllers);
            self.controllers = controllers;
        }
        panic!("the controllers of the fake cluster undo each other's work: it never settles");
    }

    /// Makes a namespace unless it is there.
    pub fn ensure_namespace(&mut self, name: &str) {
        if !name.is_empty() && self.store.get("namespaces", "", name).is_none() {
            let manifest = serde_json::json!({
                "apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
            });
            self.add(manifest);
            self.edit("namespaces", "", name, |namespace| {
                namespace["status"] = serde_json::json!({"phase": "Active"});
            });
        }
    }

    /// Puts an object into the cluster as it is, status included; makes its namespace when needed.
    ///
    /// # Panics
    /// When the manifest is of an unknown kind or the server would refuse it.
    pub fn add(&mut self, manifest: Value) -> Value {
        let kind = kind_of(&manifest);
        let namespace = object::namespace(&manifest).to_owned();
        let namespace = if kind.namespaced && namespace.is_empty() { "default".to_owned() } else { namespace };
        if kind.namespaced {
            self.ensure_namespace(&namespace);
        }
        let key = Key::new(kind, &namespace, object::name(&manifest));
        let exact = (
            manifest.get("status").cloned(),
            manifest["metadata"]["uid"].clone(),
            manifest["metadata"]["generation"].clone(),
        );
        let mut manifest = manifest;
        let stated_node = kind.plural == "pods" && !object::text(&manifest, "/spec/nodeName").is_empty();
        if stated_node && manifest.get("status").is_none() {
            // A pod that a test puts on a node is a running pod.
            manifest["status"] = running();
        }
        let status = manifest.get("status").cloned().or(exact.0);
        let stored = create::create(&mut self.store, kind, &namespace, manifest, false)
            .unwrap_or_else(|refusal| panic!("the fake API server refuses a fixture: {}", refusal.body["message"]));
        let key = if key.name.is_empty() { Key::new(kind, &namespace, object::name(&stored)) } else { key };
        self.store.mark_seeded(object::uid(&stored));
        self.store.edit(&key, |stored| {
            if let Some(status) = status.clone() {
                stored["status"] = status;
            }
            if exact.1.is_string() {
                stored["metadata"]["uid"] = exact.1.clone();
            }
        });
        let found = self.store.find(&key).cloned().expect("was just stored");
        self.store.mark_seeded(object::uid(&found));
        if kind.plural == "poddisruptionbudgets" && status.is_some() {
            self.store.frozen_budgets.insert(object::uid(&found).to_owned());
        }
        found
    }

    /// Creates an object as a controller does; nothing when the server refuses it.
    pub(crate) fn add_unseeded(&mut self, manifest: Value) -> Option<Value> {
        let namespace = object::namespace(&manifest).to_owned();
        create::create(&mut self.store, kind_of(&manifest), &namespace, manifest, false).ok()
    }

    /// Changes an object; panics when it isn't there, because a test that edits nothing proves nothing.
    ///
    /// # Panics
    /// When the object isn't there.
    pub fn edit(&mut self, plural: &str, namespace: &str, name: &str, change: impl FnOnce(&mut Value)) {
        let key = Key::new(known(plural), namespace, name);
        assert!(self.store.find(&key).is_some(), "there is no {plural} {namespace}/{name} to edit");
        self.store.edit(&key, change);
    }

    /// Takes an object away at once, finalizers and grace notwithstanding.
    pub fn remove(&mut self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        self.store.remove(&Key::new(known(plural), namespace, name))
    }

    /// Answers one request on the world as it is.
    pub(crate) fn serve(&mut self, call: &Call, who: &Identity, version: &str) -> Result<Answer<Served>, Unknown> {
        let Self { store, logs, .. } = self;
        let log =
            |key: &Key, container: &str| logs.get(&(key.clone(), container.to_owned())).cloned().unwrap_or_default();
        serve::serve(store, call, who, version, &log)
    }

    /// Sets what a container has printed.
    pub fn set_log(&mut self, namespace: &str, pod: &str, container: &str, text: &str) {
        self.logs.insert((Key::new(known("pods"), namespace, pod), container.to_owned()), text.to_owned());
    }
}

/// The status of a pod that runs and is Ready.
pub fn running() -> Value {
    serde_json::json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]})
}

/// The kind of a manifest.
///
/// # Panics
/// When the table of kinds doesn't have it.
pub fn kind_of(manifest: &Value) -> &'static Kind {
    let (version, name) = (object::text(manifest, "/apiVersion"), object::text(manifest, "/kind"));
    kinds::by_manifest(version, name).unwrap_or_else(|| panic!("the fake API server doesn't know {version} {name}"))
}

/// The kind by its plural name.
///
/// # Panics
/// When the table of kinds doesn't have it.
pub fn known(plural: &str) -> &'static Kind {
    kinds::by_plural(plural).unwrap_or_else(|| panic!("the fake API server doesn't know {plural}"))
}
