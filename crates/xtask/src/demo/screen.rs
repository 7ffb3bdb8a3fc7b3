//! Where the audience looks: a live table on a terminal, plain lines elsewhere. Remembers what was shown, for a recording.

use std::io::{IsTerminal, Write};
use std::time::Instant;

use klm_core::fleet_table::{self, Row};
use klm_core::screen::Line;

use super::painter::{Beat, Painter};

/// The screen.
pub struct Screen {
    live: Option<Painter>,
    colours: bool,
    started: Instant,
    rows: Vec<Row>,
    beats: Vec<Beat>,
}

impl Screen {
    /// Standard output, as it is.
    pub fn new() -> Self {
        let terminal = std::io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Self {
            live: terminal.then(Painter::default),
            // https://no-color.org: present and not empty.
            colours: terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            started: Instant::now(),
            rows: Vec::new(),
            beats: Vec::new(),
        }
    }

    /// Shows what happens, and remembers it.
    pub fn show(&mut self, beat: Beat) {
        let columns = terminal_size::terminal_size().map_or(usize::MAX, |(width, _)| usize::from(width.0));
        match &mut self.live {
            Some(painter) => write(&painter.paint(&beat, columns, self.colours)),
            None => write(&self.plain(&beat)),
        }
        match &beat {
            Beat::Fleet(rows) => self.rows.clone_from(rows),
            Beat::Node(row) => self.rows.retain(|known| known.node != row.node),
            Beat::Say(_) | Beat::Command(_) | Beat::Said(_) => {}
        }
        if let Beat::Node(row) = &beat {
            self.rows.push(row.clone());
        }
        self.beats.push(beat);
    }

    /// Everything that was shown.
    pub fn beats(&self) -> &[Beat] {
        &self.beats
    }

    /// The fleet as it was shown last, in the order of names.
    pub fn rows(&self) -> Vec<Row> {
        let mut rows = self.rows.clone();
        rows.sort_by(|one, other| one.node.cmp(&other.node));
        rows
    }

    /// Without a terminal: the whole table where it appears, and then a line for each change, with its time.
    fn plain(&self, beat: &Beat) -> String {
        let Beat::Node(row) = beat else {
            return Painter::default()
                .paint(beat, usize::MAX, false)
                .replace("\x1b[K", "")
                .replace("\x1b[J", "")
                .replace('\r', "");
        };
        let rows = [row.clone()];
        let line = fleet_table::lines(&rows).last().map(Line::plain).unwrap_or_default();
        format!("{:4.0} s  {line}\n", self.started.elapsed().as_secs_f32())
    }
}

/// What takes its time: shown, but no part of the story.
pub fn progress(line: &str) {
    eprintln!("{line}");
}

/// What is said after the story.
pub fn epilogue(lines: &[String]) {
    write(&format!("\n{}\n", lines.join("\n")));
}

fn write(text: &str) {
    let mut out = std::io::stdout();
    // Nobody looks any more; the demo still has a cluster to take down.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
