//! The stub's program, and the packer of its chart.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use semver::Version;

/// The stand-in kata-deploy.
#[derive(Parser)]
#[command(name = "klm-standin", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
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

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Package {
            out,
            unpacked,
            versions,
        } => {
            let versions = if versions.is_empty() {
                klm_standin::chart::VERSIONS.to_vec()
            } else {
                versions
            };
            for version in versions {
                let path = if unpacked {
                    klm_standin::chart::unpack(&version, &out.join(version.to_string()))?
                } else {
                    klm_standin::chart::package(&version, &out)?
                };
                eprintln!("{}", path.display());
            }
        }
    }
    Ok(())
}
