//! What the containers run is what klm-step understands: each one's arguments are parsed by its own parser.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod support;

use clap::{CommandFactory, Parser};
use klm_step::cli::{Cli, Command};
use serde_json::Value;
use support::{CASES, objects, of_kind, template};

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect()
}

/// Every container of ours in a case, with the name of its template.
fn containers(case: &str) -> Vec<(String, Value)> {
    let workflow = template(case);
    let templates = workflow["spec"]["templates"].as_array().unwrap().iter();
    let steps =
        templates.filter_map(|t| t.get("container").map(|c| (t["name"].as_str().unwrap().to_owned(), c.clone())));
    let objects = objects(case);
    let pods = of_kind(&objects, "Pod").into_iter();
    let pods = pods.map(|pod| ("preflight".to_owned(), pod["spec"]["containers"][0].clone()));
    steps.chain(pods).collect()
}

#[test]
fn every_containers_arguments_are_understood() {
    for case in CASES {
        let containers = containers(case);
        assert_eq!(containers.len(), 10, "{case}");
        for (name, container) in containers {
            assert_eq!(texts(&container["command"]), ["klm-step"], "{case}: {name}");
            // What Argo puts in for its tags.
            let args = texts(&container["args"]).into_iter().map(|arg| {
                arg.replace("{{workflow.parameters}}", r#"[{"name":"batch-size","value":"2"}]"#)
                    .replace("{{inputs.parameters.item}}", "3")
                    .replace("{{workflow.status}}", "Failed")
                    .replace("{{", "x")
                    .replace("}}", "x")
            });
            let line = ["klm-step".to_owned()].into_iter().chain(args);
            if let Err(error) = Cli::try_parse_from(line) {
                panic!("{case}: {name}: {error}");
            }
        }
    }
}

/// `fullnameOverride` gives the template another name than the chart's.
#[test]
fn preflight_looks_for_the_template_that_is_installed() {
    for case in CASES {
        let containers = containers(case);
        let (_, preflight) = containers.iter().find(|(name, _)| name == "preflight").unwrap();
        let line = ["klm-step"].into_iter().chain(texts(&preflight["args"]));
        let Command::Preflight(args) = Cli::try_parse_from(line).unwrap().command else { panic!("{case}") };
        let installed = &template(case)["metadata"];
        assert_eq!(installed["name"], args.workflow_template, "{case}");
        assert_eq!(installed["namespace"], args.workflow_namespace, "{case}");
    }
    assert_ne!(template("everything")["metadata"]["name"], "kata-lifecycle-manager", "no case has another name");
}

#[test]
fn a_step_bears_the_name_of_its_subcommand() {
    for (name, container) in containers("defaults") {
        let subcommand = texts(&container["args"])[0].to_owned();
        assert_eq!(name.strip_prefix("run-").unwrap_or(&name), subcommand);
    }
}

#[test]
fn every_step_of_the_program_is_run_by_the_chart() {
    let run: Vec<_> = containers("defaults").iter().map(|(_, c)| texts(&c["args"])[0].to_owned()).collect();
    for subcommand in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
        if klm_step::cli::Command::FOR_PEOPLE.contains(&subcommand.get_name()) {
            continue;
        }
        assert!(run.iter().any(|name| name == subcommand.get_name()), "{}", subcommand.get_name());
    }
}

#[test]
fn nothing_is_run_by_a_shell() {
    for case in CASES {
        for (name, container) in containers(case) {
            for word in texts(&container["command"]).into_iter().chain(texts(&container["args"])) {
                assert!(!["sh", "bash", "/bin/sh", "-c"].contains(&word), "{case}: {name}: {word}");
            }
        }
    }
}
