//! The handle that tests, the demo and the benchmark hold: a bed cluster, or one that was there before.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::address::REGISTRY;
use crate::audit::Audit;
use crate::consent;
use crate::control_plane;
use crate::images::Written;
use crate::netns::Netns;
use crate::node::Node;
use crate::options::Options;
use crate::parts::{self, Parts};
use crate::process;
use crate::run::Run;

/// The variable with the name of the bed cluster that tests use.
pub const NAME_VARIABLE: &str = "KLM_BED_CLUSTER";
/// The variable with the kubeconfig of a cluster that was there before.
pub const KUBECONFIG_VARIABLE: &str = "KLM_BED_KUBECONFIG";
/// The variable with that cluster's OCI registry, as `HOST:PORT`.
pub const REGISTRY_VARIABLE: &str = "KLM_BED_REGISTRY";

/// A running cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Bed(Box<Bed>),
    Existing { kubeconfig: PathBuf, registry: Option<String> },
}

#[derive(Clone, Debug)]
struct Bed {
    run: Run,
    options: Options,
    parts: Parts,
}

impl Cluster {
    /// Starts a new cluster; see [`crate::up::up`].
    pub fn up(options: &Options, say: &dyn Fn(&str)) -> Result<Self> {
        crate::up::up(options, say)
    }

    /// The bed cluster of this name, which runs already.
    pub fn named(name: &str) -> Result<Self> {
        let run = Run::named(name)?;
        let file = run.path("options.json");
        let text = fs::read(&file)
            .with_context(|| format!("no cluster `{name}` runs here\nhint: cargo xtask cluster up --name {name}"))?;
        let options = serde_json::from_slice(&text).with_context(|| format!("cannot understand {}", file.display()))?;
        Ok(Self::of_run(run, options, Parts::find()?))
    }

    /// A cluster that somebody else made, with the registry that its pods and we can reach, if there is one.
    pub fn existing(kubeconfig: impl Into<PathBuf>, registry: Option<String>) -> Self {
        let given = kubeconfig.into();
        // Suites and tools run in other folders than the one that a person names it from.
        let kubeconfig = std::path::absolute(&given).unwrap_or(given);
        Self { kind: Kind::Existing { kubeconfig, registry } }
    }

    /// The cluster that `cargo xtask test` names to the suites.
    pub fn from_env() -> Result<Self> {
        if let Some(kubeconfig) = std::env::var_os(KUBECONFIG_VARIABLE) {
            return Ok(Self::existing(kubeconfig, std::env::var(REGISTRY_VARIABLE).ok()));
        }
        let name = std::env::var(NAME_VARIABLE)
            .context("no cluster is named for this test\nhint: cargo xtask test cluster [--filter SUITE]")?;
        Self::named(&name)
    }

    pub(crate) fn of_run(run: Run, options: Options, parts: Parts) -> Self {
        Self { kind: Kind::Bed(Box::new(Bed { run, options, parts })) }
    }

    /// The kubeconfig of an administrator. Its address is reachable from inside the cluster's network namespace.
    pub fn kubeconfig(&self) -> PathBuf {
        match &self.kind {
            Kind::Bed(bed) => bed.run.path("kubeconfig"),
            Kind::Existing { kubeconfig, .. } => kubeconfig.clone(),
        }
    }

    /// Whether it was started here, so that Argo's controller is a program beside the tests and not a pod.
    pub const fn is_bed(&self) -> bool {
        matches!(self.kind, Kind::Bed(_))
    }

    /// The OCI registry, `HOST:PORT`, plain HTTP; the same for pods and for us.
    pub fn registry(&self) -> Option<&str> {
        match &self.kind {
            Kind::Bed(_) => Some(REGISTRY),
            Kind::Existing { registry, .. } => registry.as_deref(),
        }
    }

    /// Where the charts of kata-deploy's stand-in are, as a value for the chart's own setting.
    pub fn kata_charts(&self) -> Option<String> {
        self.registry().map(|registry| format!("oci://{registry}/kata-deploy-charts/kata-deploy"))
    }

    /// Moves the calling thread, and what it starts later, to where the cluster's addresses can be reached.
    /// Does nothing for a cluster that was there before, nor for a thread that is there already.
    pub fn enter(&self) -> Result<()> {
        match &self.kind {
            Kind::Bed(bed) => bed.run.netns().enter(),
            Kind::Existing { .. } => Ok(()),
        }
    }

    /// A client with an administrator's rights. Enters the cluster's network first, see [`Self::enter`]:
    /// use it on a single-threaded runtime, as tests have.
    pub async fn client(&self) -> Result<Client> {
        self.enter()?;
        Ok(Client::try_from(self.config().await?)?)
    }

    async fn config(&self) -> Result<Config> {
        let file = self.kubeconfig();
        let kubeconfig = Kubeconfig::read_from(&file).with_context(|| format!("cannot read {}", file.display()))?;
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .with_context(|| format!("cannot use {}", file.display()))
    }

    /// Returns when tests may delete what is on the cluster: it was started here, or says itself that it may be wiped.
    pub async fn may_be_wiped(&self) -> Result<()> {
        match &self.kind {
            Kind::Bed(_) => Ok(()),
            Kind::Existing { kubeconfig, .. } => consent::given(self.config().await?, kubeconfig).await,
        }
    }

