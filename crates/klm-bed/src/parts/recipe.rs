//! The table of parts: module folder, packages, version stamps; and the key of a built part.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::paths;

/// One Go module in `tests/bed/` and the programs that come out of it.
#[derive(Debug)]
pub struct Part {
    /// The folder below `tests/bed/`.
    pub name: &'static str,
    /// The module whose version is the part's version.
    module: &'static str,
    /// What to build.
    pub programs: &'static [Program],
    /// Variables that take the version: `{version}`, `{major}` and `{minor}` are replaced.
    stamps: &'static [&'static str],
    /// Whether the module's sources have to be repaired and its data files kept: Argo only.
    pub(super) upstream: Option<&'static str>,
    /// Whether a cluster of real nodes does without it: it is built when something asks for it.
    pub(super) optional: bool,
}

/// One program of a part.
#[derive(Debug)]
pub struct Program {
    /// The package that has the `main` function.
    pub package: &'static str,
    /// The file name.
    pub file: &'static str,
    /// Other names by which the same file is called.
    pub also: &'static [&'static str],
}

impl Program {
    /// Every name that the program can be called by.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.file).chain(self.also.iter().copied())
    }
}

const fn program(package: &'static str, file: &'static str) -> Program {
    Program { package, file, also: &[] }
}

/// Every part of the cluster. The small ones come first, so that a mistake shows early.
pub const PARTS: &[Part] = &[
    Part {
        name: "pods",
        module: "",
        programs: &[Program { package: ".", file: "pods", also: &["pause", "verify"] }],
        stamps: &[],
        upstream: None,
        optional: false,
    },
    Part {
        name: "registry",
        module: "github.com/google/go-containerregistry",
        programs: &[program("github.com/google/go-containerregistry/cmd/crane", "crane")],
        stamps: &[],
        upstream: None,
        optional: false,
    },
    Part {
        name: "actionlint",
        module: "github.com/rhysd/actionlint",
        programs: &[program("github.com/rhysd/actionlint/cmd/actionlint", "actionlint")],
        stamps: &[],
        upstream: None,
        optional: true,
    },
    Part {
        name: "kubernetes",
        module: "k8s.io/kubernetes",
        programs: &[
            Program {
                package: ".",
                file: "kubernetes",
                also: &["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet"],
            },
            program("./kubectl", "kubectl"),
        ],
        // Without these stamps Helm sees a nonsense Kubernetes version, and charts compare it.
        stamps: &[
            "k8s.io/component-base/version.gitVersion={version}",
            "k8s.io/component-base/version.gitMajor={major}",
            "k8s.io/component-base/version.gitMinor={minor}",
            "k8s.io/client-go/pkg/version.gitVersion={version}",
            "k8s.io/client-go/pkg/version.gitMajor={major}",
            "k8s.io/client-go/pkg/version.gitMinor={minor}",
        ],
        upstream: None,
        optional: false,
    },
    Part {
        name: "etcd",
        module: "go.etcd.io/etcd/server/v3",
        programs: &[program("go.etcd.io/etcd/server/v3", "etcd")],
        stamps: &[],
        upstream: None,
        optional: false,
    },
    Part {
        name: "helm",
        module: "helm.sh/helm/v4",
        programs: &[program("helm.sh/helm/v4/cmd/helm", "helm")],
        stamps: &["helm.sh/helm/v4/internal/version.version={version}"],
        upstream: None,
        optional: false,
    },
    Part {
        name: "containerd",
        module: "github.com/containerd/containerd/v2",
        programs: &[
            program("github.com/containerd/containerd/v2/cmd/containerd", "containerd"),
            program("github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2", "containerd-shim-runc-v2"),
            program("github.com/containerd/containerd/v2/cmd/ctr", "ctr"),
        ],
        stamps: &["github.com/containerd/containerd/v2/version.Version={version}"],
        upstream: None,
        optional: false,
    },
    Part {
        name: "argo",
        module: "github.com/argoproj/argo-workflows/v3",
        programs: &[
            program("github.com/argoproj/argo-workflows/v3/cmd/workflow-controller", "workflow-controller"),
            program("github.com/argoproj/argo-workflows/v3/cmd/argoexec", "argoexec"),
            program("github.com/argoproj/argo-workflows/v3/cmd/argo", "argo"),
        ],
        stamps: &["github.com/argoproj/argo-workflows/v3.version={version}"],
        upstream: Some("argo-workflows"),
        optional: false,
    },
    Part {
        name: "kwok",
        module: "sigs.k8s.io/kwok",
        programs: &[program("sigs.k8s.io/kwok/cmd/kwok", "kwok")],
        stamps: &[],
        upstream: None,
        optional: true,
    },
];

