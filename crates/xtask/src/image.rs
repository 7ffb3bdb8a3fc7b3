//! `cargo xtask image`: the image of the workflow's steps, without Docker, for every architecture that it is published for.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use klm_bed::image::{Compression, Image, Layout};
use klm_bed::paths;
use klm_bed::utils::{self, Arch};
use klm_core::contract::UTILS_IMAGE;

/// Which images to build, and where to.
#[derive(Args)]
pub struct Task {
    /// Architecture, as Go names it; can be given several times [default: this machine's]
    #[arg(long, value_name = "ARCH")]
    arch: Vec<Arch>,
    /// Every architecture that the image is published for
    #[arg(long, conflicts_with = "arch")]
    all: bool,
    /// Folder for the image, as an OCI layout [default: image below cargo's target folder]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Only put the programs of one architecture into this folder: the Dockerfile's part of the work
    #[arg(long, value_name = "DIR", conflicts_with_all = ["all", "out"])]
    programs: Option<PathBuf>,
}

pub fn run(task: &Task) -> Result<ExitCode> {
    let arches = if task.all {
        Arch::ALL.to_vec()
    } else if task.arch.is_empty() {
        vec![Arch::host()?]
    } else {
        task.arch.clone()
    };
    // Docker's builder has no emulator; the workflow starts the finished image on every architecture instead.
    let start = task.programs.is_none();
    let missing = utils::missing(&arches, start);
    if !missing.is_empty() {
        bail!("this machine can't build the image yet\nhint: {}", missing.join("\nhint: "));
    }
    match (&task.programs, arches.as_slice()) {
        (Some(folder), [arch]) => utils::build(*arch, folder, &|line| eprintln!("{line}"))?,
        (Some(_), _) => bail!("--programs takes one --arch"),
        (None, arches) => {
            let out = task.out.clone().unwrap_or_else(|| paths::workspace().join("target/image"));
            layout(arches, &out)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn layout(arches: &[Arch], out: &Path) -> Result<()> {
    let mut images: Vec<Image> = Vec::new();
    for arch in arches {
        let programs = paths::workspace().join("target/image-programs").join(arch.as_str());
        utils::build(*arch, &programs, &|line| eprintln!("{line}"))?;
        for (program, version) in utils::start(*arch, &programs)? {
            eprintln!("{program} starts on {}: {version}", arch.as_str());
        }
        images.push(utils::image(*arch, |program| Ok(programs.join(program)))?);
    }
    if out.exists() {
        // Blobs of an earlier build would stay in the layout, unnamed, for ever.
        fs::remove_dir_all(out).with_context(|| format!("cannot replace {}", out.display()))?;
    }
    let mut layout = Layout::create(out)?.compression(Compression::Gzip);
    let digest = layout.add_platforms(&images, &[UTILS_IMAGE])?;
    layout.finish()?;
    eprintln!("{UTILS_IMAGE}@{digest} is in {}", out.display());
    Ok(())
}
