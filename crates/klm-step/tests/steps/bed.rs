//! A fleet with a planned run: what the front steps leave behind, written by hand, and each later step as a process.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use clap::Parser as _;
use futures::FutureExt as _;
use klm_core::contract::{CHART_NAME, CURRENT_VERSION, JOURNAL, STATUS};
use klm_core::journal::RunId;
use klm_core::settings::Given;
use klm_step::cli::{Cli, Command};
use klm_step::cluster::Cluster;
use klm_step::exit::StepError;
use klm_step::helm::{CHART_VERSION, Helm, InProcess, Output};
use klm_step::steps::helm_postrender::scoped;
use klm_step::world::{Clock, Here, Stop, StopSwitch, World};
use klm_step::{plan_store, run};
use klm_testkit::fixtures::{Fleet, workflow};
use klm_testkit::{FakeCluster, FakeHelm, Identity, Invocation, Rbac};

pub const NAMESPACE: &str = "kube-system";
pub const RELEASE: &str = "kata-deploy";

pub const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: \"${TEST_POD}\"}\nspec:\n  runtimeClassName: kata-qemu\n  containers:\n  - {name: probe, image: probe, env: [{name: TOKEN, value: hunter2-of-the-pod}]}\n";

/// The steps' account with these rights.
pub fn account(rbac: Arc<Rbac>) -> Identity {
    Identity::service_account("flows", CHART_NAME, rbac)
}

/// What the roles of a rendered chart give the steps' account, as if it were installed in namespace `flows`.
pub fn rights_of(rendered: &str) -> Rbac {
    let rules = klm_step::manifest::documents(&rendered.replace("namespace: argo", "namespace: flows")).unwrap();
    Rbac::of_manifests(&rules, "flows", CHART_NAME)
}

/// The chart as it is installed by default.
pub const DEFAULTS: &str = include_str!("../../../klm-chartgen/tests/rendered/defaults.yaml");

fn chart_account() -> Identity {
    static ACCOUNT: OnceLock<Identity> = OnceLock::new();
    ACCOUNT.get_or_init(|| account(Arc::new(rights_of(DEFAULTS)))).clone()
}

/// A cluster with a release, and runs on it.
pub struct Bed {
    pub cluster: FakeCluster,
    pub helm: FakeHelm,
    pub outputs: tempfile::TempDir,
    /// Writes so far by the step that made them.
    pub written: RefCell<BTreeMap<String, u64>>,
}

/// One run of the workflow.
#[derive(Clone)]
pub struct Flow {
    pub id: RunId,
    given: Given,
}

impl Bed {
    /// Under the chart's own rights: a step that needs more fails here.
    pub fn new(fleet: Fleet) -> Self {
        Self::under(fleet, chart_account())
    }

    /// Under the rights of that account.
    pub fn under(fleet: Fleet, account: Identity) -> Self {
        let (cluster, helm) = fleet.build();
        let cluster = cluster.with_identity(account);
        helm.set_post_render(|manifests, env| {
            let version = env.get(CHART_VERSION).cloned().unwrap_or_default();
            scoped(manifests, &version).map_err(|error| error.to_string())
        });
        Self { cluster, helm, outputs: tempfile::tempdir().unwrap(), written: RefCell::default() }
    }

    /// What a pod of a step sees: its own connection, dead after a kill.
    pub fn world(&self) -> (World, StopSwitch) {
        let (stop, switch) = Stop::new();
        let process = self.helm.process();
        let helm: InProcess = Arc::new(move |call: klm_step::helm::Invocation| {
            let process = process.clone();
            async move {
                let env = call.env.into_iter().collect();
                let output = process.run(Invocation { arguments: call.args, env, stdin: Vec::new() }).await;
                Output { code: output.code, stdout: output.stdout, stderr: output.stderr }
            }
            .boxed()
        });
        let world = World {
            cluster: Cluster::new(self.cluster.client()),
            helm: Helm::in_process(helm, stop.clone()).unwrap(),
            clock: Clock::starting_at(self.cluster.now()),
            stop,
            here: Here::default(),
            // The sweeps end more than a thousand runs, each with its report.
            print: |_| Ok(()),
        };
        (world, switch)
    }

    /// A running Workflow of that name, with parameters that differ from the defaults.
    pub fn flow(&self, name: &str, given: &[(&str, &str)]) -> Flow {
        self.cluster.add(workflow("flows", name, "Running"));
        let uid = format!("uid-of-{name}");
        let mut given: Given = given.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        given.entry("verification-pod".to_owned()).or_insert_with(|| POD.to_owned());
        Flow { id: RunId { namespace: "flows".to_owned(), name: name.to_owned(), uid }, given }
    }

    /// Ends a Workflow as Argo would.
    pub fn end(&self, flow: &Flow, phase: &str) {
        self.cluster.edit("workflows", "flows", &flow.id.name, |workflow| {
            workflow["status"]["phase"] = phase.into();
            workflow["status"]["finishedAt"] = "2026-03-02T09:00:00Z".into();
        });
    }

    /// The front steps of a run to `target`, which must choose these nodes in this order.
    pub async fn plan(&self, flow: &Flow, target: &str, nodes: &[&str]) {
        self.step(flow, &["check-prerequisites", "--target-version", target]).await.unwrap();
        self.step(flow, &["select-nodes", "--target-version", target]).await.unwrap();
        let (world, _switch) = self.world();
        let plan = plan_store::read(&world.cluster, &flow.id).await.unwrap().unwrap().plan;
        let planned: Vec<&str> = plan.nodes.iter().map(|node| node.0.as_str()).collect();
        assert_eq!(planned, nodes);
        self.cluster.clear_transcript();
    }

