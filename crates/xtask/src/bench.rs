//! `cargo xtask bench`: what a rollout costs on thousands of simulated nodes.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use klm_bed::{paths, preflight};
use klm_bench::{Options, report};

use crate::cluster::{in_ci, say};

#[derive(Args)]
#[allow(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub struct Bench {
    /// A few minutes on small fleets, to see that everything can be measured
    #[arg(long)]
    quick: bool,
    /// 5,000 nodes to the last one in each mode, an hour more; added to the numbers of a benchmark that was made before
    #[arg(long, conflicts_with = "quick")]
    whole: bool,
    /// Only fleets whose name contains this, such as `5000` or `1000-job`
    #[arg(long)]
    only: Option<String>,
    /// Folder for performance.json, .md and .svg [default: docs; target/bench with --quick, or --only without --whole]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Leave the last cluster as it is at the end
    #[arg(long)]
    keep: bool,
    /// Install missing Debian packages; the default when CI=true
    #[arg(long)]
    install: bool,
}

pub fn run(bench: &Bench) -> Result<ExitCode> {
    preflight::check(bench.install || in_ci(), &say)?;
    // Half a benchmark must not replace the published one.
    let partial = bench.quick || (bench.only.is_some() && !bench.whole);
    let folder = || paths::workspace().join(if partial { "target/bench" } else { "docs" });
    let options = Options {
        quick: bench.quick,
        whole: bench.whole,
        only: bench.only.clone(),
        out: bench.out.clone().unwrap_or_else(folder),
        keep: bench.keep,
    };
    let record = klm_bench::run(&options, &say)?;
    write!(std::io::stdout(), "{}", report::table(&record))?;
    say(&format!("written to {}", options.out.display()));
    Ok(ExitCode::SUCCESS)
}
