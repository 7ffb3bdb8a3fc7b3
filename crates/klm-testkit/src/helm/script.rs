//! Scripted misbehaviour of helm itself.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// At which point of a command something goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Before anything was done.
    Start,
    /// After it has looked and rendered, before the pending revision is stored.
    Rendered,
    /// After the pending revision was stored.
    Stored,
    /// After the objects were applied, before hooks run and the revision is marked.
    Applied,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Effect {
    /// Exit 1 with this on stderr; a stored revision becomes `failed`.
    Fail(String),
    /// The process is killed: nothing is marked, a stored revision stays pending.
    Die,
    /// It takes this long, in milliseconds.
    Slow(u64),
    /// It never ends.
    Hang,
}

/// A fault of helm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HelmFault {
    verb: String,
    stage: Stage,
    pub(super) effect: Effect,
    skip: usize,
    left: usize,
}

impl HelmFault {
    fn new(verb: &str, effect: Effect) -> Self {
        Self { verb: verb.to_owned(), stage: Stage::Start, effect, skip: 0, left: 1 }
    }

    /// The command fails with this text after `Error: `.
    pub fn fail(verb: &str, stderr: &str) -> Self {
        Self::new(verb, Effect::Fail(stderr.to_owned()))
    }

    /// The process dies: `pending-upgrade` or `pending-rollback` stays behind unless it dies at the start.
    pub fn die(verb: &str) -> Self {
        Self { stage: Stage::Stored, ..Self::new(verb, Effect::Die) }
    }

    /// The command takes this long.
    pub fn slow(verb: &str, time: Duration) -> Self {
        Self::new(verb, Effect::Slow(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))
    }

    /// The command never ends.
    pub fn hang(verb: &str) -> Self {
        Self::new(verb, Effect::Hang)
    }

    /// When it happens.
    #[must_use]
    pub fn at(self, stage: Stage) -> Self {
        Self { stage, ..self }
    }

    /// How often it happens; once unless said.
    #[must_use]
    pub fn times(self, left: usize) -> Self {
        Self { left, ..self }
    }

    /// Spares the first commands of this verb.
    #[must_use]
    pub fn after(self, skip: usize) -> Self {
        Self { skip, ..self }
    }

    /// Whether it strikes now; counts down.
    pub(super) fn strikes(&mut self, verb: &str, stage: Stage) -> bool {
        if self.verb != verb || self.stage != stage || self.left == 0 {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        self.left -= 1;
        true
    }
}
