//! What people read: one line per run while it works, a table at the end, and docs/performance.md with its plot.

mod markdown;
mod plot;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::figures::{self, Figure, thousands};
use crate::record::{Record, Run};

pub use markdown::markdown;
pub use plot::plot;

/// Writes the numbers, the document and the plot into a folder.
pub fn write(record: &Record, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let json = serde_json::to_string_pretty(record)? + "\n";
    for (name, text) in [("json", json), ("md", markdown(record)), ("svg", plot(record))] {
        let path = folder.join(format!("performance.{name}"));
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// The numbers that a folder has.
pub fn read(folder: &Path) -> Result<Record> {
    let path = folder.join("performance.json");
    let json = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&json).with_context(|| format!("{} holds no benchmark", path.display()))
}

/// A run in one line.
pub fn line(run: &Run) -> String {
    let Run { nodes, batch, outcome, timeline, requests, items, .. } = run;
    let stopped = run.stopped_after.map_or(String::new(), |after| format!(", stopped after {after:.0} s"));
    let taken_back = match outcome.taken_back.len() {
        0 => String::new(),
        count => format!(", {count} taken back"),
    };
    format!(
        "run: {} of {} nodes in waves of {batch}, {items} items{stopped}{taken_back}: {} in {:.0} s \
         (front {:.0}, rollout {:.0}, finish {:.0}), {:.1} s a wave, {} requests about nodes, {} looks",
        thousands(outcome.moved),
        thousands(*nodes),
        outcome.phase,
        timeline.total,
        timeline.front,
        timeline.rollout,
        timeline.finish,
        run.seconds_per_wave().unwrap_or(0.0),
        thousands(requests.about_nodes),
        thousands(requests.looks),
    )
}

/// All figures, one in each line.
pub fn table(record: &Record) -> String {
    let rows: Vec<[String; 4]> = figures::all(record).iter().map(row).collect();
    let width = rows.iter().map(|row| row[0].chars().count()).max().unwrap_or(0);
    rows.iter().fold(String::new(), |text, [what, value, target, met]| {
        let gap = " ".repeat(width - what.chars().count());
        text + &format!("{what}{gap}  {value:>12}  {target:>12}  {met}\n")
    })
}

/// A figure as words: what, value, target, met.
pub fn row(figure: &Figure) -> [String; 4] {
    let target = figure.target.map_or(String::new(), |target| format!("≤ {}", number(target, figure.unit)));
    let met = match figure.is_met() {
        Some(true) => "met",
        Some(false) => "missed",
        None => "",
    };
    [figure.what.clone(), number(figure.value, figure.unit), target, met.to_owned()]
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sizes are positive and below 2^52")]
fn number(value: f64, unit: &str) -> String {
    match unit {
        " B" => format!("{}{unit}", thousands(value.max(0.0).round() as usize)),
        "" => format!("{value:.2}"),
        _ => format!("{value:.1}{unit}"),
    }
}
