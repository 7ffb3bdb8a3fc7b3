//! What a person asked for: every parameter parsed, every wrong one named at once.

use klm_core::refusal::Refusal;
use klm_core::selection::Choice;
use klm_core::selector::Selector;
use klm_core::set_values::UserValues;
use klm_core::settings::{Given, Settings, text};
use klm_core::verification::{Template, text_of};
use klm_core::version;
use semver::Version;

use crate::cli::ParameterArgs;
use crate::manifest::verification_pod;

/// A run's parameters.
#[derive(Clone, Debug)]
pub struct Request {
    /// `target-version`
    pub target: Version,
    /// The same as text.
    pub target_text: String,
    /// All that hold no secret.
    pub settings: Settings,
    /// `node-selector`, `node-taint-key`, `node-taint-value`
    pub choice: Choice,
    /// `drain-pod-selector`
    pub drained: Selector,
    /// `helm-set-values`
    pub user: UserValues,
    /// `verification-pod`, checked.
    pub verification: Template,
    /// The same as text, for the steps to come.
    pub verification_text: String,
}

/// The same before it is known to be right: what could be read is there, so that checks can go on.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// See [`Request`].
    pub target: Option<Version>,
    /// See [`Request`].
    pub settings: Option<Settings>,
    choice: Option<Choice>,
    drained: Option<Selector>,
    user: Option<UserValues>,
    verification: Option<(Template, String)>,
    refusals: Vec<Refusal>,
}

impl Draft {
    /// Reads everything.
    pub fn read(target: &str, parameters: &ParameterArgs) -> Self {
        let mut draft = Self::default();
        draft.target =
            draft.keep(version::parse("parameter `target-version`", target).map_err(|refusal| vec![refusal]));
        draft.fill(parameters);
        draft
    }

    /// Reads what the chart's defaults give, before there is a target.
    pub fn of_defaults(parameters: &ParameterArgs) -> Self {
        let mut draft = Self::default();
        draft.fill(parameters);
        draft
    }

    /// All that is wrong so far.
    pub fn refusals(&self) -> &[Refusal] {
        &self.refusals
    }

    fn fill(&mut self, parameters: &ParameterArgs) {
        let draft = self;
        let Some(given) = draft.keep(parameters.resolve()) else { return };
        draft.settings = draft.keep(Settings::parse(&given));
        draft.user = draft.keep(UserValues::parse(text(&given, "helm-set-values")));
        draft.verification = draft.keep(verification(&given));
        if let Some(settings) = draft.settings.clone() {
            draft.choice = draft.keep(Choice::parse(&settings));
            draft.drained = draft.keep(settings.drain_pod_selector.parse().map_err(
                |error: klm_core::selector::InvalidSelector| {
                    vec![Refusal::new(format!("parameter `drain-pod-selector` is wrong: {error}"))]
                },
            ));
        }
    }

    fn keep<T>(&mut self, read: Result<T, Vec<Refusal>>) -> Option<T> {
        read.map_err(|refusals| self.refusals.extend(refusals)).ok()
    }

    /// The request, or all that is wrong with it.
    pub fn complete(self) -> Result<Request, Vec<Refusal>> {
        let Self { target, settings, choice, drained, user, verification, refusals } = self;
        match (target, settings, choice, drained, user, verification) {
            (Some(target), Some(settings), Some(choice), Some(drained), Some(user), Some((verification, text)))
                if refusals.is_empty() =>
            {
                let target_text = target.to_string();
                Ok(Request {
                    target,
                    target_text,
                    settings,
                    choice,
                    drained,
                    user,
                    verification,
                    verification_text: text,
                })
            }
            _ => Err(refusals),
        }
    }
}

fn verification(given: &Given) -> Result<(Template, String), Vec<Refusal>> {
    let parameter = text(given, "verification-pod");
    let namespace = text(given, "verification-namespace");
    let template = verification_pod(parameter, namespace)?;
    Ok((template, text_of(parameter).map_err(|refusal| vec![refusal])?))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn draft(target: &str, args: &[&str]) -> Draft {
        let line = ["klm-step", "plan", "--target-version", target].into_iter().chain(args.iter().copied());
        match Cli::try_parse_from(line).unwrap().command {
            Command::Plan(plan) => Draft::read(&plan.target_version, &plan.parameters),
            other => panic!("{other:?}"),
        }
    }

    const POD: &str = "apiVersion: v1\nkind: Pod\nspec: {containers: [{name: c}]}";

    #[test]
    fn all_that_is_wrong_is_named_at_once() {
        let wrong = draft(
            "v4.0.0",
            &[
                "--batch-size=many",
                "--node-selector=a in",
                "--helm-set-values=job.nodes={a}",
                "--verification-pod=kind: Job",
            ],
        );
        let named = wrong.complete().unwrap_err().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        for word in ["target-version", "batch-size", "job.nodes", "must be `Pod` of `v1`"] {
            assert!(named.contains(word), "{word}: {named}");
        }
        let selectors = draft("4.0.0", &["--node-selector=a in", "--drain-pod-selector=,", "--verification-pod", POD]);
        assert_eq!(selectors.complete().unwrap_err().len(), 2);
    }

    #[test]
    fn a_right_request_is_read_whole() {
        let request = draft("4.0.0", &["--helm-set-values=debug=true", "--verification-pod", POD]).complete().unwrap();
        assert_eq!((request.target.to_string().as_str(), request.verification_text.as_str()), ("4.0.0", POD));
        assert!(request.choice.is_open() && !request.user.values.is_empty());
    }

    #[test]
    fn a_request_without_a_pod_is_refused() {
        assert!(draft("4.0.0", &[]).complete().unwrap_err()[0].what.contains("`verification-pod` is empty"));
    }
}
