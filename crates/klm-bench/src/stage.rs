//! A cluster with a fleet on it: kata-deploy's stand-in, the player of its pods on simulated nodes, and our chart.

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Node;
use klm_bed::images::Programs;
use klm_bed::process;
use klm_bed::wait::{Seen, Wait};
use klm_bed::{Cluster, Options, paths};
use klm_core::plan::Mode;
use klm_standin::injection::{Injection, Pace};
use klm_standin::{setup, truth};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client};

use crate::rollout;

/// Where our chart and its workflows are.
pub const ARGO: &str = "argo";
/// Where kata-deploy is.
pub const KUBE_SYSTEM: &str = "kube-system";
/// kata-deploy's release.
pub const RELEASE: &str = "kata-deploy";
/// Our chart's release and its workflow template.
pub const LIFECYCLE: &str = "kata-lifecycle-manager";

/// The version that a fleet begins with. It plays readiness probes, and has both modes.
pub const ORIGIN: &str = "3.32.0";
/// The version that runs go to: by then three minor versions of nodes' behaviour are known to be the same.
pub const TARGET: &str = "4.0.0";

/// The stage.
pub struct Stage {
    /// The cluster.
    pub cluster: Cluster,
    /// An administrator's client.
    pub client: Client,
    /// How kata-deploy installs.
    pub mode: Mode,
    /// Simulated nodes.
    pub nodes: usize,
    player: Child,
}

impl Drop for Stage {
    fn drop(&mut self) {
        // It ends by itself when it can't be told to.
        let _ = self.player.kill();
        let _ = self.player.wait();
    }
}

/// What is set up before anything is measured.
pub fn options(name: &str, nodes: usize, requeue: Duration) -> Options {
    Options { name: name.to_owned(), nodes: 1, simulated: nodes, requeue, ..Options::default() }
}

impl Stage {
    /// Sets the stage on a cluster that runs. Must be called, like everything else here, inside its network.
    pub async fn set(cluster: Cluster, mode: Mode) -> Result<Self> {
        let client = cluster.client().await?;
        let (run, options) = cluster.bed()?;
        let nodes = options.simulated;
        let log = File::create(run.path("log/player.log"))?;
        let program = Programs::build()?.standin;
        let player = cluster
            .command(&program)
            .args(["play", "--namespace", KUBE_SYSTEM])
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        setup::prepare(&client, KUBE_SYSTEM).await?;
        let stage = Self { cluster, client, mode, nodes, player };
        stage.install_lifecycle()?;
        Ok(stage)
    }

    /// From now on installs take this long, and nothing fails.
    pub async fn pace(&self, install: Duration) -> Result<()> {
        setup::heal(&self.client, KUBE_SYSTEM).await?;
        setup::set_pace(&self.client, KUBE_SYSTEM, Pace { install, ..Pace::default() }).await
    }

    /// From now on the target's install fails on these nodes.
    pub async fn fail_on(&self, nodes: &[String]) -> Result<()> {
        for node in nodes {
            setup::inject(&self.client, KUBE_SYSTEM, Some(node), Some(TARGET), &[Injection::Crash]).await?;
        }
        Ok(())
    }

    /// Installs the origin everywhere, as quickly as it goes, and waits for it.
    pub async fn install_origin(&self) -> Result<()> {
        // With few Jobs at a time, and all of them listed twice a second, a dispatcher takes six minutes for 5,000 nodes.
        let pace = Pace { install: Duration::ZERO, poll: Duration::from_secs(2), ..Pace::default() };
        setup::set_pace(&self.client, KUBE_SYSTEM, pace).await?;
        self.helm_kata("install", ORIGIN, &["job.parallelism=1000"]).await?;
        self.until_moved(ORIGIN, self.nodes).await?;
        match self.mode {
            Mode::Daemonset => self.until_ready().await,
            Mode::Job => {
                self.forget_jobs().await?;
                self.helm_values(ORIGIN).await
            }
        }
    }

    /// Waits until every pod of the `DaemonSet` is Ready: its controller replaces others at once, whatever
    /// `maxUnavailable` says.
    pub async fn until_ready(&self) -> Result<()> {
        let sets: Api<DaemonSet> = Api::namespaced(self.client.clone(), KUBE_SYSTEM);
        Wait::new("kata-deploy's pods to be Ready", Duration::from_secs(1800))
            .every(Duration::from_secs(1))
            .until(async || {
                let set = sets.get(RELEASE).await?;
                let generation = set.metadata.generation;
                let status = set.status.unwrap_or_default();
                let all = usize::try_from(status.number_ready) == Ok(self.nodes)
                    && usize::try_from(status.updated_number_scheduled.unwrap_or(0)) == Ok(self.nodes);
                let seen = || Seen::NotYet(format!("{status:?}"));
                Ok(if all && status.observed_generation == generation { Seen::Done(()) } else { seen() })
            })
            .await
    }

