//! Waiting: always with a name, an interval and a deadline, and with what was seen last when it gives up.

use std::time::Duration;

use klm_core::duration;
use tokio::time::Instant;

use crate::world::World;

/// What to wait for, and how.
#[derive(Clone, Debug)]
pub struct Wait {
    /// What for, to follow "waiting for".
    pub name: String,
    /// Time between two looks.
    pub every: Duration,
    /// When to give up.
    pub deadline: Instant,
}

/// What one look shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen<T> {
    /// There it is.
    Done(T),
    /// Not yet; what there is instead.
    NotYet(String),
}

/// How a wait ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waited<T> {
    /// There it is.
    Done(T),
    /// It didn't come; what was seen last.
    TimedOut(TimedOut),
}

/// A wait that ended without what it was for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} didn't happen within {}; last seen: {last}", duration::format(*.after))]
pub struct TimedOut {
    /// What for.
    pub name: String,
    /// After this time.
    pub after: Duration,
    /// What was seen last.
    pub last: String,
}

impl Wait {
    /// Waits this long.
    pub fn new(name: impl Into<String>, every: Duration, within: Duration) -> Self {
        Self { name: name.into(), every, deadline: Instant::now() + within }
    }
}

/// Time between two lines of the log about the same wait.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// The first pause of a wait; each later one is half as long again, up to the wait's own. What takes a second is then
/// seen after a second, and what takes minutes costs six looks more.
const FIRST_PAUSE: Duration = Duration::from_millis(400);

/// Looks again and again. A last look happens at the deadline itself.
pub async fn poll<T>(
    world: &World,
    wait: &Wait,
    mut look: impl AsyncFnMut() -> anyhow::Result<Seen<T>>,
) -> anyhow::Result<Waited<T>> {
    let began = Instant::now();
    let mut said = began;
    let mut pause = FIRST_PAUSE.min(wait.every);
    loop {
        world.may_go_on()?;
        let at = Instant::now();
        let last = match look().await? {
            Seen::Done(found) => return Ok(Waited::Done(found)),
            Seen::NotYet(last) => last,
        };
        if at >= wait.deadline {
            return Ok(Waited::TimedOut(TimedOut { name: wait.name.clone(), after: at - began, last }));
        }
        if said.elapsed() >= SAY_EVERY {
            said = Instant::now();
            tracing::info!(waiting_for = %wait.name, %last, "still waiting");
        }
        world.sleep(pause.min(wait.deadline.saturating_duration_since(Instant::now()))).await?;
        pause = (pause * 3 / 2).min(wait.every);
    }
}

impl<T> Waited<T> {
    /// A time-out is an error where nothing else can be done about it.
    pub fn or_fail(self) -> anyhow::Result<T> {
        match self {
            Self::Done(found) => Ok(found),
            Self::TimedOut(timed_out) => Err(timed_out.into()),
        }
    }
}
