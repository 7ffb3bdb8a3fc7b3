//! What of a cluster is on this machine: found by its run folder, its namespaces and its control groups, never by program names.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::cgroups;
use crate::netns::Netns;
use crate::run::{Run, Started, pids};
use crate::tree;

/// Everything that belongs to one cluster.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Processes in its network namespaces, started from its folder, or remembered in it.
    pub processes: BTreeSet<i32>,
    /// Mounts below its folder, in the machine's own mount namespace.
    pub mounts: Vec<PathBuf>,
    /// Its network namespaces; every interface is inside one of them.
    pub namespaces: Vec<String>,
    /// Folders of control groups.
    pub cgroups: Vec<PathBuf>,
    /// Its folder.
    pub folder: Option<PathBuf>,
}

impl Leftovers {
    /// Looks for all of it.
    pub fn of(run: &Run) -> Self {
        let namespaces = run.namespaces();
        let folder = run.folder();
        Self {
            processes: processes(run, &namespaces),
            mounts: mounts_below(&folder),
            namespaces: namespaces.iter().map(|netns| netns.name().to_owned()).collect(),
            cgroups: cgroups::find(&run.cgroup()),
            folder: folder.exists().then_some(folder),
        }
    }

    /// The memory that its processes hold, in MiB; what several share is counted once.
    pub fn memory(&self) -> u64 {
        let kib: u64 = self.processes.iter().filter_map(|pid| proportional(*pid)).sum();
        kib / 1024
    }

    /// Whether nothing is there.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Leftovers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} processes, {} mounts, {} network namespaces, {} control groups, {}",
            self.processes.len(),
            self.mounts.len(),
            self.namespaces.len(),
            self.cgroups.len(),
            match &self.folder {
                Some(folder) => format!("the folder {}", folder.display()),
                None => "no folder".to_owned(),
            }
        )
    }
}

fn processes(run: &Run, namespaces: &[Netns]) -> BTreeSet<i32> {
    let inodes: BTreeSet<u64> = namespaces.iter().filter_map(Netns::inode).collect();
    let folder = run.folder();
    let remembered = run.worlds().into_iter().filter_map(|world| run.world(&world)).map(|started| started.pid);
    let own = ancestors();
    let belongs = |pid: &i32| {
        let proc = PathBuf::from(format!("/proc/{pid}"));
        let inside = fs::metadata(proc.join("ns/net")).is_ok_and(|facts| inodes.contains(&facts.ino()));
        let ours = || fs::read_link(proc.join("exe")).is_ok_and(|exe| exe.starts_with(&folder));
        inside || ours()
    };
    pids()
        .filter(belongs)
        .chain(remembered)
        // We may run inside ourselves, from `cluster shell` or as a test; that isn't the cluster's.
        .filter(|pid| !own.contains(pid) && Started::of(*pid).is_some())
        .collect()
}

fn proportional(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find(|line| line.starts_with("Pss:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// We, and those above us.
pub(crate) fn ancestors() -> BTreeSet<i32> {
    let mut found = BTreeSet::new();
    let mut pid = i32::try_from(std::process::id()).unwrap_or_default();
    while pid > 0 && found.insert(pid) {
        pid = tree::parent(pid).unwrap_or_default();
    }
    found
}

/// The innermost last, so that they can be unmounted from the end.
fn mounts_below(folder: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(PathBuf::from)
        .filter(|mount| mount.starts_with(folder))
        .collect()
}
