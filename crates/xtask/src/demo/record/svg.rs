//! A recording as a picture that moves, by styles alone. Where nothing may move, the last picture stands still.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use klm_core::screen::{Line, Tone};

use super::film::Film;

/// A letter, in the widest of the fonts, in tenths.
const TENTHS_OF_A_LETTER: usize = 86;
const LINE: usize = 19;
const EDGE: usize = 16;

/// The file.
pub fn text(film: &Film) -> String {
    let (width, height) = (film.columns * TENTHS_OF_A_LETTER / 10 + 2 * EDGE, film.lines * LINE + 2 * EDGE);
    let stretches = stretches(film);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\">\n<title>{}</title>\n<style>\n{}</style>\n<rect width=\"{width}\" height=\"{height}\" rx=\"8\" fill=\"#10151c\"/>\n",
        escaped(&film.title),
        styles(film, &stretches),
    );
    for stretch in &stretches {
        let y = EDGE + (stretch.row + 1) * LINE - 5;
        let class =
            class(film, stretch.from, stretch.to).map_or_else(String::new, |class| format!(" class=\"{class}\""));
        let _ =
            writeln!(svg, "<text x=\"{EDGE}\" y=\"{y}\"{class} xml:space=\"preserve\">{}</text>", spans(stretch.line));
    }
    svg.push_str("</svg>\n");
    svg
}

/// A line that looks the same from one frame to before another.
struct Stretch<'a> {
    row: usize,
    from: usize,
    to: usize,
    line: &'a Line,
}

fn stretches(film: &Film) -> Vec<Stretch<'_>> {
    let mut all = Vec::new();
    for row in 0..film.lines {
        let mut open: Option<Stretch<'_>> = None;
        for (at, frame) in film.frames.iter().enumerate() {
            let line = frame.picture.get(row);
            if open.as_ref().map(|open| open.line) == line {
                continue;
            }
            all.extend(open.take().map(|open| Stretch { to: at, ..open }));
            open = line.map(|line| Stretch { row, from: at, to: film.frames.len(), line });
        }
        all.extend(open);
    }
    all.retain(|stretch| !stretch.line.plain().is_empty());
    all
}

/// Nothing for what is there from the beginning to the end.
fn class(film: &Film, from: usize, to: usize) -> Option<String> {
    let last = film.frames.len();
    (from > 0 || to < last).then(|| format!("{}{from}-{to}", if to == last { "stays-" } else { "goes-" }))
}

/// Without animation, what is in the last picture is seen, and the rest isn't.
fn styles(film: &Film, stretches: &[Stretch<'_>]) -> String {
    let mut css = String::from(
        "text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:#e6edf3;white-space:pre}\n",
    );
    for (tone, style) in TONES {
        let _ = writeln!(css, ".{}{{{style}}}", word(tone));
    }
    css.push_str("[class^=goes-]{opacity:0}\n@media (prefers-reduced-motion:no-preference){\n");
    let intervals: BTreeSet<(usize, usize)> = stretches.iter().map(|stretch| (stretch.from, stretch.to)).collect();
    let percent = |frame: usize| {
        let at = film.frames.get(frame).map_or(film.length, |frame| frame.at);
        format!("{:.3}%", f64::from(at) / f64::from(film.length) * 100.0)
    };
    for (from, to) in intervals {
        let Some(class) = class(film, from, to) else { continue };
        let end = if to == film.frames.len() { String::new() } else { format!("{}{{opacity:0}}", percent(to)) };
        let _ = writeln!(
            css,
            "@keyframes {class}{{0%{{opacity:0}}{}{{opacity:1}}{end}}}.{class}{{animation:{class} {}ms step-end infinite}}",
            percent(from),
            film.length
        );
    }
    css.push_str("}\n");
    css
}

const TONES: [(Tone, &str); 6] = [
    (Tone::Strong, "font-weight:bold"),
    (Tone::Dim, "fill:#8b949e"),
    (Tone::Good, "fill:#56d364"),
    (Tone::Busy, "fill:#79c0ff"),
    (Tone::Warn, "fill:#e3b341"),
    (Tone::Bad, "fill:#ff7b72"),
];

const fn word(tone: Tone) -> &'static str {
    match tone {
        Tone::Plain => "plain",
        Tone::Strong => "strong",
        Tone::Dim => "dim",
        Tone::Good => "good",
        Tone::Busy => "busy",
        Tone::Warn => "warn",
        Tone::Bad => "bad",
    }
}

fn spans(line: &Line) -> String {
    line.0
        .iter()
        .map(|span| match span.tone {
            Tone::Plain => escaped(&span.text),
            tone => format!("<tspan class=\"{}\">{}</tspan>", word(tone), escaped(&span.text)),
        })
        .collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
