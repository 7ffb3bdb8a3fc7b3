//! `cargo xtask test`: what decides whether a change is good, in two tiers; the same for people and for CI.

mod cluster;
mod elsewhere;
mod suite;
mod tally;
mod unit;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode, Stdio};

use anyhow::Result;
use clap::{Args, ValueEnum};

use tally::Tally;

/// What to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Tier {
    /// Formatting, lints, and every test that needs no cluster
    Unit,
    /// The suites against a real cluster
    Cluster,
    /// Both
    All,
}

#[derive(Args)]
pub struct Test {
    #[arg(value_enum, default_value = "all")]
    tier: Tier,
    /// Use the cluster of this kubeconfig, which must say that it may be wiped, instead of starting some
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// The OCI registry of that cluster, HOST:PORT, plain HTTP, reachable from its pods and from here
    #[arg(long, requires = "kubeconfig")]
    registry: Option<String>,
    /// Only suites of this name, or `SUITE::TEST` for tests whose name contains TEST; empty: all
    #[arg(long)]
    filter: Option<String>,
    /// Not the suites of these names
    #[arg(long, value_delimiter = ',', value_name = "SUITE,…")]
    without: Vec<String>,
    /// Leave the clusters as they are at the end
    #[arg(long)]
    keep: bool,
    /// Clusters at the same time [default: as many as memory, processors and inotify instances allow]
    #[arg(long)]
    clusters: Option<usize>,
    /// Install missing Debian packages; the default when CI=true
    #[arg(long)]
    install: bool,
}

pub fn run(test: &Test) -> Result<ExitCode> {
    let tally = match test.tier {
        Tier::Unit => unit::run(),
        Tier::Cluster => cluster::run(test).unwrap_or_else(|error| not_run(&error)),
        Tier::All if test.kubeconfig.is_some() => {
            [unit::run(), cluster::run(test).unwrap_or_else(|error| not_run(&error))].into_iter().sum()
        }
        Tier::All => all_at_once(test),
    };
    for what in tally.named() {
        eprintln!("failed: {what}");
    }
    writeln!(std::io::stdout(), "{tally}")?;
    Ok(if tally.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A tier that couldn't run proves nothing; that is a failure, not an absence.
fn not_run(error: &anyhow::Error) -> Tally {
    Tally::failure(format!("the cluster's suites didn't run: {error:#}"))
}

/// The tests without a cluster run beside the suites, which wait much of the time.
fn all_at_once(test: &Test) -> Tally {
    let ahead = build_ahead();
    let checked = [unit::checks(), unit::compile()];
    if let Ok(mut ahead) = ahead {
        // What it couldn't build, the suites try again and tell.
        let _ = ahead.wait();
    }
    let ready = cluster::Ready::now(test);
    let ran = std::thread::scope(|scope| {
        let beside = scope.spawn(unit::tests_beside_suites);
        let suites = ready.map_or_else(|error| not_run(&error), |ready| ready.run(test));
        [suites, beside.join().unwrap_or_else(|_| Tally::failure("the thread that runs tests panicked"))]
    });
    checked.into_iter().chain(ran).sum()
}

/// Builds what clusters need while we compile, and takes only what that leaves of the processors. Without caches that is
/// much: cargo often compiles one large crate alone.
fn build_ahead() -> std::io::Result<Child> {
    // With us: a compiler that nobody waits for would take the processors of the next run.
    let mut command = klm_bed::tree::ends_with_us();
    command.args(["nice", "-n", "19"]).arg(own_program()).args(["cluster", "build"]).stdin(Stdio::null()).spawn()
}

/// Where this program is. Cargo may have put another build of it there since, which serves as well.
fn own_program() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_else(|_| "xtask".into());
    let name = own.to_string_lossy();
    name.strip_suffix(" (deleted)").map_or_else(|| own.clone(), |path| Path::new(path).to_owned())
}

#[cfg(test)]
impl Test {
    /// As a command line asks for it.
    fn asked(arguments: &[&str]) -> Self {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            test: Test,
        }
        <Line as clap::Parser>::parse_from([&["test"], arguments].concat()).test
    }
}
