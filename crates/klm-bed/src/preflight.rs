//! What this machine needs before a cluster can start: everything that is missing is said at once, with how to get it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::{parts, paths, process};

const GIB: u64 = 1 << 30;

/// One thing that is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// What, in words.
    what: String,
    /// How to get it.
    how: String,
    /// The Debian package that has it.
    package: Option<&'static str>,
}

/// A file that must be in one of these places.
struct Tool {
    places: &'static [&'static str],
    package: &'static str,
    what_for: &'static str,
}

const TOOLS: &[Tool] = &[
    Tool { places: &["ip"], package: "iproute2", what_for: "network namespaces" },
    Tool { places: &["nsenter"], package: "util-linux", what_for: "entering a node" },
    Tool { places: &["unshare"], package: "util-linux", what_for: "process namespaces" },
    Tool { places: &["setsid"], package: "util-linux", what_for: "leaving the terminal" },
    Tool { places: &["setpriv"], package: "util-linux", what_for: "a control plane that isn't root" },
    Tool { places: &["mount"], package: "mount", what_for: "the kubelet's volumes" },
    Tool { places: &["runc"], package: "runc", what_for: "running containers" },
    Tool {
        places: &["/usr/lib/cni/bridge", "/opt/cni/bin/bridge"],
        package: "containernetworking-plugins",
        what_for: "the pods' network",
    },
    Tool {
        places: &["/bin/busybox", "/usr/bin/busybox"],
        package: "busybox-static",
        what_for: "the image of the verification pods",
    },
    Tool {
        places: &["/usr/share/ca-certificates/mozilla"],
        package: "ca-certificates",
        what_for: "the image with helm",
    },
];

/// Looks for everything and names what isn't there.
pub fn missing() -> Vec<Missing> {
    let mut found = Vec::new();
    if !nix::unistd::geteuid().is_root() {
        found.push(Missing {
            what: "root: namespaces, mounts and containers need it".to_owned(),
            how: "run the same command with sudo -E, or give --kubeconfig for a cluster that is already there (kind)"
                .to_owned(),
            package: None,
        });
    }
    for tool in TOOLS {
        if !tool.places.iter().any(|place| exists(place)) {
            found.push(Missing {
                what: format!("{} (for {})", tool.places[0], tool.what_for),
                how: format!("apt-get install {}", tool.package),
                package: Some(tool.package),
            });
        }
    }
    if !has_file_system("overlay") {
        found.push(Missing {
            what: "the kernel's overlay file system".to_owned(),
            how: "modprobe overlay".to_owned(),
            package: None,
        });
    }
    let built = parts::Parts::find().is_ok();
    if !built && !exists("go") {
        found.push(Missing {
            what: "Go 1.24 or newer, to build the cluster's programs once".to_owned(),
            how: "https://go.dev/doc/install (Debian's package is too old)".to_owned(),
            package: None,
        });
    }
    // Building fills Go's caches (8 GB); unpacked images are shared by all nodes of all clusters.
    found.extend(lacks_disk(&paths::cache(), if built { 3 } else { 15 }));
    found.extend(lacks_disk(&paths::runs(), 2));
    found.extend(lacks_memory(if built { 3 } else { 4 }));
    found
}

/// Returns when nothing is missing. With `install`, Debian packages are installed first.
pub fn check(install: bool, say: &dyn Fn(&str)) -> Result<()> {
    let mut missing = missing();
    if install && missing.iter().any(|each| each.package.is_some()) {
        install_packages(&missing, say)?;
        missing = self::missing();
    }
    if missing.is_empty() {
        return Ok(());
    }
    bail!("{}", message(&missing))
}

fn message(missing: &[Missing]) -> String {
    let mut lines = vec!["this machine lacks what a local cluster needs:".to_owned()];
    for each in missing {
        lines.push(format!("  - {}: {}", each.what, each.how));
    }
    if missing.iter().any(|each| each.package.is_some()) {
        lines.push("hint: on Debian and Ubuntu, --install installs the packages".to_owned());
    }
    lines.join("\n")
}

