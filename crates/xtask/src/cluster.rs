//! `cargo xtask cluster …`: build the parts of the local cluster, start it, look at it, end it.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::Subcommand;
use klm_bed::parts;

#[derive(Subcommand)]
pub enum Task {
    /// Build the cluster's programs that aren't in the cache yet
    Build,
}

pub fn run(task: &Task) -> Result<ExitCode> {
    match task {
        Task::Build => build()?,
    }
    Ok(ExitCode::SUCCESS)
}

fn build() -> Result<()> {
    let started = Instant::now();
    parts::build(&|line| eprintln!("{line}"))?;
    eprintln!(
        "all parts are in {} ({:.1} s)",
        parts::folder().display(),
        started.elapsed().as_secs_f32()
    );
    Ok(())
}
