//! version: what this program is, which also proves that it starts on this architecture.

use crate::exit::StepError;
use crate::terminal::write;

/// The command.
pub fn run() -> Result<(), StepError> {
    Ok(write(&format!("klm-step {} {}/{}\n", env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH))?)
}
