//! Starting cargo from a program that cargo runs.

use std::ffi::OsString;
use std::process::Command;

use crate::paths;
use crate::process::words;

/// Cargo, in the workspace.
pub fn cargo() -> Command {
    in_workspace(Command::new(program()))
}

/// The same, and all that it starts, for what nobody waits for: it leaves the processors to others.
pub fn patient_cargo() -> Command {
    let mut command = words(["nice", "-n", "10"]);
    command.arg(program());
    in_workspace(command)
}

fn program() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn in_workspace(command: Command) -> Command {
    let mut command = as_from_outside(command);
    command.current_dir(paths::workspace());
    command
}

/// Takes away what `cargo run` tells about the package that it runs. Some build scripts are run again when these variables
/// differ (`ring`'s is one), and each `cargo xtask` would compile everything above them twice: outside and inside.
pub fn as_from_outside(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
            command.env_remove(name);
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_starts_as_if_cargo_had_not_started_us() {
        let command = cargo();
        let removed: Vec<_> = command.get_envs().filter(|(_, value)| value.is_none()).map(|(name, _)| name).collect();
        // These tests were started by cargo as well.
        for name in ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME"] {
            assert!(removed.contains(&name.as_ref()), "{name} stays: {removed:?}");
        }
    }
}
