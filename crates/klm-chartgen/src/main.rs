//! `cargo chart write | check | print`.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use klm_chartgen::sync;

/// Renders templates/ and the contract's tables into the chart and the documents.
#[derive(Debug, Parser)]
#[command(name = "cargo chart", bin_name = "cargo chart")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write every generated file that is stale.
    Write,
    /// Show how the files differ from what would be written; fails when they do.
    Check,
    /// Print one generated file, or the names of all.
    Print {
        /// Path from the repository's root.
        path: Option<PathBuf>,
    },
}

fn main() -> Result<ExitCode> {
    let root = sync::root();
    let mut out = std::io::stdout();
    match Cli::parse().command {
        Command::Write => {
            for path in sync::write(&root)? {
                writeln!(out, "wrote {}", path.display())?;
            }
        }
        Command::Check => {
            let report = sync::check(&root)?;
            write!(out, "{report}")?;
            if !report.is_empty() {
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::Print { path } => {
            let files = klm_chartgen::render(&sync::read(&root)?)?;
            match path {
                Some(path) => {
                    let text = files.get(&path).with_context(|| format!("`{}` isn't generated", path.display()))?;
                    write!(out, "{text}")?;
                }
                None => {
                    for path in files.keys() {
                        writeln!(out, "{}", path.display())?;
                    }
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
