//! What happens in a demo, and what a terminal is sent for each of it: the node table is repainted in its place. Pure.

use klm_core::fleet_table::{self, Row};
use klm_core::screen::{Line, Span, Tone, repaint};

/// One thing that happens in a demo.
#[derive(Clone, Debug, PartialEq)]
pub enum Beat {
    /// A sentence to the audience.
    Say(String),
    /// A command that is run, with its line breaks.
    Command(String),
    /// What a program said.
    Said(String),
    /// The node table appears.
    Fleet(Vec<Row>),
    /// One node changed.
    Node(Row),
}

impl Beat {
    /// Its lines, unless it is about the table.
    fn lines(&self) -> Option<Vec<Line>> {
        let all = |text: &str, tone| text.lines().map(|line| Line::new(line, tone)).collect::<Vec<_>>();
        match self {
            Self::Command(text) => {
                let prompt = |(at, line): (usize, &str)| {
                    let prompt = if at == 0 { "$ " } else { "  " };
                    Line(vec![Span::new(prompt, Tone::Dim), Span::new(line, Tone::Strong)])
                };
                Some(text.lines().enumerate().map(prompt).collect())
            }
            Self::Say(text) | Self::Said(text) => Some([vec![Line::default()], all(text, Tone::Plain)].concat()),
            Self::Fleet(_) | Self::Node(_) => None,
        }
    }
}

/// The text with no line longer than this, broken between words; what goes on is indented a little more.
pub fn wrapped(text: &str, columns: usize) -> String {
    let mut lines = Vec::new();
    for line in text.lines() {
        let margin = " ".repeat(line.len() - line.trim_start().len());
        let mut open = margin.clone();
        let mut empty = true;
        for word in line.trim_start().split(' ') {
            if !empty && open.chars().count() + 1 + word.chars().count() > columns {
                lines.push(std::mem::replace(&mut open, format!("{margin}  ")));
            } else if !empty {
                open.push(' ');
            }
            open.push_str(word);
            empty = false;
        }
        lines.push(open);
    }
    lines.join("\n")
}

/// What is on the screen, and how it changes.
#[derive(Clone, Debug, Default)]
pub struct Painter {
    above: Vec<Line>,
    rows: Vec<Row>,
    painted: usize,
}

impl Painter {
    /// The text that shows the beat on a terminal which shows all beats before it.
    pub fn paint(&mut self, beat: &Beat, columns: usize, colours: bool) -> String {
        if let Some(lines) = beat.lines() {
            // The table stays where it is, and the next one stands below.
            self.above.append(&mut self.table());
            self.rows.clear();
            self.painted = 0;
            self.above.extend(lines.iter().cloned());
            return lines.iter().map(|line| line.text(colours) + "\r\n").collect();
        }
        self.take(beat);
        let table: Vec<Line> = self.table().iter().map(|line| line.cut(columns)).collect();
        let text = repaint(self.painted, &table, colours);
        self.painted = table.len();
        text
    }

    /// The whole screen.
    pub fn picture(&self) -> Vec<Line> {
        self.above.iter().cloned().chain(self.table()).collect()
    }

    fn take(&mut self, beat: &Beat) {
        match beat {
            Beat::Fleet(rows) => self.rows.clone_from(rows),
            Beat::Node(row) => match self.rows.iter_mut().find(|known| known.node == row.node) {
                Some(known) => *known = row.clone(),
                None => self.rows.push(row.clone()),
            },
            Beat::Say(_) | Beat::Command(_) | Beat::Said(_) => {}
        }
    }

    fn table(&self) -> Vec<Line> {
        if self.rows.is_empty() {
            return Vec::new();
        }
        [vec![Line::default()], fleet_table::lines(&self.rows)].concat()
    }
}

#[cfg(test)]
mod tests {
    use klm_core::phase::NodePhase;

    use super::*;

    fn row(node: &str, status: NodePhase) -> Row {
        Row::new(node, Some(status), None)
    }

    fn text(painter: &Painter) -> Vec<String> {
        painter.picture().iter().map(Line::plain).collect()
    }

    #[test]
    fn a_node_changes_in_its_place() {
        let mut painter = Painter::default();
        painter.paint(
            &Beat::Fleet(vec![row("w-1", NodePhase::Preparing), row("w-2", NodePhase::Preparing)]),
            80,
            false,
        );
        let said = painter.paint(&Beat::Node(row("w-1", NodePhase::Cordoned)), 80, false);
        assert!(said.starts_with("\x1b[4A\r"), "a blank line, the title and two nodes are repainted: {said:?}");
        assert!(text(&painter)[2].starts_with("w-1   cordoned"), "{:?}", text(&painter));
        assert_eq!(text(&painter).len(), 4);
    }

    #[test]
    fn what_is_said_after_a_table_leaves_it_alone() {
        let mut painter = Painter::default();
        painter.paint(&Beat::Fleet(vec![row("w-1", NodePhase::Completed)]), 80, false);
        assert_eq!(
            painter.paint(&Beat::Command("argo get \\\n  @latest".into()), 80, false),
            "$ argo get \\\r\n    @latest\r\n"
        );
        let next = painter.paint(&Beat::Fleet(vec![row("w-1", NodePhase::Completed)]), 80, false);
        assert!(!next.contains("\x1b[4A"), "{next:?}");
        assert_eq!(text(&painter).len(), 3 + 2 + 3);
    }

    #[test]
    fn a_long_line_is_broken_between_words_and_keeps_its_margin() {
        assert_eq!(wrapped("aaa bbb\n  note: ccc ddd eee\n", 14), "aaa bbb\n  note: ccc\n    ddd eee");
        assert_eq!(wrapped("  done:     4: a", 80), "  done:     4: a");
    }

    #[test]
    fn a_line_never_wraps_because_a_wrapped_one_cannot_be_repainted() {
        let mut painter = Painter::default();
        let said =
            painter.paint(&Beat::Fleet(vec![row("a-very-long-name-of-a-node", NodePhase::Completed)]), 20, false);
        let widest = said.lines().map(|line| line.replace("\x1b[K", "").replace("\x1b[J", "").len()).max();
        assert!(widest <= Some(20), "{said:?}");
    }
}
