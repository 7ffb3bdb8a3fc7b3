//! `FakeCluster`: the handle that a test holds.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::http::Method;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::api::authorize::{Identity, Rbac};
use crate::api::call::Call;
use crate::api::object;
use crate::api::store::Key;
use crate::connection::{Connection, Entry};
use crate::fault::{Fault, glob};
use crate::kill::{Kill, When};
use crate::world::{Injection, Truth, World, known};

/// What a test wants to happen when a request was served.
type Reaction = Box<dyn FnMut(&mut World, &Call) + Send>;

/// Everything behind the connections.
pub(crate) struct State {
    pub(crate) world: World,
    pub(crate) version: String,
    pub(crate) entries: Vec<Entry>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) kill: Option<Kill>,
    pub(crate) writes: u64,
    pub(crate) incarnation: u64,
    pub(crate) watch_breaks: u64,
    pub(crate) watches_muted: bool,
    pub(crate) complaints: Vec<String>,
    reactions: Vec<(Method, String, Reaction)>,
}

pub(crate) struct Inner {
    state: Mutex<State>,
    started: Instant,
    pub(crate) kills: watch::Sender<u64>,
    identity: Mutex<Identity>,
    accounts: Mutex<BTreeMap<String, Identity>>,
}

impl Inner {
    /// The state, with everything played that is due by now.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.world.advance_to(self.started.elapsed());
        state
    }

    /// Who a bearer token belongs to.
    pub(crate) fn identity_of(&self, token: &str) -> Identity {
        let accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.get(token).cloned().unwrap_or_else(|| self.default_identity())
    }

    fn default_identity(&self) -> Identity {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl State {
    /// Ends every connection that exists.
    pub(crate) fn kill_all(&mut self, kills: &watch::Sender<u64>) {
        self.kill = None;
        self.incarnation += 1;
        kills.send_replace(self.incarnation);
    }

    pub(crate) fn react(&mut self, call: &Call) {
        let mut reactions = std::mem::take(&mut self.reactions);
        for (method, pattern, reaction) in &mut reactions {
            if *method == call.method && glob(pattern, &call.path) {
                reaction(&mut self.world, call);
            }
        }
        reactions.append(&mut self.reactions);
        self.reactions = reactions;
        self.world.settle();
    }
}

/// An in-memory Kubernetes API that remembers, reacts and misbehaves on demand. Clones share the cluster.
#[derive(Clone)]
pub struct FakeCluster {
    inner: Arc<Inner>,
    /// Dropped with the last handle of the test: complains about requests that nobody understood.
    _guard: Arc<Guard>,
}

impl Default for FakeCluster {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeCluster {
    /// An empty cluster whose clock starts at 2026-03-02T08:00:00Z.
    pub fn new() -> Self {
        Self::starting_at("2026-03-02T08:00:00Z".parse().expect("is a timestamp"))
    }

    /// An empty cluster whose clock starts then.
    pub fn starting_at(epoch: Timestamp) -> Self {
        let state = State {
            world: World::new(epoch),
            version: "v1.35.4".to_owned(),
            entries: Vec::new(),
            faults: Vec::new(),
            kill: None,
            writes: 0,
            incarnation: 0,
            watch_breaks: 0,
            watches_muted: false,
            complaints: Vec::new(),
            reactions: Vec::new(),
        };
        let inner = Arc::new(Inner {
            state: Mutex::new(state),
            started: Instant::now(),
            kills: watch::Sender::new(0),
            identity: Mutex::new(Identity::admin()),
            accounts: Mutex::default(),
        });
        Self { _guard: Arc::new(Guard(Arc::clone(&inner))), inner }
    }

    /// From here on, [`Self::client`] is this service account with the grants that the manifests give it.
    #[must_use]
    pub fn with_rules(self, manifests: &[Value], namespace: &str, account: &str) -> Self {
        let rbac = Arc::new(Rbac::of_manifests(manifests, namespace, account));
        self.with_identity(Identity::service_account(namespace, account, rbac))
    }

    /// From here on, [`Self::client`] is this identity.
    #[must_use]
    pub fn with_identity(self, identity: Identity) -> Self {
        let token = identity.user.clone();
        self.inner.accounts.lock().unwrap_or_else(PoisonError::into_inner).insert(token, identity.clone());
        *self.inner.identity.lock().unwrap_or_else(PoisonError::into_inner) = identity;
        self
    }

    /// The identity of [`Self::client`].
    pub fn identity(&self) -> Identity {
        self.inner.default_identity()
    }

    /// A new connection, alive until the next kill.
    pub fn connect(&self) -> Connection {
        self.connect_as(self.identity())
    }

    /// A new connection for somebody else.
    pub fn connect_as(&self, identity: Identity) -> Connection {
        let incarnation = self.inner.state().incarnation;
        Connection::new(Arc::clone(&self.inner), identity, incarnation)
    }

    /// A client on a new connection.
    pub fn client(&self) -> kube::Client {
        self.connect().client()
    }

    /// A client that may do everything.
    pub fn admin(&self) -> kube::Client {
        self.connect_as(Identity::admin()).client()
    }

    // === the world ===

    /// The cluster's time: its epoch plus the virtual time that has passed.
    pub fn now(&self) -> Timestamp {
        self.inner.state().world.now()
    }

    /// Looks at or changes the world as it is now.
    pub fn world<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        let mut state = self.inner.state();
        let seen = look(&mut state.world);
        state.world.settle();
        seen
    }

    /// Puts an object into the cluster as it is, status included. Returns it as stored.
    pub fn add(&self, manifest: impl Into<Value>) -> Value {
        let manifest = manifest.into();
        self.world(|world| world.add(manifest))
    }

    /// An object, if it is there.
    pub fn get(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        known(plural);
        self.world(|world| world.store.get(plural, namespace, name).cloned())
    }

    /// An object as a type of k8s-openapi.
    pub fn get_as<K: DeserializeOwned>(&self, plural: &str, namespace: &str, name: &str) -> Option<K> {
        let found = self.get(plural, namespace, name)?;
        Some(serde_json::from_value(found).expect("the stored object is of that type"))
    }

    /// All objects of a kind, in every namespace.
    pub fn objects(&self, plural: &str) -> Vec<Value> {
        known(plural);
        self.world(|world| world.store.of(plural).map(|(_, object)| object.clone()).collect())
    }

    /// Changes an object that is there.
    pub fn edit(&self, plural: &str, namespace: &str, name: &str, change: impl FnOnce(&mut Value)) {
        self.world(|world| world.edit(plural, namespace, name, change));
    }

    /// Takes an object away at once.
    pub fn remove(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        self.world(|world| world.remove(plural, namespace, name))
    }

    /// A node; panics when it isn't there.
    pub fn node(&self, name: &str) -> Value {
        self.get("nodes", "", name).unwrap_or_else(|| panic!("there is no node {name}"))
    }

    /// A node's annotation.
    pub fn annotation(&self, node: &str, key: &str) -> Option<String> {
        object::annotation(&self.node(node), key).map(str::to_owned)
    }

    /// A node's label.
    pub fn label(&self, node: &str, key: &str) -> Option<String> {
        object::label(&self.node(node), key).map(str::to_owned)
    }

    /// Whether a node is cordoned.
    pub fn is_cordoned(&self, node: &str) -> bool {
        self.node(node)["spec"]["unschedulable"] == true
    }

    /// Sets what a container has printed.
    pub fn set_log(&self, namespace: &str, pod: &str, container: &str, text: &str) {
        self.world(|world| world.set_log(namespace, pod, container, text));
    }

    /// What really happened on a node, whatever its labels say.
    pub fn truth(&self, node: &str) -> Truth {
        self.world(|world| world.kata.truth(node))
    }

    /// Something goes wrong on a node, or on every node (`*`), from now on.
    pub fn misbehave(&self, node: &str, injection: Injection) {
        self.world(|world| world.kata.inject(node, injection));
    }

    /// Something goes wrong on a node, or on every node (`*`), at one version only.
    pub fn misbehave_at(&self, node: &str, version: &str, injection: Injection) {
        self.world(|world| world.kata.inject_at(node, version, injection));
    }

    /// Plans an event, counted from now.
    pub fn after(&self, delay: Duration, event: impl FnOnce(&mut World) + Send + 'static) {
        self.world(|world| world.after(delay, event));
    }

    /// Reacts to every successful request that fits, right after it was served.
    pub fn on(&self, method: Method, pattern: &str, reaction: impl FnMut(&mut World, &Call) + Send + 'static) {
        self.inner.state().reactions.push((method, pattern.to_owned(), Box::new(reaction)));
    }

    /// What `/version` says, `v1.35.4` unless set.
    pub fn set_version(&self, version: &str) {
        version.clone_into(&mut self.inner.state().version);
    }

    // === faults, kills, the record ===

    /// The next request that fits fails with this status.
    pub fn fail_once(&self, method: Method, pattern: &str, code: u16) {
        self.inject(Fault::status(method, pattern, code));
    }

    /// Every request that fits takes this long.
    pub fn slow(&self, method: Method, pattern: &str, time: Duration) {
        self.inject(Fault::slow(method, pattern, time).always());
    }

    /// Scripts a fault.
    pub fn inject(&self, fault: Fault) {
        self.inner.state().faults.push(fault);
    }

    /// Breaks the connection of every watch that is open.
    pub fn break_watches(&self) {
        self.inner.state().watch_breaks += 1;
    }

    /// From now on watches are open and say nothing.
    pub fn mute_watches(&self) {
        self.inner.state().watches_muted = true;
    }

    /// Forgets all changes so far, as etcd does after some minutes: a watch that begins earlier gets 410.
    pub fn compact(&self) {
        self.world(|world| world.store.compact());
    }

    /// Forgets all faults that are still scripted, and returns those that never struck as often as they were meant to.
    pub fn clear_faults(&self) -> Vec<String> {
        let faults = std::mem::take(&mut self.inner.state().faults);
        faults.iter().filter(|fault| !fault.is_spent()).map(Fault::name).collect()
    }

    /// Ends every connection at the k-th write from now, counted from 1.
    pub fn kill_at(&self, k: u64, when: When) {
        let mut state = self.inner.state();
        let at = state.writes + k;
        state.kill = Some(Kill { at, when });
    }

    /// Ends every connection now.
    pub fn kill_now(&self) {
        self.inner.state().kill_all(&self.inner.kills);
    }

    /// Completes at the next kill, counted from this call.
    pub fn killed(&self) -> impl Future<Output = ()> + use<> {
        let mut kills = self.inner.kills.subscribe();
        async move {
            if kills.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Calls off a kill that has not struck.
    pub fn spare(&self) {
        self.inner.state().kill = None;
    }

    /// How many writes the server has seen.
    pub fn writes(&self) -> u64 {
        self.inner.state().writes
    }

    /// Every request so far.
    pub fn entries(&self) -> Vec<Entry> {
        self.inner.state().entries.clone()
    }

    /// Every request so far as `METHOD path?query body`.
    pub fn transcript(&self) -> Vec<String> {
        self.entries().into_iter().map(|entry| entry.line).collect()
    }

    /// Every write so far as `METHOD path?query body`.
    pub fn write_transcript(&self) -> Vec<String> {
        self.entries().into_iter().filter(|entry| entry.is_write).map(|entry| entry.line).collect()
    }

    /// Forgets the requests so far.
    pub fn clear_transcript(&self) {
        self.inner.state().entries.clear();
    }

    pub(crate) fn incarnation(&self) -> u64 {
        self.inner.state().incarnation
    }

    pub(crate) fn inner(&self) -> Arc<Inner> {
        Arc::clone(&self.inner)
    }

    /// All keys, for comparing two clusters.
    pub fn keys(&self) -> Vec<Key> {
        self.world(|world| world.store.all().map(|(key, _)| key.clone()).collect())
    }
}

impl std::fmt::Debug for FakeCluster {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("FakeCluster").field("world", &self.inner.state().world).finish_non_exhaustive()
    }
}

/// Over HTTP or in a task of its own, a panic of the fake reaches nobody; this one does.
struct Guard(Arc<Inner>);

impl Drop for Guard {
    fn drop(&mut self) {
        let complaints = self.0.state.lock().unwrap_or_else(PoisonError::into_inner).complaints.clone();
        assert!(
            std::thread::panicking() || complaints.is_empty(),
            "the fake API server was asked for what it doesn't know: {complaints:#?}"
        );
    }
}