/// The part of this name.
pub fn part(name: &str) -> Result<&'static Part> {
    PARTS.iter().find(|part| part.name == name).with_context(|| format!("the cluster has no part called `{name}`"))
}

impl Part {
    /// The folder with the module files.
    pub fn sources(&self) -> PathBuf {
        paths::modules().join(self.name)
    }

    /// The version that the module file requires; `v0` for our own programs, which have none.
    pub fn version(&self) -> Result<String> {
        if self.module.is_empty() {
            return Ok("v0".to_owned());
        }
        let file = self.sources().join("go.mod");
        let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        required_version(&text, self.module)
            .map(str::to_owned)
            .with_context(|| format!("{} doesn't require {}", file.display(), self.module))
    }

    /// The linker flags: small files, and the version where the program looks for its own.
    pub fn ldflags(&self) -> Result<String> {
        let version = self.version()?;
        let mut numbers = version.trim_start_matches('v').split('.');
        let major = numbers.next().unwrap_or_default();
        let minor = numbers.next().unwrap_or_default();
        let mut flags = "-s -w".to_owned();
        for stamp in self.stamps {
            let stamp = stamp.replace("{version}", &version).replace("{major}", major).replace("{minor}", minor);
            let _ = write!(flags, " -X {stamp}");
        }
        Ok(flags)
    }

    /// Where the built part lies, or will.
    ///
    /// The name holds the hash of everything that it is made from, so that a change of one module builds one part again.
    pub fn folder(&self) -> Result<PathBuf> {
        let mut hash = Sha256::new();
        for file in files(&self.sources())? {
            let name = file.strip_prefix(self.sources()).unwrap_or(&file);
            let content = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
            hash.update(name.to_string_lossy().as_bytes());
            hash.update([0]);
            hash.update((content.len() as u64).to_le_bytes());
            hash.update(content);
        }
        for program in self.programs {
            hash.update(program.package);
            for name in program.names() {
                hash.update(name);
            }
        }
        hash.update(self.ldflags()?);
        hash.update(std::env::consts::ARCH);
        let key = hex(&hash.finalize())[..12].to_owned();
        Ok(super::folder().join(format!("{}-{key}", self.name)))
    }
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Every file below a folder, sorted, so that a hash over them is stable.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read the folder {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn required_version<'a>(go_mod: &'a str, module: &str) -> Option<&'a str> {
    go_mod.lines().find_map(|line| {
        let mut words = line.trim().trim_start_matches("require ").split_whitespace();
        (words.next() == Some(module)).then(|| words.next()).flatten().filter(|version| version.starts_with('v'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_has_a_version_and_a_key() {
        for part in PARTS {
            assert!(part.version().unwrap().starts_with('v'), "{}", part.name);
            let folder = part.folder().unwrap();
            let name = folder.file_name().unwrap().to_str().unwrap();
            assert_eq!(name.len(), part.name.len() + 13, "{name}");
        }
    }

    #[test]
    fn no_two_parts_share_a_program() {
        let mut names: Vec<_> = PARTS.iter().flat_map(|part| part.programs).flat_map(Program::names).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn a_version_is_read_from_both_forms_of_a_requirement() {
        let text = "module x\nrequire a.b/c v1.2.3\nrequire (\n\td.e/f v0.4.0 // indirect\n)\nreplace a.b/d => ./x\n";
        assert_eq!(required_version(text, "a.b/c"), Some("v1.2.3"));
        assert_eq!(required_version(text, "d.e/f"), Some("v0.4.0"));
        assert_eq!(required_version(text, "a.b/d"), None);
    }

    #[test]
    fn kubernetes_is_stamped_with_its_version() {
        let flags = part("kubernetes").unwrap().ldflags().unwrap();
        assert!(flags.contains("gitVersion=v1."), "{flags}");
        assert!(flags.contains("gitMajor=1 "), "{flags}");
    }
}
