//! Waiting with a name, a deadline and an interval; giving up says what was seen last.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// What one look at the world found.
#[derive(Debug)]
pub enum Seen<T> {
    /// What was waited for.
    Done(T),
    /// Something else, in words for the error.
    NotYet(String),
}

/// A wait that hasn't begun: what for, how long at most, how often to look.
#[derive(Clone, Debug)]
pub struct Wait {
    what: String,
    deadline: Duration,
    every: Duration,
}

impl Wait {
    /// Waits for `what`, at most `deadline`, and looks five times a second.
    pub fn new(what: impl Into<String>, deadline: Duration) -> Self {
        Self { what: what.into(), deadline, every: Duration::from_millis(200) }
    }

    /// Looks this often instead.
    #[must_use]
    pub fn every(mut self, interval: Duration) -> Self {
        self.every = interval;
        self
    }

    /// Looks until the answer is `Done`. An error of `look` counts as "not yet": servers that start refuse connections.
    pub async fn until<T>(&self, mut look: impl AsyncFnMut() -> Result<Seen<T>>) -> Result<T> {
        let started = Instant::now();
        loop {
            let seen = look().await;
            match self.judge(seen, started)? {
                Some(found) => return Ok(found),
                None => tokio::time::sleep(self.every).await,
            }
        }
    }

    /// The same without an async runtime.
    pub fn until_blocking<T>(&self, mut look: impl FnMut() -> Result<Seen<T>>) -> Result<T> {
        let started = Instant::now();
        loop {
            match self.judge(look(), started)? {
                Some(found) => return Ok(found),
                None => std::thread::sleep(self.every),
            }
        }
    }

    fn judge<T>(&self, seen: Result<Seen<T>>, started: Instant) -> Result<Option<T>> {
        let last = match seen {
            Ok(Seen::Done(found)) => return Ok(Some(found)),
            Ok(Seen::NotYet(last)) => last,
            Err(error) => format!("{error:#}"),
        };
        if started.elapsed() >= self.deadline {
            bail!("gave up waiting for {} after {} s; last seen: {last}", self.what, self.deadline.as_secs());
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(what: &str) -> Wait {
        Wait::new(what, Duration::from_millis(20)).every(Duration::from_millis(1))
    }

    #[test]
    fn giving_up_names_the_wait_and_what_was_seen_last() {
        let mut count = 0;
        let error = short("a miracle")
            .until_blocking(|| {
                count += 1;
                Ok::<Seen<()>, _>(Seen::NotYet(format!("look {count}")))
            })
            .unwrap_err();
        let message = format!("{error:#}");
        assert!(message.contains("a miracle"), "{message}");
        assert!(message.ends_with(&format!("look {count}")), "{message}");
        assert!(count > 1);
    }

    #[test]
    fn an_error_is_not_the_end_until_the_deadline() {
        let mut count = 0;
        let found =
            Wait::new("a server", Duration::from_secs(10)).every(Duration::from_millis(1)).until_blocking(|| {
                count += 1;
                if count < 3 {
                    bail!("connection refused");
                }
                Ok(Seen::Done(count))
            });
        assert_eq!(found.unwrap(), 3);
    }
}
