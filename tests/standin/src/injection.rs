//! What a test asks the stub to do wrong, node by node and version by version, and how fast it is to be.
//!
//! One `ConfigMap` in the release's namespace holds it. A key is a node's name, `_every` for all nodes, or either with
//! `_VERSION` behind it (`worker-1_4.0.0`): `@` isn't allowed there, and `_` is in no node's name. The most exact key counts alone.
//! A value has one injection in each line. The key `_pace` holds durations, one in each line.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// The name of the `ConfigMap`.
pub const CONFIG_MAP: &str = "standin-injection";

/// The key of the durations.
pub const PACE_KEY: &str = "_pace";

/// One thing that goes wrong on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injection {
    /// The installation takes this long.
    Slow(Duration),
    /// It never ends.
    Hang,
    /// It fails each time.
    Crash,
    /// It fails the first time at a version.
    CrashOnce,
    /// It ends well, and then the label is lost.
    LabelLost,
    /// A `DaemonSet` pod becomes Ready, but nothing was installed or labelled.
    SilentNoop,
    /// The old pod takes this long to go.
    SlowStop(Duration),
    /// The image can't be pulled. Only for simulated nodes; take the image off a real one.
    BadImage,
    /// The node isn't Ready after its Job, as the dispatcher of 4.1.0 and later sees it.
    NodeNotReady,
    /// The per-node Job disappears while it runs.
    Vanish,
    /// The dispatcher dies once this node's Job runs.
    DispatcherKilled,
    /// The API server fails the dispatcher's first question about this node's Job.
    ApiBlip,
}

/// Injections without a duration, by their word.
const WORDS: [(&str, Injection); 10] = [
    ("hang", Injection::Hang),
    ("crash", Injection::Crash),
    ("crash-once", Injection::CrashOnce),
    ("label-lost", Injection::LabelLost),
    ("silent-noop", Injection::SilentNoop),
    ("bad-image", Injection::BadImage),
    ("node-not-ready", Injection::NodeNotReady),
    ("vanish", Injection::Vanish),
    ("dispatcher-killed", Injection::DispatcherKilled),
    ("api-blip", Injection::ApiBlip),
];

impl FromStr for Injection {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Some((_, injection)) = WORDS.iter().find(|(word, _)| *word == text) {
            return Ok(*injection);
        }
        match text.split_once(": ") {
            Some(("slow", time)) => Ok(Self::Slow(duration(time)?)),
            Some(("slow-stop", time)) => Ok(Self::SlowStop(duration(time)?)),
            _ => bail!("`{text}` is no injection"),
        }
    }
}

impl fmt::Display for Injection {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slow(time) => write!(out, "slow: {}ms", time.as_millis()),
            Self::SlowStop(time) => write!(out, "slow-stop: {}ms", time.as_millis()),
            word => {
                WORDS.iter().find(|(_, injection)| injection == word).map_or(Ok(()), |(text, _)| out.write_str(text))
            }
        }
    }
}

/// What goes wrong on one node at one version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Injections(Vec<Injection>);

impl Injections {
    /// Whether this one is asked for.
    pub fn has(&self, injection: Injection) -> bool {
        self.0.contains(&injection)
    }

    /// How long the installation takes, if that is asked for.
    pub fn slow(&self) -> Option<Duration> {
        self.0.iter().find_map(|one| match one {
            Injection::Slow(time) => Some(*time),
            _ => None,
        })
    }

    /// How long the old pod takes to go, if that is asked for.
    pub fn slow_stop(&self) -> Option<Duration> {
        self.0.iter().find_map(|one| match one {
            Injection::SlowStop(time) => Some(*time),
            _ => None,
        })
    }
}

impl From<&[Injection]> for Injections {
    fn from(all: &[Injection]) -> Self {
        Self(all.to_vec())
    }
}

/// How long things take. Upstream's figures are in `UPSTREAM`; the default is shorter, so that a test suite ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// One installation.
    pub install: Duration,
    /// Between two looks at a label that has to stay.
    pub stable: Duration,
    /// Between two looks of a dispatcher at its Jobs.
    pub poll: Duration,
    /// From the end of an installation to the loss of its label.
    pub lose: Duration,
    /// How long the runtime may take to serve a handler.
    pub handlers: Duration,
}

impl Pace {
    /// What upstream does; an installation takes as long as it takes.
    pub const UPSTREAM: Self = Self {
        install: Duration::from_secs(60),
        stable: Duration::from_secs(2),
        poll: Duration::from_secs(5),
        lose: Duration::from_secs(5),
        handlers: Duration::from_secs(120),
    };
}

