//! Faults from outside: pods deleted, programs killed or frozen where a run depends on them.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use klm_bed::wait::{Seen, Wait};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{ARGO, Fleet, Run};

/// A program that was stopped in its tracks, until it is thawed.
#[must_use]
pub struct Frozen(i32);

impl Frozen {
    /// Lets it go on.
    pub fn thaw(self) -> Result<()> {
        signal(self.0, Signal::SIGCONT)
    }
}

impl Fleet {
    /// Deletes the step pods of a run that are there, as a person in a hurry would.
    pub fn delete_step_pods(&self, run: &Run) -> Result<()> {
        let label = format!("workflows.argoproj.io/workflow={}", run.name);
        let running = "--field-selector=status.phase=Running";
        self.scene
            .kubectl(&["delete", "pod", "-n", ARGO, "-l", &label, running, "--grace-period=0", "--force"])
            .map(drop)
    }

    /// `kill -9` of a program of the control plane. It is started again a second later.
    pub fn kill_control_plane(&self, program: &str) -> Result<()> {
        let pids = self.scene.cluster.bed()?.0.netns().processes();
        signal(named(pids, program)?, Signal::SIGKILL)
    }

    /// `kill -9` of a program of a node. It is started again a second later.
    pub fn kill_on_node(&self, node: &str, program: &str) -> Result<()> {
        signal(self.on_node(node, program)?, Signal::SIGKILL)
    }

    /// Stops a node's kubelet in its tracks: its pods go on, and nobody hears of them.
    pub fn freeze_kubelet(&self, node: &str) -> Result<Frozen> {
        let pid = self.on_node(node, "kubelet")?;
        signal(pid, Signal::SIGSTOP)?;
        Ok(Frozen(pid))
    }

    /// `kill -9` of the helm of a step, as soon as one runs that changes the release.
    pub async fn kill_helm(&self) -> Result<()> {
        let group = self.scene.cluster.bed()?.0.cgroup();
        Wait::new("helm to change the release", Duration::from_secs(120))
            .every(Duration::from_millis(5))
            .until(async || {
                let helm = klm_bed::run::pids().find(|pid| changes_a_release(*pid) && is_in(*pid, &group));
                let Some(pid) = helm else { return Ok(Seen::NotYet("no helm".to_owned())) };
                signal(pid, Signal::SIGKILL)?;
                Ok(Seen::Done(()))
            })
            .await
    }

    fn on_node(&self, node: &str, program: &str) -> Result<i32> {
        named(self.scene.cluster.bed()?.0.node_netns(node).processes(), program)
    }
}

fn named(pids: Vec<i32>, program: &str) -> Result<i32> {
    let is = |pid: &i32| words(*pid).first().is_some_and(|first| first.rsplit('/').next() == Some(program));
    pids.into_iter().find(is).with_context(|| format!("no `{program}` runs there"))
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
