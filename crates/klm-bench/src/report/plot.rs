//! The plot: time and requests of a whole run over its nodes, for waves of 1 and of 50, as arithmetic from the figures.

use std::fmt::Write as _;

use klm_core::plan::Mode;

use crate::record::{Record, Run};

/// Sizes in pixels.
const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 62.0;
const TOP: f64 = 34.0;
const GAP: f64 = 96.0;

/// Nodes and a value, both on logarithmic axes.
type Points = Vec<(f64, f64)>;

struct Line {
    label: String,
    colour: &'static str,
    points: Points,
}

/// Fleets that are drawn.
const FLEETS: [usize; 5] = [50, 200, 1000, 5000, 20_000];

/// An SVG picture with two charts.
pub fn plot(record: &Record) -> String {
    let hours = lines(record, |run, nodes| run_seconds(run, nodes) / 3600.0);
    let requests = lines(record, run_requests);
    let mut svg = String::new();
    let (whole, high) = (2.0 * (LEFT + WIDTH) + GAP, HEIGHT + TOP + 110.0);
    let _ = write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {whole:.0} {high:.0}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    chart(&mut svg, LEFT, "Hours of a run, nodes' own time included", &hours);
    chart(&mut svg, 2.0 * LEFT + WIDTH + GAP / 2.0, "Requests of a run, looks included", &requests);
    svg.push_str("</svg>\n");
    svg
}

/// What a run over so many nodes takes with installs and verifications as long as in this run.
pub fn run_seconds(run: &Run, nodes: usize) -> f64 {
    let waves = float(nodes.div_ceil(run.batch));
    run.timeline.front + run.timeline.finish + waves * run.seconds_per_wave().unwrap_or(0.0)
}

fn run_requests(run: &Run, nodes: usize) -> f64 {
    let counts = run.requests;
    let all = counts.about_nodes + counts.looks + counts.other + counts.helm + counts.executor;
    float(all) / float(run.outcome.moved.max(1)) * float(nodes)
}

/// For each mode and batch the run with the largest fleet; of those the one with the longest installs.
fn lines(record: &Record, value: impl Fn(&Run, usize) -> f64) -> Vec<Line> {
    let colours = ["#0b5cad", "#6aaee6", "#b5540b", "#f0a35e"];
    let wanted = [(Mode::Daemonset, 1), (Mode::Daemonset, 50), (Mode::Job, 1), (Mode::Job, 50)];
    let mut lines = Vec::new();
    for ((mode, batch), colour) in wanted.into_iter().zip(colours) {
        let fits = |run: &&Run| {
            (run.mode, run.batch) == (mode, batch)
                && run.is_plain()
                && run.outcome.moved > 0
                && run.install_seconds < 10.0
        };
        let Some(run) = record.runs.iter().filter(fits).max_by_key(|run| run.fleet) else { continue };
        let points = FLEETS.iter().map(|nodes| (float(*nodes), value(run, *nodes))).collect();
        lines.push(Line { label: format!("{}, waves of {batch}", mode.as_str()), colour, points });
    }
    lines
}

fn chart(svg: &mut String, left: f64, title: &str, lines: &[Line]) {
    let values = || lines.iter().flat_map(|line| &line.points).map(|(_, y)| *y).filter(|y| *y > 0.0);
    let low = values().fold(f64::INFINITY, f64::min).log10().floor();
    let high = values().fold(f64::NEG_INFINITY, f64::max).log10().ceil();
    let _ = writeln!(svg, "<text x=\"{left:.0}\" y=\"20\" font-weight=\"bold\">{title}</text>");
    if !low.is_finite() || !high.is_finite() {
        let _ = writeln!(svg, "<text x=\"{left:.0}\" y=\"60\">nothing was measured for it</text>");
        return;
    }
    let (first, last) = (float(FLEETS[0]).log10(), float(FLEETS[FLEETS.len() - 1]).log10());
    let x = |nodes: f64| left + (nodes.log10() - first) / (last - first) * WIDTH;
    let y = |value: f64| TOP + HEIGHT - (value.log10() - low) / (high - low).max(1.0) * HEIGHT;
    let mut step = low;
    while step <= high {
        let (value, at) = (10f64.powf(step), y(10f64.powf(step)));
        let _ = writeln!(
            svg,
            "<path d=\"M{left:.1} {at:.1}h{WIDTH:.0}\" stroke=\"#dddddd\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>",
            left - 6.0,
            at + 4.0
        );
        step += 1.0;
    }
    for nodes in FLEETS {
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            x(float(nodes)),
            TOP + HEIGHT + 18.0,
            crate::figures::thousands(nodes)
        );
    }
    let _ = writeln!(svg, "<text x=\"{:.1}\" y=\"{:.1}\">nodes</text>", left + WIDTH - 30.0, TOP + HEIGHT + 34.0);
    for (row, line) in lines.iter().enumerate() {
        let path: Vec<String> =
            line.points.iter().map(|(nodes, value)| format!("{:.1} {:.1}", x(*nodes), y(*value))).collect();
        let (colour, below) = (line.colour, TOP + HEIGHT + 38.0 + 17.0 * float(row));
        let _ = writeln!(
            svg,
            "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\n\
             <path d=\"M{left:.1} {below:.1}h24\" stroke=\"{colour}\" stroke-width=\"2\"/><text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            path.join("L"),
            left + 30.0,
            below + 4.0,
            line.label
        );
    }
}

#[allow(clippy::cast_precision_loss, reason = "fewer than a million nodes and requests")]
const fn float(number: usize) -> f64 {
    number as f64
}
