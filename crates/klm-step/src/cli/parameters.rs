//! The workflow's parameters as flags, made from the contract's table: a new parameter there is a new flag here.

use clap::{Arg, ArgMatches, Args, Command, Error, FromArgMatches};
use klm_core::contract::{Entrypoint, PARAMETERS};
use klm_core::refusal::{Refusal, nearest};
use klm_core::settings::Given;
use serde::Deserialize;

/// What was typed: one flag per parameter, and Argo's own list of all parameters of the Workflow.
#[derive(Clone, Debug, Default)]
pub struct ParameterArgs {
    flags: Given,
    submitted: Option<String>,
    template: Option<String>,
}

/// Argo's `{{workflow.parameters}}`: every parameter of the Workflow, misspelt ones as well.
const SUBMITTED: &str = "parameters";

#[derive(Clone, Deserialize)]
struct Submitted {
    name: String,
    #[serde(default)]
    value: serde_json::Value,
}

impl ParameterArgs {
    /// The same over a template's own list of parameters: what it gives counts where nothing else is given.
    #[must_use]
    pub fn over_template(&self, list: String) -> Self {
        Self { template: Some(list), ..self.clone() }
    }

    /// Every parameter by name. A flag wins over the submitted list, that over the template's; a name that nobody knows is refused with the
    /// nearest one that exists, because Argo accepts any `-p`.
    pub fn resolve(&self) -> Result<Given, Vec<Refusal>> {
        let mut given = Given::new();
        let mut refusals = Vec::new();
        for parameter in [list(self.template.as_deref())?, list(self.submitted.as_deref())?].concat() {
            if PARAMETERS.iter().any(|known| known.name == parameter.name) {
                let text = match parameter.value {
                    serde_json::Value::String(text) => text,
                    serde_json::Value::Null => String::new(),
                    other => other.to_string(),
                };
                given.insert(parameter.name, text);
            } else if !inputs().any(|input| input == parameter.name) {
                refusals.push(unknown(&parameter.name));
            }
        }
        given.extend(self.flags.clone());
        if refusals.is_empty() { Ok(given) } else { Err(refusals) }
    }
}

fn list(text: Option<&str>) -> Result<Vec<Submitted>, Vec<Refusal>> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(Vec::new()) };
    serde_json::from_str(text)
        .map_err(|error| vec![Refusal::new(format!("`--{SUBMITTED}` is not Argo's list of parameters: {error}"))])
}

fn inputs() -> impl Iterator<Item = &'static str> {
    Entrypoint::ALL.into_iter().flat_map(Entrypoint::inputs).map(|input| input.name)
}

fn unknown(name: &str) -> Refusal {
    let refusal = Refusal::new(format!("parameter `{name}` does not exist"));
    match nearest(name, PARAMETERS.iter().map(|parameter| parameter.name).chain(inputs())) {
        Some(meant) => refusal.hint(format!("did you mean `{meant}`?")),
        None => refusal.hint("the parameters are listed in the README under \"Workflow parameters\""),
    }
}

impl Args for ParameterArgs {
    fn augment_args(command: Command) -> Command {
        let flags = PARAMETERS.iter().map(|parameter| {
            let mut help = parameter.help.to_owned();
            if !parameter.default.is_empty() {
                help = format!("{help} [default: {}]", parameter.default);
            }
            // Free text may begin with a dash, for example `-1`.
            Arg::new(parameter.name).long(parameter.name).help(help).allow_hyphen_values(true)
        });
        command.args(flags).arg(
            Arg::new(SUBMITTED)
                .long(SUBMITTED)
                .help("Argo's `{{workflow.parameters}}`: all parameters as a JSON list; flags win over it")
                .allow_hyphen_values(true),
        )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ParameterArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut args = Self::default();
        args.update_from_arg_matches(matches)?;
        Ok(args)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        for parameter in PARAMETERS {
            if let Some(text) = matches.get_one::<String>(parameter.name) {
                self.flags.insert(parameter.name.to_owned(), text.clone());
            }
        }
        self.submitted = matches.get_one::<String>(SUBMITTED).cloned();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn parameters(args: &[&str]) -> ParameterArgs {
        let line = ["klm-step", "plan", "--target-version", "4.1.0"].iter().chain(args);
        match Cli::try_parse_from(line).unwrap().command {
            Command::Plan(plan) => plan.parameters,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_flag_wins_over_the_submitted_list() {
        let submitted = r#"[{"name":"batch-size","value":"5"},{"name":"helm-release","value":"kata"}]"#;
        let given = parameters(&["--batch-size=7", "--parameters", submitted]).resolve().unwrap();
        assert_eq!((given["batch-size"].as_str(), given["helm-release"].as_str()), ("7", "kata"));
    }

    #[test]
    fn what_was_given_wins_over_the_template() {
        let template = r#"[{"name":"batch-size","value":"5"},{"name":"helm-release","value":"kata"},{"name":"drain-timeout","value":"9s"}]"#;
        let args = parameters(&["--batch-size=7", "--parameters", r#"[{"name":"helm-release","value":"kd"}]"#]);
        let given = args.over_template(template.to_owned()).resolve().unwrap();
        let read = ["batch-size", "helm-release", "drain-timeout"].map(|name| given[name].as_str());
        assert_eq!(read, ["7", "kd", "9s"]);
    }

    #[test]
    fn a_misspelt_parameter_is_refused_with_the_nearest_name() {
        let submitted = r#"[{"name":"batchsize","value":"5"},{"name":"target-version","value":"4.1.0"}]"#;
        let refusals = parameters(&["--parameters", submitted]).resolve().unwrap_err();
        assert_eq!(refusals.len(), 1);
        assert_eq!(
            refusals[0].to_string(),
            "error: parameter `batchsize` does not exist\nhint: did you mean `batch-size`?"
        );
    }

    #[test]
    fn free_text_may_begin_with_a_dash() {
        let given = parameters(&["--drain-grace-period", "-1", "--helm-set-values", "-x=1"]).resolve().unwrap();
        assert_eq!((given["drain-grace-period"].as_str(), given["helm-set-values"].as_str()), ("-1", "-x=1"));
    }

    #[test]
    fn every_flag_is_a_parameter_of_the_contract_once() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
