//! Narrative on stderr: fields first, then a short constant message. Data goes to stdout, by `report` alone.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Sets up the log once. `RUST_LOG` chooses the level; colours only on a terminal.
pub fn init() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // Fails only when a logger is set already, which a test may have done.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .compact()
        .try_init();
}
