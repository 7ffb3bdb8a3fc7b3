//! The only handle to the outside: cluster, helm, time, and the wish to stop.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::exit::StepError;
use crate::helm::Helm;

/// Everything a step may touch.
pub struct World {
    /// The Kubernetes API.
    pub cluster: Cluster,
    /// The helm program.
    pub helm: Helm,
    /// Wall-clock time, for what is written down.
    pub clock: Clock,
    /// Whether somebody wants us to end.
    pub stop: Stop,
    /// Where we run.
    pub here: Here,
    /// Standard output.
    pub print: fn(&str) -> anyhow::Result<()>,
}

/// Wall-clock time that follows the runtime's clock, so that a test's virtual hours are hours here too.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    began_at: jiff::Timestamp,
    began: Instant,
}

impl Clock {
    /// A clock that says `now` now.
    pub fn starting_at(now: jiff::Timestamp) -> Self {
        Self { began_at: now, began: Instant::now() }
    }

    /// What it is now.
    pub fn now(&self) -> jiff::Timestamp {
        jiff::SignedDuration::try_from(self.began.elapsed()).map_or(self.began_at, |elapsed| self.began_at + elapsed)
    }

    /// Time since then; nothing when that is in the future.
    pub fn since(&self, then: jiff::Timestamp) -> Duration {
        Duration::try_from(self.now().duration_since(then)).unwrap_or_default()
    }
}

/// SIGTERM, as something to look at and to wait for.
#[derive(Clone, Debug)]
pub struct Stop {
    requested: watch::Receiver<bool>,
}

/// The other end of [`Stop`].
#[derive(Clone, Debug)]
pub struct StopSwitch(std::sync::Arc<watch::Sender<bool>>);

impl StopSwitch {
    /// Asks every step of this process to end at its next safe point.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Stop {
    /// A wish and the switch for it.
    pub fn new() -> (Self, StopSwitch) {
        let (sender, requested) = watch::channel(false);
        (Self { requested }, StopSwitch(std::sync::Arc::new(sender)))
    }

    /// Whether to stop.
    pub fn is_requested(&self) -> bool {
        *self.requested.borrow()
    }

    /// Ends when somebody wants us to stop; never, when nobody can want it any more.
    pub async fn requested(&self) {
        let mut requested = self.requested.clone();
        if requested.wait_for(|stop| *stop).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Where this step runs, by the downward API; empty on a laptop.
#[derive(Clone, Debug, Default)]
pub struct Here {
    /// Our pod.
    pub pod: String,
    /// Its namespace.
    pub namespace: String,
    /// Its node.
    pub node: String,
}

impl Here {
    /// Reads the environment.
    pub fn from_environment() -> Self {
        let variable = |name| std::env::var(name).unwrap_or_default();
        Self { pod: variable("POD_NAME"), namespace: variable("POD_NAMESPACE"), node: variable("NODE_NAME") }
    }
}

impl World {
    /// The real one: SIGTERM stops it.
    pub async fn connect() -> anyhow::Result<Self> {
        let (stop, switch) = Stop::new();
        crate::signals::stop_on_termination(switch)?;
        Ok(Self {
            cluster: Cluster::connect().await?,
            helm: Helm::from_environment(stop.clone())?,
            clock: Clock::starting_at(jiff::Timestamp::now()),
            stop,
            here: Here::from_environment(),
            print: crate::terminal::write,
        })
    }

    /// A safe point: everything needed to go on is on the cluster.
    pub fn may_go_on(&self) -> Result<(), StepError> {
        if self.stop.is_requested() { Err(StepError::Stopped) } else { Ok(()) }
    }

    /// Waits, unless somebody wants us to stop.
    pub async fn sleep(&self, time: Duration) -> Result<(), StepError> {
        tokio::select! {
            () = tokio::time::sleep(time) => Ok(()),
            () = self.stop.requested() => Err(StepError::Stopped),
        }
    }
}
