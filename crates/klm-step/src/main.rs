//! The program of the image: reads the command line, runs one step, ends with its exit code.

use std::process::ExitCode;

use clap::Parser as _;
use klm_step::{cli::Cli, exit, logging, run};

fn main() -> ExitCode {
    let cli = Cli::parse();
    logging::init();
    // One thread: a step waits far more than it computes.
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => exit::end(runtime.block_on(run::run(cli))),
        Err(error) => exit::end(Err(anyhow::Error::new(error).context("failed to start the runtime").into())),
    }
}
