//! kata-deploy alone: the same nodes at the same concurrency, without waves and without verification.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use klm_core::plan::Mode;

use crate::record::Alone;
use crate::stage::{ORIGIN, Stage, TARGET};

/// What a user would do: `RollingUpdate` with `maxUnavailable`, or one upgrade with `job.parallelism`, or one per node.
/// Afterwards every node is at the origin again.
pub async fn measure(stage: &Stage, part: usize, at_once: usize, install: Duration) -> Result<Alone> {
    let part = part.min(stage.nodes);
    let seconds = match stage.mode {
        Mode::Daemonset => daemonset(stage, part, at_once, install).await,
        Mode::Job => job(stage, part, at_once, install).await,
    }
    .context("measuring kata-deploy alone")?;
    Ok(Alone { mode: stage.mode, nodes: part, at_once, install_seconds: install.as_secs_f64(), seconds })
}

async fn daemonset(stage: &Stage, part: usize, at_once: usize, install: Duration) -> Result<f64> {
    stage.pace(install).await?;
    let concurrency = format!("updateStrategy.rollingUpdate.maxUnavailable={at_once}");
    let began = Instant::now();
    stage.helm_kata("upgrade", TARGET, &["updateStrategy.type=RollingUpdate", &concurrency]).await?;
    stage.until_moved(TARGET, part).await?;
    let seconds = began.elapsed().as_secs_f64();
    // The rest isn't measured, nor the way back.
    stage.pace(Duration::ZERO).await?;
    stage.until_moved(TARGET, stage.nodes).await?;
    stage.until_ready().await?;
    let all = format!("updateStrategy.rollingUpdate.maxUnavailable={}", stage.nodes);
    stage.helm_kata("upgrade", ORIGIN, &["updateStrategy.type=RollingUpdate", &all]).await?;
    stage.until_moved(ORIGIN, stage.nodes).await?;
    stage.until_ready().await?;
    Ok(seconds)
}

/// The same version again: an install takes its time whatever was there before. One at a time is one upgrade per node:
/// a single one would go on to the next node before anybody has looked at the last.
async fn job(stage: &Stage, part: usize, at_once: usize, install: Duration) -> Result<f64> {
    stage.pace(install).await?;
    stage.forget_jobs().await?;
    let nodes: Vec<String> = klm_bed::simulated::names(part).collect();
    let concurrency = format!("job.parallelism={at_once}");
    let began = Instant::now();
    for nodes in nodes.chunks(if at_once == 1 { 1 } else { part }) {
        let nodes = format!("job.nodes={{{}}}", nodes.join(","));
        stage.helm_kata("upgrade", ORIGIN, &[&nodes, &concurrency]).await?;
    }
    let seconds = began.elapsed().as_secs_f64();
    stage.forget_jobs().await?;
    stage.helm_values(ORIGIN).await?;
    Ok(seconds)
}
