//! Numbers against their targets. Where time is meant, a figure is a ratio within one benchmark or an overhead that Argo's
//! own pace dominates: nothing here is asserted by a test, because machines differ.

use klm_core::plan::Mode;

use crate::record::{Alone, Record, Run};
use crate::sizes::limit;

/// One number.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// What it is.
    pub what: String,
    /// The number.
    pub value: f64,
    /// Its unit, as written behind it.
    pub unit: &'static str,
    /// At most this much.
    pub target: Option<f64>,
}

impl Figure {
    fn new(what: impl Into<String>, value: f64, unit: &'static str, target: Option<f64>) -> Self {
        Self { what: what.into(), value, unit, target }
    }

    /// Whether the target is met, if there is one.
    pub fn is_met(&self) -> Option<bool> {
        self.target.map(|target| self.value <= target)
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts and sizes far below 2^52")]
const fn float(number: usize) -> f64 {
    number as f64
}

/// All figures that a record gives, in the order of the report.
pub fn all(record: &Record) -> Vec<Figure> {
    let mut figures = Vec::new();
    for mode in [Mode::Daemonset, Mode::Job] {
        figures.extend(times(record, mode));
    }
    for run in &record.runs {
        figures.extend(requests(run));
    }
    figures.extend(sizes(record));
    figures.extend(processes(record));
    figures
}

fn times(record: &Record, mode: Mode) -> Vec<Figure> {
    let runs: Vec<&Run> = record.runs.iter().filter(|run| run.mode == mode && run.is_plain()).collect();
    let mode = mode.as_str();
    let mut figures = Vec::new();
    let pairs = runs.iter().filter_map(|run| Some((run, same_work(record, run)?)));
    for (run, alone) in pairs {
        let what = format!("{mode}: run of {} nodes in waves of {} ÷ kata-deploy alone", run.nodes, run.batch);
        let ours = run.timeline.total - run.verification_seconds * float(run.waves);
        // The target is about a whole run, and about installs that take their time; a short one shows what the rest costs.
        let target = (run.batch == 50 && run.install_seconds >= 30.0).then_some(1.3);
        figures.push(Figure::new(format!("{what}, without verification"), ours / alone.seconds, "", None));
        figures.push(Figure::new(
            format!("{what}, without verification, over 1,000 nodes (arithmetic)"),
            stretched(run, 1000) / (alone.seconds * 1000.0 / float(alone.nodes)),
            "",
            target,
        ));
    }
    let wave = |batch: usize| {
        let long = runs.iter().find(|run| run.batch == batch && run.install_seconds >= 10.0);
        long.and_then(|run| run.seconds_in_steps_per_wave())
    };
    if let (Some(fifty), Some(one)) = (wave(50), wave(1)) {
        figures.push(Figure::new(format!("{mode}: wave of 50 ÷ wave of 1, in steps"), fifty / one, "", Some(1.3)));
    }
    for run in &runs {
        let Some(overhead) = run.overhead_per_wave() else { continue };
        if run.stopped_after.is_some() && run.waves_done() < 10.0 {
            // Too much of its time went into the wave that it didn't end.
            continue;
        }
        let (fleet, batch) = (thousands(run.fleet), run.batch);
        let what = format!("{mode}, {fleet} nodes, waves of {batch}, installs of {:.0} s", run.install_seconds);
        let target = if batch == 1 && run.install_seconds < 10.0 { 3.5 } else { 25.0 };
        // Where kata-deploy's own pace is known, a short install is the smaller part of a node's own time.
        let beyond = alone_one_by_one(record, run).map(|own| overhead + run.install_seconds - own);
        let own_target = beyond.is_none().then_some(target);
        figures.push(Figure::new(format!("{what}: overhead of a wave"), overhead, " s", own_target));
        if let Some(beyond) = beyond {
            let what = format!("{what}: time of a wave beyond kata-deploy's own upgrade of a node");
            figures.push(Figure::new(what, beyond, " s", Some(target)));
        }
    }
    figures
}

/// kata-deploy alone with the same concurrency and install time.
fn same_pace<'a>(record: &'a Record, run: &Run) -> impl Iterator<Item = &'a Alone> {
    let (mode, batch, install) = (run.mode, run.batch, run.install_seconds);
    record.alone.iter().filter(move |alone| {
        (alone.mode, alone.at_once) == (mode, batch) && (alone.install_seconds - install).abs() < 0.1
    })
}

