//! A recording in asciinema's format, version 2: one JSON value in each line.

use serde_json::json;

use super::film::Film;

/// The file.
pub fn text(film: &Film) -> String {
    // Neither a date nor an environment: two recordings of one story are the same file.
    let header = json!({"version": 2, "width": film.columns, "height": film.lines + 1, "title": film.title});
    let events = film.frames.iter().map(|frame| json!([f64::from(frame.at) / 1000.0, "o", frame.text]));
    // The last picture stays for a while.
    let end = json!([f64::from(film.length) / 1000.0, "o", ""]);
    let lines: Vec<String> =
        std::iter::once(header).chain(events).chain([end]).map(|value| value.to_string()).collect();
    lines.join("\n") + "\n"
}
