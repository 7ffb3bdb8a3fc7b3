//! Network namespaces: one for a cluster's control plane and one for each node, joined by a bridge inside the first.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};

use crate::process::{run, words};
use crate::run::pids;

/// A named network namespace, whether it exists or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// The namespace of this name.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }

    /// Every namespace whose name begins so, sorted.
    pub fn with_prefix(prefix: &str) -> Vec<Self> {
        let Ok(entries) = fs::read_dir("/run/netns") else {
            return Vec::new();
        };
        let names: BTreeSet<String> = entries
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| name.starts_with(prefix))
            .collect();
        names.into_iter().map(Self::named).collect()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it.
    pub fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    /// Creates it, with its loopback interface up.
    pub fn create(&self) -> Result<()> {
        run(&mut words(["ip", "netns", "add", &self.name]))?;
        self.ip("link set lo up")
    }

    /// Removes it and every interface in it.
    pub fn delete(&self) -> Result<()> {
        run(&mut words(["ip", "netns", "del", &self.name]))
    }

    /// Runs `ip` inside, with arguments that hold no spaces themselves.
    pub fn ip(&self, arguments: &str) -> Result<()> {
        let mut command = words(["ip", "-n", &self.name]);
        run(command.args(arguments.split_whitespace()))
    }

    /// Lets it pass packets on between its interfaces.
    pub fn forward(&self) -> Result<()> {
        within(self, async || {
            fs::write("/proc/sys/net/ipv4/ip_forward", "1")
                .with_context(|| format!("cannot switch on routing in {}", self.name))
        })
    }

    /// The words before a command that make it run inside.
    ///
    /// Not `ip netns exec`: that mounts `/sys` again, and a kubelet then finds no control groups.
    pub fn enter_command(&self) -> [String; 2] {
        ["nsenter".to_owned(), format!("--net={}", self.path().display())]
    }

    /// Moves the calling thread, and the threads and processes that it starts later, inside.
    pub fn enter(&self) -> Result<()> {
        let path = self.path();
        let file = File::open(&path).with_context(|| format!("cannot open the network namespace {}", self.name))?;
        setns(file, CloneFlags::CLONE_NEWNET)
            .with_context(|| format!("cannot enter the network namespace {}", self.name))
    }

    /// What `/proc/PID/ns/net` has as its inode for processes inside; nothing when the namespace doesn't exist.
    pub fn inode(&self) -> Option<u64> {
        fs::metadata(self.path()).ok().map(|facts| facts.ino())
    }

    /// The processes inside.
    pub fn processes(&self) -> Vec<i32> {
        let Some(own) = self.inode() else {
            return Vec::new();
        };
        let inside = |pid: &i32| fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|facts| facts.ino() == own);
        pids().filter(inside).collect()
    }
}

/// Runs `work` on a thread of its own inside a namespace, with an async runtime, and waits for it.
pub fn within<T: Send>(netns: &Netns, work: impl AsyncFnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                netns.enter()?;
                tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work())
            })
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