fn install_packages(missing: &[Missing], say: &dyn Fn(&str)) -> Result<()> {
    if !exists("apt-get") {
        return Ok(());
    }
    let mut packages: Vec<&str> = missing.iter().filter_map(|each| each.package).collect();
    packages.sort_unstable();
    packages.dedup();
    let started = Instant::now();
    say(&format!("installing with apt-get, because the cluster needs them: {}", packages.join(" ")));
    process::run(apt().arg("update")).context("cannot update the package lists")?;
    process::run(apt().args(["install", "--yes", "--no-install-recommends"]).args(&packages))
        .with_context(|| format!("cannot install {}", packages.join(" ")))?;
    say(&format!("installed in {:.1} s", started.elapsed().as_secs_f32()));
    Ok(())
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.arg("-qq").env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// A path, or a program in the PATH or where system programs are (which a user's PATH often lacks).
fn exists(place: &str) -> bool {
    if place.starts_with('/') {
        return Path::new(place).exists();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .any(|folder| folder.join(OsStr::new(place)).is_file())
}

fn has_file_system(name: &str) -> bool {
    let known = || {
        std::fs::read_to_string("/proc/filesystems")
            .unwrap_or_default()
            .lines()
            .any(|line| line.split_whitespace().last() == Some(name))
    };
    // Often a module that nothing has loaded yet.
    known() || (Command::new("modprobe").arg(name).output().is_ok() && known())
}

fn lacks_disk(folder: &Path, gib: u64) -> Option<Missing> {
    let there = folder.ancestors().find(|folder| folder.exists())?;
    let facts = nix::sys::statvfs::statvfs(there).ok()?;
    let free = facts.blocks_available() as u64 * facts.fragment_size() as u64;
    (free < gib * GIB).then(|| Missing {
        what: format!("disk space: {gib} GiB free in {}, of which {:.1} are there", there.display(), in_gib(free)),
        how: "free some, or point XDG_CACHE_HOME and KLM_BED_RUNS elsewhere".to_owned(),
        package: None,
    })
}

/// The inotify instances that a node holds, all of them root's.
pub const INSTANCES_OF_A_NODE: usize = 6;

/// How many clusters of three nodes this machine has room for.
pub fn clusters_that_fit() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    room(available_memory().unwrap_or_default(), processors, inotify_instances())
}

/// A cluster waits much of the time, so there are more of them than processors. Where inotify instances run out, containerd
/// starts without its service for kubelets; a few are left for other programs.
fn room(memory: u64, processors: usize, instances: Option<usize>) -> usize {
    let by_memory = usize::try_from(memory / (3 * GIB)).unwrap_or(1);
    let by_instances = instances.map_or(usize::MAX, |instances| instances / (3 * INSTANCES_OF_A_NODE + 2));
    by_memory.min(3 * processors).min(by_instances).max(1)
}

fn inotify_instances() -> Option<usize> {
    std::fs::read_to_string("/proc/sys/fs/inotify/max_user_instances").ok()?.trim().parse().ok()
}

fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemAvailable:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

fn lacks_memory(gib: u64) -> Option<Missing> {
    let available = available_memory()?;
    (available < gib * GIB).then(|| Missing {
        what: format!("memory: {gib} GiB, of which {:.1} are available", in_gib(available)),
        how: "end other programs".to_owned(),
        package: None,
    })
}

#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn in_gib(bytes: u64) -> f64 {
    bytes as f64 / GIB as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_missing_is_in_one_message() {
        let thing = |what: &str, package| Missing { what: what.to_owned(), how: "get it".to_owned(), package };
        let text = message(&[thing("root", None), thing("runc", Some("runc"))]);
        assert!(text.contains("- root: get it\n  - runc: get it"), "{text}");
        assert!(text.ends_with("--install installs the packages"), "{text}");
        assert!(!message(&[thing("root", None)]).contains("--install"));
    }

    #[test]
    fn a_program_is_found_in_the_path_and_a_file_by_its_path() {
        assert!(exists("ls"));
        assert!(exists("/proc/self/stat"));
        assert!(!exists("no-such-program"));
        assert!(!exists("/no/such/file"));
    }

    #[test]
    fn the_scarcest_thing_says_how_many_clusters_there_are() {
        assert_eq!(room(22 * GIB, 2, Some(128)), 6, "all three, on a small machine");
        assert_eq!(room(7 * GIB, 16, Some(8192)), 2, "memory");
        assert_eq!(room(256 * GIB, 1, None), 3, "processors");
        assert_eq!(room(256 * GIB, 64, Some(128)), 6, "inotify instances");
        assert_eq!(room(GIB, 1, Some(1)), 1, "there is always one");
    }

    #[test]
    fn too_little_space_says_how_much_there_is() {
        let missing = lacks_disk(Path::new("/proc/../no/such/folder"), u64::MAX / GIB).unwrap();
        assert!(missing.what.contains("of which"), "{missing:?}");
        assert_eq!(lacks_disk(Path::new("/"), 0), None);
    }
}
