//! The command line: what was typed, strings and all. One subcommand per workflow template, of the same name.

mod parameters;

use clap::{Args, Parser, Subcommand};
use klm_core::journal::RunId;
pub use parameters::ParameterArgs;

/// Moves nodes from one Kata Containers version to the next, in verified waves.
#[derive(Debug, Parser)]
#[command(name = "klm-step", version, about, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The steps of the workflow, and what a person runs by hand.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Find every reason to refuse before anything is touched.
    CheckPrerequisites(CheckPrerequisites),
    /// Choose the nodes, cut them into waves, write the plan and take the lock.
    SelectNodes(SelectNodes),
    /// Install the target on the nodes of one item of the rollout.
    ApplyWave(WaveStep),
    /// Run the verification pod on every node of the item's last wave.
    Verify(WaveStep),
    /// Take the failed nodes of one item back to the version before.
    Rollback(WaveStep),
    /// Take one node back to the version before.
    RollbackNode(RollbackNode),
    /// Print what deploy-version would do; change nothing.
    Plan(PlanArgs),
    /// Settle what the run left in flight, restore Helm values, release the lock, report.
    Finish(Finish),
    /// Put right what a terminated run left behind and release its lock.
    Recover(Recover),
    /// Check that this image, its rights and the cluster fit together; touches no node.
    Preflight(Preflight),
    /// Where each node stands, from wherever there is a kubeconfig.
    Status(Status),
    /// Print a completion script, for `source <(klm-step completion bash)`.
    Completion(Completion),
    /// Print the version and the architecture.
    Version,
    /// Helm's post-renderer: keeps kata-deploy's own clean-up off the nodes outside the wave.
    #[command(hide = true)]
    HelmPostrender,
}

/// The Argo Workflow that a step belongs to.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Namespace of the Workflow.
    #[arg(long)]
    pub workflow_namespace: String,
    /// Name of the Workflow.
    #[arg(long)]
    pub workflow_name: String,
    /// UID of the Workflow.
    #[arg(long)]
    pub workflow_uid: String,
}

impl Command {
    /// Subcommands that are for people alone: no step of the workflow runs them.
    pub const FOR_PEOPLE: [&str; 3] = ["status", "completion", "version"];
}

impl RunArgs {
    /// The run.
    pub fn id(&self) -> RunId {
        RunId {
            namespace: self.workflow_namespace.clone(),
            name: self.workflow_name.clone(),
            uid: self.workflow_uid.clone(),
        }
    }
}

/// Where a step leaves its output parameters, one file each.
#[derive(Args, Clone, Debug)]
pub struct OutputArgs {
    /// Folder for output parameters, one file each.
    #[arg(long, default_value = "/tmp/outputs")]
    pub outputs: std::path::PathBuf,
}

/// See [`Command::CheckPrerequisites`].
#[derive(Args, Debug)]
pub struct CheckPrerequisites {
    #[command(flatten)]
    #[expect(missing_docs, reason = "documented on the type")]
    pub run: RunArgs,
    /// Kata version to move the nodes to.
    #[arg(long)]
    pub target_version: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "documented on the type")]
    pub parameters: ParameterArgs,
}

/// See [`Command::SelectNodes`].
#[derive(Args, Debug)]
pub struct SelectNodes {
    #[command(flatten)]
    #[expect(missing_docs, reason = "documented on the type")]
    pub run: RunArgs,
    /// Kata version to move the nodes to.
    #[arg(long)]
    pub target_version: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "documented on the type")]
    pub parameters: ParameterArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "documented on the type")]
    pub outputs: OutputArgs,
}

/// See [`Command::ApplyWave`], [`Command::Verify`] and [`Command::Rollback`].
#[derive(Args, Debug)]
pub struct WaveStep {
    #[command(flatten)]
    #[expect(missing_docs, reason = "documented on the type")]
    pub run: RunArgs,
    /// Item of the rollout, from 1: one wave, or several consecutive ones.
    #[arg(long)]
    pub item: usize,
}

/// See [`Command::RollbackNode`].
#[derive(Args, Debug)]
pub struct RollbackNode {
    #[command(flatten)]
    #[expect(missing_docs, reason = "documented on the type")]
    pub run: RunArgs,
    /// Node to take back.
    #[arg(long)]
    pub node_name: String,
    /// Kata version to take the node back to; empty: the one that the last run found.
    #[arg(long, default_value = "")]
    pub rollback_version: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "documented on the type")]
    pub parameters: ParameterArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "documented on the type")]
    pub outputs: OutputArgs,
}

/// See [`Command::Plan`].
#[derive(Args, Debug)]
pub struct PlanArgs {
    /// An installed `WorkflowTemplate`, for example `argo/kata-lifecycle-manager`: its values count where none is given
    /// here, as in a run.
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = namespaced)]
    pub template: Option<(String, String)>,
    /// Kata version to move the nodes to.
    #[arg(long)]
    pub target_version: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "documented on the type")]
    pub parameters: ParameterArgs,
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// See [`Command::Status`].
#[derive(Args, Debug)]
pub struct Status {
    /// Only nodes that this label selector matches.
    #[arg(long, value_name = "SELECTOR")]
    pub node_selector: Option<String>,
    /// Go on until somebody ends it: a live table on a terminal, and a line for each change elsewhere.
    #[arg(long, short)]
    pub watch: bool,
    /// How to print it.
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// See [`Command::Completion`].
#[derive(Args, Debug)]
pub struct Completion {
    /// The shell.
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// How to print a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

fn namespaced(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('/').filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty());
    parts
        .map(|(namespace, name)| (namespace.to_owned(), name.to_owned()))
        .ok_or_else(|| "must be NAMESPACE/NAME".to_owned())
}

/// See [`Command::Finish`].
#[derive(Args, Debug)]
pub struct Finish {
    #[command(flatten)]
    #[expect(missing_docs, reason = "documented on the type")]
    pub run: RunArgs,
    /// How the Workflow ended, as Argo says it.
    #[arg(long)]
    pub workflow_status: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "documented on the type")]
    pub outputs: OutputArgs,
}

/// See [`Command::Recover`].
#[derive(Args, Debug)]
pub struct Recover {
    #[command(flatten)]
    #[expect(missing_docs, reason = "documented on the type")]
    pub run: RunArgs,
    #[command(flatten)]
    #[expect(missing_docs, reason = "documented on the type")]
    pub parameters: ParameterArgs,
}

/// See [`Command::Preflight`].
#[derive(Args, Debug)]
pub struct Preflight {
    /// Namespace that Workflows run in.
    #[arg(long)]
    pub workflow_namespace: String,
    /// Name of the `WorkflowTemplate`.
    #[arg(long, default_value = klm_core::contract::CHART_NAME)]
    pub workflow_template: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "documented on the type")]
    pub parameters: ParameterArgs,
}
