//! A process beside a test run that outlives it: when the run is killed, what it has left is removed at once.
//!
//! The run holds the guard's input. However the run ends, the kernel closes that, and a run that ended well has said so
//! before. Nothing is left to do for the guard when it is killed too: the next run looks as well.

use std::io::{Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::run::Started;
use crate::turn::{OWNER_VARIABLE, Turn};
use crate::wait::{Seen, Wait};

/// What a run says that has cleaned up after itself.
const WELL: &[u8] = b"well";

/// The run's end of it. Dropping it ends the guard.
#[derive(Debug)]
pub struct Guard {
    process: Child,
}

impl Guard {
    /// Starts `program`, which is to [`stand`] guard and gets this process as its last argument. An interrupt from the
    /// terminal is for the run alone.
    pub fn post(program: &mut Command) -> Result<Self> {
        let process = program
            .arg(Started::ours().context("this process isn't in /proc")?.to_string())
            .env_remove(OWNER_VARIABLE)
            .current_dir(Path::new("/"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .context("cannot start what cleans up after a test run that is killed")?;
        Ok(Self { process })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // A guard that is gone already has nothing to hear.
        let _ = self.process.stdin.take().map(|mut pipe| pipe.write_all(WELL));
        let _ = self.process.wait();
    }
}

/// Waits until the run at the other end of `input` has ended, and removes what it has left, unless it ended well or another
/// run has begun, which does so itself.
pub fn stand(mut input: impl Read, run: &str, say: &dyn Fn(&str)) -> Result<()> {
    let run = Started::read(run).with_context(|| format!("`{run}` is no process"))?;
    let mut heard = Vec::new();
    input.read_to_end(&mut heard).context("cannot wait for the end of the test run")?;
    if heard == WELL {
        return Ok(());
    }
    // A process that is killed closes its pipes a moment before it has ended.
    Wait::new(format!("the killed test run, process {}, to have ended", run.pid), Duration::from_secs(60))
        .until_blocking(|| Ok(if run.lives() { Seen::NotYet("it is there".to_owned()) } else { Seen::Done(()) }))?;
    drop(Turn::take_if_free(say)?);
    Ok(())
}
