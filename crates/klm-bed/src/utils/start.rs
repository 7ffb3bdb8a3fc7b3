//! Starts each program of the image once, the foreign ones in an emulator: a program that isn't static doesn't start there.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::{Arch, PROGRAMS};
use crate::process;

/// Asks every program in the folder for its version and returns what they answered, by name.
pub fn start(arch: Arch, folder: &Path) -> Result<Vec<(&'static str, String)>> {
    PROGRAMS
        .into_iter()
        .map(|program| {
            let said = process::output(&mut command(arch, folder, program))
                .with_context(|| format!("{program} for {} doesn't start", arch.as_str()))?;
            Ok((program, said.lines().next().unwrap_or_default().to_owned()))
        })
        .collect()
}

fn command(arch: Arch, folder: &Path, program: &str) -> Command {
    let path = folder.join(program);
    let mut command = if Arch::host().is_ok_and(|host| host == arch) {
        Command::new(path)
    } else {
        let mut emulated = Command::new(arch.emulator());
        emulated.arg(path);
        emulated
    };
    // As in the image: nothing to find, neither settings nor libraries.
    command.env_clear().env("HOME", "/nonexistent");
    match program {
        "helm" => command.args(["version", "--template", "{{.Version}} {{.GoVersion}}"]),
        "kubectl" => command.args(["version", "--client"]),
        _ => command.arg("version"),
    };
    command
}
