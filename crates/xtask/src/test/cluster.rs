//! The suites against real clusters: each suite gets a fresh one, and several run at the same time.

use std::collections::VecDeque;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use klm_bed::guard::Guard;
use klm_bed::run::{Run, Started};
use klm_bed::turn::{OWNER_VARIABLE, Turn};
use klm_bed::{Cluster, KUBECONFIG_VARIABLE, NAME_VARIABLE, Options, REGISTRY_VARIABLE, parts, paths, preflight};

use super::suite::{self, Suite, listen};
use super::tally::Tally;
use super::{Test, elsewhere, own_program};
use crate::cluster::{in_ci, say};

/// The variable with the path of this program, for suites that start clusters themselves.
const XTASK_VARIABLE: &str = "KLM_XTASK";

/// Runs every suite that the filter allows.
pub fn run(test: &Test) -> Result<Tally> {
    if let Some(kubeconfig) = &test.kubeconfig {
        return elsewhere::run(test, kubeconfig);
    }
    Ok(Ready::now(test)?.run(test))
}

/// Everything that suites on clusters of our own need is there.
pub struct Ready {
    suites: Vec<Suite>,
    /// Which of their tests, if not all.
    only: Option<String>,
    _turn: Turn,
    _guard: Guard,
}

impl Ready {
    /// Builds what is missing, and waits until the machine is ours.
    pub fn now(test: &Test) -> Result<Self> {
        preflight::check(test.install || in_ci(), &say)?;
        parts::build(&say)?;
        let (suites, only) = chosen(test, suite::all()?)?;
        let turn = Turn::take(&say)?;
        let guard = Guard::post(Command::new(own_program()).args(["cluster", "guard"]))?;
        Ok(Self { suites, only, _turn: turn, _guard: guard })
    }

    /// Runs the suites, several at a time.
    pub fn run(self, test: &Test) -> Tally {
        let workers = test.clusters.unwrap_or_else(preflight::clusters_that_fit).max(1);
        let (queue, only) = (Mutex::new(VecDeque::from(self.suites)), self.only.as_deref());
        std::thread::scope(|scope| {
            let running: Vec<_> = (1..=workers)
                .map(|_| {
                    scope.spawn(|| {
                        let next = || queue.lock().ok()?.pop_front();
                        std::iter::from_fn(next).map(|suite| with_own_cluster(&suite, test, only)).sum()
                    })
                })
                .collect();
            let panicked = |_| Tally::failure("the thread that runs suites panicked");
            running.into_iter().map(|worker| worker.join().unwrap_or_else(panicked)).sum()
        })
    }
}

/// The suites to run, and which of their tests.
pub fn chosen(test: &Test, mut suites: Vec<Suite>) -> Result<(Vec<Suite>, Option<String>)> {
    let mut only = None;
    let names: Vec<_> = suites.iter().map(|suite| suite.name.clone()).collect();
    let left_out: Vec<_> = test.without.iter().filter(|name| !name.is_empty()).collect();
    if let Some(unknown) = left_out.iter().find(|name| !names.contains(name)) {
        bail!("there is no suite `{unknown}`; there are {}", names.join(", "));
    }
    suites.retain(|suite| !left_out.contains(&&suite.name));
    if let Some(filter) = test.filter.as_ref().filter(|filter| !filter.is_empty()) {
        let (name, tests) =
            filter.split_once("::").map_or((filter.as_str(), None), |(name, tests)| (name, Some(tests)));
        suites.retain(|suite| suite.name == name);
        if suites.is_empty() {
            bail!("there is no suite `{name}`; there are {}", names.join(", "));
        }
        only = tests.map(str::to_owned);
    }
    if suites.is_empty() {
        bail!("no suite is left to run");
    }
    Ok((suites, only))
}

fn with_own_cluster(suite: &Suite, test: &Test, only: Option<&str>) -> Tally {
    let started = Instant::now();
    let tally = if suite.needs.cluster {
        on_fresh_cluster(suite, test, only).unwrap_or_else(|error| Tally::failure(format!("{error:#}")))
    } else {
        listen(&mut program(suite, only), &prefix(suite))
    }
    .of(&suite.name);
    for what in tally.named() {
        eprintln!("failed: {what}");
    }
    eprintln!("{}: {tally} in {:.0} s", suite.name, started.elapsed().as_secs_f32());
    tally
}

