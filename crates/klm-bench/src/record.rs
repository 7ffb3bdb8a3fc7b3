//! All numbers of a benchmark, as they are stored: docs/performance.json is one of these.

use klm_core::plan::Mode;
use serde::{Deserialize, Serialize};

use crate::requests::Counts;
use crate::timeline::Timeline;

/// A benchmark.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The short scenario, with an Argo that looks every second.
    pub quick: bool,
    /// Measures that the scenario has and that aren't here: it was cut short, or asked for in part.
    #[serde(default)]
    pub missing: usize,
    /// Where it ran, in general terms.
    pub machine: Machine,
    /// Start of klm-step until it has read its command line, in milliseconds; the median of several.
    pub start_up_ms: f64,
    /// kata-deploy alone.
    pub alone: Vec<Alone>,
    /// Our runs.
    pub runs: Vec<Run>,
    /// Runs over the largest fleet to its last node, measured at another time.
    #[serde(default)]
    pub whole: Vec<Run>,
}

/// Where a benchmark ran.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Processors.
    pub processors: usize,
    /// Memory in GiB.
    pub memory_gib: u64,
    /// Processes that were ready to run besides those of the benchmark, when it began.
    pub load_before: f64,
    /// How long Argo leaves a workflow alone between two looks, in seconds.
    pub requeue_seconds: f64,
}

/// kata-deploy moving nodes without us: no waves, no verification.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alone {
    /// How it installs.
    pub mode: Mode,
    /// Nodes that were moved.
    pub nodes: usize,
    /// Nodes at the same time.
    pub at_once: usize,
    /// What one install takes.
    pub install_seconds: f64,
    /// What all of it took.
    pub seconds: f64,
}

/// One run of ours.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// How kata-deploy installs.
    pub mode: Mode,
    /// Nodes in the cluster.
    pub fleet: usize,
    /// Nodes in the plan.
    pub nodes: usize,
    /// Nodes per wave.
    pub batch: usize,
    /// Waves in the plan.
    pub waves: usize,
    /// Workflow items in the plan.
    pub items: usize,
    /// What one install takes.
    pub install_seconds: f64,
    /// What one verification takes.
    pub verification_seconds: f64,
    /// After how many seconds of rollout it was stopped; none: it was let through.
    pub stopped_after: Option<f64>,
    /// How the nodes were at the end.
    pub outcome: Outcome,
    /// Where the time went.
    pub timeline: Timeline,
    /// What was asked of the API server.
    pub requests: Counts,
    /// How large things were at most, in bytes.
    pub sizes: Sizes,
    /// What the steps' processes took.
    pub steps: Vec<StepUse>,
}

/// How nodes were at the end of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The Workflow's phase.
    pub phase: String,
    /// Nodes at the target, by the ground truth, which the run brought there.
    pub moved: usize,
    /// Nodes that were made to fail.
    pub made_to_fail: Vec<String>,
    /// Nodes that the run took back.
    pub taken_back: Vec<String>,
    /// Nodes that a run left cordoned, in flight, or without what the label promises.
    pub left_worse: Vec<String>,
}

/// Sizes in bytes, each the largest that was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    /// The Workflow, as the API server gives it.
    pub workflow: usize,
    /// The plan's `ConfigMap`.
    pub plan: usize,
    /// Helm's Secret of one revision.
    pub release: usize,
    /// The origin's Secret.
    pub origin: usize,
    /// A node's annotations, journal included.
    pub annotations: usize,
}

/// What the processes of one step took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepUse {
    /// klm-step's subcommand.
    pub step: String,
    /// Processes that were seen.
    pub processes: usize,
    /// The largest resident memory of one.
    pub peak_kib: u64,
    /// Processor time of all of them, without helm.
    pub cpu_seconds: f64,
    /// Processor time of the programs that they called: helm.
    pub helm_cpu_seconds: f64,
}

impl Run {
    /// Waves that were done, as far as their nodes tell.
    pub fn waves_done(&self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "fewer than a million nodes")]
        let done = self.outcome.moved as f64 / self.batch.max(1) as f64;
        done
    }

    /// What a wave took on the average of the rollout.
    pub fn seconds_per_wave(&self) -> Option<f64> {
        self.per_wave(self.timeline.rollout)
    }

    /// What a wave took in step pods. Argo's time between two of them is shared by a step's waves, however many these are.
    pub fn seconds_in_steps_per_wave(&self) -> Option<f64> {
        self.per_wave(self.timeline.in_pods)
    }

    fn per_wave(&self, seconds: f64) -> Option<f64> {
        let waves = self.waves_done();
        (waves > 0.0).then(|| seconds / waves)
    }

    /// The rollout's time per wave, without what the nodes themselves took.
    pub fn overhead_per_wave(&self) -> Option<f64> {
        Some(self.seconds_per_wave()? - self.install_seconds - self.verification_seconds)
    }

    /// Nothing was made to fail.
    pub fn is_plain(&self) -> bool {
        self.outcome.made_to_fail.is_empty()
    }

    /// The largest memory of one process of this step.
    pub fn peak_kib(&self, step: &str) -> Option<u64> {
        self.steps.iter().find(|use_| use_.step == step).map(|use_| use_.peak_kib)
    }
}