/// The same with the same nodes.
fn same_work<'a>(record: &'a Record, run: &Run) -> Option<&'a Alone> {
    same_pace(record, run).find(|alone| alone.nodes == run.nodes)
}

/// What kata-deploy's own upgrade of one node takes, where the run takes one at a time as well.
fn alone_one_by_one(record: &Record, run: &Run) -> Option<f64> {
    same_pace(record, run).find(|alone| alone.at_once == 1).map(|alone| alone.seconds / float(alone.nodes))
}

/// What the run would take over so many nodes: its front and its finish once, its rollout as often as needed.
fn stretched(run: &Run, nodes: usize) -> f64 {
    let waves = float(nodes.div_ceil(run.batch));
    let per_wave = run.timeline.rollout / float(run.waves.max(1)) - run.verification_seconds;
    run.timeline.front + run.timeline.finish + waves * per_wave
}

fn requests(run: &Run) -> Vec<Figure> {
    let touched = run.outcome.moved + run.outcome.taken_back.len();
    if touched == 0 || !run.is_plain() {
        return Vec::new();
    }
    let what = format!("{}, {} nodes, waves of {}", run.mode.as_str(), thousands(run.fleet), run.batch);
    let requests = run.requests;
    let each = |count: usize| float(count) / float(touched);
    let waves = run.waves_done().max(1.0);
    vec![
        Figure::new(format!("{what}: requests per node, without looks"), each(requests.about_nodes), "", Some(15.0)),
        Figure::new(format!("{what}: looks per wave"), float(requests.looks) / waves, "", None),
        Figure::new(format!("{what}: helm's requests per wave"), float(requests.helm) / waves, "", None),
    ]
}

fn sizes(record: &Record) -> Vec<Figure> {
    let mut figures = Vec::new();
    for run in &record.runs {
        let what = format!("{}, {} nodes, waves of {}", run.mode.as_str(), thousands(run.fleet), run.batch);
        let sizes = run.sizes;
        // A run that was stopped hadn't all its items yet: each one more is as large as those that were.
        let items = run.timeline.items.max(1);
        let workflow = if run.items > items { whole_workflow(run) } else { float(sizes.workflow) };
        let parts = [
            ("Workflow", workflow, limit::WORKFLOW),
            ("plan", float(sizes.plan), limit::DATA),
            ("release Secret", float(sizes.release), limit::DATA),
            ("origin Secret", float(sizes.origin), limit::DATA),
            ("annotations of a node", float(sizes.annotations), limit::ANNOTATIONS),
        ];
        for (part, size, limit) in parts {
            figures.push(Figure::new(format!("{what}: {part}"), size, " B", Some(float(limit) / 2.0)));
        }
    }
    figures
}

/// Bytes of the Workflow of a run that was let through: what is there without items, and each item's share.
pub fn whole_workflow(run: &Run) -> f64 {
    float(run.sizes.workflow) + float(run.items.saturating_sub(run.timeline.items)) * WORKFLOW_BYTES_PER_ITEM
}

/// An item's three nodes in the Workflow's status, with their inputs and names; a test compares it with what was measured.
pub const WORKFLOW_BYTES_PER_ITEM: f64 = 3500.0;

