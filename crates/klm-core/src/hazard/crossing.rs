//! What lies between two versions of kata-deploy, whatever the release's values are: said by `plan`, explained in
//! docs/kata-versions.md.

use semver::Version;

use crate::plan::Mode;
use crate::version::{marks_nodes, reaches, uninstalls_on_pod_deletion};

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crossing {
    /// `RuntimeClasses` with a GPU reserve another amount of memory.
    GpuOverhead,
    /// A `RuntimeClass` goes or comes.
    QemuCca,
    /// A `RuntimeClass` changes its name.
    CloudHypervisor,
    /// The usual `RuntimeClass` reserves another amount of memory.
    QemuOverhead,
    /// Another shim is the default.
    DefaultShim,
    /// `RuntimeClasses` begin to select a second label.
    Marker,
    /// The target is older.
    Downgrade,
    /// The old pod takes Kata off its node as it goes.
    Uninstall,
}

impl Crossing {
    /// All of them, in the order in which they are said.
    pub const ALL: [Self; 8] = [
        Self::GpuOverhead,
        Self::QemuCca,
        Self::CloudHypervisor,
        Self::QemuOverhead,
        Self::DefaultShim,
        Self::Marker,
        Self::Downgrade,
        Self::Uninstall,
    ];

    /// Whether a move from `origin` to `target` meets it. What a chart changes at a version is met on the way up and on
    /// the way down.
    pub fn is_met(self, origin: &Version, target: &Version, mode: Mode) -> bool {
        let over = |minor: (u64, u64)| {
            let at = Version::new(minor.0, minor.1, 0);
            reaches(origin, &at) != reaches(target, &at)
        };
        match self {
            Self::GpuOverhead => over((3, 28)),
            Self::QemuCca => over((3, 29)),
            Self::CloudHypervisor => over((3, 30)),
            Self::QemuOverhead | Self::DefaultShim => over((4, 0)),
            Self::Marker => !marks_nodes(origin) && marks_nodes(target),
            Self::Downgrade => origin > target,
            Self::Uninstall => mode == Mode::Daemonset && uninstalls_on_pod_deletion(origin),
        }
    }

    /// What `plan` says of it; `marker` is the second label.
    pub fn says(self, origin: &Version, target: &Version, marker: &str) -> String {
        let at_once = |what: &str| format!("cluster-wide with the first wave: {what}");
        match self {
            Self::GpuOverhead => {
                at_once("GPU RuntimeClasses reserve 10240Mi of memory per pod, before 4096Mi to 20480Mi")
            }
            Self::QemuCca => at_once("RuntimeClass `kata-qemu-cca` exists only before 3.29"),
            Self::CloudHypervisor => at_once(
                "RuntimeClass `kata-cloud-hypervisor` exists only before 3.30; `kata-clh-runtime-rs` takes its place",
            ),
            Self::QemuOverhead => at_once(
                "RuntimeClass `kata-qemu` reserves 320Mi of memory per pod, before 4.0 160Mi: full nodes take fewer pods",
            ),
            Self::DefaultShim => at_once(
                "the default shim is `qemu-runtime-rs`, before 4.0 `qemu`, unless the release's values say which",
            ),
            Self::Marker => format!(
                "from the first wave on, RuntimeClasses also select label `{marker}=true`; the run puts it on nodes that serve Kata today, so that they go on taking Kata pods"
            ),
            Self::Downgrade => format!("{target} is older than {origin}: this is a downgrade"),
            Self::Uninstall => format!("kata-deploy {origin} takes Kata off each node while its pod is replaced"),
        }
    }

    /// Why it is so, and what to do about it, for the page that explains it.
    pub const fn why(self) -> &'static str {
        match self {
            Self::GpuOverhead => {
                "RuntimeClasses belong to the cluster, not to a node, so Helm changes them for all nodes at once. The overhead counts when \
                 a pod is created: running pods keep theirs. Look whether new GPU pods still fit before you start."
            }
            Self::QemuCca => {
                "The shim is no longer in the chart. A pod that names the class can't be created any more, on no node. Move such workloads \
                 to another class first; on the way down the class comes back."
            }
            Self::CloudHypervisor => {
                "The Go shim was replaced by the one in Rust, under another name. Change `runtimeClassName` in workloads, and in the \
                 verification pod, before you start."
            }
            Self::QemuOverhead => {
                "The scheduler reserves twice as much for each new pod. Nodes that are full of Kata pods take fewer of them after the pods \
                 have been created anew. Requests and quotas may need room."
            }
            Self::DefaultShim => {
                "It decides what the class `kata` means where kata-deploy creates one. A RuntimeClass's handler can't be changed, so with \
                 `runtimeClasses.createDefault=true` the upgrade would fail, and a run is refused until `defaultShim` is set or the class \
                 is gone."
            }
            Self::Marker => {
                "From 4.1.0 on, kata-deploy marks the nodes that it owns, and RuntimeClasses ask for the mark. Without it, no new Kata pod \
                 could be scheduled on nodes whose turn is still to come. The run marks those that serve Kata when it begins, and takes its \
                 marks off again when the release goes back to an older chart."
            }
            Self::Downgrade => {
                "It works like an upgrade. RuntimeClasses that only the newer version has go away with the first wave, for all nodes: no \
                 workload may still name them. Try it on one node first."
            }
            Self::Uninstall => {
                "The old pod runs kata-deploy's cleanup when it is deleted: 3.27 removes Kata's files from the host, 3.28 also restarts the \
                 container runtime. Running Kata pods lose their files. A run is refused unless it drains, or is told \
                 `accept-uninstall-window=true`."
            }
        }
    }
}
