//! `cargo xtask demo`: an upgrade in waves on a real cluster, or one that fails and is taken back, with the nodes on screen.

mod fleet;
mod painter;
mod pods;
mod record;
mod screen;
mod stage;
mod story;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;
use klm_bed::paths;

use screen::{Screen, epilogue, progress};
use stage::Stage;
use story::Story;

/// What to show, and where.
#[derive(Args)]
pub struct Task {
    /// Show a verification that fails, the rollback and the stop, instead of an upgrade that goes well
    #[arg(long)]
    rainy: bool,
    /// Leave the cluster, and everything on it, for a look
    #[arg(long)]
    keep: bool,
    /// Name of the cluster that is started
    #[arg(long, default_value = "demo")]
    name: String,
    /// Nodes of that cluster: 2 to 5
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(2..=5))]
    nodes: u8,
    /// Use the cluster of this kubeconfig, which has Argo Workflows and no kata-deploy, instead of starting one
    #[arg(long, requires = "registry", conflicts_with_all = ["name", "nodes", "record"])]
    kubeconfig: Option<PathBuf>,
    /// The OCI registry of that cluster, HOST:PORT, plain HTTP, which its nodes look into first; `cargo xtask kind` prints it
    #[arg(long, requires = "kubeconfig")]
    registry: Option<String>,
    /// Write a recording for asciinema, and an animated picture of it [default folder: docs/demo]
    #[arg(long, value_name = "DIR")]
    #[expect(clippy::option_option, reason = "clap's way to say: a flag whose value may be left out")]
    record: Option<Option<PathBuf>>,
    /// Install missing Debian packages; the default when CI=true
    #[arg(long)]
    install: bool,
}

pub fn run(task: &Task) -> Result<ExitCode> {
    let started = Instant::now();
    let story = if task.rainy { Story::Rainy } else { Story::Sunny };
    let mut screen = Screen::new();
    let mut stage = Stage::open(task)?;
    let played = stage.inside(async |stage: &mut Stage| story.play(stage, &mut screen).await);
    if let Err(error) = &played {
        progress(&format!("the demo went wrong: {error:#}"));
        stage.keep_logs();
    } else {
        epilogue(&story.next(task.keep));
    }
    if task.keep {
        epilogue(&stage.how_to_look());
    } else {
        stage.close()?;
    }
    if played.is_err() {
        bail!("the demo didn't show what it should; what went wrong stands above");
    }
    if let Some(folder) = &task.record {
        let folder = folder.clone().unwrap_or_else(|| paths::workspace().join("docs/demo"));
        record::write(&folder, story.name(), story.title(), screen.beats())?;
        progress(&format!("recorded as {0}.cast and {0}.svg in {1}", story.name(), folder.display()));
    }
    progress(&format!("the demo took {:.0} s", started.elapsed().as_secs_f32()));
    Ok(ExitCode::SUCCESS)
}
