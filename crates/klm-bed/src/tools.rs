//! Programs of the Rust world that cargo installs once, at a stated version, into the cache.

use std::path::PathBuf;

use anyhow::Result;

use crate::cargo::cargo;
use crate::{paths, process};

/// A program on the crates' registry, of the same name as its crate.
#[derive(Clone, Copy, Debug)]
pub struct Tool {
    /// The crate and the program.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
}

impl Tool {
    /// The program's path; installs it first if it isn't in the cache. `say` receives lines for a person to read.
    pub fn path(self, say: &dyn Fn(&str)) -> Result<PathBuf> {
        let root = paths::cache().join(format!("{}-{}", self.name, self.version));
        let program = root.join("bin").join(self.name);
        if !program.is_file() {
            say(&format!("installing {} {}", self.name, self.version));
            process::run(
                cargo()
                    // Flags for the product aren't meant for the tool.
                    .env_remove("RUSTFLAGS")
                    .env_remove("CARGO_ENCODED_RUSTFLAGS")
                    .env_remove("CARGO_BUILD_TARGET")
                    .args(["install", "--quiet", "--locked", self.name, "--version", self.version, "--root"])
                    .arg(&root),
            )?;
        }
        Ok(program)
    }
}
