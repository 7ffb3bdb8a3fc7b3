//! What the templates can name: the contract, as data.

use klm_core::contract::entrypoint::{NODE_NAME, ROLLBACK_VERSION, TARGET_VERSION};
use klm_core::contract::{CHART_NAME, Entrypoint, Kind, PARAMETERS, Place, RIGHTS, Right, rights};
use serde::Serialize;

/// The context of every template.
#[derive(Debug, Serialize)]
pub struct Model {
    chart: Chart,
    parameters: Vec<Parameter>,
    places: Vec<PlaceRules>,
    entrypoint: &'static str,
    inputs: Inputs,
}

/// What the inputs of the entrypoints are for, in quotes.
#[derive(Debug, Serialize)]
struct Inputs {
    target_version: String,
    node_name: String,
    rollback_version: String,
}

#[derive(Debug, Serialize)]
struct Chart {
    name: &'static str,
}

/// A workflow parameter and the Helm action that writes its default.
#[derive(Debug, Serialize)]
struct Parameter {
    name: &'static str,
    /// In quotes.
    help: String,
    default: String,
    flag: String,
}

#[derive(Debug, Serialize)]
struct PlaceRules {
    define: String,
    rules: Vec<Rule>,
}

#[derive(Debug, Serialize)]
struct Rule {
    user: &'static str,
    groups: String,
    resources: String,
    verbs: String,
    names: Vec<String>,
}

impl Model {
    /// The contract.
    pub fn new() -> Self {
        Self {
            chart: Chart { name: CHART_NAME },
            parameters: PARAMETERS.iter().map(parameter).collect(),
            places: Place::ALL.into_iter().map(place).collect(),
            entrypoint: Entrypoint::DeployVersion.as_str(),
            inputs: Inputs {
                target_version: in_quotes(TARGET_VERSION.help),
                node_name: in_quotes(NODE_NAME.help),
                rollback_version: in_quotes(ROLLBACK_VERSION.help),
            },
        }
    }
}

fn parameter(parameter: &klm_core::contract::Parameter) -> Parameter {
    let text = match parameter.kind {
        Kind::PodManifest => "include \"klm.verificationPod\" .".to_owned(),
        // Helm reads numbers as floats, and writes large ones as `1e+06`.
        Kind::Integer { .. } => format!(".Values.{} | int64", parameter.value),
        _ => format!(".Values.{}", parameter.value),
    };
    Parameter {
        name: parameter.name,
        help: in_quotes(parameter.help),
        default: format!("{text} | quote"),
        flag: format!("printf \"--{}=%v\" ({text}) | quote", parameter.name),
    }
}

fn place(place: Place) -> PlaceRules {
    let rules = RIGHTS.iter().filter(|right| right.place == place).map(rule).collect();
    PlaceRules { define: format!("define \"klm.rights.{}\"", place.as_str()), rules }
}

fn rule(right: &Right) -> Rule {
    let rights::Right { place: _, group, resources, verbs, names, user } = *right;
    let names = if names.is_empty() {
        Vec::new()
    } else {
        vec![format!("include \"klm.installedNames\" (list . (list {}))", quoted(names, " "))]
    };
    Rule { user, groups: list(&[group]), resources: list(resources), verbs: list(verbs), names }
}

fn in_quotes(text: &str) -> String {
    format!("{text:?}")
}

fn list(words: &[&str]) -> String {
    format!("[{}]", quoted(words, ", "))
}

fn quoted(words: &[&str], between: &str) -> String {
    words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(between)
}
