//! What each version of kata-deploy does, as one table.

use semver::Version;

/// What a pod of the `DaemonSet` does when it has to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Its `preStop` uninstalls, whatever the reason.
    UninstallInPreStop,
    /// It uninstalls on SIGTERM, whatever the reason.
    Uninstall,
    /// It uninstalls only if its `DaemonSet` is gone.
    UninstallUnlessOwned,
    /// It uninstalls only if its `DaemonSet` is gone or doesn't select the node any more.
    UninstallUnlessSelected,
}

/// How an installer ends up with `katacontainers.io/kata-runtime=true`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelWrite {
    /// It is written every time.
    Always,
    /// It is written unless it is there, and has to be seen there several times in a row.
    UnlessTrue,
}

/// Which dispatcher a version brings for job mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dispatcher {
    /// Version 1: lists all Jobs to see how they fare, and ends when that fails.
    V3_32,
    /// Version 1, asking for each Job instead.
    V4_0,
    /// Version 2: labels nodes itself, knows its own Jobs by the owner's UID, and cleans up nodes that it owns but wasn't given.
    V4_1,
    /// Version 2 as a program of its own, with some more flags.
    External,
}

/// What a version of kata-deploy does on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Serves `/healthz` and `/readyz`, so that Ready means installed.
    pub probes: bool,
    /// What happens when its `DaemonSet` pod is deleted.
    pub stop: Stop,
    /// How it labels the node.
    pub label: LabelWrite,
    /// It claims the node before it starts, labels it with its instance's marker too, and asks which handlers the runtime serves.
    pub marker: bool,
    /// Its dispatcher, if it knows job mode.
    pub dispatcher: Option<Dispatcher>,
}

const fn profile(probes: bool, stop: Stop, label: LabelWrite, marker: bool, dispatcher: Option<Dispatcher>) -> Profile {
    Profile { probes, stop, label, marker, dispatcher }
}

/// The first version that behaves in each way.
const PROFILES: [((u64, u64), Profile); 8] = [
    ((3, 27), profile(false, Stop::UninstallInPreStop, LabelWrite::Always, false, None)),
    ((3, 28), profile(false, Stop::Uninstall, LabelWrite::Always, false, None)),
    ((3, 29), profile(false, Stop::UninstallUnlessOwned, LabelWrite::Always, false, None)),
    ((3, 31), profile(true, Stop::UninstallUnlessOwned, LabelWrite::Always, false, None)),
    ((3, 32), profile(true, Stop::UninstallUnlessOwned, LabelWrite::UnlessTrue, false, Some(Dispatcher::V3_32))),
    ((4, 0), profile(true, Stop::UninstallUnlessOwned, LabelWrite::UnlessTrue, false, Some(Dispatcher::V4_0))),
    ((4, 1), profile(true, Stop::UninstallUnlessSelected, LabelWrite::UnlessTrue, true, Some(Dispatcher::V4_1))),
    ((4, 2), profile(true, Stop::UninstallUnlessSelected, LabelWrite::UnlessTrue, true, Some(Dispatcher::External))),
];

impl Profile {
    /// The behaviour of `version`; one before the first known behaves like it.
    pub fn of(version: &Version) -> Self {
        PROFILES
            .iter()
            .rev()
            .find(|((major, minor), _)| (version.major, version.minor) >= (*major, *minor))
            .map_or(PROFILES[0].1, |(_, profile)| *profile)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("3.27.0", false, Stop::UninstallInPreStop, LabelWrite::Always, false, None)]
    #[case("3.29.0", false, Stop::UninstallUnlessOwned, LabelWrite::Always, false, None)]
    #[case("3.30.0", false, Stop::UninstallUnlessOwned, LabelWrite::Always, false, None)]
    #[case("3.31.0", true, Stop::UninstallUnlessOwned, LabelWrite::Always, false, None)]
    #[case("3.32.0", true, Stop::UninstallUnlessOwned, LabelWrite::UnlessTrue, false, Some(Dispatcher::V3_32))]
    #[case("4.0.0", true, Stop::UninstallUnlessOwned, LabelWrite::UnlessTrue, false, Some(Dispatcher::V4_0))]
    #[case("4.1.0", true, Stop::UninstallUnlessSelected, LabelWrite::UnlessTrue, true, Some(Dispatcher::V4_1))]
    #[case("4.2.0", true, Stop::UninstallUnlessSelected, LabelWrite::UnlessTrue, true, Some(Dispatcher::External))]
    fn each_version_behaves_as_its_own(
        #[case] version: &str,
        #[case] probes: bool,
        #[case] stop: Stop,
        #[case] label: LabelWrite,
        #[case] marker: bool,
        #[case] dispatcher: Option<Dispatcher>,
    ) {
        let seen = Profile::of(&version.parse().unwrap());
        assert_eq!(seen, Profile { probes, stop, label, marker, dispatcher });
    }
}
