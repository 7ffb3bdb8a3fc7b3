//! Faults from outside: programs killed or frozen where a run depends on them.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use klm_bed::wait::{Seen, Wait};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Fleet;

/// A killed program is started again a second later.
const STARTED_AGAIN: Duration = Duration::from_secs(30);

/// A program that was stopped in its tracks, until it is thawed.
#[must_use]
pub struct Frozen(i32);

impl Frozen {
    /// Lets it go on.
    pub fn thaw(self) {
        drop(self);
    }
}

impl Drop for Frozen {
    // Also when the test fails before it comes to that: the next one needs the node.
    fn drop(&mut self) {
        if let Err(error) = signal(self.0, Signal::SIGCONT) {
            eprintln!("{error:#}");
        }
    }
}

impl Fleet {
    /// `kill -9` of programs of the control plane, all at once. Returns when others run in their place.
    pub async fn kill_control_plane(&self, programs: &[&str]) -> Result<()> {
        let netns = self.scene.cluster.bed()?.0.netns();
        killed(programs, || netns.processes()).await
    }

    /// `kill -9` of a node's kubelet. Returns when another runs in its place.
    pub async fn kill_kubelet(&self, node: &str) -> Result<()> {
        let netns = self.scene.cluster.bed()?.0.node_netns(node);
        killed(&["kubelet"], || netns.processes()).await
    }

    /// Stops a node's kubelet in its tracks: its pods go on, and nobody hears of them.
    pub fn freeze_kubelet(&self, node: &str) -> Result<Frozen> {
        let pid = named(&self.scene.cluster.bed()?.0.node_netns(node).processes(), "kubelet")?;
        signal(pid, Signal::SIGSTOP)?;
        Ok(Frozen(pid))
    }

    /// `kill -9` of the helm of a step, as soon as one runs that changes the release.
    pub async fn kill_helm(&self) -> Result<()> {
        let group = format!("{}/", self.scene.cluster.bed()?.0.cgroup());
        Wait::new("helm to change the release", Duration::from_secs(120))
            .every(Duration::from_millis(20))
            .until(async || {
                let helm = klm_bed::run::pids().find(|pid| changes_a_release(*pid) && is_in(*pid, &group));
                let Some(pid) = helm else { return Ok(Seen::NotYet("no helm".to_owned())) };
                signal(pid, Signal::SIGKILL)?;
                Ok(Seen::Done(()))
            })
            .await
    }
}

async fn killed(programs: &[&str], processes: impl Fn() -> Vec<i32>) -> Result<()> {
    let all = processes();
    let old: Vec<i32> = programs.iter().map(|program| named(&all, program)).collect::<Result<_>>()?;
    for pid in &old {
        signal(*pid, Signal::SIGKILL)?;
    }
    Wait::new(format!("{} to be started again", programs.join(" and ")), STARTED_AGAIN)
        .until(async || {
            let all: Vec<i32> = processes().into_iter().filter(|pid| !old.contains(pid)).collect();
            for program in programs {
                named(&all, program)?;
            }
            Ok(Seen::Done(()))
        })
        .await
}

fn named(pids: &[i32], program: &str) -> Result<i32> {
    let is = |pid: &&i32| words(**pid).first().is_some_and(|first| first.rsplit('/').next() == Some(program));
    pids.iter().find(is).copied().with_context(|| format!("no `{program}` runs there"))
}

/// Whether it is a helm that makes a revision, not one that reads or rehearses.
fn changes_a_release(pid: i32) -> bool {
    let words = words(pid);
    let has = |word: &str| words.iter().any(|found| found == word);
    let is_helm = words.first().is_some_and(|first| first.rsplit('/').next() == Some("helm"));
    is_helm && (has("upgrade") || has("rollback")) && !words.iter().any(|word| word.starts_with("--dry-run"))
}

/// Whether a process is of one of this cluster's pods: other clusters may run on the machine.
fn is_in(pid: i32, group: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|groups| groups.contains(group))
}

fn words(pid: i32) -> Vec<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

fn signal(pid: i32, signal: Signal) -> Result<()> {
    kill(Pid::from_raw(pid), signal).with_context(|| format!("sending {signal} to process {pid}"))
}