    /// One step of a run, as its pod would do it.
    pub async fn step(&self, flow: &Flow, args: &[&str]) -> Result<(), StepError> {
        let (world, _switch) = self.world();
        self.step_in(&world, flow, args).await
    }

    pub async fn step_in(&self, world: &World, flow: &Flow, args: &[&str]) -> Result<(), StepError> {
        let RunId { namespace, name, uid } = &flow.id;
        let mut line: Vec<String> = ["klm-step"].iter().chain(args).map(|arg| (*arg).to_owned()).collect();
        line.extend([
            format!("--workflow-namespace={namespace}"),
            format!("--workflow-name={name}"),
            format!("--workflow-uid={uid}"),
        ]);
        if matches!(args[0], "finish" | "select-nodes" | "rollback-node") {
            line.push(format!("--outputs={}", self.outputs.path().display()));
        }
        if matches!(args[0], "check-prerequisites" | "select-nodes" | "rollback-node" | "recover") {
            line.extend(flow.given.iter().map(|(name, text)| format!("--{name}={text}")));
        }
        let before = self.cluster.writes();
        let outcome = run::dispatch(Cli::try_parse_from(line).unwrap().command, world).await;
        *self.written.borrow_mut().entry(args[0].to_owned()).or_default() += self.cluster.writes() - before;
        outcome
    }

    /// The rollout of a plan with that many items, as the workflow does it: stops at the first item that fails, after
    /// its rollback; then the exit handler. Returns the failure.
    pub async fn rollout(&self, flow: &Flow, items: usize) -> Result<(), StepError> {
        let mut outcome = Ok(());
        for item in 1..=items {
            outcome = self.item(flow, item).await;
            if outcome.is_err() {
                break;
            }
        }
        let status = if outcome.is_ok() { "Succeeded" } else { "Failed" };
        self.step(flow, &["finish", "--workflow-status", status]).await?;
        self.end(flow, status);
        outcome
    }

    /// One item, as the workflow's dag does it.
    pub async fn item(&self, flow: &Flow, item: usize) -> Result<(), StepError> {
        let item = item.to_string();
        let applied = self.step(flow, &["apply-wave", "--item", &item]).await;
        let outcome = match applied {
            Ok(()) => self.step(flow, &["verify", "--item", &item]).await,
            failed => failed,
        };
        if outcome.is_err() {
            self.step(flow, &["rollback", "--item", &item]).await?;
        }
        outcome
    }

    // === the oracle ===

    pub fn installed(&self, node: &str) -> String {
        self.cluster.truth(node).installed.unwrap_or_default()
    }

    pub fn installs(&self, node: &str) -> u32 {
        self.cluster.truth(node).installs
    }

    /// Nobody ever took Kata off any node.
    pub fn assert_nothing_uninstalled(&self) {
        for node in self.cluster.objects("nodes") {
            let name = node["metadata"]["name"].as_str().unwrap();
            assert_eq!(self.cluster.truth(name).uninstalls, 0, "{name}");
        }
    }

    pub fn status(&self, node: &str) -> String {
        assert_eq!(self.cluster.annotation(node, STATUS), self.cluster.label(node, STATUS), "{node}");
        self.cluster.annotation(node, STATUS).unwrap_or_default()
    }

    pub fn version(&self, node: &str) -> String {
        assert_eq!(self.cluster.annotation(node, CURRENT_VERSION), self.cluster.label(node, CURRENT_VERSION), "{node}");
        self.cluster.annotation(node, CURRENT_VERSION).unwrap_or_default()
    }

    /// Nothing of ours is left anywhere: no cordon, no journal, no lock, no verification pod.
    pub fn assert_tidy(&self) {
        for node in self.cluster.objects("nodes") {
            let name = node["metadata"]["name"].as_str().unwrap();
            assert!(!self.cluster.is_cordoned(name), "{name} is cordoned");
            assert_eq!(self.cluster.annotation(name, JOURNAL), None, "{name}");
            assert_eq!(self.cluster.label(name, "katacontainers.io/kata-runtime").as_deref(), Some("true"), "{name}");
        }
        assert_eq!(self.cluster.get("leases", NAMESPACE, "klm-kata-deploy"), None);
        let ours = |pod: &serde_json::Value| pod["metadata"]["name"].as_str().unwrap().starts_with("klm-verify");
        let pods = self.cluster.objects("pods").into_iter();
        let left: Vec<_> = pods.filter(ours).filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).collect();
        assert_eq!(left, Vec::<serde_json::Value>::new());
    }

    /// Revisions of the release as `chart status`.
    pub fn revisions(&self) -> Vec<String> {
        let revisions = self.helm.revisions(NAMESPACE, RELEASE);
        revisions.iter().map(|it| format!("{} {}", it.chart, it.status)).collect()
    }
}

/// The subcommand of a command line.
pub fn command(line: &[&str]) -> Command {
    Cli::try_parse_from(["klm-step"].iter().chain(line)).unwrap().command
}

/// The nodes that a step reports as failed, with their phases.
pub fn unverified(outcome: Result<(), StepError>) -> Vec<(String, String)> {
    match outcome {
        Err(StepError::Unverified(failures)) => {
            failures.into_iter().map(|failure| (failure.node, failure.phase)).collect()
        }
        other => panic!("{other:?}"),
    }
}
