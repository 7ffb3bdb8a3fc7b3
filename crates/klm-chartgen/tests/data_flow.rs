//! What comes into the workflow and how it gets from step to step: parameters, inputs, outputs, Argo's tags.

mod support;

use std::collections::BTreeSet;

use klm_core::contract::{Entrypoint, PARAMETERS};
use support::{calls, each, is_leaf, list, name, named, names, tags, template, templates, texts};

#[test]
fn each_entrypoint_takes_the_contracts_inputs() {
    each(|workflow, case| {
        for entrypoint in Entrypoint::ALL {
            let template = named(workflow, entrypoint.as_str());
            let found: Vec<_> =
                list(&template["inputs"]["parameters"]).iter().map(|p| (name(p), p["default"].as_str())).collect();
            let wanted: Vec<_> = entrypoint.inputs().iter().map(|input| (input.name, input.default)).collect();
            assert_eq!(found, wanted, "{case}: {}", entrypoint.as_str());
            // Not a pod itself: when a pod can't be created, Argo would end the run without `finish`.
            assert!(!is_leaf(template), "{case}: {}", entrypoint.as_str());
        }
        assert_eq!(workflow["spec"]["entrypoint"], Entrypoint::ALL[0].as_str());
    });
}

#[test]
fn the_arguments_are_the_contracts_parameters_with_their_defaults() {
    let workflow = template("defaults");
    let arguments = list(&workflow["spec"]["arguments"]["parameters"]);
    assert_eq!(arguments.len(), PARAMETERS.len());
    for (argument, parameter) in arguments.iter().zip(PARAMETERS) {
        assert_eq!(name(argument), parameter.name);
        if parameter.name != "verification-pod" {
            assert_eq!(argument["value"], parameter.default, "{}", parameter.name);
        }
    }
}

#[test]
fn every_argument_has_a_text_and_none_is_an_entrypoints_own() {
    let own: BTreeSet<_> = Entrypoint::ALL.iter().flat_map(|e| e.inputs()).map(|input| input.name).collect();
    each(|workflow, case| {
        for argument in list(&workflow["spec"]["arguments"]["parameters"]) {
            assert!(argument["value"].is_string(), "{case}: {argument}");
            assert!(!own.contains(name(argument)), "{case}: {argument}");
        }
    });
}

#[test]
fn a_large_number_is_not_written_as_a_power() {
    let workflow = template("everything");
    let arguments = list(&workflow["spec"]["arguments"]["parameters"]);
    let batch = arguments.iter().find(|argument| name(argument) == "batch-size").unwrap();
    assert_eq!(batch["value"], "1000000");
}

#[test]
fn the_verification_pod_survives_byte_for_byte() {
    use base64::Engine as _;
    let given = std::fs::read(support::tests().join("values/verification-pod.yaml")).unwrap();
    let workflow = template("defaults");
    let arguments = list(&workflow["spec"]["arguments"]["parameters"]);
    let pod = arguments.iter().find(|argument| name(argument) == "verification-pod").unwrap();
    let read = base64::engine::general_purpose::STANDARD.decode(pod["value"].as_str().unwrap()).unwrap();
    assert_eq!(String::from_utf8(read), String::from_utf8(given));
}

#[test]
fn only_what_cannot_be_skipped_is_asked_for_outputs() {
    each(|workflow, case| {
        for template in templates(workflow) {
            for output in list(&template["outputs"]["parameters"]) {
                assert!(output["valueFrom"]["default"].is_string(), "{case}: {output}");
            }
            let groups = calls(template);
            for (path, text) in texts(template) {
                for tag in tags(text).into_iter().filter(|tag| tag.contains(".outputs.")) {
                    let [kind, step, "outputs", "parameters", output] = tag.split('.').collect::<Vec<_>>()[..] else {
                        panic!("{case}: {path}: {tag}");
                    };
                    assert_eq!(kind, "steps", "{case}: a dag's task may be omitted: {tag}");
                    let (at, producer) = groups
                        .iter()
                        .enumerate()
                        .find_map(|(i, group)| group.iter().find(|call| name(call) == step).map(|call| (i, *call)))
                        .unwrap_or_else(|| panic!("{case}: nobody is called {step}"));
                    let group: usize = path.split('/').nth(2).unwrap().parse().unwrap();
                    assert!(at < group, "{case}: {tag} isn't there yet");
                    for skips in ["when", "withParam", "withItems", "withSequence", "continueOn"] {
                        assert!(producer.get(skips).is_none(), "{case}: {tag}: {skips}");
                    }
                    let called = named(workflow, producer["template"].as_str().unwrap());
                    assert!(names(&called["outputs"]["parameters"]).contains(output), "{case}: {tag}");
                }
            }
        }
    });
}

