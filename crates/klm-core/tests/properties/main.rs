//! Properties of everything that reads outside text: it never panics, what is written reads back, and a refusal names
//! what it refuses. Selectors, `--set` lists, versions as labels and waves have theirs beside them.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test that can't go on has failed")]

mod objects;
mod parameters;
mod pods;
mod records;

use proptest::prelude::*;
use serde_json::{Map, Value};

/// Cases of each property: the reading is quick, and the whole stays within a few seconds.
fn config() -> ProptestConfig {
    // A failure is printed with its smallest case, so that it becomes a test of its own; no file is kept of it.
    ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() }
}

/// Any text, mostly short, with what means something to a shell, to YAML, to Helm, to Argo or to a terminal.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-z0-9.-]{1,12}",
        2 => any::<char>().prop_map(String::from),
        3 => prop::sample::select(&[
            "$(id)", "`id`", "${NODE}", "${TEST_POD}", "{{workflow.uid}}", "{{=sprig.env('A')}}", "{{ .Values.x }}", "--post-renderer=sh", "-f",
            "\n", "\r\n", "\t", "\0", "\u{1b}[2J", "'", "\"", "\\", ",", "=", ":", "---\n", "&a", "*a", "<<: ", "{", "}", "[", "]", "#", "!", "|", "%",
            "../", "/", " ", "\u{202e}", "ä", "🦀", "9223372036854775808", "1e999", "-1", "NaN", "null", "true",
        ][..]).prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

/// Any JSON whose keys are taken from `keys` more often than not: what an API server, a person or an attacker may send.
fn json(keys: &'static [&'static str]) -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        // As people write them: of a number with more digits than that, `serde_json` may change the last one.
        (any::<i32>(), 0i32..9).prop_map(|(digits, places)| Value::from(f64::from(digits) / 10f64.powi(places))),
        text().prop_map(Value::from),
        prop::sample::select(
            &["v1", "Pod", "True", "False", "Never", "Always", "In", "Exists", "Pending", "Failed"][..]
        )
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 48, 6, move |inner| {
        let key = prop_oneof![6 => prop::sample::select(keys).prop_map(str::to_owned), 1 => text()];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..6)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect::<Map<_, _>>())),
        ]
    })
}
