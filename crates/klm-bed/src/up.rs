//! Starting a cluster, step by step; each step says how long the start has taken so far.

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Node as KubeNode;
use kube::Api;
use kube::api::ListParams;

use crate::address::{GATEWAY, SERVICE};
use crate::cluster::Cluster;
use crate::images::{self, Programs, Written};
use crate::leftovers::Leftovers;
use crate::netns::{Netns, within};
use crate::node::Node;
use crate::options::Options;
use crate::parts::{self, Parts};
use crate::process::words;
use crate::run::{Run, Started};
use crate::unpacked::Unpacked;
use crate::wait::{Seen, Wait};
use crate::{argo, control_plane, simulated};

/// The name under which the control plane's processes are remembered.
pub const CONTROL_PLANE: &str = "control-plane";

/// Starts a cluster and returns when its nodes are Ready and its images are on them.
///
/// The calling program must answer to `cluster world FILE` with [`crate::world::live`]: nodes run under a copy of it.
pub fn up(options: &Options, say: &dyn Fn(&str)) -> Result<Cluster> {
    let run = Run::named(&options.name)?;
    if run.folder().exists() || !run.namespaces().is_empty() {
        bail!(
            "the cluster `{0}` is there already, or what is left of it\nhint: cargo xtask cluster down --name {0}",
            run.name()
        );
    }
    if !(1..=5).contains(&options.nodes) {
        bail!("{} nodes can't be started: 1 to 5 can", options.nodes);
    }
    let started = Instant::now();
    let lap = |what: &str| say(&format!("{:6.1} s  {what}", started.elapsed().as_secs_f32()));

    if options.simulated > 0 {
        parts::build_one(simulated::PROGRAM, say)?;
    }
    let parts = parts::build(say)?;
    let programs = Programs::build()?;
    let mut wanted = images::base(&parts)?;
    wanted.extend(images::product(&parts, &programs)?);
    let written = wanted.iter().map(images::write).collect::<Result<Vec<_>>>()?;
    lap("programs and images built");
    let unpacked = Unpacked::of(&parts, &written)?;
    lap("images unpacked");

    let cluster = Cluster::of_run(run.clone(), options.clone(), parts.clone());
    match start(&cluster, &parts, &written, &unpacked, &lap) {
        Ok(()) => Ok(cluster),
        Err(error) => Err(error.context(format!(
            "the cluster `{0}` didn't start; its logs are in {1}, and `cargo xtask cluster down --name {0}` removes it",
            run.name(),
            run.path("log").display()
        ))),
    }
}

fn start(cluster: &Cluster, parts: &Parts, written: &[Written], unpacked: &Unpacked, lap: &dyn Fn(&str)) -> Result<()> {
    let (run, options) = cluster.bed()?;
    prepare(run, parts, options)?;
    let authority = control_plane::credentials(run)?;
    network(run)?;
    let spec = run.path("control-plane.json");
    let control_plane = control_plane::world(run, parts, options)?;
    fs::write(&spec, serde_json::to_vec(&control_plane)?)?;
    begin(run, CONTROL_PLANE, &run.netns(), &spec)?;
    let nodes = nodes(run, options);
    for node in &nodes {
        node.prepare(parts, &authority)?;
        unpacked.link_into(&node.folder().join("containerd"))?;
        node.connect()?;
        node.start()?;
    }
    lap("namespaces and processes started");
    api_ready(cluster)?;
    lap("API server ready");
    argo::install(run, parts, options)?;
    lap("Argo's definitions and rights installed");
    cluster.push(written)?;
    lap("images in the registry");
    nodes_ready(cluster, options)?;
    lap(&format!("{} nodes Ready", options.nodes));
    if options.simulated > 0 {
        within(&run.netns(), async || simulated::create(&cluster.client().await?, options.simulated).await)?;
        lap(&format!("{} simulated nodes Ready", options.simulated));
    }
    cluster.push_kata_charts()?;
    lap("kata-deploy's stand-in charts pushed to the registry");
    argo::offered(cluster)?;
    workflows_run(cluster)?;
    lap(&format!("Argo's controller ready; the cluster holds {} MiB of memory", Leftovers::of(run).memory()));
    Ok(())
}

