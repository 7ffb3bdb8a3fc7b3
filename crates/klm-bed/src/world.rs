//! The first process of a node or of the control plane: sets up mounts, starts programs, starts them again when they end.
//!
//! It runs in namespaces of its own. The kernel ends every process of a process namespace with its first one, so that
//! one signal ends a whole node, whatever it was doing.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use serde::{Deserialize, Serialize};

const LOOK_EVERY: Duration = Duration::from_millis(100);
const START_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// All of these are Go programs that collect garbage much of the time. Memory is there, processor time is short.
pub const COLLECT_LESS: (&str, &str) = ("GOGC", "400");

/// Everything that the first process has to do.
#[derive(Debug, Serialize, Deserialize)]
pub struct World {
    /// The host name, when it has one of its own.
    pub hostname: Option<String>,
    /// Mounts, in this order.
    pub mounts: Vec<Mount>,
    /// Programs to keep running.
    pub programs: Vec<Program>,
}

/// One mount. Its target is created when it isn't there.
#[derive(Debug, Serialize, Deserialize)]
pub enum Mount {
    /// An empty file system in memory.
    Tmpfs(PathBuf),
    /// A folder seen at a second place.
    Bind {
        /// The folder.
        from: PathBuf,
        /// The second place.
        to: PathBuf,
    },
}

/// One program to keep running.
#[derive(Debug, Serialize, Deserialize)]
pub struct Program {
    /// Its name in messages, and that of its log file.
    pub name: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Added to the environment.
    pub env: BTreeMap<String, String>,
    /// Where its output goes.
    pub log: PathBuf,
    /// When to start it first.
    pub after: After,
}

/// What must be there before a program starts.
#[derive(Debug, Serialize, Deserialize)]
pub enum After {
    /// Nothing.
    Nothing,
    /// Something listens at this address.
    Listening(SocketAddr),
    /// This file, or socket, exists.
    File(PathBuf),
}

impl After {
    fn is_there(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::Listening(address) => TcpStream::connect_timeout(address, Duration::from_secs(1)).is_ok(),
            Self::File(path) => path.exists(),
        }
    }
}

/// Reads a world from a file and lives in it. Returns only when setting it up fails.
pub fn live(file: &Path) -> Result<()> {
    let text = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let world: World = serde_json::from_slice(&text)?;
    if let Some(hostname) = &world.hostname {
        fs::write("/proc/sys/kernel/hostname", hostname).context("cannot set the host name")?;
    }
    set_up(&world.mounts)?;
    keep_running(&world.programs)
}

fn set_up(mounts: &[Mount]) -> Result<()> {
    let nothing: Option<&str> = None;
    // Nothing of what follows may reach the machine's own mounts.
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).context("cannot detach the mounts")?;
    for each in mounts {
        match each {
            Mount::Tmpfs(target) => {
                fs::create_dir_all(target)?;
                mount(Some("bed"), target, Some("tmpfs"), MsFlags::empty(), Some("mode=755"))
                    .with_context(|| format!("cannot mount a tmpfs at {}", target.display()))?;
            }
            Mount::Bind { from, to } => {
                fs::create_dir_all(to)?;
                mount(Some(from), to, nothing, MsFlags::MS_BIND | MsFlags::MS_REC, nothing)
                    .with_context(|| format!("cannot mount {} at {}", from.display(), to.display()))?;
            }
        }
    }
    // Pods may ask for mounts that propagate, as on an ordinary machine.
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_SHARED, nothing).context("cannot share the mounts")
}

fn keep_running(programs: &[Program]) -> Result<()> {
    let mut running: BTreeMap<i32, usize> = BTreeMap::new();
    let mut waiting: Vec<(usize, Instant)> = (0..programs.len()).map(|program| (program, Instant::now())).collect();
    loop {
        let (due, later): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|(program, at)| *at <= Instant::now() && programs[*program].after.is_there());
        waiting = later;
        for (program, _) in due {
            running.insert(start(&programs[program])?, program);
        }
        // Orphans of ended pods come to us as well and must not stay as zombies.
        while let Some((pid, how)) = ended() {
            if let Some(program) = running.remove(&pid) {
                eprintln!("{} ended ({how}) and is started again", programs[program].name);
                waiting.push((program, Instant::now() + START_AGAIN_AFTER));
            }
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn start(program: &Program) -> Result<i32> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(&program.log)
        .with_context(|| format!("cannot open {}", program.log.display()))?;
    let child = Command::new(&program.command[0])
        .args(&program.command[1..])
        .env(COLLECT_LESS.0, COLLECT_LESS.1)
        .envs(&program.env)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("cannot start {}", program.name))?;
    Ok(i32::try_from(child.id())?)
}

fn ended() -> Option<(i32, String)> {
    match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        Ok(WaitStatus::Exited(pid, code)) => Some((pid.as_raw(), format!("exit code {code}"))),
        Ok(WaitStatus::Signaled(pid, signal, _)) => Some((pid.as_raw(), signal.to_string())),
        _ => None,
    }
}
