//! The stub's program, and the packer of its chart.

mod cli;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use cli::{Call, Cli, Command};
use klm_standin::{chart, daemon, dispatch, hooks, play, setup};
use tracing::error;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_env_filter(filter).init();
    match run() {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Err(cause) => {
            error!("{cause:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<i32> {
    let call = Call::of(std::env::args().collect());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    match call {
        Call::Dispatch(arguments) => runtime.block_on(dispatch::dispatch(&arguments)),
        Call::Monitor => runtime.block_on(hooks::monitor()),
        Call::Command(Cli { command }) => match command {
            Command::Package { out, unpacked, versions } => package(&out, unpacked, versions),
            command => runtime.block_on(be(command)),
        },
    }
}

async fn be(command: Command) -> Result<i32> {
    match command {
        Command::Install => daemon::install().await,
        Command::Cleanup => daemon::cleanup().await,
        Command::DeleteKept => hooks::delete_kept().await,
        Command::VerifyRelease { mode, daemonset_timeout } => {
            hooks::verify_release(mode.into(), daemonset_timeout).await
        }
        Command::Package { out, unpacked, versions } => package(&out, unpacked, versions),
        Command::Play { namespace, install_time, simulated } => {
            play::play(client().await?, play::Options { namespace, install_time, simulated }).await.map(|()| 0)
        }
        Command::Prepare { namespace } => setup::prepare(&client().await?, &namespace).await.map(|()| 0),
        stage => daemon::stage(stage.stage().context("not a stage")?).await,
    }
}

async fn client() -> Result<kube::Client> {
    kube::Client::try_default().await.context("finding the API server")
}

fn package(out: &std::path::Path, unpacked: bool, versions: Vec<semver::Version>) -> Result<i32> {
    let versions = if versions.is_empty() { chart::VERSIONS.to_vec() } else { versions };
    for version in versions {
        let path = if unpacked {
            chart::unpack(&version, &out.join(version.to_string()))?
        } else {
            chart::package(&version, out)?
        };
        eprintln!("{}", path.display());
    }
    Ok(0)
}