/// The nodes of a cluster, started or not.
pub fn nodes<'a>(run: &'a Run, options: &Options) -> Vec<Node<'a>> {
    options.node_names().into_iter().zip(1..).map(|(name, number)| Node { run, number, name }).collect()
}

fn prepare(run: &Run, parts: &Parts, options: &Options) -> Result<()> {
    // First of all: it says whose the cluster is, should we be killed now.
    fs::create_dir_all(run.folder()).with_context(|| format!("cannot create {}", run.folder().display()))?;
    fs::write(run.path("options.json"), serde_json::to_vec_pretty(options)?)?;
    lay_out(run)?;
    fs::create_dir_all(run.path("bin"))?;
    for (name, path) in parts.programs() {
        std::os::unix::fs::symlink(path, run.path("bin").join(name))?;
    }
    Ok(())
}

/// Creates the run folder with what every world needs.
pub(crate) fn lay_out(run: &Run) -> Result<()> {
    for folder in ["log", "worlds", "nodes"] {
        let path = run.path(folder);
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
    }
    // A copy, not by its name: Cargo may replace the original while nodes run, and may have done so already.
    fs::copy("/proc/self/exe", run.path("world")).context("cannot copy the running program")?;
    Ok(())
}

fn network(run: &Run) -> Result<()> {
    let hub = run.netns();
    hub.create()?;
    // On the loopback interface: not every kernel has `dummy` devices.
    hub.ip(&format!("addr add {SERVICE}/32 dev lo"))?;
    hub.ip("link add nodes type bridge")?;
    hub.ip(&format!("addr add {GATEWAY}/24 dev nodes"))?;
    hub.ip("link set nodes up")?;
    hub.forward()
}

/// Starts the first process of a world in its namespaces and remembers it.
pub fn begin(run: &Run, name: &str, netns: &Netns, spec: &Path) -> Result<()> {
    let log = File::create(run.path(format!("log/{name}.log")))?;
    let child = words(["setsid"])
        .args(netns.enter_command())
        // With --kill-child, the end of `unshare` is the end of the world too.
        .args(["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--mount", "--uts"])
        .arg(run.path("world"))
        .args(["cluster", "world"])
        .arg(spec)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("cannot start {name}"))?;
    let pid = i32::try_from(child.id())?;
    let started = Started::of(pid).with_context(|| format!("{name} ended at once"))?;
    run.remember(name, &started)
}

fn api_ready(cluster: &Cluster) -> Result<()> {
    let netns = cluster.run_netns()?;
    within(&netns, async || {
        let client = cluster.client().await?;
        Wait::new("the API server to be ready", Duration::from_secs(120))
            .until(async || {
                let request = http::Request::get("/readyz").body(Vec::new())?;
                let answer = client.request_text(request).await?;
                Ok(Seen::Done(answer))
            })
            .await
    })?;
    Ok(())
}

fn nodes_ready(cluster: &Cluster, options: &Options) -> Result<()> {
    let netns = cluster.run_netns()?;
    within(&netns, async || {
        let nodes: Api<KubeNode> = Api::all(cluster.client().await?);
        Wait::new(format!("{} nodes to be Ready", options.nodes), Duration::from_secs(180))
            .until(async || {
                let listed = nodes.list(&ListParams::default()).await?;
                let ready = listed.iter().filter(|node| is_ready(node)).count();
                Ok(if ready >= options.nodes {
                    Seen::Done(())
                } else {
                    Seen::NotYet(format!("{ready} of {} registered ones", listed.items.len()))
                })
            })
            .await
    })
}

fn workflows_run(cluster: &Cluster) -> Result<()> {
    let log = cluster.run_folder()?.join("log/workflow-controller.log");
    Wait::new("Argo's controller to start", Duration::from_secs(120)).until_blocking(|| {
        let text = fs::read_to_string(&log).unwrap_or_default();
        Ok(if text.contains("Manager initialized successfully") {
            Seen::Done(())
        } else {
            Seen::NotYet(text.lines().last().unwrap_or("no log").to_owned())
        })
    })
}

/// Whether a node says that it is Ready.
pub fn is_ready(node: &KubeNode) -> bool {
    node.status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten())
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
