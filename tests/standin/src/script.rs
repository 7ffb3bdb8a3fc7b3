//! What a pod does, as a list of acts: decided from the version's profile and the injections, played by a real pod or for a simulated one.

use std::time::Duration;

use crate::injection::{Injection, Injections, Pace};
use crate::profile::{LabelWrite, Profile, Stop};
use crate::truth::Event;

/// One thing that a pod does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Take this long.
    Wait(Duration),
    /// Label the node `false`, marker too, unless it has a value.
    Claim,
    /// Write down the ground truth.
    Record(Event),
    /// Wait until the runtime serves a handler of ours; exit 1 if it doesn't.
    ConfirmHandlers,
    /// Label the node `true`; from 4.1.0 on with the marker.
    Label(LabelWrite),
    /// Set the label back to `false`, as if somebody else had.
    LoseLabel,
    /// Take the labels off.
    RemoveLabels,
    /// From now on the readiness probe succeeds.
    Ready,
    /// Exit 1, but only the first time that this version does so on this node.
    CrashOnce,
    /// Delete the Job that this pod belongs to.
    DeleteOwnJob,
    /// End with this code.
    Exit(i32),
    /// Run on and do nothing.
    Block,
}

/// A stage of a per-node Job: one container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Installing: looks at the host.
    HostCheck,
    /// Installing: puts the files there.
    Artifacts,
    /// Installing: configures the runtime and restarts it.
    Cri,
    /// Installing, before 4.1.0: labels the node.
    Label,
    /// Cleaning up, before 4.1.0: takes the label off.
    Unlabel,
    /// Cleaning up: takes the runtime's configuration back.
    RevertCri,
    /// Cleaning up: removes the files.
    RemoveArtifacts,
}

impl Stage {
    /// The stage that a container of this name plays.
    pub fn of_container(name: &str) -> Option<Self> {
        match name {
            "host-check" => Some(Self::HostCheck),
            "artifacts" => Some(Self::Artifacts),
            "cri" => Some(Self::Cri),
            "label" => Some(Self::Label),
            "unlabel" => Some(Self::Unlabel),
            "revert-cri" => Some(Self::RevertCri),
            "remove-artifacts" => Some(Self::RemoveArtifacts),
            _ => None,
        }
    }
}

/// What the pod's `DaemonSet` looks like when the pod is told to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// It is gone: the release is being removed.
    Gone,
    /// It is there, but no longer wants a pod on this node.
    DeselectsNode,
    /// It is there and wants a pod here: this is a restart.
    SelectsNode,
}

fn install_time(injections: &Injections, pace: &Pace) -> Act {
    Act::Wait(injections.slow().unwrap_or(pace.install))
}

/// What goes wrong before an installation ends; the second value says whether it ends at all.
fn obstacles(injections: &Injections) -> (Vec<Act>, bool) {
    if injections.has(Injection::Hang) || injections.has(Injection::BadImage) {
        (vec![Act::Block], false)
    } else if injections.has(Injection::Crash) {
        (vec![Act::Exit(1)], false)
    } else if injections.has(Injection::CrashOnce) {
        (vec![Act::CrashOnce], true)
    } else {
        (Vec::new(), true)
    }
}

/// A pod of the `DaemonSet`, from its start on.
pub fn daemonset(profile: Profile, injections: &Injections, pace: &Pace) -> Vec<Act> {
    let mut acts = Vec::new();
    if injections.has(Injection::SilentNoop) {
        return vec![install_time(injections, pace), Act::Ready, Act::Block];
    }
    if profile.marker {
        acts.push(Act::Claim);
    }
    acts.push(install_time(injections, pace));
    let (wrong, ends) = obstacles(injections);
    acts.extend(wrong);
    if !ends {
        return acts;
    }
    acts.push(Act::Record(Event::Installed));
    if profile.marker {
        acts.push(Act::ConfirmHandlers);
    }
    acts.extend([Act::Label(profile.label), Act::Ready]);
    if injections.has(Injection::LabelLost) {
        acts.extend([Act::Wait(pace.lose), Act::LoseLabel]);
    }
    acts.push(Act::Block);
    acts
}

/// One container of a per-node Job.
pub fn stage(stage: Stage, profile: Profile, injections: &Injections, pace: &Pace) -> Vec<Act> {
    let mut acts = Vec::new();
    match stage {
        Stage::HostCheck | Stage::RevertCri => {}
        Stage::Artifacts => {
            acts.push(install_time(injections, pace));
            let (wrong, ends) = obstacles(injections);
            acts.extend(wrong);
            if !ends {
                return acts;
            }
            if injections.has(Injection::Vanish) {
                return vec![install_time(injections, pace), Act::DeleteOwnJob, Act::Block];
            }
        }
        Stage::Cri => acts.push(Act::Record(Event::Installed)),
        Stage::Label => {
            acts.push(Act::Label(profile.label));
            if injections.has(Injection::LabelLost) {
                acts.extend([Act::Wait(pace.lose), Act::LoseLabel]);
            }
        }
        Stage::Unlabel => acts.push(Act::RemoveLabels),
        Stage::RemoveArtifacts => acts.push(Act::Record(Event::Uninstalled)),
    }
    acts.push(Act::Exit(0));
    acts
}

/// What 3.27.0 does in its `preStop`.
pub fn pre_stop(profile: Profile, owner: Owner, injections: &Injections) -> Vec<Act> {
    uninstall(profile, owner, injections)
}

/// What a pod of the `DaemonSet` does on SIGTERM.
pub fn stop(profile: Profile, owner: Owner, injections: &Injections) -> Vec<Act> {
    let uninstalls = match profile.stop {
        Stop::UninstallInPreStop => false,
        Stop::Uninstall => true,
        Stop::UninstallUnlessOwned => owner == Owner::Gone,
        Stop::UninstallUnlessSelected => owner != Owner::SelectsNode,
    };
    if uninstalls {
        return uninstall(profile, owner, injections);
    }
    // 3.27.0 was slow in its preStop already.
    let slow = injections.slow_stop().filter(|_| profile.stop != Stop::UninstallInPreStop);
    slow.map(Act::Wait).into_iter().chain([Act::Exit(0)]).collect()
}

fn uninstall(profile: Profile, owner: Owner, injections: &Injections) -> Vec<Act> {
    let mut acts: Vec<Act> = injections.slow_stop().map(Act::Wait).into_iter().collect();
    acts.push(Act::Record(Event::Uninstalled));
    // Upstream leaves the label as long as there is a DaemonSet of that name, however empty the node is.
    let labelled = match profile.stop {
        Stop::UninstallUnlessSelected => owner == Owner::SelectsNode,
        _ => owner != Owner::Gone,
    };
    if !labelled {
        acts.push(Act::RemoveLabels);
    }
    acts.push(Act::Exit(0));
    acts
}

#[cfg(test)]
mod tests;
