//! Builds the image's programs for one architecture, and says first what the machine lacks for that.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

use super::kept::{self, Ingredients};
use super::{Arch, limits};
use crate::cargo::as_from_outside;
use crate::tools::Tool;
use crate::{paths, process};

/// What is in the image.
pub const PROGRAMS: [&str; 3] = ["klm-step", "helm", "kubectl"];

/// Writes the list of crates into the program, where scanners of images look for it; Go does so by itself.
const AUDITABLE: Tool = Tool { name: "cargo-auditable", version: "0.7.7" };

/// A program that is built from the Go modules in `images/utils`.
struct GoProgram {
    name: &'static str,
    package: &'static str,
    /// The module whose version is the program's version.
    module: &'static str,
    /// Variables that take the version; `{version}` is replaced.
    stamps: &'static [&'static str],
}

const GO_PROGRAMS: [GoProgram; 2] = [
    GoProgram {
        name: "helm",
        package: "helm.sh/helm/v4/cmd/helm",
        module: "helm.sh/helm/v4",
        stamps: &["helm.sh/helm/v4/internal/version.version=v{version}"],
    },
    GoProgram {
        name: "kubectl",
        package: "./kubectl",
        module: "k8s.io/kubectl",
        // Kubernetes' libraries are numbered 0.x where Kubernetes itself is 1.x.
        stamps: &[
            "k8s.io/component-base/version.gitVersion=v1{version-after-0}",
            "k8s.io/component-base/version.gitMajor=1",
            "k8s.io/component-base/version.gitMinor={minor}",
        ],
    },
];

/// What has to be installed before the programs can be built for these architectures, as commands to type.
///
/// With `start`, also what [`super::start`] needs to run the foreign ones.
pub fn missing(arches: &[Arch], start: bool) -> Vec<String> {
    let mut packages = Vec::new();
    let mut targets = Vec::new();
    let host = Arch::host().ok();
    let installed = process::output(&mut process::words(["rustc", "--print", "sysroot"])).unwrap_or_default();
    for arch in arches {
        if !runs(arch.compiler(), "--version") {
            packages.extend(if host == Some(*arch) { vec!["gcc", "libc6-dev"] } else { arch.packages().to_vec() });
        }
        if start
            && host != Some(*arch)
            && !runs(arch.emulator(), "--version")
            && !packages.contains(&"qemu-user-static")
        {
            packages.push("qemu-user-static");
        }
        if !Path::new(installed.trim()).join("lib/rustlib").join(arch.target()).is_dir() {
            targets.push(arch.target());
        }
    }
    let mut commands = Vec::new();
    if !packages.is_empty() {
        commands.push(format!("apt-get install {}", packages.join(" ")));
    }
    if !targets.is_empty() {
        commands.push(format!("rustup target add {}", targets.join(" ")));
    }
    if !runs("go", "version") {
        commands.push("install Go, at least the version in images/utils/go.mod".to_owned());
    }
    commands
}

fn runs(program: &str, argument: &str) -> bool {
    process::run(&mut process::words([program, argument])).is_ok()
}

/// Builds every program for this architecture into a folder, statically linked, or takes it from the cache. `say` receives
/// lines for a person to read.
pub fn build(arch: Arch, folder: &Path, say: &dyn Fn(&str)) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for name in PROGRAMS {
        let started = Instant::now();
        let kept = match GO_PROGRAMS.iter().find(|program| program.name == name) {
            Some(program) => kept::program(name, arch, &of_go(program)?.borrow(), |path| go(program, arch, path))?,
            None => kept::program(name, arch, &of_step()?.borrow(), |path| cargo(arch, path, say))?,
        };
        let target = folder.join(name);
        fs::copy(&kept, &target).with_context(|| format!("cannot copy {}", kept.display()))?;
        let largest = if name == "klm-step" { limits::LARGEST } else { usize::MAX };
        let size = limits::check(&target, largest)?;
        let megabytes = size / 100_000;
        say(&format!(
            "{name} for {}: {}.{} MB, static, in {:.1} s",
            arch.as_str(),
            megabytes / 10,
            megabytes % 10,
            started.elapsed().as_secs_f32()
        ));
    }
    Ok(())
}

/// See [`Ingredients`].
struct Made {
    texts: Vec<String>,
    paths: &'static [&'static str],
}

impl Made {
    fn borrow(&self) -> Ingredients<'_> {
        Ingredients { texts: &self.texts, paths: self.paths }
    }
}

/// This file: flags are in it.
const RECIPE: &str = include_str!("programs.rs");

