//! The cluster's programs: which there are, at which version, and where the built ones lie.

mod build;
mod recipe;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

pub use build::{build, build_all, build_one};
pub(crate) use recipe::hex;
pub use recipe::{PARTS, Part};

use crate::paths;

/// The built programs of the cluster.
#[derive(Clone, Debug)]
pub struct Parts {
    programs: BTreeMap<&'static str, PathBuf>,
    argo: PathBuf,
}

impl Parts {
    /// The parts as built before; an error names those that aren't, and that every cluster needs.
    pub fn find() -> Result<Self> {
        let mut programs = BTreeMap::new();
        let mut missing = Vec::new();
        for part in PARTS {
            let folder = part.folder()?;
            if !folder.is_dir() {
                if !part.optional {
                    missing.push(part.name);
                }
                continue;
            }
            for program in part.programs {
                for name in program.names() {
                    programs.insert(name, folder.join(name));
                }
            }
        }
        if !missing.is_empty() {
            bail!("parts of the cluster aren't built: {}\nhint: cargo xtask cluster build", missing.join(", "));
        }
        let argo = recipe::part("argo")?.folder()?.join("files");
        Ok(Self { programs, argo })
    }

    /// Programs that a test made itself.
    #[cfg(test)]
    pub(crate) fn of(programs: impl IntoIterator<Item = (&'static str, PathBuf)>) -> Self {
        Self { programs: programs.into_iter().collect(), argo: PathBuf::new() }
    }

    /// The path of a program, such as `helm`, `kubectl`, `argo` or `etcd`.
    pub fn path(&self, program: &str) -> Result<&Path> {
        self.programs.get(program).map(PathBuf::as_path).with_context(|| {
            format!("`{program}` isn't built, or isn't a part of the cluster\nhint: cargo xtask cluster build")
        })
    }

    /// Every program with its path.
    pub fn programs(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        self.programs.iter().map(|(name, path)| (*name, path.as_path()))
    }

    /// The JSON schema of Argo's objects, as published with this version.
    pub fn argo_schema(&self) -> PathBuf {
        self.argo.join("schema.json")
    }

    /// Argo's published manifests: `base/crds/{minimal,full}`, `cluster-install-no-crds` and so on.
    pub fn argo_manifests(&self) -> PathBuf {
        self.argo.join("manifests")
    }
}

/// The version of a part, as its module file pins it.
pub fn version(part: &str) -> Result<String> {
    recipe::part(part)?.version()
}

/// Where parts are kept, each in a folder named by its name and the hash of what it is made from.
pub fn folder() -> PathBuf {
    paths::cache().join("parts")
}