fn processes(record: &Record) -> Vec<Figure> {
    let mut figures = vec![Figure::new("klm-step: start-up", record.start_up_ms, " ms", None)];
    let mib = |kib: u64| float(usize::try_from(kib).unwrap_or(usize::MAX)) / 1024.0;
    let steps = [("select-nodes", "at selection"), ("apply-wave", "during a wave"), ("verify", "at verification")];
    for (step, when) in steps {
        let most = record.runs.iter().filter_map(|run| Some((run.peak_kib(step)?, run))).max_by_key(|(peak, _)| *peak);
        if let Some((peak, run)) = most {
            let of = format!("{} nodes, waves of {}", thousands(run.fleet), run.batch);
            figures.push(Figure::new(format!("klm-step: resident memory {when}, {of}"), mib(peak), " MiB", None));
        }
    }
    for run in record.runs.iter().filter(|run| run.is_plain() && run.outcome.moved > 0) {
        let what = format!("{}, {} nodes, waves of {}", run.mode.as_str(), thousands(run.fleet), run.batch);
        let own: f64 = run.steps.iter().map(|step| step.cpu_seconds).sum();
        let per_node = 1000.0 * own / float(run.outcome.moved);
        figures.push(Figure::new(format!("klm-step: processor time per node, {what}"), per_node, " ms", None));
    }
    figures
}

/// `1,000` and `5,000`.
pub fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Outcome, Sizes};
    use crate::requests::Counts;
    use crate::timeline::Timeline;

    fn run() -> Run {
        Run {
            mode: Mode::Daemonset,
            fleet: 1000,
            nodes: 100,
            batch: 50,
            waves: 2,
            items: 1,
            install_seconds: 30.0,
            verification_seconds: 10.0,
            stopped_after: None,
            outcome: Outcome { phase: "Succeeded".to_owned(), moved: 100, ..Outcome::default() },
            timeline: Timeline { total: 140.0, front: 20.0, rollout: 100.0, finish: 20.0, ..Timeline::default() },
            requests: Counts { about_nodes: 900, looks: 30, ..Counts::default() },
            sizes: Sizes { workflow: 20_000, ..Sizes::default() },
            steps: Vec::new(),
        }
    }

    fn value(figures: &[Figure], what: &str) -> f64 {
        let found: Vec<_> = figures.iter().filter(|figure| figure.what.contains(what)).collect();
        assert!(found.len() == 1, "{what}: {found:?}");
        found[0].value
    }

    #[test]
    fn a_ratio_leaves_the_verification_out_and_counts_the_rest() {
        let alone = Alone { mode: Mode::Daemonset, nodes: 100, at_once: 50, install_seconds: 30.0, seconds: 60.0 };
        let record = Record { alone: vec![alone], runs: vec![run()], ..Record::default() };
        let figures = all(&record);
        assert!((figures[0].value - 2.0).abs() < 1e-9, "{:?}", figures[0]);
        // 40 s around twenty waves of 40 s, against 600 s.
        assert!((value(&figures, "arithmetic") - 840.0 / 600.0).abs() < 1e-9);
        assert!((value(&figures, "overhead of a wave") - 10.0).abs() < 1e-9);
        assert!((value(&figures, "requests per node") - 9.0).abs() < 1e-9);
    }

    #[test]
    fn a_run_with_other_installs_is_no_measure_of_the_ratio() {
        let alone = Alone { mode: Mode::Daemonset, nodes: 100, at_once: 50, install_seconds: 1.0, seconds: 60.0 };
        let record = Record { alone: vec![alone], runs: vec![run()], ..Record::default() };
        assert!(all(&record).iter().all(|figure| !figure.what.contains("alone")));
    }

    #[test]
    fn a_target_is_met_up_to_itself() {
        let figure = |value| Figure::new("x", value, "", Some(1.3));
        assert_eq!((figure(1.3).is_met(), figure(1.31).is_met()), (Some(true), Some(false)));
        assert_eq!(Figure::new("x", 1.0, "", None).is_met(), None);
    }

    #[test]
    fn the_workflow_of_a_stopped_run_is_as_large_as_it_would_have_been() {
        let stopped = Run { items: 11, timeline: Timeline { items: 1, ..run().timeline }, ..run() };
        let expected = 20_000.0 + 10.0 * WORKFLOW_BYTES_PER_ITEM;
        assert!((whole_workflow(&stopped) - expected).abs() < 1e-9);
    }

    #[test]
    fn numbers_are_written_with_their_thousands() {
        assert_eq!([7, 999, 1000, 1_234_567].map(thousands), ["7", "999", "1,000", "1,234,567"]);
    }
}
