//! status: where each node stands, from wherever there is a kubeconfig. Reads nodes and nothing else.

use std::time::Duration;

use anyhow::Context as _;
use klm_core::contract::{HOLD, KATA_RUNTIME};
use klm_core::fleet_table::{self, Row};
use klm_core::node::{NodeFacts, Readiness};
use klm_core::screen::{Line, Tone};

use crate::cli;
use crate::cluster::{Cluster, Query};
use crate::exit::StepError;
use crate::terminal::{Terminal, write};

/// Between two looks: one request each.
const EVERY: Duration = Duration::from_secs(2);

/// The command. With `--watch` it ends when somebody ends it.
pub async fn run(args: &cli::Status, cluster: &Cluster) -> Result<(), StepError> {
    let terminal = Terminal::stdout();
    let mut shown: Option<Vec<Row>> = None;
    let mut painted = 0;
    loop {
        let rows = rows(cluster, args.node_selector.as_deref()).await?;
        if shown.as_ref() != Some(&rows) {
            match (args.output, terminal.size.filter(|_| args.watch)) {
                (cli::Output::Json, _) => write(&json(&rows, args.watch)?)?,
                (cli::Output::Text, Some((_, height))) => {
                    painted = terminal.repaint(painted, &fitted(&rows, height))?;
                }
                (cli::Output::Text, None) => terminal.lines(&news(&rows, shown.as_deref()))?,
            }
            shown = Some(rows);
        }
        if !args.watch {
            return Ok(());
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Every node that has Kata, or that a run has been at, by name.
async fn rows(cluster: &Cluster, selector: Option<&str>) -> Result<Vec<Row>, StepError> {
    let query = selector.map_or_else(Query::all, Query::labels);
    let mut nodes = cluster.nodes(&query).await?;
    nodes.retain(|node| node.status.is_some() || node.journal.is_some() || node.labels.contains_key(KATA_RUNTIME));
    nodes.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(nodes.iter().map(row).collect())
}

fn row(node: &NodeFacts) -> Row {
    let journal = node.journal.as_ref().and_then(|journal| journal.as_ref().ok());
    let remarks = [
        (node.ready != Readiness::Ready, "not Ready"),
        (node.deleting, "being deleted"),
        (node.labels.get(HOLD).is_some_and(|value| value == "true"), "held back"),
        (matches!(node.journal, Some(Err(_))), "its journal can't be read"),
        // While a run has the node, this is the run's own doing.
        (journal.is_none() && !node.serves_kata(), "doesn't serve Kata"),
    ];
    Row {
        version: node.version.clone(),
        cordoned: node.unschedulable,
        remarks: remarks.iter().filter(|(so, _)| *so).map(|(_, word)| (*word).to_owned()).collect(),
        ..Row::new(node.name.to_string(), node.status, journal)
    }
}

/// One document; while somebody watches, one in each line.
fn json(rows: &[Row], watch: bool) -> anyhow::Result<String> {
    let nodes = serde_json::json!({ "nodes": rows });
    let text = if watch { serde_json::to_string(&nodes) } else { serde_json::to_string_pretty(&nodes) };
    Ok(text.context("failed to print the status")? + "\n")
}

/// The table and what it adds up to.
fn picture(rows: &[Row]) -> Vec<Line> {
    let mut lines = if rows.is_empty() { Vec::new() } else { fleet_table::lines(rows) };
    lines.push(Line::new(fleet_table::summary(rows), Tone::Strong));
    let mut runs: Vec<&str> = rows.iter().filter_map(|row| row.run.as_deref()).collect();
    runs.sort_unstable();
    runs.dedup();
    lines.extend(runs.iter().map(|run| Line::new(format!("in the hands of run {run}"), Tone::Plain)));
    lines
}

/// As much of it as a screen holds: what is under way first, because that is what one watches.
fn fitted(rows: &[Row], height: usize) -> Vec<Line> {
    let whole = picture(rows);
    let room = height.saturating_sub(1);
    let excess = whole.len().saturating_sub(room);
    if excess == 0 {
        return whole;
    }
    let mut first: Vec<Row> = rows.to_vec();
    first.sort_by_key(|row| row.run.is_none());
    first.truncate(rows.len().saturating_sub(excess + 1));
    let hidden = rows.len() - first.len();
    let (table, end) = whole.split_at((rows.len() + 1).min(whole.len()));
    let body = if first.is_empty() { table[..1].to_vec() } else { fleet_table::lines(&first) };
    let more = Line::new(format!("… and {hidden} more"), Tone::Dim);
    body.into_iter().chain([more]).chain(end.iter().cloned()).collect()
}

/// Without a terminal: the whole picture first, and then a line for each node that changed.
fn news(rows: &[Row], before: Option<&[Row]>) -> Vec<Line> {
    let Some(before) = before else { return picture(rows) };
    let changed: Vec<Row> = rows.iter().filter(|row| !before.contains(row)).cloned().collect();
    let gone = before.iter().filter(|old| rows.iter().all(|row| row.node != old.node));
    let mut lines: Vec<Line> = fleet_table::lines(&changed).into_iter().skip(1).collect();
    lines.extend(gone.map(|row| Line::new(format!("{}  gone", row.node), Tone::Plain)));
    lines
}

#[cfg(test)]
mod tests;
