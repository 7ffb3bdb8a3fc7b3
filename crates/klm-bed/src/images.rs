//! The images that a cluster starts with, put together from the built parts and our own programs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::cargo::cargo;
use crate::control_plane::EXECUTOR_IMAGE;
use crate::image::{Image, Layer, Layout, Platform};
use crate::node::PAUSE_IMAGE;
use crate::parts::{self, Parts};
use crate::utils::{self, Arch};
use crate::{paths, process};

/// The chart's default image.
pub const UTILS_IMAGE: &str = "ghcr.io/kata-containers/lifecycle-manager-utils:latest";
/// The small program that a verification pod of the tests runs: `tests/bed/pods/main.go` says what it can do.
pub const VERIFY_IMAGE: &str = "bed.local/verify:1";
/// The image of the verification pod in the documentation; here it has busybox.
pub const SHELL_IMAGE: &str = "quay.io/kata-containers/alpine-bash-curl:latest";

/// An image and every name that it goes by.
#[derive(Clone, Debug)]
pub struct Named {
    /// What its folder's name begins with.
    pub title: &'static str,
    /// The names.
    pub names: Vec<String>,
    /// The image.
    pub image: Image,
}

/// Our own programs, linked so that they run in an empty image.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The product.
    pub step: PathBuf,
    /// The stand-in for kata-deploy.
    pub standin: PathBuf,
}

impl Programs {
    /// Builds them with Cargo: seconds when nothing has changed.
    pub fn build() -> Result<Self> {
        let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        process::run(
            cargo()
                // A target that is named keeps these flags, and the files, apart from an ordinary build.
                .env("RUSTFLAGS", "-C target-feature=+crt-static")
                .args(["build", "--quiet", "--locked", "--profile", "bed", "--target", &target])
                .args(["--package", "klm-step", "--package", "klm-standin"]),
        )
        .context("cannot build the programs that run in the cluster")?;
        let folder = paths::target().join(target).join("bed");
        Ok(Self { step: folder.join("klm-step"), standin: folder.join("klm-standin") })
    }
}

/// The images that every cluster needs, whatever is tested.
pub fn base(parts: &Parts) -> Result<Vec<Named>> {
    let one = |title, name: String, image| Named { title, names: vec![name], image };
    Ok(vec![
        one("pause", PAUSE_IMAGE.to_owned(), pause(parts)?),
        one("verify", VERIFY_IMAGE.to_owned(), verify(parts)?),
        one("shell", SHELL_IMAGE.to_owned(), shell()?),
        one("argoexec", format!("{EXECUTOR_IMAGE}:{}", parts::version("argo")?), argoexec(parts)?),
    ])
}

/// The images with our own programs.
pub fn product(parts: &Parts, programs: &Programs) -> Result<Vec<Named>> {
    let names: BTreeSet<String> =
        klm_standin::chart::VERSIONS.iter().flat_map(klm_standin::image::references).collect();
    Ok(vec![
        Named { title: "utils", names: vec![UTILS_IMAGE.to_owned()], image: utils(parts, &programs.step)? },
        Named { title: "standin", names: names.into_iter().collect(), image: standin(&programs.standin) },
    ])
}

/// An image that is written, and the names that it goes by in a cluster.
#[derive(Clone, Debug)]
pub struct Written {
    /// The names.
    pub names: Vec<String>,
    /// Its layout.
    pub layout: PathBuf,
}

/// Writes the image into the cache, unless it is there.
pub fn write(wanted: &Named) -> Result<Written> {
    let names: Vec<&str> = wanted.names.iter().map(String::as_str).collect();
    let folder = paths::cache().join("images");
    let key = &wanted.image.fingerprint(&names)?[..12];
    let path = folder.join(format!("{}-{key}", wanted.title));
    if !path.exists() {
        fs::create_dir_all(&folder)?;
        remove_older(&folder, wanted.title);
        let scratch = tempfile::tempdir_in(&folder)?;
        let whole = scratch.path().join("layout");
        let mut layout = Layout::create(&whole)?;
        layout.add(&wanted.image, &[])?;
        layout.finish()?;
        if let Err(error) = fs::rename(&whole, &path) {
            // Another process that wrote the same in the meantime is as good.
            if !path.exists() {
                return Err(error).with_context(|| format!("cannot write {}", path.display()));
            }
        }
    }
    Ok(Written { names: wanted.names.clone(), layout: path })
}

