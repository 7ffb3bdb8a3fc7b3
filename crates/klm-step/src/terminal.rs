//! What stdout is: a terminal with a size and colours, or a pipe that wants lines.

use std::io::{IsTerminal as _, Write as _};

use anyhow::Context as _;
use klm_core::screen::{Line, repaint};

/// Standard output, as it is.
#[derive(Clone, Copy, Debug)]
pub struct Terminal {
    /// Columns and lines; nothing when it isn't a terminal.
    pub size: Option<(usize, usize)>,
    /// Whether to colour.
    pub colours: bool,
}

impl Terminal {
    /// Looks at it.
    pub fn stdout() -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let is_one = std::io::stdout().is_terminal() && !dumb;
        let size = terminal_size::terminal_size().map_or((80, 24), |(width, height)| (width.0.into(), height.0.into()));
        // https://no-color.org: present and not empty.
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { size: is_one.then_some(size), colours: is_one && !unwanted }
    }

    /// Writes lines, one below the other.
    pub fn lines(self, lines: &[Line]) -> anyhow::Result<()> {
        write(&lines.iter().map(|line| line.text(self.colours) + "\n").collect::<String>())
    }

    /// Shows lines in the place of the last `before` ones, and returns how many they are.
    pub fn repaint(self, before: usize, lines: &[Line]) -> anyhow::Result<usize> {
        let columns = self.size.map_or(usize::MAX, |(columns, _)| columns);
        // A line that wraps would be two, and the next picture would begin in the wrong place.
        let lines: Vec<Line> = lines.iter().map(|line| line.cut(columns)).collect();
        write(&repaint(before, &lines, self.colours))?;
        Ok(lines.len())
    }
}

/// Writes data for whoever reads it.
pub fn write(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("failed to write to stdout")
}
