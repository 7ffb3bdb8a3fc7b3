//! A recording before it is written: each beat with its time, and how the screen looks after it. Times are stated, not measured.

use klm_core::screen::Line;

use crate::demo::painter::{Beat, Painter};

/// Wide enough for the longest command that a demo shows.
const COLUMNS: usize = 104;

/// How long the last picture stays, in milliseconds.
const LAST: u32 = 8000;

/// The whole recording.
pub struct Film {
    /// What it shows.
    pub title: String,
    /// Letters in a line.
    pub columns: usize,
    /// Lines: as many as the fullest picture has, so that nothing ever scrolls away.
    pub lines: usize,
    /// The beats, in their order.
    pub frames: Vec<Frame>,
    /// Milliseconds until it is over.
    pub length: u32,
}

/// One beat.
pub struct Frame {
    /// When, in milliseconds.
    pub at: u32,
    /// What a terminal is sent.
    pub text: String,
    /// How it looks afterwards.
    pub picture: Vec<Line>,
}

impl Film {
    /// A recording of these beats.
    pub fn of(title: &str, beats: &[Beat]) -> Self {
        let mut painter = Painter::default();
        let mut now = 0;
        let mut frames: Vec<Frame> = Vec::new();
        for beat in beats {
            now += pause(beat);
            let text = painter.paint(beat, COLUMNS, true);
            frames.push(Frame { at: now, text, picture: painter.picture() });
        }
        let lines = frames.iter().map(|frame| frame.picture.len()).max().unwrap_or_default();
        Self { title: title.to_owned(), columns: COLUMNS, lines, frames, length: now + LAST }
    }
}

/// Milliseconds before a beat: enough to read the one before.
const fn pause(beat: &Beat) -> u32 {
    match beat {
        Beat::Say(_) | Beat::Said(_) => 1400,
        Beat::Command(_) => 1200,
        Beat::Fleet(_) => 1600,
        Beat::Node(_) => 700,
    }
}
