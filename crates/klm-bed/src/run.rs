//! The run folder of one cluster: which files are where, and which processes were started.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::netns::Netns;
use crate::options::Options;
use crate::paths;

/// The control group above those of all clusters.
pub const PARENT_GROUP: &str = "/klm-bed";

/// One cluster's name, and with it every place that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    name: String,
}

/// A process that we started, told apart from a later one with the same number by its start time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Its number.
    pub pid: i32,
    /// Clock ticks after boot, from `/proc/PID/stat`.
    pub at: u64,
}

impl Run {
    /// The cluster of this name, whether it runs or not.
    pub fn named(name: &str) -> Result<Self> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > 20 || !name.chars().all(plain) || name.starts_with('-') {
            bail!("`{name}` can't name a cluster\nhint: use up to 20 lower-case letters, digits and dashes");
        }
        Ok(Self { name: name.to_owned() })
    }

    /// Every cluster that has a run folder, sorted by name.
    pub fn all() -> Vec<Self> {
        let Ok(entries) = fs::read_dir(paths::runs()) else {
            return Vec::new();
        };
        let mut runs: Vec<Self> =
            entries.flatten().filter_map(|entry| Self::named(&entry.file_name().to_string_lossy()).ok()).collect();
        runs.sort_by(|a, b| a.name.cmp(&b.name));
        runs
    }

    /// The cluster's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder itself.
    pub fn folder(&self) -> PathBuf {
        paths::runs().join(&self.name)
    }

    /// A path inside it.
    pub fn path(&self, inside: impl AsRef<Path>) -> PathBuf {
        self.folder().join(inside)
    }

    /// The network namespace of the control plane, in which tests run too.
    pub fn netns(&self) -> Netns {
        Netns::named(format!("klm-{}", self.name))
    }

    /// The network namespace of a node.
    pub fn node_netns(&self, node: &str) -> Netns {
        Netns::named(format!("klm-{}.{node}", self.name))
    }

    /// What was wanted when it was started, if that much of it is there.
    pub fn options(&self) -> Option<Options> {
        serde_json::from_slice(&fs::read(self.path("options.json")).ok()?).ok()
    }

    /// Every network namespace of this cluster that exists.
    pub fn namespaces(&self) -> Vec<Netns> {
        let own = self.netns();
        // A dot, which no cluster's name has: `klm-a` must not claim what belongs to `klm-a-b`.
        let mut all = Netns::with_prefix(&format!("{}.", own.name()));
        if own.path().exists() {
            all.insert(0, own);
        }
        all
    }

    /// The folder of control groups, below each of the machine's hierarchies, that this cluster's pods are in.
    pub fn cgroup(&self) -> String {
        format!("{PARENT_GROUP}/{}", self.name)
    }

    /// Notes that a world was started.
    pub fn remember(&self, world: &str, started: &Started) -> Result<()> {
        let path = self.path(format!("worlds/{world}.pid"));
        fs::create_dir_all(self.path("worlds"))?;
        fs::write(&path, serde_json::to_vec(started)?).with_context(|| format!("cannot write {}", path.display()))
    }

    /// The process that holds a world, if it still runs.
    pub fn world(&self, world: &str) -> Option<Started> {
        let text = fs::read(self.path(format!("worlds/{world}.pid"))).ok()?;
        let started: Started = serde_json::from_slice(&text).ok()?;
        (Started::of(started.pid) == Some(started.clone())).then_some(started)
    }

    /// The names of all worlds that were ever started: `control-plane` and the nodes.
    pub fn worlds(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path("worlds")) else {
            return Vec::new();
        };
        let mut names: Vec<String> = entries
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                name.strip_suffix(".pid").map(str::to_owned)
            })
            .collect();
        names.sort();
        names
    }
}

impl Started {
    /// This process.
    pub fn ours() -> Option<Self> {
        Self::of(i32::try_from(std::process::id()).ok()?)
    }

    /// What [`Self::to_string`] wrote.
    pub fn read(text: &str) -> Option<Self> {
        let (pid, at) = text.split_once(':')?;
        Some(Self { pid: pid.parse().ok()?, at: at.parse().ok()? })
    }

    /// Whether it is still there.
    pub fn lives(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }

    /// The process of this number, if there is one.
    pub fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is the program's name in parentheses and may hold anything; the start time is the 22nd.
        let (_, rest) = stat.rsplit_once(')')?;
        let mut fields = rest.split_whitespace();
        // A zombie has ended; only its parent hasn't looked yet.
        if fields.next()? == "Z" {
            return None;
        }
        let at = fields.nth(18)?.parse().ok()?;
        Some(Self { pid, at })
    }
}

impl fmt::Display for Started {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.pid, self.at)
    }
}

/// The numbers of all processes.
pub fn pids() -> impl Iterator<Item = i32> {
    fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_would_not_fit_a_path_or_namespace_is_refused() {
        for name in ["", "Upper", "a/b", "..", "-x", "a.b", "a-name-of-over-twenty"] {
            assert!(Run::named(name).is_err(), "{name}");
        }
        assert!(Run::named("ci-2").is_ok());
    }

    #[test]
    fn a_process_is_told_apart_by_its_start() {
        let own = Started::ours().unwrap();
        assert!(own.at > 0);
        assert_eq!(Started::of(own.pid), Some(own.clone()));
        assert_eq!(Started::read(&own.to_string()), Some(own));
        assert!(["", "1", "1:", "x:1"].iter().all(|text| Started::read(text).is_none()));
    }

    #[test]
    fn one_cluster_does_not_claim_the_namespaces_of_another() {
        let short = Run::named("a").unwrap();
        let long = Run::named("a-b").unwrap();
        let claims = format!("{}.", short.netns().name());
        assert!(!long.node_netns("worker-1").name().starts_with(&claims));
        assert!(short.node_netns("worker-1").name().starts_with(&claims));
    }
}
