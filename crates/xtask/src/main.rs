//! What a person or CI runs: the local cluster and the tests.

mod bench;
mod cluster;
mod demo;
#[cfg(test)]
mod docs;
mod furnish;
mod image;
mod kind;
mod lint;
mod release;
mod test;
#[cfg(test)]
mod workflows;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Tasks of this repository, run as `cargo xtask TASK`.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Xtask {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// A real Kubernetes cluster on this machine
    #[command(subcommand)]
    Cluster(cluster::Task),
    /// An upgrade in waves on a cluster that is started for it, node by node on screen
    Demo(demo::Task),
    /// A kind cluster, made fit for the suites
    Kind(kind::Task),
    /// The image of the workflow's steps, without Docker
    Image(image::Task),
    /// Workflows, Dockerfile and dependencies, checked by pinned tools
    Lint {
        /// Only this one [default: all that are quick]
        #[arg(value_enum)]
        what: Option<lint::Task>,
    },
    /// Everything that decides whether a change is good
    Test(test::Test),
    /// What a rollout costs on thousands of simulated nodes
    Bench(bench::Bench),
    /// The chart as it is published
    #[command(subcommand)]
    Release(release::Task),
}

// No async runtime here: a task may have to enter a network namespace, which counts for the calling thread and those that it starts later.
fn main() -> ExitCode {
    match run(Xtask::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(xtask: Xtask) -> Result<ExitCode> {
    match xtask.task {
        Task::Cluster(task) => cluster::run(&task),
        Task::Demo(task) => demo::run(&task),
        Task::Kind(task) => kind::run(&task),
        Task::Image(task) => image::run(&task),
        Task::Lint { what } => lint::run(what),
        Task::Bench(bench) => bench::run(&bench),
        Task::Test(test) => test::run(&test),
        Task::Release(task) => release::run(&task),
    }
}
