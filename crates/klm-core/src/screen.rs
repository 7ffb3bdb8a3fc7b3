//! Lines for a terminal: text in tones, which are colours where there are colours and nothing anywhere else.

/// What a piece of text is, for the eye. Never the only carrier of a meaning: everything reads the same without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tone {
    /// Ordinary text.
    #[default]
    Plain,
    /// A heading.
    Strong,
    /// Less important.
    Dim,
    /// It went well.
    Good,
    /// It goes on.
    Busy,
    /// It was put right after a failure.
    Warn,
    /// It failed.
    Bad,
}

impl Tone {
    /// Select Graphic Rendition, as every terminal knows it: none for ordinary text.
    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Strong => "1",
            Self::Dim => "2",
            Self::Good => "32",
            Self::Busy => "36",
            Self::Warn => "33",
            Self::Bad => "31",
        }
    }
}

/// A piece of a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Without line breaks.
    pub text: String,
    /// Its tone.
    pub tone: Tone,
}

impl Span {
    /// A piece of text. Control characters are spelled out: it may be what a pod has said, and a pod must not draw on
    /// the terminal of whoever reads it.
    pub fn new(text: impl Into<String>, tone: Tone) -> Self {
        let mut text: String = text.into();
        if text.contains(char::is_control) {
            let spell = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.into() };
            text = text.chars().map(spell).collect();
        }
        Self { text, tone }
    }
}

/// One line, without its break.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line(pub Vec<Span>);

impl Line {
    /// A line in one tone.
    pub fn new(text: impl Into<String>, tone: Tone) -> Self {
        Self(vec![Span::new(text, tone)])
    }

    /// The text alone.
    pub fn plain(&self) -> String {
        self.0.iter().map(|span| span.text.as_str()).collect::<String>().trim_end().to_owned()
    }

    /// With the escape sequences of a terminal.
    pub fn coloured(&self) -> String {
        self.0
            .iter()
            .map(|Span { text, tone }| match tone.code() {
                "" => text.clone(),
                code => format!("\x1b[{code}m{text}\x1b[0m"),
            })
            .collect()
    }

    /// One or the other.
    pub fn text(&self, colours: bool) -> String {
        if colours { self.coloured() } else { self.plain() }
    }

    /// The line without what stands right of a column.
    #[must_use]
    pub fn cut(&self, columns: usize) -> Self {
        let mut left = columns;
        let spans = self.0.iter().map_while(|span| {
            let text: String = span.text.chars().take(left).collect();
            left -= text.chars().count();
            (!text.is_empty()).then(|| Span::new(text, span.tone))
        });
        Self(spans.collect())
    }
}

/// What a terminal is sent to show `lines` in the place of the last `before` lines, wherever the cursor's line began.
pub fn repaint(before: usize, lines: &[Line], colours: bool) -> String {
    let mut text = if before == 0 { String::new() } else { format!("\x1b[{before}A\r") };
    for line in lines {
        text.push_str(&line.text(colours));
        // Behind the text: a terminal that redraws slowly would flicker the other way round.
        text.push_str("\x1b[K\r\n");
    }
    // What is left of a longer picture.
    text.push_str("\x1b[J");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line {
        Line(vec![
            Span::new("worker-1  ", Tone::Plain),
            Span::new("completed", Tone::Good),
            Span::new("  ", Tone::Plain),
        ])
    }

    #[test]
    fn without_colours_nothing_but_the_text_is_left() {
        assert_eq!(line().text(false), "worker-1  completed");
        assert_eq!(line().text(true), "worker-1  \x1b[32mcompleted\x1b[0m  ");
    }

    #[test]
    fn a_cut_line_keeps_its_tones() {
        assert_eq!(line().cut(13).coloured(), "worker-1  \x1b[32mcom\x1b[0m");
        assert_eq!(line().cut(4).plain(), "work");
        assert_eq!(line().cut(80), line());
    }

    #[test]
    fn a_picture_takes_the_place_of_the_one_before() {
        let picture = [Line::new("a", Tone::Plain), Line::new("b", Tone::Plain)];
        assert_eq!(repaint(0, &picture, false), "a\x1b[K\r\nb\x1b[K\r\n\x1b[J");
        assert_eq!(repaint(3, &picture[..1], false), "\x1b[3A\ra\x1b[K\r\n\x1b[J");
    }
}
