//! How often a wave in job mode is dispatched: again when its dispatcher died, and again when helm couldn't begin it.

use std::time::Duration;

use tokio::time::Instant;

use super::context::{Aim, Run};
use super::job::Again;
use super::release::PAUSE;
use super::wave::{Turn, Wave};
use crate::wait::Wait;

/// Times that a wave is dispatched: once more when a dispatcher died and left nodes installed but unlabelled.
const TRIES: usize = 2;

/// Times that helm is called for a dispatch until it begins: each may leave a failed revision behind.
const CALLS: usize = 5;

/// Together they take this long at most. Each waits for the API server by itself, some minutes.
const BEGUN_WITHIN: Duration = Duration::from_secs(600);

impl Run<'_> {
    /// Installs on the wave's nodes and proves them.
    pub async fn dispatch(&self, wave: &mut Wave, aim: Aim, what: &str) -> anyhow::Result<()> {
        let mut arrived = Vec::new();
        let (mut tries, mut outage) = (TRIES, None);
        while tries > 0 && !wave.going.is_empty() {
            match self.dispatch_once(wave, &mut arrived, aim, what).await? {
                Again::Unbegun(why) => {
                    if !outage.get_or_insert_with(Outage::begin).wait(self, &why).await? {
                        wave.fail_all(self, &why).await?;
                    }
                }
                Again::Nodes(nodes) => {
                    (tries, outage) = (tries - 1, None);
                    let turns = nodes.into_iter().map(|(node, why)| {
                        if tries == 0 {
                            return Turn::Fails(Box::new(node), why);
                        }
                        tracing::warn!(node = %node.name, cause = %why, "dispatching again");
                        Turn::On(Box::new(node))
                    });
                    wave.take_in(self, turns.collect()).await?;
                }
            }
        }
        wave.going = arrived;
        Ok(())
    }
}

/// A time in which helm gets nowhere.
struct Outage {
    calls: usize,
    wait: Wait,
}

impl Outage {
    fn begin() -> Self {
        Self { calls: 0, wait: Wait::new("helm to begin the wave", PAUSE, BEGUN_WITHIN) }
    }

    /// Waits before the next call; says no when there should be none.
    async fn wait(&mut self, run: &Run<'_>, why: &str) -> anyhow::Result<bool> {
        self.calls += 1;
        let Self { calls, wait } = self;
        if *calls >= CALLS || Instant::now() + wait.every > wait.deadline {
            tracing::error!(waiting_for = %wait.name, calls, last = %why, "giving up");
            return Ok(false);
        }
        tracing::warn!(waiting_for = %wait.name, calls, cause = %why, again_in = ?wait.every, "nothing is begun yet");
        run.world.sleep(wait.every).await?;
        Ok(true)
    }
}
