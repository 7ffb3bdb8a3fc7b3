//! Builds the parts that aren't there yet, one line of progress for each.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};

use super::recipe::{PARTS, Part, Program};
use super::{Parts, folder};
use crate::{paths, process};

/// Builds what is missing of the parts that every cluster needs. `say` receives lines for a person to read.
pub fn build(say: &dyn Fn(&str)) -> Result<Parts> {
    for part in PARTS.iter().filter(|part| !part.optional) {
        build_missing(part, say)?;
    }
    Parts::find()
}

/// Builds every part that is missing.
pub fn build_all(say: &dyn Fn(&str)) -> Result<()> {
    PARTS.iter().try_for_each(|part| build_missing(part, say))
}

/// Builds only the part that this program belongs to, if it is missing, and returns the program's path.
pub fn build_one(program: &str, say: &dyn Fn(&str)) -> Result<PathBuf> {
    let part = PARTS
        .iter()
        .find(|part| part.programs.iter().flat_map(Program::names).any(|name| name == program))
        .with_context(|| format!("no part of the cluster is called `{program}`"))?;
    build_missing(part, say)?;
    Ok(part.folder()?.join(program))
}

fn build_missing(part: &Part, say: &dyn Fn(&str)) -> Result<()> {
    let target = part.folder()?;
    if target.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(folder()).with_context(|| format!("cannot create {}", folder().display()))?;
    let _lock = lock(part)?;
    // Another process may have built it while we waited for the lock.
    if target.is_dir() {
        return Ok(());
    }
    let started = Instant::now();
    say(&format!("building {} {}", part.name, part.version()?));
    build_part(part, &target).with_context(|| format!("cannot build the part `{}`", part.name))?;
    say(&format!("built {} {} in {:.1} s", part.name, part.version()?, started.elapsed().as_secs_f32()));
    Ok(())
}

// Two clusters that start at the same time must not compile Kubernetes twice.
fn lock(part: &Part) -> Result<Flock<fs::File>> {
    let path = folder().join(format!("{}.lock", part.name));
    let file = fs::File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, errno)| errno)
        .with_context(|| format!("cannot lock {}", path.display()))
}

// Everything is made in a folder beside the target and moved there at the end: a folder with the final name is whole.
fn build_part(part: &Part, target: &Path) -> Result<()> {
    let scratch = tempfile::Builder::new().prefix(&format!("{}.building-", part.name)).tempdir_in(folder())?;
    let out = scratch.path().join("out");
    fs::create_dir(&out)?;
    let sources = match part.upstream {
        Some(copy) => repaired(part, copy, scratch.path(), &out)?,
        None => part.sources(),
    };
    for program in part.programs {
        process::run(
            Command::new("go")
                .current_dir(&sources)
                .env("CGO_ENABLED", "0")
                // A workspace file or flags of the machine's owner must not change what is built.
                .env("GOWORK", "off")
                .env("GOFLAGS", "-mod=readonly -buildvcs=false")
                .args(["build", "-trimpath", "-ldflags", &part.ldflags()?, "-o"])
                .arg(out.join(program.file))
                .arg(program.package),
        )?;
        for name in program.also {
            std::os::unix::fs::symlink(program.file, out.join(name))?;
        }
    }
    fs::rename(&out, target).with_context(|| format!("cannot move the built part to {}", target.display()))
}

/// Copies the module out of Go's cache, repairs it, and keeps its data files beside the programs.
///
/// Archives of Go modules drop symbolic links and built files, and Argo needs one of each:
/// `signal_linux.go`, upstream a link to the file for darwin, and the web interface that its command line embeds.
fn repaired(part: &Part, copy: &str, scratch: &Path, out: &Path) -> Result<PathBuf> {
    let module = downloaded(&part.sources().join("upstream"), &part.version()?)?;
    for file in ["go.mod", "go.sum"] {
        fs::copy(part.sources().join(file), scratch.join(file))?;
    }
    let sources = scratch.join(copy);
    paths::copy_tree(&module, &sources)?;
    let signals = sources.join("workflow/executor/osspecific");
    fs::copy(signals.join("signal_darwin.go"), signals.join("signal_linux.go"))?;
    let page = sources.join("ui/dist/app");
    fs::create_dir_all(&page)?;
    fs::write(page.join("index.html"), "The bed has no web interface.\n")?;

    let files = out.join("files");
    paths::copy_tree(&module.join("manifests"), &files.join("manifests"))?;
    fs::copy(module.join("api/jsonschema/schema.json"), files.join("schema.json"))?;
    Ok(scratch.to_owned())
}

/// The folder of a downloaded module; `go` checks it against the committed `go.sum`.
fn downloaded(pin: &Path, version: &str) -> Result<PathBuf> {
    let text = fs::read_to_string(pin.join("go.mod"))?;
    let module = text
        .lines()
        .find_map(|line| line.strip_prefix("require ")?.split_whitespace().next())
        .context("the upstream module file requires nothing")?;
    let told = process::output(
        Command::new("go")
            .current_dir(pin)
            .env("GOWORK", "off")
            .args(["mod", "download", "-json"])
            .arg(format!("{module}@{version}")),
    )?;
    let told: serde_json::Value = serde_json::from_str(&told)?;
    told["Dir"].as_str().map(PathBuf::from).context("go named no folder for the module")
}
