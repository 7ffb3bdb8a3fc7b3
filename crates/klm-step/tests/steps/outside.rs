//! Properties of what only the binary reads: YAML and Argo's list of parameters.

use klm_core::contract::PARAMETERS;
use klm_step::cli::Command;
use klm_step::manifest::{documents, verification_pod};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::bed::command;

fn config() -> ProptestConfig {
    ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() }
}

/// Text that is nearly YAML or JSON.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        3 => "[a-z0-9]{1,6}",
        1 => any::<char>().prop_map(String::from),
        4 => prop::sample::select(&[
            ": ", "- ", "\n", "\n  ", "{", "}", "[", "]", ", ", "'", "\"", "\\", "|\n  ", ">-\n", "&a ", "*a", "<<: ", "---\n", "...\n", "# ", "!!binary ",
            "!!python/object ", "? ", "%YAML 1.1\n", "\t", "\0", "\u{feff}", "\u{85}", "0644", "1e3", "~", "yes", "apiVersion: v1\nkind: Pod\nspec:\n", "${NODE}",
        ][..]).prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// Without control characters, which YAML doesn't take as they are.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("\\PC{0,8}", inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_is_no_yaml_is_told_by_its_place_and_never_quoted(secret in "[a-z]{12}", text in text()) {
        for text in [format!("{secret}{text}"), format!("{text}{secret}"), text] {
            if let Err(error) = documents(&text) {
                assert!(!error.to_string().contains(&secret), "{error}");
            }
            if let Err(refusals) = verification_pod(&text, "default") {
                assert!(!refusals.is_empty());
            }
        }
    }

    #[test]
    fn a_document_that_was_written_as_json_reads_back(value in any_json()) {
        // Alone it is no document at all.
        prop_assume!(!value.is_null());
        let read = documents(&serde_json::to_string_pretty(&value).unwrap()).unwrap();
        assert_eq!(read, [value]);
    }

    #[test]
    fn argos_list_of_parameters_is_read_or_refused(text in prop_oneof![text(), any_json().prop_map(|value| value.to_string())]) {
        let flag = format!("--parameters={text}");
        let Command::Plan(plan) = command(&["plan", "--target-version=4.0.0", &flag]) else { unreachable!() };
        if let Ok(given) = plan.parameters.resolve() {
            assert!(given.keys().all(|name| PARAMETERS.iter().any(|parameter| parameter.name == name)));
        }
    }

    #[test]
    fn a_parameter_arrives_as_it_was_submitted(which in 0..PARAMETERS.len(), text in text()) {
        let name = PARAMETERS[which].name;
        let flag = format!("--parameters={}", json!([{"name": name, "value": text}]));
        let Command::Plan(plan) = command(&["plan", "--target-version=4.0.0", &flag]) else { unreachable!() };
        assert_eq!(plan.parameters.resolve().unwrap()[name], text);
    }
}