// Every change of our own programs makes a new layout; the last few are enough (another cluster may just read one).
fn remove_older(folder: &Path, title: &str) {
    const KEEP: usize = 3;
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    let prefix = format!("{title}-");
    let mut layouts: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    layouts.sort();
    let excess = layouts.len().saturating_sub(KEEP);
    for (_, path) in layouts.into_iter().take(excess) {
        // One that can't be removed costs space only.
        let _ = fs::remove_dir_all(path);
    }
}

fn pause(parts: &Parts) -> Result<Image> {
    let layer = Layer::new().file("/pause", parts.path("pause")?, 0o755);
    Ok(Image::new(Platform::host()).layer(layer).user("65535:65535").entrypoint(["/pause"]))
}

fn verify(parts: &Parts) -> Result<Image> {
    let layer = people(Layer::new().file("/verify", parts.path("verify")?, 0o755));
    Ok(Image::new(Platform::host()).layer(layer).entrypoint(["/verify"]))
}

fn argoexec(parts: &Parts) -> Result<Image> {
    let layer = people(Layer::new().file("/bin/argoexec", parts.path("argoexec")?, 0o755).folder("/tmp", 0o1777));
    Ok(Image::new(Platform::host()).layer(layer).user("8737").entrypoint(["argoexec"]))
}

fn shell() -> Result<Image> {
    let busybox = ["/bin/busybox", "/usr/bin/busybox"]
        .into_iter()
        .find(|path| Path::new(path).exists())
        .context("there is no busybox here\nhint: apt-get install busybox-static")?;
    let applets = process::output(Command::new(busybox).arg("--list"))?;
    let mut layer = Layer::new().folder("/tmp", 0o1777).file("/bin/busybox", busybox, 0o755);
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        layer = layer.link(&format!("/bin/{applet}"), "busybox");
    }
    Ok(Image::new(Platform::host()).layer(people(layer)).command(["/bin/sh"]))
}

/// The published image's own recipe; only klm-step is built more quickly here.
fn utils(parts: &Parts, step: &Path) -> Result<Image> {
    // Where each program lies, not links in one folder: other clusters of the same run read the same image at the same time.
    utils::image(Arch::host()?, |program| match program {
        "klm-step" => Ok(step.to_owned()),
        part => parts.path(part).map(Path::to_owned),
    })
}

fn standin(program: &Path) -> Image {
    // One file under the paths of all upstream programs that it plays; it looks at its own name.
    let file = "/usr/local/bin/klm-standin";
    let layer = klm_standin::image::PROGRAMS
        .iter()
        .fold(Layer::new().file(file, program, 0o755), |layer, path| layer.link(path, file));
    Image::new(Platform::host()).layer(people(layer.folder("/tmp", 0o1777))).user(utils::USER).entrypoint([file])
}

fn people(layer: Layer) -> Layer {
    let passwd = "root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n";
    layer.bytes("/etc/passwd", passwd, 0o644).bytes("/etc/group", "root:x:0:\nnonroot:x:65532:\n", 0o644).bytes(
        "/etc/nsswitch.conf",
        "hosts: files dns\n",
        0o644,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clusters of one test run start at the same time, each in a process of its own.
    #[test]
    fn the_same_image_can_be_read_while_another_makes_it() {
        let folder = tempfile::tempdir().unwrap();
        let program = |name: &str| {
            let path = folder.path().join(name);
            fs::write(&path, name).unwrap();
            path
        };
        let parts = Parts::of([("helm", program("helm")), ("kubectl", program("kubectl"))]);
        let step = program("klm-step");
        let fingerprint = || utils(&parts, &step).and_then(|image| image.fingerprint(&[UTILS_IMAGE]));
        let first = fingerprint().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..20).for_each(|_| assert_eq!(fingerprint().unwrap(), first)));
            }
        });
    }
}
