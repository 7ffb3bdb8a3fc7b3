//! How the program is called: by the name of one of upstream's programs, or with a command.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use klm_standin::script::Stage;
use klm_standin::truth::Mode;
use semver::Version;

/// The stand-in kata-deploy.
#[derive(Parser)]
#[command(name = "klm-standin", version)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum ModeWord {
    Daemonset,
    Job,
}

impl From<ModeWord> for Mode {
    fn from(word: ModeWord) -> Self {
        match word {
            ModeWord::Daemonset => Self::Daemonset,
            ModeWord::Job => Self::Job,
        }
    }
}

#[derive(Subcommand)]
pub enum Command {
    /// Be a pod of the `DaemonSet`.
    Install,
    /// Be the `preStop` of 3.27.0.
    Cleanup,
    /// Be a per-node Job's first container.
    InstallStageHostCheck,
    /// Be a per-node Job's second container.
    InstallStageArtifacts,
    /// Be a per-node Job's third container.
    InstallStageCri,
    /// Be a per-node Job's last container, before 4.1.0.
    InstallStageLabel,
    /// Be a cleanup Job's first container, before 4.1.0.
    CleanupStageUnlabel,
    /// Be a cleanup Job's container.
    CleanupStageRevertCri,
    /// Be a cleanup Job's last container.
    CleanupStageRemoveArtifacts,
    /// Be the post-delete hook.
    DeleteKept,
    /// Be the chart's own verification.
    VerifyRelease {
        /// The release's mode.
        #[arg(long, value_enum)]
        mode: ModeWord,
        /// Seconds that the `DaemonSet` may take.
        #[arg(long, value_parser = seconds)]
        daemonset_timeout: Duration,
    },
    /// Be all of kata-deploy's pods on simulated nodes, with the kubeconfig's rights.
    Play {
        /// The release's namespace.
        #[arg(long, default_value = "kube-system")]
        namespace: String,
        /// How long an installation takes, like `30s`.
        #[arg(long, value_parser = klm_standin::injection::duration)]
        install_time: Option<Duration>,
        /// The annotation of simulated nodes.
        #[arg(long, default_value = "kwok.x-k8s.io/node=fake", value_parser = pair)]
        simulated: (String, String),
    },
    /// Let the pods of a namespace read injections and record the truth, with the kubeconfig's rights.
    Prepare {
        /// The release's namespace.
        #[arg(long, default_value = "kube-system")]
        namespace: String,
    },
    /// Pack the chart, of one version or of all.
    Package {
        /// Where the packages go.
        #[arg(long, default_value = ".")]
        out: PathBuf,
        /// Write folders instead of packages.
        #[arg(long)]
        unpacked: bool,
        /// Versions to pack; all that the stand-in plays if none is named.
        versions: Vec<Version>,
    },
}

impl Command {
    /// The container of a per-node Job that this command is, if it is one.
    pub fn stage(&self) -> Option<Stage> {
        match self {
            Self::InstallStageHostCheck => Some(Stage::HostCheck),
            Self::InstallStageArtifacts => Some(Stage::Artifacts),
            Self::InstallStageCri => Some(Stage::Cri),
            Self::InstallStageLabel => Some(Stage::Label),
            Self::CleanupStageUnlabel => Some(Stage::Unlabel),
            Self::CleanupStageRevertCri => Some(Stage::RevertCri),
            Self::CleanupStageRemoveArtifacts => Some(Stage::RemoveArtifacts),
            _ => None,
        }
    }
}

/// What the program is asked to be.
pub enum Call {
    /// A dispatcher, with its own flags.
    Dispatch(Vec<String>),
    /// kata-monitor.
    Monitor,
    /// One of our commands.
    Command(Cli),
}

impl Call {
    /// Looks at the program's own name first: the image holds it once, under each name that upstream's images have.
    pub fn of(arguments: Vec<String>) -> Self {
        let name = arguments.first().and_then(|path| Path::new(path).file_name()?.to_str()).unwrap_or_default();
        match name {
            "kata-deploy-job-dispatcher" | "k8s-job-dispatcher" => Self::Dispatch(arguments[1..].to_vec()),
            "kata-monitor" => Self::Monitor,
            _ => Self::Command(Cli::parse_from(arguments)),
        }
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("`{text}` isn't `name=value`"))?;
    Ok((name.to_owned(), value.to_owned()))
}

fn seconds(text: &str) -> Result<Duration, std::num::ParseIntError> {
    text.parse().map(Duration::from_secs)
}
