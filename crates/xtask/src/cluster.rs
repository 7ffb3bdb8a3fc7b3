//! `cargo xtask cluster …`: build the parts of the local cluster, start it, look at it, end it.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use klm_bed::images::{self, Programs};
use klm_bed::run::Run;
use klm_bed::{Cluster, Leftovers, Options, guard, parts, preflight, world};

#[derive(Subcommand)]
pub enum Task {
    /// Build the cluster's programs that aren't in the cache yet, and our own
    Build,
    /// Start a cluster
    Up(Up),
    /// Build our own programs again and put their images on the nodes of a running cluster
    Load(Name),
    /// Show what runs
    Status(Name),
    /// Open a shell with kubectl, helm and argo set up for a cluster, or run a command there
    Shell(Shell),
    /// End a cluster and remove everything of it; more than once does no harm
    Down(Down),
    /// The first process of a node or of the control plane
    #[command(hide = true)]
    World { file: PathBuf },
    /// Cleans up after the test run at the other end of its input, when that is killed
    #[command(hide = true)]
    Guard { run: String },
}

#[derive(Args)]
pub struct Name {
    /// Which cluster
    #[arg(long, default_value = "klm")]
    name: String,
}

#[derive(Args)]
pub struct Up {
    #[command(flatten)]
    name: Name,
    /// `real` nodes only, or `simulated` ones by the thousand beside a real one for pods that do work
    #[arg(long, value_enum, default_value = "real")]
    profile: Profile,
    /// Real nodes, each with a kubelet and a containerd: 1 to 5 [default: 3, or 1 beside simulated ones]
    #[arg(long)]
    nodes: Option<usize>,
    /// Simulated nodes, in the profile that has some
    #[arg(long, default_value_t = 1000)]
    simulated: usize,
    /// How long Argo's controller waits between two looks at a workflow; 10s is Argo's default
    #[arg(long, default_value = "10s", value_parser = duration)]
    requeue: Duration,
    /// Install Argo's full definitions instead of the minimal ones
    #[arg(long)]
    full_crds: bool,
    /// Install missing Debian packages; the default when CI=true
    #[arg(long)]
    install: bool,
}

/// What kind of nodes a cluster has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    Real,
    Simulated,
}

#[derive(Args)]
pub struct Shell {
    #[command(flatten)]
    name: Name,
    /// A command to run instead of a shell
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

#[derive(Args)]
pub struct Down {
    #[command(flatten)]
    name: Name,
    /// Every cluster on this machine
    #[arg(long, conflicts_with = "name")]
    all: bool,
}

pub fn run(task: &Task) -> Result<ExitCode> {
    match task {
        Task::Build => build()?,
        Task::Up(up) => self::up(up)?,
        Task::Load(name) => load(name)?,
        Task::Status(name) => return status(name),
        Task::Shell(shell) => return self::shell(shell),
        Task::Down(down) => self::down(down)?,
        Task::World { file } => world::live(file)?,
        Task::Guard { run } => guard::stand(std::io::stdin(), run, &say)?,
    }
    Ok(ExitCode::SUCCESS)
}

pub fn say(line: &str) {
    // Cleaning up goes on when nobody reads any more: what has killed a test run has often killed its reader too.
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn build() -> Result<()> {
    let started = Instant::now();
    parts::build_all(&say)?;
    Programs::build()?;
    eprintln!("all parts are in {} ({:.1} s)", parts::folder().display(), started.elapsed().as_secs_f32());
    Ok(())
}

fn up(up: &Up) -> Result<()> {
    preflight::check(up.install || in_ci(), &say)?;
    let (nodes, simulated) = match up.profile {
        Profile::Real => (3, 0),
        Profile::Simulated => (1, up.simulated),
    };
    let options = Options {
        name: up.name.name.clone(),
        nodes: up.nodes.unwrap_or(nodes),
        simulated,
        requeue: up.requeue,
        full_crds: up.full_crds,
        ..Options::default()
    };
    Cluster::up(&options, &say)?;
    eprintln!(
        "`cargo xtask cluster shell --name {0}` opens a shell, `cargo xtask cluster down --name {0}` ends it",
        options.name
    );
    Ok(())
}

/// Whether a machine runs us, which nobody asks before something is installed.
pub fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

fn load(name: &Name) -> Result<()> {
    let cluster = Cluster::named(&name.name)?;
    let started = Instant::now();
    let parts = parts::build(&say)?;
    let written =
        images::product(&parts, &Programs::build()?)?.iter().map(images::write).collect::<Result<Vec<_>>>()?;
    cluster.load(&written)?;
    cluster.push_kata_charts()?;
    eprintln!("loaded in {:.1} s", started.elapsed().as_secs_f32());
    Ok(())
}

fn status(name: &Name) -> Result<ExitCode> {
    let run = Run::named(&name.name)?;
    let there = Leftovers::of(&run);
    eprintln!("cluster `{}`: {there}, {} MiB of memory", name.name, there.memory());
    let Ok(cluster) = Cluster::named(&name.name) else {
        let others: Vec<_> = Run::all().iter().map(|run| run.name().to_owned()).collect();
        if !others.is_empty() {
            eprintln!("clusters here: {}", others.join(", "));
        }
        return Ok(ExitCode::FAILURE);
    };
    for world in run.worlds() {
        let state = if run.world(&world).is_some() { "runs" } else { "ended" };
        eprintln!("  {world}: {state}");
    }
    let shown = cluster
        .command("kubectl")
        .args(["get", "nodes,pods", "--all-namespaces", "--output", "wide"])
        .status()
        .context("cannot run kubectl")?;
    Ok(code(shown))
}

fn shell(shell: &Shell) -> Result<ExitCode> {
    let cluster = Cluster::named(&shell.name.name)?;
    let default = || std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".to_owned());
    let (program, arguments) = match shell.command.split_first() {
        Some((program, arguments)) => (program.clone(), arguments),
        None => (default(), &[] as &[String]),
    };
    let ended = cluster.command(&program).args(arguments).status().with_context(|| format!("cannot run {program}"))?;
    Ok(code(ended))
}

fn down(down: &Down) -> Result<()> {
    let runs = if down.all { Run::all() } else { vec![Run::named(&down.name.name)?] };
    for run in runs {
        let started = Instant::now();
        let removed = klm_bed::down(&run)?;
        let left = Leftovers::of(&run);
        if !left.is_empty() {
            bail!("the cluster `{}` is not quite gone: {left}", run.name());
        }
        if removed.is_empty() {
            eprintln!("nothing of a cluster `{}` is here", run.name());
        } else {
            eprintln!("removed the cluster `{}` in {:.1} s: {removed}", run.name(), started.elapsed().as_secs_f32());
        }
    }
    Ok(())
}

fn code(status: std::process::ExitStatus) -> ExitCode {
    u8::try_from(status.code().unwrap_or(1)).map_or(ExitCode::FAILURE, ExitCode::from)
}

fn duration(text: &str) -> Result<Duration> {
    let seconds = text
        .strip_suffix('s')
        .and_then(|number| number.parse::<f64>().ok())
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.with_context(|| format!("`{text}` isn't a number of seconds such as 10s or 0.5s"))
}