fn on_fresh_cluster(suite: &Suite, test: &Test, only: Option<&str>) -> Result<Tally> {
    // Named by the suite, so that a run which was cut short is cleaned up by the next one.
    let name: String = format!("test-{}", suite.name.replace('_', "-")).chars().take(20).collect();
    let run = Run::named(&name)?;
    klm_bed::down(&run)?;
    let options = Options {
        name,
        nodes: suite.needs.nodes,
        simulated: suite.needs.simulated,
        requeue: Duration::from_secs_f64(suite.needs.requeue),
        full_crds: suite.needs.full_crds,
        // One that is kept is a person's.
        owner: if test.keep { None } else { Started::ours() },
    };
    let told = |line: &str| eprintln!("{}{line}", prefix(suite));
    let result = Cluster::up(&options, &told).map(|cluster| run_program(suite, &cluster, only));
    let well = result.as_ref().is_ok_and(Tally::is_good);
    if !well {
        keep_logs(suite, &run);
    }
    if test.keep {
        eprintln!("{}kept: cargo xtask cluster shell --name {}", prefix(suite), run.name());
    } else {
        klm_bed::down(&run)?;
    }
    result
}

pub fn run_program(suite: &Suite, cluster: &Cluster, only: Option<&str>) -> Tally {
    let mut command = if let Ok((run, _)) = cluster.bed() {
        // The whole program inside the cluster's network: every thread and child of it reaches the API server.
        let mut command = klm_bed::process::words(run.netns().enter_command());
        command.arg(&suite.program).env(NAME_VARIABLE, run.name());
        command
    } else {
        let mut command = Command::new(&suite.program);
        command.env(KUBECONFIG_VARIABLE, cluster.kubeconfig());
        if let Some(registry) = cluster.registry() {
            command.env(REGISTRY_VARIABLE, registry);
        }
        command
    };
    arguments(&mut command, only);
    listen(&mut command, &prefix(suite))
}

fn program(suite: &Suite, only: Option<&str>) -> Command {
    let mut command = Command::new(&suite.program);
    arguments(&mut command, only);
    command
}

// One after another: the tests of a suite share its cluster.
fn arguments(command: &mut Command, only: Option<&str>) {
    command.args(["--ignored", "--test-threads=1"]).args(only);
    command.current_dir(paths::workspace().join("tests/e2e"));
    command.env(XTASK_VARIABLE, own_program());
    command.envs(Started::ours().map(|own| (OWNER_VARIABLE, own.to_string())));
    // The claim and the values say what is wrong; the runtime's frames hide both.
    command.env("RUST_BACKTRACE", "0").stdout(Stdio::piped());
}

fn prefix(suite: &Suite) -> String {
    format!("{:>12} | ", suite.name)
}

/// Copies the logs of the cluster's programs to where they outlive it.
fn keep_logs(suite: &Suite, run: &Run) {
    let target = paths::workspace().join("target/e2e").join(&suite.name);
    let copied = paths::copy_tree(&run.path("log"), &target);
    match copied {
        Ok(()) => eprintln!("{}logs of the cluster: {}", prefix(suite), target.display()),
        Err(error) => eprintln!("{}cannot keep the logs: {error:#}", prefix(suite)),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn names(arguments: &[&str]) -> Result<Vec<String>> {
        let suite = |name: &str| Suite { name: name.into(), program: PathBuf::new(), needs: suite::Needs::default() };
        let all = ["chart", "daemonset", "drain", "job"].map(suite).into();
        Ok(chosen(&Test::asked(arguments), all)?.0.into_iter().map(|suite| suite.name).collect())
    }

    #[test]
    fn suites_are_chosen_and_left_out_by_name() {
        assert_eq!(names(&["--filter", "", "--without", ""]).unwrap(), ["chart", "daemonset", "drain", "job"]);
        assert_eq!(names(&["--filter", "", "--without", "daemonset,job"]).unwrap(), ["chart", "drain"]);
        assert_eq!(names(&["--filter", "job", "--without", ""]).unwrap(), ["job"]);
        assert!(names(&["--without", "deamonset"]).is_err() && names(&["--filter", "jobs"]).is_err());
    }
}