    /// Takes the finished Jobs of an install away, as their time to live would: a dispatcher of these versions takes
    /// them for its own.
    pub async fn forget_jobs(&self) -> Result<()> {
        let jobs: Api<Job> = Api::namespaced(self.client.clone(), KUBE_SYSTEM);
        let query = ListParams::default().labels("app.kubernetes.io/name=kata-deploy");
        jobs.delete_collection(&DeleteParams::background(), &query).await.context("deleting finished Jobs")?;
        Wait::new("finished Jobs to be gone", Duration::from_secs(600))
            .every(Duration::from_secs(1))
            .until(async || {
                let left = jobs.list_metadata(&query).await?.items.len();
                Ok(if left == 0 { Seen::Done(()) } else { Seen::NotYet(format!("{left} are left")) })
            })
            .await
    }

    /// Gives the release a user's values, without an install.
    pub async fn helm_values(&self, version: &str) -> Result<()> {
        self.helm("upgrade", version, &[], &["--no-hooks"]).await
    }

    /// `helm install` or `helm upgrade` of kata-deploy by hand, with further values.
    pub async fn helm_kata(&self, verb: &str, version: &str, sets: &[&str]) -> Result<()> {
        self.helm(verb, version, sets, &["--wait=hookOnly", "--timeout=90m"]).await
    }

    async fn helm(&self, verb: &str, version: &str, sets: &[&str], flags: &[&str]) -> Result<()> {
        let charts = self.cluster.kata_charts().context("the cluster has no registry")?;
        let mut command = self.cluster.command("helm");
        command.args([verb, RELEASE, &charts, "--namespace", KUBE_SYSTEM, "--version", version, "--plain-http"]);
        command.args(flags);
        let mode = format!("deploymentMode={}", self.mode.as_str());
        let own = ["imagePullPolicy=IfNotPresent", "standin.playedBy=klm-standin", "tolerations[0].operator=Exists"];
        for set in own.iter().copied().chain([mode.as_str()]).chain(sets.iter().copied()) {
            command.args(["--set", set]);
        }
        // The real node only carries step pods.
        command.args(["--set-string", r"nodeSelector.bed\.local/simulated=true"]);
        let call = tokio::task::spawn_blocking(move || process::run(&mut command));
        call.await.context("helm's thread ended")?
    }

    fn install_lifecycle(&self) -> Result<()> {
        let charts = self.cluster.kata_charts().context("the cluster has no registry")?;
        let mut command = self.cluster.command("helm");
        command.args(["upgrade", "--install", LIFECYCLE]).arg(paths::workspace().join("chart"));
        let sets = [
            format!("defaults.verificationPod={}", rollout::verification_pod(Duration::ZERO)),
            format!("defaults.kataDeployChart={charts}"),
            "registry.plainHTTP=true".to_owned(),
            "images.pullPolicy=IfNotPresent".to_owned(),
        ];
        process::run(arguments(&mut command, &sets).args(["--namespace", ARGO]))
    }

    /// Waits until so many nodes are at this version and say that they serve Kata.
    pub async fn until_moved(&self, version: &str, count: usize) -> Result<()> {
        Wait::new(format!("{version} on {count} nodes"), Duration::from_secs(3600))
            .every(Duration::from_secs(1))
            .until(async || {
                let moved = self.moved(version).await?.len();
                Ok(if moved >= count { Seen::Done(()) } else { Seen::NotYet(format!("{moved} are")) })
            })
            .await
    }

    /// The nodes that are at this version, by the ground truth, and serve Kata.
    pub async fn moved(&self, version: &str) -> Result<Vec<Node>> {
        // From the server's memory: a list of thousands that is read from the store each second would be what is measured.
        let query = ListParams::default().labels("katacontainers.io/kata-runtime=true").match_any();
        let nodes = Api::<Node>::all(self.client.clone()).list(&query).await?;
        let at = |node: &Node| truth::Truth::of(node).installed_version.as_deref() == Some(version);
        Ok(nodes.items.into_iter().filter(at).collect())
    }
}

fn arguments<'a>(command: &'a mut Command, sets: &[String]) -> &'a mut Command {
    for set in sets {
        command.args(["--set", set]);
    }
    command
}
