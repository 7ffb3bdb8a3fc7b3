//! Images unpacked once and linked into every node: its containerd starts with all of them, at no cost of time or disk.
//!
//! Image content and layers are never changed in place: containerd writes new files, and containers write to layers of
//! their own. So all nodes of all clusters can share the same files. Only containerd's databases are copied.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, lchown, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};
use sha2::{Digest, Sha256};

use crate::down::down;
use crate::images::Written;
use crate::node::Node;
use crate::parts::{Parts, hex};
use crate::paths;
use crate::run::Run;
use crate::up::lay_out;

/// How many sets of images are kept: the last ones of a few working copies.
const KEEP: usize = 3;

/// A containerd folder with images in it. While this is held, nobody removes it.
#[derive(Debug)]
pub struct Unpacked {
    folder: PathBuf,
    _lock: Flock<File>,
}

impl Unpacked {
    /// Unpacks these images, unless that was done before.
    pub fn of(parts: &Parts, images: &[Written]) -> Result<Self> {
        let all = paths::cache().join("unpacked");
        fs::create_dir_all(&all).with_context(|| format!("cannot create {}", all.display()))?;
        let folder = all.join(key(parts, images)?);
        let mut lock = lock(&all, FlockArg::LockShared)?;
        if !folder.exists() {
            drop(lock);
            lock = self::lock(&all, FlockArg::LockExclusive)?;
            // Another process may have made it while we waited.
            if !folder.exists() {
                remove_older(&all);
                unpack(parts, images, &folder)?;
            }
            lock.relock(FlockArg::LockShared).context("cannot share the lock of the unpacked images")?;
        }
        Ok(Self { folder, _lock: lock })
    }

    /// Gives a node's containerd, which mustn't have started yet, all of the images.
    pub fn link_into(&self, containerd: &Path) -> Result<()> {
        link_tree(&self.folder, containerd)
            .with_context(|| format!("cannot link the unpacked images into {}", containerd.display()))
    }
}

fn lock(all: &Path, how: FlockArg) -> Result<Flock<File>> {
    let path = all.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    Flock::lock(file, how).map_err(|(_, errno)| errno).with_context(|| format!("cannot lock {}", path.display()))
}

fn key(parts: &Parts, images: &[Written]) -> Result<String> {
    let mut hash = Sha256::new();
    // Their folders' names hold the hashes of what is in them.
    hash.update(parts.path("containerd")?.as_os_str().as_encoded_bytes());
    for image in images {
        hash.update(image.layout.as_os_str().as_encoded_bytes());
        hash.update([0]);
    }
    Ok(hex(&hash.finalize())[..12].to_owned())
}

fn short_hash(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))[..8].to_owned()
}

/// A node that lives just long enough to import the images.
fn unpack(parts: &Parts, images: &[Written], folder: &Path) -> Result<()> {
    // One name per cache, which its lock guards: what a killed process left is removed here.
    let run = Run::named(&format!("unpack-{}", short_hash(paths::cache().as_os_str().as_encoded_bytes())))?;
    down(&run)?;
    lay_out(&run)?;
    let node = Node { run: &run, number: 1, name: "unpack".to_owned() };
    node.prepare_containerd(parts)?;
    run.node_netns(&node.name).create()?;
    node.start()?;
    let imported = node.import(parts, images).and_then(|()| node.stop());
    if imported.is_ok() {
        let scratch = folder.with_extension("new");
        link_tree(&node.folder().join("containerd"), &scratch)?;
        fs::rename(&scratch, folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    down(&run)?;
    imported.context("cannot unpack the images")
}

// Under the exclusive lock: nobody reads what is removed. An unfinished one is removed too.
fn remove_older(all: &Path) {
    let Ok(entries) = fs::read_dir(all) else {
        return;
    };
    let folders = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir());
    let (unfinished, whole): (Vec<_>, Vec<_>) = folders.partition(|path| path.extension().is_some());
    let mut whole: Vec<_> =
        whole.into_iter().filter_map(|path| Some((fs::metadata(&path).ok()?.modified().ok()?, path))).collect();
    whole.sort();
    let excess = whole.len().saturating_sub(KEEP - 1);
    for path in whole.into_iter().take(excess).map(|(_, path)| path).chain(unfinished) {
        // One that can't be removed costs space only.
        let _ = fs::remove_dir_all(path);
    }
}

fn link_tree(from: &Path, to: &Path) -> Result<()> {
    let facts = fs::symlink_metadata(from)?;
    if facts.is_dir() {
        if !to.exists() {
            fs::create_dir(to).with_context(|| format!("cannot create {}", to.display()))?;
        }
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            link_tree(&entry.path(), &to.join(entry.file_name()))?;
        }
        lchown(to, Some(facts.uid()), Some(facts.gid()))?;
        fs::set_permissions(to, facts.permissions())?;
    } else if facts.is_symlink() {
        symlink(fs::read_link(from)?, to)?;
        lchown(to, Some(facts.uid()), Some(facts.gid()))?;
    } else if facts.is_file() {
        let is_database = from.extension().is_some_and(|extension| extension == "db");
        if is_database {
            copy(from, to)?;
        } else if let Err(error) = fs::hard_link(from, to) {
            // The cache may be on another disk.
            if error.kind() != ErrorKind::CrossesDevices {
                return Err(error).with_context(|| format!("cannot link {}", to.display()));
            }
            copy(from, to)?;
        }
    }
    // Anything else is a socket or a pipe of the containerd that wrote the folder.
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let facts = fs::metadata(from)?;
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    lchown(to, Some(facts.uid()), Some(facts.gid()))?;
    // After the owner: changing that takes set-user-ID bits away.
    fs::set_permissions(to, facts.permissions())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn files_are_shared_and_databases_are_not() {
        let scratch = tempfile::tempdir().unwrap();
        let (from, to) = (scratch.path().join("from"), scratch.path().join("to"));
        fs::create_dir_all(from.join("layer/tmp")).unwrap();
        fs::set_permissions(from.join("layer/tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
        fs::write(from.join("layer/file"), "content").unwrap();
        symlink("file", from.join("layer/alias")).unwrap();
        fs::write(from.join("meta.db"), "database").unwrap();
        link_tree(&from, &to).unwrap();

        let inode = |path: PathBuf| fs::metadata(path).unwrap().ino();
        assert_eq!(inode(to.join("layer/file")), inode(from.join("layer/file")));
        assert_ne!(inode(to.join("meta.db")), inode(from.join("meta.db")));
        assert_eq!(fs::read_to_string(to.join("meta.db")).unwrap(), "database");
        assert_eq!(fs::read_link(to.join("layer/alias")).unwrap(), Path::new("file"));
        assert_eq!(fs::metadata(to.join("layer/tmp")).unwrap().mode() & 0o7777, 0o1777);
    }

    #[test]
    fn the_last_sets_are_kept_and_an_unfinished_one_is_not() {
        let all = tempfile::tempdir().unwrap();
        for name in ["one", "two", "three", "half.new"] {
            fs::create_dir(all.path().join(name)).unwrap();
            // Times are compared, and the clock of files is coarse.
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        remove_older(all.path());
        let mut left: Vec<_> = fs::read_dir(all.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
        left.sort();
        assert_eq!(left, ["three", "two"]);
    }
}
