//! Control groups: each node gets one of its own in every hierarchy, so that its pods can be told from all others, and removed.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

const ROOT: &str = "/sys/fs/cgroup";

/// Creates the group of this path, and its parents, in every hierarchy.
pub fn create(name: &str) -> Result<()> {
    for hierarchy in hierarchies(Path::new(ROOT)) {
        let mut path = hierarchy.clone();
        for step in name.trim_matches('/').split('/') {
            enable_controllers(&path);
            let parent = path.clone();
            path.push(step);
            // Clusters that start together make the groups above theirs together, and whoever comes second may find one
            // that has no processors yet.
            match fs::create_dir(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                made => made.with_context(|| format!("cannot create the control group {}", path.display()))?,
            }
            inherit_processors(&parent, &path)?;
        }
    }
    Ok(())
}

/// Where the group of this path exists.
pub fn find(name: &str) -> Vec<PathBuf> {
    hierarchies(Path::new(ROOT))
        .into_iter()
        .map(|hierarchy| hierarchy.join(name.trim_matches('/')))
        .filter(|path| path.is_dir())
        .collect()
}

/// Removes a group and those in it. The files in a group can't be removed, and go with it.
pub fn remove(folder: &Path) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            remove(&path)?;
        }
    }
    fs::remove_dir(folder).with_context(|| format!("cannot remove {}", folder.display()))
}

/// The roots: one on new machines, one for each controller on old ones. Links, such as `cpu` to `cpu,cpuacct`, aren't counted twice.
fn hierarchies(root: &Path) -> Vec<PathBuf> {
    let below = fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path());
    // On a new machine the root is a hierarchy itself, and the folders in it are groups.
    let is_hierarchy = |path: &PathBuf| path.join("cgroup.procs").exists();
    if is_hierarchy(&root.to_owned()) {
        return vec![root.to_owned()];
    }
    let mut found: Vec<PathBuf> = below.filter(is_hierarchy).collect();
    found.sort();
    found
}

/// In the new kind of hierarchy, a group passes on only the controllers that it is told to.
fn enable_controllers(group: &Path) {
    let Ok(controllers) = fs::read_to_string(group.join("cgroup.controllers")) else {
        return;
    };
    for controller in controllers.split_whitespace() {
        // Some can't be passed on everywhere; the kubelet says which one it misses, if it does.
        let _ = fs::write(group.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

/// In the old kind, a new group has no processors and no memory nodes until it is given some.
fn inherit_processors(parent: &Path, group: &Path) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let is_old = !group.join("cgroup.controllers").exists();
        if is_old && group.join(file).exists() {
            let value = fs::read_to_string(parent.join(file))?;
            fs::write(group.join(file), value).with_context(|| format!("cannot set {file} of {}", group.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_new_kind_of_machine_has_one_hierarchy_and_the_old_one_several() {
        let new = tempfile::tempdir().unwrap();
        fs::create_dir(new.path().join("system.slice")).unwrap();
        fs::write(new.path().join("system.slice/cgroup.procs"), "").unwrap();
        fs::write(new.path().join("cgroup.procs"), "").unwrap();
        assert_eq!(hierarchies(new.path()), [new.path()]);

        let old = tempfile::tempdir().unwrap();
        for controller in ["pids", "cpu,cpuacct"] {
            fs::create_dir(old.path().join(controller)).unwrap();
            fs::write(old.path().join(controller).join("cgroup.procs"), "").unwrap();
        }
        std::os::unix::fs::symlink("cpu,cpuacct", old.path().join("cpu")).unwrap();
        assert_eq!(hierarchies(old.path()), [old.path().join("cpu,cpuacct"), old.path().join("pids")]);
    }
}
