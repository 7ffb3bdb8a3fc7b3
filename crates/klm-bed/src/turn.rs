//! One test run at a time has this machine's clusters, and it first removes what one that was killed has left.
//!
//! Two at once would take each other's clusters down, which are named by their suites. What a run starts carries its
//! process's number and start: each cluster in its options, each process in its environment.

use std::fs::{self, File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::leftovers::ancestors;
use crate::run::{Run, Started, pids};
use crate::wait::{Seen, Wait};
use crate::{down, paths};

/// The variable with the test run's process, as [`Started`] is written.
pub const OWNER_VARIABLE: &str = "KLM_TEST_RUN";

/// A whole test run takes an hour without any cache.
const ITS_TURN: Duration = Duration::from_secs(2 * 60 * 60);

/// The right to this machine's clusters, until it is dropped or its process ends.
#[derive(Debug)]
pub struct Turn {
    _lock: File,
}

impl Turn {
    /// Waits until no other test run has it, and removes what dead ones have left.
    pub fn take(say: &dyn Fn(&str)) -> Result<Self> {
        let turn = Self::at(&lock()?, say)?;
        clear(say)?;
        Ok(turn)
    }

    /// The same at once or not at all.
    pub fn take_if_free(say: &dyn Fn(&str)) -> Result<Option<Self>> {
        let path = lock()?;
        let file = open(&path)?;
        if !locked(&file, &path)? {
            return Ok(None);
        }
        clear(say)?;
        Ok(Some(Self { _lock: file }))
    }

    fn at(path: &Path, say: &dyn Fn(&str)) -> Result<Self> {
        let shown = path.display();
        let mut file = open(path)?;
        if !locked(&file, path)? {
            let mut holder = String::new();
            file.read_to_string(&mut holder)?;
            say(&format!("waiting for the test run of process {holder}, which has this machine's clusters ({shown})"));
            let wait = Wait::new(format!("the test run of process {holder} to end"), ITS_TURN);
            wait.every(Duration::from_secs(2)).until_blocking(|| {
                Ok(if locked(&file, path)? { Seen::Done(()) } else { Seen::NotYet(format!("it has {shown}")) })
            })?;
        }
        file.set_len(0)?;
        file.rewind()?;
        write!(file, "{}", std::process::id())?;
        Ok(Self { _lock: file })
    }
}

/// The file whose lock is the turn.
fn lock() -> Result<PathBuf> {
    let folder = paths::runs();
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    // No cluster's name begins with a dot.
    Ok(folder.join(".test.lock"))
}

fn open(path: &Path) -> Result<File> {
    let mut options = File::options();
    options.create(true).truncate(false).read(true).write(true);
    options.open(path).with_context(|| format!("cannot open {}", path.display()))
}

/// Whether it is locked for us now, and not by somebody else.
fn locked(file: &File, path: &Path) -> Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}

/// The test run that started this process, if one did.
pub fn owner() -> Option<Started> {
    Started::read(&std::env::var(OWNER_VARIABLE).ok()?)
}

/// Removes what test runs that ended without doing so have left: first processes, which could start clusters again.
fn clear(say: &dyn Fn(&str)) -> Result<()> {
    let left = orphans();
    if !left.is_empty() {
        say(&format!("ending {} processes of a test run that was killed", left.len()));
        Wait::new("the processes of a dead test run to end", Duration::from_secs(60)).until_blocking(|| {
            let left = orphans();
            for pid in &left {
                // It may have ended since we looked.
                let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
            }
            Ok(if left.is_empty() { Seen::Done(()) } else { Seen::NotYet(format!("processes {left:?}")) })
        })?;
    }
    for run in Run::all() {
        if is_left(run.options().and_then(|options| options.owner).as_ref()) {
            say(&format!("removing the cluster `{}` of a test run that was killed", run.name()));
            down(&run)?;
        }
    }
    Ok(())
}

/// What nobody owns is a person's.
fn is_left(owner: Option<&Started>) -> bool {
    owner.is_some_and(|owner| !owner.lives())
}

/// Processes that a test run started which has ended.
fn orphans() -> Vec<i32> {
    let own = ancestors();
    pids().filter(|pid| !own.contains(pid) && is_left(owner_of(*pid).as_ref()) && Started::of(*pid).is_some()).collect()
}

fn owner_of(pid: i32) -> Option<Started> {
    let all = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let assigned = format!("{OWNER_VARIABLE}=");
    let value = all.split(|byte| *byte == 0).find_map(|one| one.strip_prefix(assigned.as_bytes()))?;
    Started::read(&String::from_utf8_lossy(value))
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};
    use std::sync::mpsc;

    use super::*;

    fn sleeping(owner: &Started) -> Child {
        Command::new("sleep").arg("600").env(OWNER_VARIABLE, owner.to_string()).spawn().unwrap()
    }

    fn number(child: &Child) -> i32 {
        i32::try_from(child.id()).unwrap()
    }

    /// A process that has ended.
    fn dead() -> Started {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let started = Started::of(number(&child)).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        started
    }

    #[test]
    fn the_second_test_run_says_for_whom_it_waits_and_goes_on_when_that_one_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".test.lock");
        let first = Turn::at(&path, &|_| panic!("nobody has it")).unwrap();
        let (sender, said) = mpsc::channel();
        let second = std::thread::spawn({
            let path = path.clone();
            move || {
                let turn = Turn::at(&path, &|line| sender.send(line.to_owned()).unwrap());
                (turn.is_ok(), sender.send("mine".to_owned()))
            }
        });
        let line = said.recv_timeout(Duration::from_secs(20)).unwrap();
        let expected = format!("waiting for the test run of process {}, which", std::process::id());
        assert!(line.starts_with(&expected) && line.contains(".test.lock"), "{line}");
        assert_eq!(said.try_recv(), Err(mpsc::TryRecvError::Empty), "two have it at once");
        drop(first);
        assert_eq!(said.recv_timeout(Duration::from_secs(20)).unwrap(), "mine");
        assert!(second.join().unwrap().0);
    }

    #[test]
    fn only_what_a_dead_test_run_started_is_removed() {
        let own = Started::ours().unwrap();
        assert!(!is_left(None) && !is_left(Some(&own)) && is_left(Some(&dead())));
        let (mut of_dead, mut of_living) = (sleeping(&dead()), sleeping(&own));
        let mut of_nobody = Command::new("sleep").arg("600").env_remove(OWNER_VARIABLE).spawn().unwrap();
        let found = orphans();
        let is_found = [&of_dead, &of_living, &of_nobody].map(|child| found.contains(&number(child)));
        for child in [&mut of_dead, &mut of_living, &mut of_nobody] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert_eq!(is_found, [true, false, false]);
    }
}
