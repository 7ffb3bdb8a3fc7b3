//! What klm-step's processes take, watched from outside: `/proc` of every process that runs in the cluster's containers.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use klm_bed::run::{Run, Started, pids};

use crate::record::StepUse;

/// A process is seen this often: what it takes after the last look is lost.
const LOOK_EVERY: Duration = Duration::from_millis(150);

/// Clock ticks per second in `/proc`: the same on every Linux that anybody uses.
const TICKS: f64 = 100.0;

#[derive(Clone, Debug, Default)]
struct Process {
    step: String,
    peak_kib: u64,
    own: f64,
    called: f64,
}

/// A watch that goes on until it is dropped or asked.
pub struct Watch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<BTreeMap<(i32, u64), Process>>>,
}

impl Watch {
    /// Begins to watch a cluster's containers.
    pub fn begin(run: &Run) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (told, group) = (Arc::clone(&stop), run.cgroup());
        let thread = std::thread::spawn(move || {
            let mut seen = BTreeMap::new();
            while !told.load(Ordering::Relaxed) {
                look(&group, &mut seen);
                std::thread::sleep(LOOK_EVERY);
            }
            seen
        });
        Self { stop, thread: Some(thread) }
    }

    /// Ends it and says what was seen, by step.
    pub fn end(mut self) -> Vec<StepUse> {
        self.stop.store(true, Ordering::Relaxed);
        let seen = self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        by_step(seen.into_values())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn by_step(processes: impl Iterator<Item = Process>) -> Vec<StepUse> {
    let mut steps: BTreeMap<String, StepUse> = BTreeMap::new();
    // One that was only seen as it began or ended has no name, and nothing that could be told of it.
    for process in processes.filter(|process| !process.step.is_empty()) {
        let step = steps.entry(process.step.clone()).or_default();
        step.step = process.step;
        step.processes += 1;
        step.peak_kib = step.peak_kib.max(process.peak_kib);
        step.cpu_seconds += process.own;
        step.helm_cpu_seconds += process.called;
    }
    steps.into_values().collect()
}

fn look(group: &str, seen: &mut BTreeMap<(i32, u64), Process>) {
    for pid in pids() {
        let file = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
        if file("comm").trim_end() != "klm-step" || !file("cgroup").contains(group) {
            continue;
        }
        let Some(started) = Started::of(pid) else { continue };
        let step = file("cmdline").split('\0').nth(1).unwrap_or_default().to_owned();
        let process = seen.entry((pid, started.at)).or_default();
        process.peak_kib = process.peak_kib.max(peak(&file("status")));
        // The name of a process that has just begun is still its parent's.
        if !step.is_empty() {
            process.step = step;
        }
        if let Some((own, called)) = processor_time(&file("stat")) {
            process.own = own;
            process.called = called;
        }
    }
}

/// The largest resident memory so far, in KiB.
fn peak(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Processor time in seconds: its own, and that of its children that have ended.
fn processor_time(stat: &str) -> Option<(f64, f64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<f64> = rest.split_whitespace().skip(11).take(4).filter_map(|field| field.parse().ok()).collect();
    let [user, system, called_user, called_system] = fields[..] else { return None };
    Some(((user + system) / TICKS, (called_user + called_system) / TICKS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_read_by_its_columns() {
        let stat = "42 (klm step) S 1 1 1 0 -1 4194560 500 0 0 0 150 50 30 20 20 0 3 0 12345 0 0";
        assert_eq!(processor_time(stat), Some((2.0, 0.5)));
        assert_eq!(peak("Name:\tx\nVmHWM:\t   12345 kB\nVmRSS:\t 1 kB\n"), 12345);
    }

    #[test]
    fn the_largest_process_of_a_step_is_its_peak() {
        let one = |step: &str, peak_kib| Process { step: step.to_owned(), peak_kib, own: 1.0, called: 0.5 };
        let steps = by_step([one("verify", 10), one("apply-wave", 7), one("verify", 30), one("", 0)].into_iter());
        assert_eq!(steps.iter().map(|step| step.step.as_str()).collect::<Vec<_>>(), ["apply-wave", "verify"]);
        assert_eq!((steps[1].processes, steps[1].peak_kib), (2, 30));
        assert!((steps[1].cpu_seconds - 2.0).abs() < 1e-9);
    }
}
