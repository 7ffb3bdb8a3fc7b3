//! The whole benchmark: each fleet on a cluster of its own, one after the other.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use klm_bed::images::Programs;
use klm_bed::netns::within;
use klm_bed::run::Run as BedRun;
use klm_bed::{Cluster, parts};

use crate::record::{Machine, Record, Run};
use crate::scenario::{self, Fleet, Measure};
use crate::stage::{self, Stage};
use crate::{alone, report, rollout};

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Options {
    /// The short scenario.
    pub quick: bool,
    /// The largest fleet to its last node, beside the numbers that are in the folder already.
    pub whole: bool,
    /// Only fleets whose name (`5000-job`) contains this.
    pub only: Option<String>,
    /// Folder for `performance.json`, `performance.md` and `performance.svg`.
    pub out: PathBuf,
    /// Leave the last cluster as it is.
    pub keep: bool,
}

/// The name of the benchmark's clusters. The short one is also a suite and must not end a long one.
const fn cluster_name(quick: bool) -> &'static str {
    if quick { "bench-quick" } else { "bench" }
}

/// Runs the scenario and writes what was found, after each measure again.
pub fn run(options: &Options, say: &dyn Fn(&str)) -> Result<Record> {
    let began = Instant::now();
    // Builds first: they are not what is measured.
    parts::build(say)?;
    let programs = Programs::build()?;
    let requeue = Duration::from_secs(if options.quick { 1 } else { 10 });
    let wanted = |fleet: &Fleet| options.only.as_ref().is_none_or(|only| name(fleet).contains(only.as_str()));
    let mut fleets = match (options.quick, options.whole) {
        (true, _) => scenario::quick(),
        (false, true) => scenario::whole(),
        (false, false) => scenario::full(),
    };
    let mut record = if options.whole {
        report::read(&options.out)?
    } else {
        Record {
            quick: options.quick,
            missing: fleets.iter().map(|fleet| fleet.measures.len()).sum(),
            machine: machine(requeue),
            start_up_ms: start_up(&programs)?,
            // Was measured at another time anyway and stays.
            whole: if options.quick { Vec::new() } else { before(&options.out) },
            ..Record::default()
        }
    };
    fleets.retain(wanted);
    for fleet in &fleets {
        if options.whole {
            record.whole.retain(|run| run.mode != fleet.mode);
        }
        one(fleet, options, requeue, &mut record, say).with_context(|| format!("fleet {}", name(fleet)))?;
    }
    say(&format!("all measured in {:.0} s", began.elapsed().as_secs_f32()));
    Ok(record)
}

fn before(out: &Path) -> Vec<Run> {
    report::read(out).map(|record| record.whole).unwrap_or_default()
}

fn name(fleet: &Fleet) -> String {
    format!("{}-{}", fleet.nodes, fleet.mode.as_str())
}

fn one(fleet: &Fleet, options: &Options, requeue: Duration, record: &mut Record, say: &dyn Fn(&str)) -> Result<()> {
    let cluster = cluster_name(options.quick);
    let bed = BedRun::named(cluster)?;
    klm_bed::down(&bed)?;
    let name = name(fleet);
    let began = Instant::now();
    let told = |line: &str| say(&format!("{name:>14} | {:6.0} s  {line}", began.elapsed().as_secs_f32()));
    let wanted = stage::options(cluster, fleet.nodes, requeue);
    let cluster = Cluster::up(&wanted, &|_| ())?;
    told("the cluster is there");
    let (sender, receiver) = std::sync::mpsc::channel::<String>();
    let result = std::thread::scope(|scope| {
        let work = scope.spawn(|| {
            let say = move |line: String| _ = sender.send(line);
            within(&bed.netns(), async || measure(fleet, cluster, record, options, &say).await)
        });
        for line in receiver {
            told(&line);
        }
        work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    if !options.keep {
        klm_bed::down(&bed)?;
    }
    result
}

async fn measure(
    fleet: &Fleet,
    cluster: Cluster,
    record: &mut Record,
    options: &Options,
    say: &impl Fn(String),
) -> Result<()> {
    let stage = Stage::set(cluster, fleet.mode).await?;
    stage.install_origin().await?;
    say("kata-deploy is on every node".to_owned());
    for measure in &fleet.measures {
        match measure {
            Measure::Alone { part, at_once, install } => {
                let alone = alone::measure(&stage, *part, *at_once, *install).await?;
                say(format!("alone: {} nodes, {at_once} at once: {:.0} s", alone.nodes, alone.seconds));
                record.alone.push(alone);
            }
            Measure::Rollout(rollout) => {
                let run = rollout::measure(&stage, rollout).await?;
                say(report::line(&run));
                if options.whole { &mut record.whole } else { &mut record.runs }.push(run);
            }
        }
        if !options.whole {
            record.missing -= 1;
        }
        report::write(record, &options.out)?;
    }
    Ok(())
}

fn machine(requeue: Duration) -> Machine {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let memory = read("/proc/meminfo");
    let kib = memory.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0);
    let load = read("/proc/loadavg").split_whitespace().next().and_then(|load| load.parse().ok()).unwrap_or(0.0);
    Machine {
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        memory_gib: (kib + 512 * 1024) / (1024 * 1024),
        load_before: load,
        requeue_seconds: requeue.as_secs_f64(),
    }
}

/// The median of a few starts.
fn start_up(programs: &Programs) -> Result<f64> {
    let mut times = Vec::new();
    for _ in 0..15 {
        let began = Instant::now();
        klm_bed::process::run(Command::new(&programs.step).arg("--version"))?;
        times.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}
