//! docs/performance.md and its plot are what the committed numbers render to, and hang together.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::path::{Path, PathBuf};

use klm_bench::record::Record;
use klm_bench::report::{markdown, plot};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(docs().join(name)).unwrap_or_else(|error| panic!("docs/{name}: {error}"))
}

fn record() -> Record {
    serde_json::from_str(&read("performance.json")).unwrap()
}

/// `UPDATE_PERFORMANCE=1` writes the page again from the same numbers, after a change of its words.
#[test]
fn the_page_and_its_plot_are_what_the_numbers_render_to() {
    let record = record();
    for (name, rendered) in [("performance.md", markdown(&record)), ("performance.svg", plot(&record))] {
        if std::env::var_os("UPDATE_PERFORMANCE").is_some() {
            std::fs::write(docs().join(name), &rendered).unwrap();
        }
        assert!(
            read(name) == rendered,
            "docs/{name} isn't what docs/performance.json renders to\n\
             run: UPDATE_PERFORMANCE=1 cargo test -p klm-bench --test committed, or `cargo xtask bench`"
        );
    }
}

#[test]
fn the_page_is_well_formed() {
    let page = read("performance.md");
    let mut columns = None;
    for line in page.lines() {
        let cells = line.starts_with('|').then(|| line.matches('|').count());
        if let (Some(cells), Some(columns)) = (cells, columns) {
            assert_eq!(cells, columns, "a row as wide as its table: {line}");
        }
        columns = cells;
    }
    assert!(!page.contains("NaN") && !page.contains("inf"), "every number is one");
    let plot = read("performance.svg");
    assert!(plot.starts_with("<svg") && plot.ends_with("</svg>\n"));
    assert!(!plot.contains("NaN") && !plot.contains("inf"), "every point has a place");
    assert_eq!(plot.matches("<text").count(), plot.matches("</text>").count());
}

#[test]
fn runs_did_what_they_should() {
    let record = record();
    for run in record.runs.iter().chain(&record.whole) {
        assert!(run.outcome.left_worse.is_empty(), "{:?}", run.outcome);
        assert!(run.stopped_after.is_some() || run.outcome.taken_back == run.outcome.made_to_fail, "{:?}", run.outcome);
    }
}
