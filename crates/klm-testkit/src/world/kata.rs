//! What is true about Kata on each node, what is scripted to go wrong there, and how long things take.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::dispatch::Run;

/// What really happened on a node. Only tests read it: labels, Jobs and pods may say something else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Truth {
    /// The tag (or digest) of the image that installed last; none when nothing is installed.
    pub installed: Option<String>,
    /// How many installations ended well.
    pub installs: u32,
    /// How often Kata was taken off the node.
    pub uninstalls: u32,
    /// The uid of the pod or Job that did the last of these.
    pub last_actor: Option<String>,
}

/// Something that goes wrong on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Injection {
    /// The installation takes this long.
    Slow(Duration),
    /// It never ends. Without probes the pod is Ready all the same.
    Hang,
    /// It fails each time.
    Crash,
    /// It fails the first time.
    CrashOnce,
    /// It ends well, and then the label is lost; the dispatcher of 4.1.0 puts it back.
    LabelLost,
    /// The pod becomes Ready, but nothing was installed or labelled.
    SilentNoop,
    /// The old pod takes this long to go.
    SlowStop(Duration),
    /// The image can't be pulled.
    BadImage,
    /// The dispatcher of 4.1.0 finds the node not Ready after its Job has completed.
    NodeNotReady,
    /// The per-node Job disappears while it runs.
    Vanish,
    /// The dispatcher dies once this node's Job runs; the Job goes on.
    DispatcherKilled,
    /// The dispatcher's first question about its Jobs fails: 3.32.0 ends on that.
    ApiBlip,
    /// What becomes of verification pods on the node.
    Verification(PodFate),
}

/// What becomes of a pod that nothing controls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodFate {
    /// Its container ends with this code.
    Exits(i32),
    /// The same, after this long.
    ExitsAfter(Duration, i32),
    /// Its container runs for ever.
    NeverEnds,
    /// The sandbox can't be made: what a broken runtime looks like.
    SandboxFails,
    /// The image can't be pulled.
    ImageMissing,
    /// No node is good enough for the scheduler.
    Unschedulable,
    /// The kubelet evicts it.
    Evicted,
}

/// How long things take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// From creation to a node.
    pub schedule: Duration,
    /// Pulling an image and starting the container.
    pub pull: Duration,
    /// One installation.
    pub install: Duration,
    /// Taking Kata off a node.
    pub uninstall: Duration,
    /// From the end of a DaemonSet's pod to the next one.
    pub recreate: Duration,
    /// What a container does by default before it exits.
    pub run: Duration,
    /// Between two looks of a dispatcher at its Jobs.
    pub poll: Duration,
    /// From the end of an installation to the loss of its label.
    pub lose: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            schedule: Duration::from_millis(500),
            pull: Duration::from_secs(1),
            install: Duration::from_secs(20),
            uninstall: Duration::from_secs(5),
            recreate: Duration::from_secs(1),
            run: Duration::from_secs(3),
            poll: Duration::from_secs(5),
            lose: Duration::from_secs(5),
        }
    }
}

/// Everything about Kata that the API server doesn't know.
#[derive(Debug, Default)]
pub struct Kata {
    /// How long things take.
    pub pace: Pace,
    truth: BTreeMap<String, Truth>,
    injections: Vec<(String, Option<String>, Injection)>,
    crashed: BTreeSet<(String, String)>,
    pub(super) runs: BTreeMap<String, Run>,
}

impl Kata {
    /// The truth about a node.
    pub fn truth(&self, node: &str) -> Truth {
        self.truth.get(node).cloned().unwrap_or_default()
    }

    /// Sets the truth about a node: for fixtures.
    pub fn set_truth(&mut self, node: &str, truth: Truth) {
        self.truth.insert(node.to_owned(), truth);
    }

    pub(super) fn installed(&mut self, node: &str, tag: &str, actor: &str) {
        let truth = self.truth.entry(node.to_owned()).or_default();
        truth.installed = Some(tag.to_owned());
        truth.installs += 1;
        truth.last_actor = Some(actor.to_owned());
    }

    pub(super) fn uninstalled(&mut self, node: &str, actor: &str) {
        let truth = self.truth.entry(node.to_owned()).or_default();
        truth.installed = None;
        truth.uninstalls += 1;
        truth.last_actor = Some(actor.to_owned());
    }

    /// Something goes wrong on a node, or on every node (`*`), at every version.
    pub fn inject(&mut self, node: &str, injection: Injection) {
        self.injections.push((node.to_owned(), None, injection));
    }

    /// Something goes wrong on a node, or on every node (`*`), at one version only.
    pub fn inject_at(&mut self, node: &str, version: &str, injection: Injection) {
        self.injections.push((node.to_owned(), Some(version.to_owned()), injection));
    }

    /// Nothing goes wrong any more.
    pub fn heal(&mut self, node: &str) {
        self.injections.retain(|(at, _, _)| at != node);
    }

    fn injected(&self, node: &str, version: &str) -> impl Iterator<Item = Injection> {
        let fits = move |at: &str, of: Option<&String>| (at == node || at == "*") && of.is_none_or(|of| of == version);
        self.injections.iter().filter(move |(at, of, _)| fits(at, of.as_ref())).map(|(_, _, injection)| *injection)
    }

    pub(super) fn has(&self, node: &str, version: &str, injection: Injection) -> bool {
        self.injected(node, version).any(|it| it == injection)
    }

    pub(super) fn install_time(&self, node: &str, version: &str) -> Duration {
        let slow =
            self.injected(node, version).find_map(|it| if let Injection::Slow(time) = it { Some(time) } else { None });
        slow.unwrap_or(self.pace.install)
    }

    pub(super) fn slow_stop(&self, node: &str, version: &str) -> Option<Duration> {
        self.injected(node, version).find_map(|it| if let Injection::SlowStop(time) = it { Some(time) } else { None })
    }

    pub(super) fn fate(&self, node: &str) -> Option<PodFate> {
        let version = self.truth(node).installed.unwrap_or_default();
        self.injected(node, &version)
            .find_map(|it| if let Injection::Verification(fate) = it { Some(fate) } else { None })
    }

    /// Whether this attempt to install ends badly; a first crash is remembered.
    pub(super) fn crashes(&mut self, node: &str, version: &str) -> bool {
        if self.has(node, version, Injection::Crash) {
            return true;
        }
        self.has(node, version, Injection::CrashOnce) && self.crashed.insert((node.to_owned(), version.to_owned()))
    }
}
