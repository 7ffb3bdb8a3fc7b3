//! What the programs take whose command lines aren't ours to parse: the verbs that there are, and what of a command is
//! about this chart: its parameters, its values, its entrypoints.

use std::fs;

use klm_bed::paths::workspace;
use klm_core::contract::{CHART_NAME, Entrypoint, PARAMETERS};
use klm_core::selection::Choice;
use klm_core::set_values::{Style, UserValues, parse};
use klm_core::settings::{Given, Settings, text};
use klm_core::version;
use serde_json::Value;

use super::commands::Command;

const VERBS: [(&str, &[&str]); 4] = [
    ("argo", &["get", "lint", "list", "logs", "resubmit", "retry", "stop", "submit", "suspend", "terminate", "watch"]),
    ("cargo", &["chart"]),
    ("helm", &["get", "history", "install", "list", "rollback", "show", "status", "test", "uninstall", "upgrade"]),
    ("kubectl", &["annotate", "apply", "create", "describe", "drain", "get", "label", "rollout", "taint", "uncordon"]),
];

/// What is wrong with a command, if anything. Programs that aren't listed here are nobody's we know.
pub fn complaint(command: &Command) -> Option<String> {
    let (program, verb) = (command.words[0].as_str(), command.words[1].as_str());
    // A message of the program, or a command that is only hinted at.
    if !command.whole && command.words.iter().any(|word| word.contains('…')) {
        return None;
    }
    let verbs = VERBS.iter().find(|(name, _)| *name == program)?.1;
    if !verbs.contains(&verb) && !verb.starts_with('-') {
        return Some(format!("{program} has no `{verb}`, or none that we know of"));
    }
    match (program, verb) {
        ("cargo", _) => chart(&command.words),
        ("argo", "submit") => submit(command),
        ("helm", "install" | "upgrade" | "template") if command.words.get(2).is_some_and(|it| it == CHART_NAME) => {
            install(&command.words)
        }
        _ => None,
    }
}

/// The generator keeps its command line to itself; it is three words long.
fn chart(words: &[String]) -> Option<String> {
    match words.get(2).map(String::as_str) {
        Some("write" | "check" | "print") => None,
        word => Some(format!("cargo chart has no `{}`", word.unwrap_or_default())),
    }
}

/// Helm's own flags are Helm's matter; the values that are set have to be what the chart's schema allows. `DIGEST` stands
/// for one.
fn install(words: &[String]) -> Option<String> {
    words.windows(2).find_map(|pair| {
        let set = match pair[0].as_str() {
            "--set" => parse(&pair[1].replace("sha256:DIGEST", &format!("sha256:{:064}", 0)), Style::Typed),
            "--set-string" => parse(&pair[1], Style::Text),
            // What is in the file is the reader's.
            "--set-file" => parse(&format!("{}=text", pair[1].split('=').next()?), Style::Text),
            _ => return None,
        };
        match set {
            Ok(values) => misfit(&Value::Object(values)),
            Err(error) => Some(error.to_string()),
        }
    })
}

/// What the chart's schema has against these values.
pub fn misfit(values: &Value) -> Option<String> {
    let schema = fs::read_to_string(workspace().join("chart/values.schema.json")).unwrap();
    let validator = jsonschema::draft7::new(&serde_json::from_str(&schema).unwrap()).unwrap();
    let errors: Vec<String> =
        validator.iter_errors(values).map(|error| format!("{}: {error}", error.instance_path())).collect();
    (!errors.is_empty()).then(|| errors.join("; "))
}

/// Argo takes any `-p`, also one that the workflow doesn't have, and any text for it.
fn submit(command: &Command) -> Option<String> {
    let words = &command.words;
    let value_of =
        |flags: &[&str]| words.windows(2).find(|pair| flags.contains(&pair[0].as_str())).map(|pair| pair[1].as_str());
    let entrypoint = match value_of(&["--entrypoint"]) {
        None => Entrypoint::ALL[0],
        Some(word) => match Entrypoint::ALL.into_iter().find(|entrypoint| entrypoint.as_str() == word) {
            Some(entrypoint) => entrypoint,
            None => return Some(format!("the workflow has no entrypoint `{word}`")),
        },
    };
    let given: Given = words
        .windows(2)
        .filter(|pair| matches!(pair[0].as_str(), "-p" | "--parameter"))
        .map(|pair| pair[1].split_once('=').unwrap_or((&pair[1], "")))
        .map(|(name, text)| (name.to_owned(), text.to_owned()))
        .collect();
    let known = |name: &str| {
        PARAMETERS.iter().any(|parameter| parameter.name == name)
            || entrypoint.inputs().iter().any(|input| input.name == name)
    };
    if let Some(name) = given.keys().find(|name| !known(name)) {
        return Some(format!("entrypoint `{}` has no parameter `{name}`", entrypoint.as_str()));
    }
    // A sentence leaves out what it isn't about.
    if !command.whole {
        return None;
    }
    let template = format!("workflowtemplate/{CHART_NAME}");
    if value_of(&["--from"]) != Some(&template) || value_of(&["-n", "--namespace"]) != Some("argo") {
        return Some(format!("it doesn't say `-n argo --from {template}`"));
    }
    let missing = entrypoint.inputs().iter().find(|input| input.default.is_none() && !given.contains_key(input.name));
    if let Some(input) = missing {
        return Some(format!("entrypoint `{}` needs `{}`", entrypoint.as_str(), input.name));
    }
    refused(&given)
}

/// What the first step would say of these parameters, as far as it needs no cluster.
fn refused(given: &Given) -> Option<String> {
    let settings = match Settings::parse(given) {
        Ok(settings) => settings,
        Err(refusals) => return refusals.first().map(ToString::to_string),
    };
    let target = given.get("target-version").map(|text| version::parse("parameter `target-version`", text));
    let set = UserValues::parse(text(given, "helm-set-values")).err().into_iter().flatten();
    let choice = Choice::parse(&settings).err().into_iter().flatten();
    set.chain(choice).chain(target.and_then(Result::err)).next().map(|refusal| refusal.to_string())
}
