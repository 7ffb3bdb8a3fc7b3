//! Ending a process together with everything that it has started.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Child, Command};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::process::words;
use crate::run::pids;

/// A command, to be given a program and its arguments, that ends with everything it has started when we do. Needs root.
pub fn ends_with_us() -> Command {
    // The kernel ends `unshare` with us, `unshare` the first process of its namespace, and the kernel all others with that.
    words(["setpriv", "--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child", "--mount-proc"])
}

/// Ends a child and all that come from it. They stay in the terminal's group until then, so that Ctrl-C reaches them.
pub fn end(child: &mut Child) {
    // Not waited for yet, so its number is still its own.
    if let Ok(root) = i32::try_from(child.id()) {
        end_all(root);
    }
    let _ = child.wait();
}

fn end_all(root: i32) {
    let mut stopped = BTreeSet::new();
    // Stopped first, round by round: one that still runs could start another behind our back.
    loop {
        let new: Vec<i32> = below(root).into_iter().filter(|pid| !stopped.contains(pid)).collect();
        if new.is_empty() {
            break;
        }
        for pid in new {
            // It may have ended since we looked.
            let _ = kill(Pid::from_raw(pid), Signal::SIGSTOP);
            stopped.insert(pid);
        }
    }
    for pid in stopped {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// The process and all that come from it.
fn below(root: i32) -> BTreeSet<i32> {
    let parents: Vec<(i32, i32)> = pids().filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut found = BTreeSet::from([root]);
    while let Some((child, _)) = parents.iter().find(|(pid, parent)| found.contains(parent) && !found.contains(pid)) {
        found.insert(*child);
    }
    found
}

/// The process that started this one, or took it over.
pub(crate) fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use super::*;
    use crate::run::Started;
    use crate::wait::{Seen, Wait};

    #[test]
    fn what_a_process_has_started_ends_with_it() {
        let script = "sleep 600 & echo $!; sh -c 'sleep 600 & echo $!; wait' & wait";
        let mut child = Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().take(2);
        let started: Vec<i32> = lines.map(|line| line.unwrap().parse().unwrap()).collect();
        end(&mut child);
        assert!(!child.wait().unwrap().success());
        Wait::new("what it has started to end", Duration::from_secs(20))
            .until_blocking(|| {
                let left: Vec<_> = started.iter().filter(|pid| Started::of(**pid).is_some()).collect();
                Ok(if left.is_empty() { Seen::Done(()) } else { Seen::NotYet(format!("{left:?}")) })
            })
            .unwrap();
    }
}
