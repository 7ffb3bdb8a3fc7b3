//! Helm in process: for tests on virtual time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use kube::Client;
use tokio::sync::watch;

use super::Release;
use super::chart::VERSIONS;
use super::engine::{Engine, Invocation, Output};
use super::post_render::PostRender;
use super::script::{Effect, HelmFault, Stage};
use super::storage::{Storage, decode};
use crate::api::object;
use crate::cluster::FakeCluster;

struct Shared {
    cluster: FakeCluster,
    state: Mutex<State>,
}

struct State {
    calls: Vec<Invocation>,
    faults: Vec<HelmFault>,
    versions: Vec<String>,
    edition: u32,
    helm_version: String,
    post_render: Option<PostRender>,
}

/// The test's handle on helm: what was called, what goes wrong. It outlives kills, as the cluster does.
#[derive(Clone)]
pub struct FakeHelm {
    shared: Arc<Shared>,
}

/// Helm as one process sees it: dead after the kill that ends the process.
#[derive(Clone)]
pub struct HelmProcess {
    shared: Arc<Shared>,
    client: Client,
    cancel: watch::Sender<bool>,
}

impl FakeHelm {
    /// A helm that works on this cluster, with [`VERSIONS`] in its registry.
    pub fn new(cluster: &FakeCluster) -> Self {
        let state = State {
            calls: Vec::new(),
            faults: Vec::new(),
            versions: VERSIONS.map(str::to_owned).to_vec(),
            edition: 0,
            helm_version: "v4.2.4".to_owned(),
            post_render: None,
        };
        Self { shared: Arc::new(Shared { cluster: cluster.clone(), state: Mutex::new(state) }) }
    }

    /// Helm for the process that starts now; it makes its requests as [`FakeCluster::client`] does.
    pub fn process(&self) -> HelmProcess {
        HelmProcess {
            shared: Arc::clone(&self.shared),
            client: self.shared.cluster.client(),
            cancel: watch::Sender::new(false),
        }
    }

    /// Scripts a fault.
    pub fn inject(&self, fault: HelmFault) {
        self.shared.state().faults.push(fault);
    }

    /// The next command of this verb fails with this text after `Error: `.
    pub fn fail_once(&self, verb: &str, stderr: &str) {
        self.inject(HelmFault::fail(verb, stderr));
    }

    /// Every call so far.
    pub fn calls(&self) -> Vec<Invocation> {
        self.shared.state().calls.clone()
    }

    /// The arguments of every call of a verb so far.
    pub fn calls_of(&self, verb: &str) -> Vec<Vec<String>> {
        self.calls().into_iter().filter(|call| call.verb() == verb).map(|call| call.arguments).collect()
    }

    /// Stands for the post-renderer plugin that `--post-renderer` names.
    pub fn set_post_render(
        &self,
        function: impl Fn(&str, &BTreeMap<String, String>) -> Result<String, String> + Send + Sync + 'static,
    ) {
        self.shared.state().post_render = Some(Arc::new(function));
    }

    /// What the registry has, oldest first.
    pub fn set_versions(&self, versions: &[&str]) {
        self.shared.state().versions = versions.iter().map(|version| (*version).to_owned()).collect();
    }

    /// Somebody pushes every chart again, under the same versions but with other bytes.
    pub fn push_again(&self) {
        self.shared.state().edition += 1;
    }

    /// What `helm version` says.
    pub fn set_helm_version(&self, version: &str) {
        version.clone_into(&mut self.shared.state().helm_version);
    }

    /// The revisions of a release, oldest first, as stored.
    pub fn revisions(&self, namespace: &str, release: &str) -> Vec<Release> {
        let ours = |secret: &serde_json::Value| {
            object::namespace(secret) == namespace
                && object::label(secret, "owner") == Some("helm")
                && object::label(secret, "name") == Some(release)
        };
        let secrets = self.shared.cluster.objects("secrets").into_iter().filter(ours);
        let mut releases: Vec<Release> =
            secrets.map(|secret| decode(&secret).expect("helm stored it itself")).collect();
        releases.sort_by_key(|release| release.revision);
        releases
    }

    /// The last revision of a release.
    pub fn last(&self, namespace: &str, release: &str) -> Release {
        self.revisions(namespace, release).pop().unwrap_or_else(|| panic!("there is no release {namespace}/{release}"))
    }
}

impl Shared {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn strike(&self, verb: &str, at: Stage) -> Option<Effect> {
        let mut state = self.state();
        state.faults.iter_mut().find_map(|fault| fault.strikes(verb, at).then(|| fault.effect.clone()))
    }
}

impl HelmProcess {
    /// Runs a command. Dropping the future is `kill -9`: a revision that was stored stays pending.
    pub async fn run(&self, call: Invocation) -> Output {
        let engine = {
            let mut state = self.shared.state();
            state.calls.push(call.clone());
            let (clock, script) = (Arc::clone(&self.shared), Arc::clone(&self.shared));
            Engine {
                client: Some(self.client.clone()),
                storage: Storage::Cluster(self.client.clone()),
                clock: Arc::new(move || clock.cluster.now()),
                versions: state.versions.clone(),
                edition: state.edition,
                helm_version: state.helm_version.clone(),
                post_render: state.post_render.clone(),
                script: Arc::new(move |verb, stage| script.strike(verb, stage)),
                cancelled: self.cancel.subscribe(),
                call,
                warnings: Mutex::default(),
            }
        };
        engine.run().await
    }

    /// SIGTERM: a running upgrade records `failed` and ends; what it started in the cluster goes on.
    pub fn terminate(&self) {
        self.cancel.send_replace(true);
    }
}

impl std::fmt::Debug for FakeHelm {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("FakeHelm").field("calls", &self.shared.state().calls.len()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for HelmProcess {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("HelmProcess").finish_non_exhaustive()
    }
}
