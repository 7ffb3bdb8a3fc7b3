//! Ending a cluster: whatever state it is in, nothing of it stays. Can be run again at any time.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cgroups;
use crate::leftovers::Leftovers;
use crate::netns::Netns;
use crate::run::{PARENT_GROUP, Run};
use crate::wait::{Seen, Wait};

/// Removes everything that belongs to the cluster, and returns what there was.
pub fn down(run: &Run) -> Result<Leftovers> {
    let before = Leftovers::of(run);
    // The data is worthless without the cluster: nothing needs to end in order. Ending the first processes of nodes and
    // of the control plane ends all others with them; the rest are those that somebody started inside.
    Wait::new("the cluster's processes to end", Duration::from_secs(60)).until_blocking(|| {
        let processes = Leftovers::of(run).processes;
        for pid in &processes {
            // It may have ended since we looked.
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        Ok(if processes.is_empty() { Seen::Done(()) } else { Seen::NotYet(format!("processes {processes:?}")) })
    })?;
    for mount in before.mounts.iter().rev() {
        umount2(mount, MntFlags::MNT_DETACH).with_context(|| format!("cannot unmount {}", mount.display()))?;
    }
    for name in &before.namespaces {
        Netns::named(name).delete()?;
    }
    for group in &before.cgroups {
        // The kernel lets go of a group a moment after its last process.
        Wait::new(format!("the control groups in {}", group.display()), Duration::from_secs(30)).until_blocking(
            || {
                cgroups::remove(group)?;
                Ok(Seen::Done(()))
            },
        )?;
    }
    if Run::all().len() <= 1 {
        // The parent of all clusters' groups. Another cluster that starts just now keeps it.
        for group in cgroups::find(PARENT_GROUP) {
            let _ = fs::remove_dir(group);
        }
    }
    if let Some(folder) = &before.folder {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(before)
}
