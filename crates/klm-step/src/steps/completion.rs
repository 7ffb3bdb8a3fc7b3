//! completion: what a shell needs to complete our command line.

use clap::CommandFactory as _;

use crate::cli::{self, Cli};
use crate::exit::StepError;
use crate::terminal::write;

/// The command.
pub fn run(args: &cli::Completion) -> Result<(), StepError> {
    Ok(write(&script(args.shell))?)
}

fn script(shell: clap_complete::Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "klm-step", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use clap_complete::Shell;

    use super::*;

    #[test]
    fn every_shell_learns_every_command_and_flag() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = script(shell);
            for word in ["status", "rollback-node", "batch-size", "watch"] {
                assert!(script.contains(word), "{shell} doesn't know `{word}`");
            }
        }
    }
}