    /// A command with the cluster's kubeconfig, network and tools: `kubectl`, `helm`, `argo` are the built ones.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = match &self.kind {
            Kind::Bed(bed) => {
                let mut command = process::words(bed.run.netns().enter_command());
                command.arg(program.as_ref());
                search_first(&mut command, &[bed.run.path("bin")]);
                // A person's own Helm must neither help nor be changed.
                for (variable, folder) in [
                    ("HELM_CACHE_HOME", "helm/cache"),
                    ("HELM_CONFIG_HOME", "helm/config"),
                    ("HELM_DATA_HOME", "helm/data"),
                ] {
                    command.env(variable, bed.run.path(folder));
                }
                command
            }
            Kind::Existing { .. } => {
                let mut command = Command::new(program.as_ref());
                // The pinned tools, where they are built: another Helm would be another test.
                if let Ok(parts) = Parts::find() {
                    let tools = ["helm", "kubectl", "argo", "crane"].iter().filter_map(|tool| parts.path(tool).ok());
                    let folders: Vec<PathBuf> = tools.filter_map(|path| path.parent().map(Path::to_owned)).collect();
                    search_first(&mut command, &folders);
                }
                command
            }
        };
        command.env("KUBECONFIG", self.kubeconfig());
        command
    }

    /// Runs a program to its end and returns its standard output; its failure is an error with its last words.
    pub fn run<S: AsRef<OsStr>>(&self, program: &str, arguments: &[S]) -> Result<String> {
        process::output(self.command(program).args(arguments))
    }

    /// Runs `kubectl apply --server-side` on a manifest in YAML or JSON.
    pub fn apply(&self, manifest: &str) -> Result<String> {
        process::output_with_input(
            self.command("kubectl").args(["apply", "--server-side", "--force-conflicts", "--filename", "-"]),
            manifest.as_bytes(),
        )
    }

    /// Puts images where every node finds them: onto our own nodes, and into the registry for pods that always pull.
    pub fn load(&self, images: &[Written]) -> Result<()> {
        if let Kind::Bed(bed) = &self.kind {
            bed.import(images)?;
        }
        self.push(images)
    }

    /// Pushes images under all their names; the nodes look there first for whatever registry a name says.
    pub(crate) fn push(&self, images: &[Written]) -> Result<()> {
        let registry = self
            .registry()
            .context("no registry is known to push images to\nhint: --registry HOST:PORT, one that the nodes look into before any other")?;
        let crane = parts::build_one("crane", &|_| ())?;
        for image in images {
            // A registry of this name isn't pulled from: no tag of it is `latest`.
            for name in image.names.iter().filter(|name| !name.starts_with("bed.local/")) {
                let (_, path) = name.split_once('/').with_context(|| format!("`{name}` names no registry"))?;
                let target = format!("{registry}/{path}");
                process::run(self.command(&crane).args(["push", "--insecure"]).arg(&image.layout).arg(target))?;
            }
        }
        Ok(())
    }

    /// Packs kata-deploy's stand-in charts, all versions, and pushes them to the registry.
    pub fn push_kata_charts(&self) -> Result<()> {
        let registry = self.registry().context("no registry is known to push charts to\nhint: --registry HOST:PORT")?;
        let folder = tempfile::tempdir()?;
        for package in klm_standin::chart::package_all(folder.path())? {
            let target = format!("oci://{registry}/kata-deploy-charts");
            process::run(self.command("helm").arg("push").arg(&package).args([target.as_str(), "--plain-http"]))?;
        }
        Ok(())
    }

    /// The bed cluster behind this handle: its run folder, nodes and processes. An error for any other cluster.
    pub fn bed(&self) -> Result<(&Run, &Options)> {
        match &self.kind {
            Kind::Bed(bed) => Ok((&bed.run, &bed.options)),
            Kind::Existing { .. } => {
                bail!("this needs a cluster that was started here, and a kubeconfig of another was given")
            }
        }
    }

    /// The API server's log of requests.
    pub fn audit(&self) -> Result<Audit> {
        Ok(Audit::new(control_plane::audit_log(self.bed()?.0)))
    }

    /// A command inside a node: its processes, mounts and network, with the machine's files. `ctr` is the node's own.
    pub fn node_command(&self, node: &str, program: &str) -> Result<Command> {
        let mut command = process::words(self.node(node)?.enter_command()?);
        command.arg(program);
        Ok(command)
    }

    /// Ends a node at once, as a loss of power would.
    pub fn stop_node(&self, node: &str) -> Result<()> {
        self.node(node)?.stop()
    }

    /// Starts a node that was stopped; what was on its disk is still there.
    pub fn start_node(&self, node: &str) -> Result<()> {
        self.node(node)?.start()
    }

    fn node(&self, name: &str) -> Result<Node<'_>> {
        let (run, options) = self.bed()?;
        crate::up::nodes(run, options)
            .into_iter()
            .find(|node| node.name == name)
            .with_context(|| format!("the cluster has no real node `{name}`"))
    }

    pub(crate) fn run_netns(&self) -> Result<Netns> {
        Ok(self.bed()?.0.netns())
    }

    pub(crate) fn run_folder(&self) -> Result<PathBuf> {
        Ok(self.bed()?.0.folder())
    }
}

impl Bed {
    fn import(&self, images: &[Written]) -> Result<()> {
        let nodes = crate::up::nodes(&self.run, &self.options);
        std::thread::scope(|scope| {
            let imports: Vec<_> = nodes.iter().map(|node| scope.spawn(|| node.import(&self.parts, images))).collect();
            imports
                .into_iter()
                .try_for_each(|import| import.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })
    }
}

/// Lets a command find programs in these folders before all others.
fn search_first(command: &mut Command, folders: &[PathBuf]) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = folders.iter().cloned().chain(std::env::split_paths(&path));
    if let Ok(joined) = std::env::join_paths(all) {
        command.env("PATH", joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubeconfig_is_the_same_file_from_every_folder() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(Cluster::existing("some/kubeconfig", None).kubeconfig(), here.join("some/kubeconfig"));
        assert_eq!(Cluster::existing("/some/kubeconfig", None).kubeconfig(), Path::new("/some/kubeconfig"));
    }
}
