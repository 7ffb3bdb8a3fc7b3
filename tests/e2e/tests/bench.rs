//! The benchmark's short scenario: runs of both modes go through, and what is made to fail comes back. No time is asserted.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

#[test]
#[ignore = "needs root and a few minutes: cargo xtask test cluster"]
fn the_short_scenario_measures_runs_that_do_what_they_should() {
    let folder = tempfile::tempdir().unwrap();
    let ended = Command::new(PathBuf::from(std::env::var_os("KLM_XTASK").unwrap()))
        .args(["bench", "--quick", "--out"])
        .arg(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{said}");
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let record: Value = serde_json::from_str(&read("performance.json")).unwrap();
    let runs = record["runs"].as_array().unwrap();
    let failed =
        runs.iter().filter(|run| run["outcome"]["taken_back"].as_array().is_some_and(|nodes| nodes.len() == 3));
    assert_eq!(failed.count(), 1, "{runs:#?}");
    for run in runs {
        // What no run is without: a number that stays zero isn't measured.
        for number in [
            "/timeline/total",
            "/requests/about_nodes",
            "/requests/looks",
            "/sizes/plan",
            "/sizes/workflow",
            "/steps/0/peak_kib",
        ] {
            assert!(
                run.pointer(number).and_then(Value::as_f64).is_some_and(|value| value > 0.0),
                "{number} of {run:#}"
            );
        }
    }
    assert!(read("performance.svg").starts_with("<svg"));
    assert!(read("performance.md").contains("| figure | measured | target | |"));
}
