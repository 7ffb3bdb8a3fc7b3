//! A child process that is given time to record its own end: a helm that is killed leaves its release locked.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::{Invocation, Output};
use crate::world::Stop;

/// How a run ended that didn't come to its own end.
#[derive(Debug)]
pub enum End {
    /// We were asked to stop, and passed it on.
    Stopped,
    /// It exceeded this.
    TooSlow(Duration),
    /// There is no such program, or it may not be run.
    NotStarted(std::io::Error),
}

/// Time for helm to write `failed` into its release after SIGTERM.
const TIME_TO_RECORD: Duration = Duration::from_secs(45);

/// A chart's whole output is a few hundred kilobytes.
const OUTPUT_LIMIT: u64 = 16 * 1024 * 1024;

/// Runs the program to its end, or to ours.
pub async fn run(program: &Path, invocation: Invocation, stop: &Stop) -> Result<Output, End> {
    let mut child = Command::new(program)
        .args(&invocation.args)
        .envs(invocation.env)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A group of its own: a signal to ours must not reach it before we know of it.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(End::NotStarted)?;
    let stdout = read(child.stdout.take());
    let stderr = read(child.stderr.take());
    let end = async {
        let finished = tokio::select! {
            status = child.wait() => Ok(status),
            () = stop.requested() => Err(End::Stopped),
            () = tokio::time::sleep(invocation.limit) => Err(End::TooSlow(invocation.limit)),
        };
        match finished {
            Ok(status) => status.map_err(End::NotStarted),
            Err(why) => Err(give_up(&mut child, why).await),
        }
    };
    let (status, stdout, stderr): (Result<ExitStatus, End>, String, String) = tokio::join!(end, stdout, stderr);
    Ok(Output { code: status?.code(), stdout, stderr })
}

/// Asks for an end, waits for it, and forces it only then.
async fn give_up(child: &mut Child, why: End) -> End {
    signal(child, Signal::SIGTERM);
    if timeout(TIME_TO_RECORD, child.wait()).await.is_err() {
        tracing::warn!("helm didn't end after SIGTERM; its release may be left pending");
        signal(child, Signal::SIGKILL);
        let _ = child.wait().await;
    }
    why
}

fn signal(child: &Child, signal: Signal) {
    let group = child.id().and_then(|id| i32::try_from(id).ok());
    if let Some(group) = group {
        // Gone already is fine.
        let _ = killpg(Pid::from_raw(group), signal);
    }
}

async fn read(stream: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        // What can't be read is missing in a message, no more.
        let _ = stream.take(OUTPUT_LIMIT).read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn script(folder: &Path, body: &str) -> std::path::PathBuf {
        let path = folder.join("helm");
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn invocation(args: &[&str], limit: Duration) -> Invocation {
        Invocation { args: args.iter().map(|arg| (*arg).to_owned()).collect(), env: Vec::new(), limit }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn arguments_arrive_as_they_are_and_no_shell_reads_them() {
        let folder = tempfile::tempdir().unwrap();
        let program = script(folder.path(), r#"printf '%s\n' "$@""#);
        let (stop, _switch) = Stop::new();
        let output = run(&program, invocation(&["a b", "$HOME", "{x,y}"], LONG), &stop).await.unwrap();
        assert_eq!((output.code, output.stdout.as_str()), (Some(0), "a b\n$HOME\n{x,y}\n"));
    }

    #[tokio::test]
    async fn a_stopped_helm_is_asked_to_end_and_may_record_it() {
        let folder = tempfile::tempdir().unwrap();
        let (ready, recorded) = (folder.path().join("ready"), folder.path().join("recorded"));
        let body = format!(
            "trap 'echo failed > {recorded}; exit 1' TERM\necho > {ready}\nwhile :; do sleep 0.05; done",
            recorded = recorded.display(),
            ready = ready.display()
        );
        let program = script(folder.path(), &body);
        let (stop, switch) = Stop::new();
        let stopper = async {
            while !ready.exists() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            switch.stop();
        };
        let (end, ()) = tokio::join!(run(&program, invocation(&[], LONG), &stop), stopper);
        assert!(matches!(end, Err(End::Stopped)));
        assert_eq!(std::fs::read_to_string(recorded).unwrap(), "failed\n");
    }

    #[tokio::test]
    async fn a_helm_that_takes_too_long_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let program = script(folder.path(), "exec sleep 600");
        let (stop, _switch) = Stop::new();
        let limit = Duration::from_millis(50);
        let end = run(&program, invocation(&[], limit), &stop).await;
        assert!(matches!(end, Err(End::TooSlow(_))));
    }

    #[tokio::test]
    async fn a_missing_program_is_an_error_of_its_own() {
        let (stop, _switch) = Stop::new();
        let end = run(Path::new("/nonexistent/helm"), invocation(&[], LONG), &stop).await;
        assert!(matches!(end, Err(End::NotStarted(_))));
    }
}
