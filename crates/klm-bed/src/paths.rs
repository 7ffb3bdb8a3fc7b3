//! Where the bed keeps things: built parts in the user's cache, a running cluster in its run folder.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The checked-out repository that this crate was compiled in.
pub fn workspace() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).unwrap_or(manifest).to_owned()
}

/// Where cargo puts what it builds.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// The folder of the bed's Go modules.
pub fn modules() -> PathBuf {
    workspace().join("tests/bed")
}

/// Copies a folder and all that is in it. The copies have ordinary modes, wherever they come from: files in Go's cache are
/// read-only, and copies must be possible to repair and to remove.
pub fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::write(&target, fs::read(entry.path())?)?;
        }
    }
    Ok(())
}

/// What can be made again: built parts and images. Safe to delete while no cluster runs.
pub fn cache() -> PathBuf {
    let base = absolute_env("XDG_CACHE_HOME")
        .or_else(|| absolute_env("HOME").map(|home| home.join(".cache")))
        .unwrap_or_else(|| PathBuf::from("/var/cache"));
    base.join("kata-lifecycle-manager")
}

/// The folder that holds one folder for each running cluster.
///
/// Not in `/tmp`, which may be a tmpfs: containers unpack here, and overlay mounts need a real file system.
pub fn runs() -> PathBuf {
    absolute_env("KLM_BED_RUNS").unwrap_or_else(|| PathBuf::from("/var/lib/klm-bed"))
}

// The XDG specification says that a relative path in these variables is to be ignored.
fn absolute_env(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
}
