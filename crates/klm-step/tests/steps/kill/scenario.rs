//! What is killed: a fleet, a way between two versions, and the script that is cut short.

use klm_testkit::fixtures::{Fleet, pod};
use klm_testkit::{Identity, Injection, PodFate};
use serde_json::json;

use super::script::Next;
use crate::bed::Bed;

/// What runs when the kill strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// A whole run, up or up and back.
    Rollout,
    /// `recover`, after a run that was terminated with a node in flight.
    Recover,
    /// `rollback-node`, after a whole run.
    RollbackNode,
}

pub struct Scenario {
    pub name: &'static str,
    pub script: Script,
    pub fleet: fn() -> Fleet,
    pub from: &'static str,
    /// Where a run went before the one to `to`: then `rollback-node` is asked for `from`, which isn't the last origin.
    pub through: Option<&'static str>,
    pub to: &'static str,
    /// A node whose verification fails at the target.
    pub bad: Option<&'static str>,
    given: &'static [(&'static str, &'static str)],
}

pub const WORKERS: [&str; 3] = ["worker-1", "worker-2", "worker-3"];

/// A version between those of the scenarios.
const BETWEEN: &str = "3.33.0";

/// The node that `rollback-node` takes back.
pub const TAKEN_BACK: &str = "worker-2";

impl Scenario {
    /// A cluster with a pod to be drained on each node.
    pub fn bed(&self) -> Bed {
        self.furnish(Bed::new((self.fleet)().version(self.from)))
    }

    /// The same under another account's rights.
    pub fn bed_under(&self, account: Identity) -> Bed {
        self.furnish(Bed::under((self.fleet)().version(self.from), account))
    }

    fn furnish(&self, bed: Bed) -> Bed {
        bed.helm.set_versions(&["3.31.0", "3.32.0", BETWEEN, "4.0.0", "4.1.0"]);
        for node in WORKERS {
            bed.cluster.add(pod(&format!("app-{node}")).on(node).owned_by("ReplicaSet", "app"));
        }
        if let Some(node) = self.bad {
            bed.cluster.misbehave_at(node, self.to, Injection::Verification(PodFate::Exits(7)));
        }
        bed
    }

    /// The parameters of every run.
    pub fn given(&self) -> Vec<(&'static str, &'static str)> {
        self.given.iter().copied().chain([("drain-enabled", "true")]).collect()
    }

    /// What can follow a kill.
    pub fn ways_on(&self) -> &'static [Next] {
        match self.script {
            Script::Rollout => &[Next::Retry, Next::GiveUp, Next::NewRun, Next::Recover],
            Script::Recover => &[Next::Retry, Next::NewRun, Next::Recover],
            Script::RollbackNode => &[Next::Retry, Next::GiveUp, Next::Again, Next::Recover],
        }
    }
}

fn daemonset() -> Fleet {
    Fleet::new().workers(3).values(json!({"debug": true, "verification": {"pod": "kind: Pod"}}))
}

fn job() -> Fleet {
    Fleet::new().workers(3).job().values(json!({"debug": true, "job": {"parallelism": 7}}))
}

const UP: Scenario = Scenario {
    name: "rollout, daemonset mode",
    script: Script::Rollout,
    fleet: daemonset,
    from: "3.31.0",
    through: None,
    to: "4.0.0",
    bad: None,
    given: &[("batch-size", "2")],
};

const DOWN: Scenario = Scenario { name: "rollback, daemonset mode", bad: Some("worker-2"), given: &[], ..UP };

/// Into a chart that takes Kata off nodes outside the wave, and whose classes ask for a second label.
const JOB_UP: Scenario = Scenario { name: "rollout, job mode", fleet: job, from: "4.0.0", to: "4.1.0", ..UP };

const JOB_DOWN: Scenario = Scenario { name: "rollback, job mode", fleet: job, from: "3.32.0", to: "4.0.0", ..DOWN };

pub const ALL: [Scenario; 12] = [
    UP,
    DOWN,
    JOB_UP,
    JOB_DOWN,
    Scenario { name: "recover, daemonset mode", script: Script::Recover, given: &[], ..UP },
    Scenario { name: "recover, job mode", script: Script::Recover, given: &[], ..JOB_UP },
    Scenario { name: "rollback-node, daemonset mode", script: Script::RollbackNode, ..UP },
    Scenario { name: "rollback-node, job mode", script: Script::RollbackNode, bad: None, ..JOB_DOWN },
    Scenario {
        name: "rollback-node further back, daemonset mode",
        script: Script::RollbackNode,
        from: "3.32.0",
        through: Some(BETWEEN),
        ..UP
    },
    Scenario {
        name: "rollback-node further back, job mode",
        script: Script::RollbackNode,
        through: Some(BETWEEN),
        bad: None,
        ..JOB_DOWN
    },
    Scenario { name: "one wave, job mode", given: &[("batch-size", "3")], ..JOB_UP },
    Scenario {
        name: "two waves in a step, job mode",
        given: &[("batch-size", "2"), ("waves-per-step", "2")],
        ..JOB_UP
    },
];