impl fmt::Display for Pace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { install, stable, poll, lose, handlers } = self;
        let all = [("install", install), ("stable", stable), ("poll", poll), ("lose", lose), ("handlers", handlers)];
        let lines: Vec<String> = all.iter().map(|(name, time)| format!("{name}: {}ms", time.as_millis())).collect();
        out.write_str(&lines.join("\n"))
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            install: Duration::from_secs(1),
            stable: Duration::from_millis(100),
            poll: Duration::from_millis(500),
            lose: Duration::from_secs(2),
            handlers: Duration::from_secs(20),
        }
    }
}

/// The content of the `ConfigMap`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings(pub BTreeMap<String, String>);

impl Settings {
    /// What goes wrong on `node` while `version` is at work there.
    pub fn injections(&self, node: &str, version: &str) -> Result<Injections> {
        let text = [key(Some(node), Some(version)), key(Some(node), None), key(None, Some(version)), key(None, None)]
            .iter()
            .find_map(|key| self.0.get(key));
        let Some(text) = text else {
            return Ok(Injections::default());
        };
        let all = text
            .lines()
            .map(|line| line.trim().parse().with_context(|| format!("reading `{CONFIG_MAP}` for node `{node}`")));
        Ok(Injections(all.collect::<Result<_>>()?))
    }

    /// How fast the stub is to be.
    pub fn pace(&self) -> Result<Pace> {
        let mut pace = Pace::default();
        for line in self.0.get(PACE_KEY).map(String::as_str).unwrap_or_default().lines() {
            let (name, time) = line
                .trim()
                .split_once(": ")
                .with_context(|| format!("`{line}` in `{PACE_KEY}` isn't `name: duration`"))?;
            let time = duration(time)?;
            match name {
                "install" => pace.install = time,
                "stable" => pace.stable = time,
                "poll" => pace.poll = time,
                "lose" => pace.lose = time,
                "handlers" => pace.handlers = time,
                _ => bail!("`{PACE_KEY}` has no `{name}`"),
            }
        }
        Ok(pace)
    }
}

/// The key for a node, or for every node, at a version, or at any.
pub fn key(node: Option<&str>, version: Option<&str>) -> String {
    let node = node.unwrap_or("_every");
    // A digest has a colon, which a key can't have.
    version.map_or_else(|| node.to_owned(), |version| format!("{node}_{}", version.replace(':', "-")))
}

/// `10s`, `250ms` or `2m`.
pub fn duration(text: &str) -> Result<Duration> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let count: u64 = digits.parse().with_context(|| format!("`{text}` isn't a duration"))?;
    match &text[digits.len()..] {
        "ms" => Ok(Duration::from_millis(count)),
        "s" => Ok(Duration::from_secs(count)),
        "m" => Ok(Duration::from_secs(60 * count)),
        unit => bail!("`{unit}` in `{text}` isn't ms, s or m"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        Settings(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn the_most_exact_key_counts_alone() {
        let settings = settings(&[
            ("_every", "crash"),
            ("_every_4.0.0", "hang"),
            ("worker-1", "slow: 3s\nlabel-lost"),
            ("worker-1_4.0.0", "vanish"),
        ]);
        let words = |node, version| {
            let Injections(all) = settings.injections(node, version).unwrap();
            all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(words("worker-1", "4.0.0"), "vanish");
        assert_eq!(words("worker-1", "3.32.0"), "slow: 3000ms, label-lost");
        assert_eq!(words("worker-2", "4.0.0"), "hang");
        assert_eq!(words("worker-2", "3.32.0"), "crash");
    }

    #[test]
    fn every_injection_reads_back_as_it_was_written() {
        let timed = [Injection::Slow(Duration::from_millis(1500)), Injection::SlowStop(Duration::from_secs(20))];
        for one in WORDS.iter().map(|(_, one)| *one).chain(timed) {
            assert_eq!(one.to_string().parse::<Injection>().unwrap(), one);
        }
    }

    #[test]
    fn a_misspelt_injection_is_an_error_and_not_a_healthy_node() {
        let settings = settings(&[("worker-1", "crsh"), ("_pace", "instal: 1s")]);
        assert!(settings.injections("worker-1", "4.0.0").is_err());
        assert!(settings.pace().is_err());
    }

    #[test]
    fn a_pace_reads_back_as_it_was_written() {
        let written = settings(&[(PACE_KEY, &Pace::UPSTREAM.to_string())]);
        assert_eq!(written.pace().unwrap(), Pace::UPSTREAM);
    }

    #[test]
    fn the_pace_changes_only_what_is_named() {
        let pace = settings(&[("_pace", "install: 30s\npoll: 50ms")]).pace().unwrap();
        assert_eq!(pace, Pace { install: Duration::from_secs(30), poll: Duration::from_millis(50), ..Pace::default() });
    }
}
