//! A node: the files that its kubelet and containerd read, the namespaces it lives in, its start and its end.

mod files;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::address;
use crate::cgroups;
use crate::image::archive;
use crate::images::Written;
use crate::parts::{self, Parts};
use crate::pki::{Authority, Identity};
use crate::process::{output, output_with_writer, words};
use crate::run::Run;
use crate::up::begin;
use crate::wait::{Seen, Wait};
use crate::world::{After, Mount, Program, World};

pub use files::HANDLERS;

/// The pause image.
pub const PAUSE_IMAGE: &str = "bed.local/pause:1";

/// Where the run folder and the parts are inside a node, whose `/run` and `/var/lib` are its own.
const RUN: &str = "/run/klm/run";
const PARTS: &str = "/run/klm/parts";
const SOCKET: &str = "/run/containerd/containerd.sock";

/// One real node.
#[derive(Clone, Debug)]
pub struct Node<'a> {
    /// The cluster.
    pub run: &'a Run,
    /// Counted from 1.
    pub number: usize,
    /// `worker-1` and so on.
    pub name: String,
}

impl Node<'_> {
    /// Writes what the node needs before it can start, beside its certificate.
    pub fn prepare(&self, parts: &Parts, authority: &Authority) -> Result<()> {
        self.prepare_containerd(parts)?;
        // The kubelet makes groups for pods below this one, but wants to find it.
        cgroups::create(&self.cgroup())?;
        let folder = self.folder();
        let user = format!("system:node:{}", self.name);
        let identity = Identity { user: &user, group: Some("system:nodes") };
        authority.kubeconfig(&folder.join("kubeconfig"), address::API, &self.name, identity)?;
        fs::write(folder.join("kubelet.json"), serde_json::to_vec_pretty(&self.kubelet())?)?;
        fs::write(folder.join("cni/10-bed.conflist"), serde_json::to_vec(&self.cni())?)?;
        // Every image is looked for in the cluster's own registry, whatever registry its name says: there is no other.
        let all = folder.join("registries/_default");
        fs::create_dir_all(&all)?;
        fs::write(all.join("hosts.toml"), format!("server = \"http://{}\"\n", address::REGISTRY))?;
        self.write_world(vec![self.containerd_program(parts)?, self.kubelet_program(parts)?])
    }

    /// Writes what a node needs that has containerd only, and no part in a cluster.
    pub fn prepare_containerd(&self, parts: &Parts) -> Result<()> {
        let folder = self.folder();
        for inner in ["kubelet", "containerd", "pods", "cni", "registries", "volume-plugins"] {
            fs::create_dir_all(folder.join(inner))?;
        }
        fs::write(folder.join("containerd.toml"), self.containerd())?;
        self.write_world(vec![self.containerd_program(parts)?])
    }

    /// Joins the node's network namespace to the control plane's bridge.
    pub fn connect(&self) -> Result<()> {
        let (hub, own) = (self.run.netns(), self.run.node_netns(&self.name));
        let (number, address) = (self.number, address::node(self.number));
        own.create()?;
        hub.ip(&format!("link add node{number} type veth peer name eth0 netns {}", own.name()))?;
        hub.ip(&format!("link set node{number} master nodes up"))?;
        own.ip(&format!("addr add {address}/24 dev eth0"))?;
        own.ip("link set eth0 up")?;
        own.ip(&format!("route add default via {}", address::GATEWAY))?;
        hub.ip(&format!("route add {} via {address}", address::pods(number)))?;
        own.forward()
    }

    /// The words before a command that make it run inside the node: its mounts, processes and network.
    pub fn enter_command(&self) -> Result<Vec<String>> {
        let holder = self.run.world(&self.name).with_context(|| format!("the node {} doesn't run", self.name))?;
        // The remembered process is `unshare`; its only child is the node's first process.
        let children = format!("/proc/{0}/task/{0}/children", holder.pid);
        let text = fs::read_to_string(&children).unwrap_or_default();
        let first =
            text.split_whitespace().next().with_context(|| format!("the node {} has no first process", self.name))?;
        Ok(["nsenter", "--target", first, "--mount", "--pid", "--net", "--uts"].map(str::to_owned).to_vec())
    }

    /// Starts the node's processes.
    pub fn start(&self) -> Result<()> {
        if self.run.world(&self.name).is_some() {
            bail!("the node {} runs already", self.name);
        }
        let spec = self.folder().join("world.json");
        begin(self.run, &self.name, &self.run.node_netns(&self.name), &spec)
    }

    /// Ends the node's processes at once, and returns when they are gone.
    pub fn stop(&self) -> Result<()> {
        let holder = self.run.world(&self.name).with_context(|| format!("the node {} doesn't run", self.name))?;
        kill(Pid::from_raw(holder.pid), Signal::SIGKILL)?;
        let netns = self.run.node_netns(&self.name);
        Wait::new(format!("the processes of {} to end", self.name), Duration::from_secs(30)).until_blocking(|| {
            let left = netns.processes();
            Ok(if left.is_empty() { Seen::Done(()) } else { Seen::NotYet(format!("processes {left:?}")) })
        })
    }

    /// Imports images into the node's containerd, as soon as that runs.
    pub fn import(&self, parts: &Parts, images: &[Written]) -> Result<()> {
        let ctr = inside_parts(parts.path("ctr")?);
        let wait = Wait::new(format!("containerd on {}", self.name), Duration::from_secs(60));
        let enter = wait.until_blocking(|| {
            let enter = self.enter_command()?;
            output(words(&enter).args([ctr.as_str(), "version"]))?;
            Ok(Seen::Done(enter))
        })?;
        for image in images {
            let names: Vec<&str> = image.names.iter().map(String::as_str).collect();
            // Through a pipe: the node doesn't see the cache.
            let mut command = words(&enter);
            command.args([ctr.as_str(), "--namespace", "k8s.io", "images", "import", "-"]);
            output_with_writer(&mut command, |pipe| archive(&image.layout, &names, pipe))
                .with_context(|| format!("cannot import {} on {}", image.layout.display(), self.name))?;
        }
        Ok(())
    }

    /// The node's own folder.
    pub fn folder(&self) -> PathBuf {
        self.run.path("nodes").join(&self.name)
    }

    fn cgroup(&self) -> String {
        format!("{}/{}", self.run.cgroup(), self.name)
    }

    fn inside(&self, file: &str) -> String {
        format!("{RUN}/nodes/{}/{file}", self.name)
    }

    fn write_world(&self, programs: Vec<Program>) -> Result<()> {
        let tmpfs = |path: &str| Mount::Tmpfs(PathBuf::from(path));
        let bind = |from: PathBuf, to: &str| Mount::Bind { from, to: PathBuf::from(to) };
        let own = |file: &str| PathBuf::from(self.inside(file));
        let mounts = vec![
            tmpfs("/run"),
            bind(self.run.folder(), RUN),
            bind(parts::folder(), PARTS),
            // What kubelet, containerd and CNI fix in their code becomes the node's own, and the machine's isn't touched.
            tmpfs("/var/lib"),
            bind(own("kubelet"), "/var/lib/kubelet"),
            bind(own("containerd"), "/var/lib/containerd"),
            tmpfs("/var/log"),
        ];
        let world = World { hostname: Some(self.name.clone()), mounts, programs };
        fs::write(self.folder().join("world.json"), serde_json::to_vec(&world)?)?;
        Ok(())
    }

    fn containerd_program(&self, parts: &Parts) -> Result<Program> {
        let config = format!("--config={}", self.inside("containerd.toml"));
        self.program(parts, "containerd", After::Nothing, [config])
    }

    fn kubelet_program(&self, parts: &Parts) -> Result<Program> {
        self.program(
            parts,
            "kubelet",
            After::File(PathBuf::from(SOCKET)),
            [
                format!("--config={}", self.inside("kubelet.json")),
                format!("--kubeconfig={}", self.inside("kubeconfig")),
                format!("--hostname-override={}", self.name),
                format!("--node-ip={}", address::node(self.number)),
            ],
        )
    }

    fn program(
        &self,
        parts: &Parts,
        name: &str,
        after: After,
        arguments: impl IntoIterator<Item = String>,
    ) -> Result<Program> {
        let mut command = vec![inside_parts(parts.path(name)?)];
        command.extend(arguments);
        // containerd looks for its shim in the PATH.
        let shims = inside_parts(parts.path("containerd-shim-runc-v2")?);
        let shims = Path::new(&shims).parent().unwrap_or(Path::new("/"));
        let path = format!("{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", shims.display());
        Ok(Program {
            name: name.to_owned(),
            command,
            env: BTreeMap::from([("PATH".to_owned(), path)]),
            log: PathBuf::from(format!("{RUN}/log/{}-{name}.log", self.name)),
            after,
        })
    }
}

fn inside_parts(path: &Path) -> String {
    match path.strip_prefix(parts::folder()) {
        Ok(rest) => format!("{PARTS}/{}", rest.display()),
        Err(_) => path.display().to_string(),
    }
}
