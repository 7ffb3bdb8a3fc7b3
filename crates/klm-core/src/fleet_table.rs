//! Where the nodes of a fleet stand, as a table for people and as rows for programs.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::journal::Journal;
use crate::phase::NodePhase;
use crate::screen::{Line, Span, Tone};

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Its name.
    pub node: String,
    /// Where it stands; nothing when no run was there.
    pub status: Option<NodePhase>,
    /// The version that was verified on it last.
    pub version: Option<String>,
    /// Whether it is cordoned, by whomever.
    pub cordoned: bool,
    /// Where a run that hasn't settled it moves it to.
    pub target: Option<String>,
    /// That run, as `namespace/name`.
    pub run: Option<String>,
    /// Why it failed, while a run has it.
    pub reason: Option<String>,
    /// What else keeps it out of a run, in words.
    pub remarks: Vec<String>,
}

impl Row {
    /// A node as its annotations tell it.
    pub fn new(node: impl Into<String>, status: Option<NodePhase>, journal: Option<&Journal>) -> Self {
        Self {
            node: node.into(),
            status,
            version: None,
            cordoned: false,
            target: journal.map(|journal| journal.target.clone()),
            run: journal.map(|journal| journal.run.to_string()),
            reason: journal.and_then(|journal| journal.reason.clone()),
            remarks: Vec::new(),
        }
    }

    fn tone(&self) -> Tone {
        match self.status {
            None => Tone::Dim,
            Some(NodePhase::Completed) => Tone::Good,
            Some(NodePhase::RolledBack) => Tone::Warn,
            Some(NodePhase::RollingBack) => Tone::Bad,
            Some(_) => Tone::Busy,
        }
    }

    fn cells(&self) -> [String; 5] {
        let going = match (&self.reason, &self.target) {
            // What to do about it is in the step's log; a table has no room for that.
            (Some(reason), _) => Some(reason.split(" (hint: ").next().unwrap_or(reason).to_owned()),
            (None, Some(target)) => Some(format!("to {target}")),
            (None, None) => None,
        };
        let notes: Vec<String> = going.into_iter().chain(self.remarks.iter().cloned()).collect();
        [
            self.node.clone(),
            self.status.map_or_else(|| "-".to_owned(), |status| status.to_string()),
            self.version.clone().unwrap_or_else(|| "-".to_owned()),
            if self.cordoned { "cordoned" } else { "-" }.to_owned(),
            notes.join("; "),
        ]
    }
}

const TITLES: [&str; 5] = ["NODE", "STATUS", "VERSION", "CORDON", "NOTE"];

/// The longest status: columns that grow while one looks at them are hard to read.
const STATUS_WIDTH: usize = 12;

/// The title and one line for each node.
pub fn lines(rows: &[Row]) -> Vec<Line> {
    let cells: Vec<_> = rows.iter().map(Row::cells).collect();
    let width = |column: usize| {
        let widest = cells.iter().map(|cells| cells[column].chars().count()).max().unwrap_or_default();
        widest.max(TITLES[column].len()).max([0, STATUS_WIDTH, 0, "cordoned".len(), 0][column])
    };
    let widths: [usize; 5] = std::array::from_fn(width);
    let line = |cells: &[String; 5], tones: [Tone; 5]| {
        let spans = cells.iter().zip(widths).zip(tones);
        Line(spans.map(|((cell, width), tone)| Span::new(format!("{cell:width$}  "), tone)).collect())
    };
    let title = line(&TITLES.map(str::to_owned), [Tone::Strong; 5]);
    let body = rows.iter().zip(&cells).map(|(row, cells)| {
        let cordon = if row.cordoned { Tone::Warn } else { Tone::Dim };
        line(cells, [Tone::Plain, row.tone(), Tone::Plain, cordon, Tone::Plain])
    });
    std::iter::once(title).chain(body).collect()
}

/// How many nodes stand where, in one line.
pub fn summary(rows: &[Row]) -> String {
    let mut counts: BTreeMap<Option<NodePhase>, usize> = BTreeMap::new();
    for row in rows {
        *counts.entry(row.status).or_default() += 1;
    }
    let word =
        |status: Option<NodePhase>| status.map_or_else(|| "without a run".to_owned(), |status| status.to_string());
    let parts: Vec<String> = counts.iter().map(|(status, count)| format!("{count} {}", word(*status))).collect();
    let noun = if rows.len() == 1 { "node" } else { "nodes" };
    match parts.as_slice() {
        [] => "no node".to_owned(),
        parts => format!("{} {noun}: {}", rows.len(), parts.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::fixtures::journal;

    fn rows() -> Vec<Row> {
        let done = Row { version: Some("4.0.0".into()), ..Row::new("blue-1", Some(NodePhase::Completed), None) };
        let busy = Row { cordoned: true, ..Row::new("blue-10", Some(NodePhase::Upgrading), Some(&journal())) };
        let failed = Journal {
            reason: Some("the verification pod ended with exit code 7 (hint: read its log)".into()),
            ..journal()
        };
        let failed = Row { cordoned: true, ..Row::new("blue-2", Some(NodePhase::RollingBack), Some(&failed)) };
        let held = Row { remarks: vec!["held back".into()], ..Row::new("blue-3", None, None) };
        vec![done, busy, failed, held]
    }

    #[test]
    fn the_table_for_people() {
        let text: Vec<String> = lines(&rows()).iter().map(Line::plain).collect();
        insta::assert_snapshot!(text.join("\n"));
    }

    #[test]
    fn the_json_for_programs() {
        insta::assert_snapshot!(serde_json::to_string_pretty(&rows()[2]).unwrap());
    }

    #[test]
    fn columns_keep_their_place_whatever_the_status() {
        let at = |status| lines(&[Row::new("a", status, None)])[0].plain().find("VERSION");
        assert!(NodePhase::ALL.iter().all(|status| at(Some(*status)) == at(None)));
    }

    #[test]
    fn the_summary_counts_every_node_once() {
        assert_eq!(summary(&rows()), "4 nodes: 1 without a run, 1 upgrading, 1 completed, 1 rolling-back");
        assert_eq!((summary(&[]), summary(&rows()[..1])), ("no node".into(), "1 node: 1 completed".into()));
    }
}
