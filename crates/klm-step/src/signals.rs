//! SIGTERM and SIGINT into the wish to stop.

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::world::StopSwitch;

/// From here on a termination signal asks the step to stop at its next safe point.
pub fn stop_on_termination(switch: StopSwitch) -> anyhow::Result<()> {
    let mut terminated = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
    let mut interrupted = signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
        }
        tracing::warn!("asked to stop; ending at the next safe point");
        switch.stop();
    });
    Ok(())
}