fn of_go(program: &GoProgram) -> Result<Made> {
    let version = process::output(&mut process::words(["go", "version"]))?;
    let paths = &["images/utils/go.mod", "images/utils/go.sum", "images/utils/kubectl"];
    Ok(Made { texts: vec![RECIPE.to_owned(), program.name.to_owned(), version], paths })
}

fn of_step() -> Result<Made> {
    let version = process::output(&mut process::words(["rustc", "--version", "--verbose"]))?;
    let paths = &[
        "Cargo.toml",
        "Cargo.lock",
        "crates/klm-core/Cargo.toml",
        "crates/klm-core/src",
        "crates/klm-step/Cargo.toml",
        "crates/klm-step/src",
    ];
    Ok(Made { texts: vec![RECIPE.to_owned(), version], paths })
}

fn cargo(arch: Arch, path: &Path, say: &dyn Fn(&str)) -> Result<()> {
    let target = arch.target();
    let variable = target.to_uppercase().replace('-', "_");
    let out = paths::target();
    say(&format!("building klm-step for {}", arch.as_str()));
    process::run(
        as_from_outside(Command::new(AUDITABLE.path(say)?))
            .current_dir(paths::workspace())
            // Flags of the machine's owner would replace ours, and the program would no longer be static.
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env(format!("CARGO_TARGET_{variable}_RUSTFLAGS"), "-C target-feature=+crt-static")
            .env(format!("CARGO_TARGET_{variable}_LINKER"), arch.compiler())
            .env(format!("CC_{}", target.replace('-', "_")), arch.compiler())
            .args(["auditable", "build", "--release", "--locked", "--package", "klm-step", "--bin", "klm-step"])
            .args(["--target", target, "--target-dir"])
            .arg(&out),
    )?;
    let program = out.join(target).join("release/klm-step");
    fs::copy(&program, path).with_context(|| format!("cannot copy {}", program.display()))?;
    Ok(())
}

fn go(program: &GoProgram, arch: Arch, path: &Path) -> Result<()> {
    let version = required_version(program.module)?;
    process::run(
        Command::new("go")
            .current_dir(sources())
            .env("CGO_ENABLED", "0")
            .env("GOOS", "linux")
            .env("GOARCH", arch.as_str())
            // A workspace file or flags of the machine's owner must not change what is built.
            .env("GOWORK", "off")
            .env("GOFLAGS", "-mod=readonly -buildvcs=false")
            .args(["build", "-trimpath", "-ldflags", &ldflags(program, &version), "-o"])
            .arg(path)
            .arg(program.package),
    )
}

fn sources() -> PathBuf {
    paths::workspace().join("images/utils")
}

fn ldflags(program: &GoProgram, version: &str) -> String {
    let after_0 = version.strip_prefix('0').unwrap_or(version);
    let minor = version.split('.').nth(1).unwrap_or_default();
    let stamps = program.stamps.iter().map(|stamp| {
        let stamp = stamp.replace("{version}", version);
        format!(" -X {}", stamp.replace("{version-after-0}", after_0).replace("{minor}", minor))
    });
    std::iter::once("-s -w".to_owned()).chain(stamps).collect()
}

/// The version of a module without its `v`, as the module file requires it.
pub(super) fn required_version(module: &str) -> Result<String> {
    let file = sources().join("go.mod");
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    text.lines()
        .map(|line| line.trim().trim_start_matches("require ").split_whitespace())
        .find_map(|mut words| (words.next() == Some(module)).then(|| words.next())?)
        .and_then(|version| version.strip_prefix('v'))
        .map(str::to_owned)
        .with_context(|| format!("{} doesn't require {module}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parts;

    #[test]
    fn helm_and_kubectl_are_stamped_with_the_versions_of_their_modules() {
        let flags: Vec<String> = GO_PROGRAMS.iter().map(|program| ldflags(program, "0.36.6")).collect();
        assert_eq!(flags[0], "-s -w -X helm.sh/helm/v4/internal/version.version=v0.36.6");
        assert!(flags[1].contains("gitVersion=v1.36.6 ") && flags[1].ends_with("gitMinor=36"), "{}", flags[1]);
    }

    /// Else the cluster's tests would prove another helm than the one that is published.
    #[test]
    fn the_test_cluster_and_the_image_have_the_same_helm() {
        let image = required_version("helm.sh/helm/v4").unwrap();
        assert_eq!(format!("v{image}"), parts::version("helm").unwrap());
    }

    #[test]
    fn helm_is_new_enough_for_the_steps() {
        let version: Vec<u64> =
            required_version("helm.sh/helm/v4").unwrap().split('.').map(|part| part.parse().unwrap()).collect();
        assert!(version >= vec![4, 2, 2], "{version:?}: 4.2.1 waits for deleted hooks until its time-out");
    }
}
