//! `cargo xtask lint`: what looks over the files that no compiler reads. Its tools are pinned, fetched once and kept in the cache.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::ValueEnum;
use klm_bed::tools::Tool;
use klm_bed::{parts, paths, process};
use sha2::{Digest, Sha256};

/// What to look over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Task {
    /// GitHub workflows: actionlint and zizmor
    Workflows,
    /// The image's Dockerfile: hadolint
    Dockerfile,
    /// The chart: helm lint, which renders it and checks its values against its schema
    Chart,
    /// Licences, sources and banned crates: cargo-deny, whose first installation takes minutes
    Dependencies,
}

/// What runs when nothing is named: all that is quick.
const QUICK: [Task; 3] = [Task::Workflows, Task::Dockerfile, Task::Chart];

const CARGO_DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2" };

pub fn run(task: Option<Task>) -> Result<ExitCode> {
    let tasks = task.map_or_else(|| QUICK.to_vec(), |task| vec![task]);
    for task in tasks {
        let checked = match task {
            Task::Workflows => workflows(&paths::workspace()),
            Task::Dockerfile => dockerfile(&paths::workspace().join("images/utils/Dockerfile")),
            Task::Chart => chart(&paths::workspace()),
            Task::Dependencies => dependencies(),
        };
        checked?;
        eprintln!("{}: clean", task.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned()));
    }
    Ok(ExitCode::SUCCESS)
}

/// Checks the workflows of the repository in this folder.
fn workflows(repository: &Path) -> Result<()> {
    let actionlint = parts::build_one("actionlint", &say)?;
    // The two programs that it would start, shellcheck and pyflakes, are whatever this machine has: the result would depend on it.
    let mut files = workflow_files(repository)?;
    files.sort();
    process::run(Command::new(actionlint).current_dir(repository).args(["-shellcheck=", "-pyflakes="]).args(&files))?;
    // Offline, so that the result depends on the files alone and needs no token.
    process::run(Command::new(wheel("zizmor")?).current_dir(repository).args([
        "--offline",
        "--quiet",
        "--no-progress",
        "--persona",
        "pedantic",
        "--color",
        "never",
        ".",
    ]))
}

fn workflow_files(repository: &Path) -> Result<Vec<PathBuf>> {
    let folder = repository.join(".github/workflows");
    std::fs::read_dir(&folder)
        .with_context(|| format!("cannot read {}", folder.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect()
}

fn dockerfile(file: &Path) -> Result<()> {
    process::run(Command::new(wheel("hadolint")?).arg("--no-color").arg(file))
}

fn chart(repository: &Path) -> Result<()> {
    process::run(
        Command::new(parts::build_one("helm", &say)?)
            .current_dir(repository)
            // The chart refuses to be rendered without a verification pod.
            .args(["lint", "chart", "--strict", "--set-file"])
            .arg("defaults.verificationPod=tests/lints/verification-pod.yaml"),
    )
}

fn dependencies() -> Result<()> {
    process::run(
        Command::new(CARGO_DENY.path(&say)?)
            .current_dir(paths::workspace())
            // Advisories need a database from the network; CI checks them every week and on every change.
            .args(["--all-features", "--offline", "check", "bans", "licenses", "sources"]),
    )
}

/// The path of a program that comes in a Python wheel, from an environment of its own in the cache.
fn wheel(program: &str) -> Result<PathBuf> {
    let requirements = paths::workspace().join("tests/lints/requirements.txt");
    let pins = std::fs::read(&requirements).with_context(|| format!("cannot read {}", requirements.display()))?;
    let [a, b, c, d, ..] = <[u8; 32]>::from(Sha256::digest(&pins));
    let folder = paths::cache().join(format!("lints-{:08x}", u32::from_be_bytes([a, b, c, d])));
    if !folder.is_dir() {
        say("installing the linters of tests/lints/requirements.txt");
        std::fs::create_dir_all(paths::cache())?;
        let scratch = tempfile::Builder::new().prefix("lints.installing-").tempdir_in(paths::cache())?;
        process::run(Command::new("python3").args(["-m", "venv"]).arg(scratch.path()))?;
        process::run(
            Command::new(scratch.path().join("bin/python3"))
                .args(["-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--requirement"])
                .arg(&requirements),
        )?;
        // The programs are plain binaries, so the environment still works under another name.
        std::fs::rename(scratch.keep(), &folder)
            .with_context(|| format!("cannot move the linters to {}", folder.display()))?;
    }
    Ok(folder.join("bin").join(program))
}

fn say(line: &str) {
    eprintln!("{line}");
}