#[test]
fn the_exit_handler_works_with_nothing_but_what_was_submitted() {
    each(|workflow, case| {
        let finish = named(workflow, workflow["spec"]["onExit"].as_str().unwrap());
        assert!(list(&finish["inputs"]["parameters"]).iter().all(|input| input.get("default").is_some()), "{case}");
        // Its metrics may name what is declared: each of those has a value, and Argo puts it in without the arguments.
        let always = names(&workflow["spec"]["arguments"]["parameters"]);
        for (path, text) in texts(finish) {
            let is_there = |tag: &str| {
                let parameter = tag.strip_prefix("workflow.parameters.").unwrap_or_default();
                path.starts_with("/metrics/") && always.contains(parameter)
            };
            let mut asked = tags(text).into_iter().filter(|tag| tag.starts_with("workflow.parameters"));
            assert!(asked.all(is_there), "{case}: {path}: {text}");
        }
    });
}

#[test]
fn every_tag_has_a_source() {
    const OF_THE_WORKFLOW: [&str; 5] =
        ["workflow.name", "workflow.namespace", "workflow.uid", "workflow.status", "workflow.parameters"];
    each(|workflow, case| {
        let declared = names(&workflow["spec"]["arguments"]["parameters"]);
        for template in templates(workflow) {
            let inputs = names(&template["inputs"]["parameters"]);
            let outputs = names(&template["outputs"]["parameters"]);
            for (path, text) in texts(template) {
                // A template's metrics also know how it ended, and what it gave.
                let ended = |tag: &str| {
                    let output = tag.strip_prefix("outputs.parameters.").unwrap_or_default();
                    let is_known = ["status", "duration", "exitCode"].contains(&tag) || outputs.contains(output);
                    path.starts_with("/metrics/") && is_known
                };
                for tag in tags(text).into_iter().filter(|tag| !ended(tag)) {
                    let known = match tag.strip_prefix("inputs.parameters.") {
                        Some(input) => inputs.contains(input),
                        None if tag.starts_with("workflow.parameters.") => declared.contains(&tag[20..]),
                        None => OF_THE_WORKFLOW.contains(&tag) || tag.starts_with("steps.") || tag == "item",
                    };
                    assert!(known, "{case}: {}{path}: {{{{{tag}}}}}", name(template));
                    let exits = workflow["spec"]["onExit"] == template["name"];
                    assert!(tag != "workflow.status" || exits, "{case}: {}: {tag}", name(template));
                }
            }
        }
    });
}

#[test]
fn tags_stand_only_in_fields_that_are_texts() {
    each(|workflow, case| {
        for template in templates(workflow) {
            for (path, text) in texts(template) {
                let text_field =
                    ["/value", "/count", "/when"].iter().any(|end| path.ends_with(end)) || path.contains("/args/");
                assert!(tags(text).is_empty() || text_field, "{case}: {}{path}: {text}", name(template));
            }
        }
        let spec = workflow["spec"].as_object().unwrap();
        for (field, value) in spec.iter().filter(|(field, _)| *field != "templates" && *field != "arguments") {
            assert!(texts(value).iter().all(|(_, text)| tags(text).is_empty()), "{case}: {field}");
        }
    });
}

#[test]
fn an_items_arguments_can_be_resolved_when_items_are_made() {
    each(|workflow, case| {
        for call in templates(workflow).iter().flat_map(calls).flatten() {
            let item = call.get("withSequence").is_some();
            if let Some(sequence) = call.get("withSequence") {
                assert!(sequence["count"].is_string() && sequence.get("end").is_none(), "{case}: {sequence}");
            }
            for (path, text) in texts(call) {
                for tag in tags(text) {
                    assert!(tag != "item" || item, "{case}: {path}: {tag}");
                    let early = tag == "item" || tag.starts_with("inputs.") || tag.starts_with("workflow.");
                    assert!(early || !item, "{case}: {path}: {tag}");
                }
            }
        }
    });
}

#[test]
fn every_call_gives_what_its_template_takes() {
    each(|workflow, case| {
        for template in templates(workflow) {
            for call in calls(template).concat() {
                let called = named(workflow, call["template"].as_str().unwrap());
                let given = names(&call["arguments"]["parameters"]);
                assert_eq!(given, names(&called["inputs"]["parameters"]), "{case}: {}/{}", name(template), name(call));
            }
        }
    });
}
