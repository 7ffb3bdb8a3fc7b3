//! Which step a command line starts.

use crate::cli::{Cli, Command};
use crate::cluster::Cluster;
use crate::exit::StepError;
use crate::steps::{
    apply_wave, check_prerequisites, completion, finish, helm_postrender, plan, preflight, recover, rollback,
    rollback_node, select_nodes, status, verify, version,
};
use crate::world::World;

/// Runs the step to its end.
pub async fn run(cli: Cli) -> Result<(), StepError> {
    match &cli.command {
        // A filter between two pipes of helm: it needs no cluster.
        Command::HelmPostrender => return helm_postrender::run(),
        Command::Completion(args) => return completion::run(args),
        Command::Version => return version::run(),
        // From a laptop, which may have no helm.
        Command::Status(args) => return status::run(args, &Cluster::connect().await?).await,
        _ => {}
    }
    let world = World::connect().await?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), node = %world.here.node, pod = %world.here.pod, "started");
    dispatch(cli.command, &world).await
}

/// Runs a step in a world that is there.
pub async fn dispatch(command: Command, world: &World) -> Result<(), StepError> {
    match command {
        Command::CheckPrerequisites(args) => check_prerequisites::run(&args, world).await,
        Command::SelectNodes(args) => select_nodes::run(&args, world).await,
        Command::Plan(args) => plan::run(&args, world).await,
        Command::Preflight(args) => preflight::run(&args, world).await,
        Command::ApplyWave(args) => apply_wave::run(&args, world).await,
        Command::Verify(args) => verify::run(&args, world).await,
        Command::Rollback(args) => rollback::run(&args, world).await,
        Command::RollbackNode(args) => rollback_node::run(&args, world).await,
        Command::Finish(args) => finish::run(&args, world).await,
        Command::Recover(args) => recover::run(&args, world).await,
        Command::Status(args) => status::run(&args, &world.cluster).await,
        Command::Completion(args) => completion::run(&args),
        Command::Version => version::run(),
        Command::HelmPostrender => helm_postrender::run(),
    }
}
