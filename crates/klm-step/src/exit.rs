//! How a step ends: the only place that knows exit codes, and how an error looks to a person.

use std::fmt::{self, Write as _};
use std::process::ExitCode;

use klm_core::refusal::Refusal;
use serde::{Deserialize, Serialize};

use crate::helm::HelmError;

/// Why a step ended without having done its work.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// A gate said no before anything was touched.
    Refused(Vec<Refusal>),
    /// Nodes failed: they are for the rollback.
    Unverified(Vec<NodeFailure>),
    /// A rollback didn't finish: a person is needed.
    Stuck(Vec<NodeFailure>),
    /// SIGTERM: everything needed to go on is on the cluster.
    Stopped,
    /// Something outside failed longer than its retries, or we have a bug.
    Failed(anyhow::Error),
}

/// What happened to one node, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFailure {
    /// The node.
    pub node: String,
    /// What it was in when it failed, in the contract's word.
    pub phase: String,
    /// The cause, once.
    pub cause: String,
}

impl NodeFailure {
    /// One failed node.
    pub fn new(node: impl fmt::Display, phase: klm_core::phase::NodePhase, cause: impl Into<String>) -> Self {
        Self { node: node.to_string(), phase: phase.to_string(), cause: cause.into() }
    }
}

impl StepError {
    /// The exit code. 64 and 65 stay free: Argo's own executor uses them.
    pub const fn code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Refused(_) => 3,
            Self::Unverified(_) => 4,
            Self::Stuck(_) => 5,
            Self::Stopped => 143,
        }
    }

    /// What to do now.
    fn hint(&self) -> Option<String> {
        match self {
            // Each refusal carries its own.
            Self::Failed(_) | Self::Refused(_) => None,
            Self::Unverified(_) => Some("the rollback step takes these nodes back; submit again once the cause is gone".to_owned()),
            Self::Stuck(failures) => Some(format!(
                "the node stays cordoned so that nothing lands on it; see the journal:\n  kubectl get node {} -o jsonpath='{{.metadata.annotations}}'\nthen run the entrypoint `recover`, or `rollback-node` with a `rollback-version`",
                failures.first().map_or("<node>", |failure| failure.node.as_str())
            )),
            Self::Stopped => Some("the run's exit handler settles what is in flight; after `argo terminate`, run the entrypoint `recover` or submit again".to_owned()),
        }
    }

    /// The message as it goes to stderr.
    pub fn report(&self) -> String {
        let mut text = match self {
            Self::Refused(refusals) => refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
            other => format!("error: {other}"),
        };
        if let Some(hint) = self.hint() {
            let _ = write!(text, "\nhint: {hint}");
        }
        text
    }

    /// One line for `argo get`: what failed, why, and what now.
    pub fn termination_message(&self) -> String {
        let mut line = match self {
            Self::Refused(refusals) => refusals.iter().map(refusal_in_one_line).collect::<Vec<_>>().join("; "),
            other => other.to_string(),
        };
        if let (false, Some(hint)) = (matches!(self, Self::Stuck(_)), self.hint()) {
            let _ = write!(line, "; {}", hint.lines().next().unwrap_or_default());
        } else if matches!(self, Self::Stuck(_)) {
            line.push_str("; left cordoned: run the entrypoint `recover` or `rollback-node`");
        }
        cut(&line.replace('\n', " "), TERMINATION_MESSAGE_LIMIT)
    }
}

/// Kubernetes keeps 4096 bytes of a termination message; Argo shows one line, so less is more.
const TERMINATION_MESSAGE_LIMIT: usize = 1000;

/// Cuts a text at a character border and says so.
pub fn cut(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let end = (0..=limit).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}…", &text[..end])
}

fn refusal_in_one_line(refusal: &Refusal) -> String {
    match refusal.hint.as_deref().and_then(|hint| hint.lines().next()) {
        Some(hint) => format!("{} ({hint})", refusal.what),
        None => refusal.what.clone(),
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusals) => write!(f, "refused for {}", count(refusals.len(), "reason")),
            Self::Unverified(failures) => nodes(f, failures, "failed"),
            Self::Stuck(failures) => nodes(f, failures, "could not be taken back"),
            Self::Stopped => f.write_str("stopped by SIGTERM at a safe point"),
            Self::Failed(error) => write!(f, "{}", chain(error)),
        }
    }
}

/// `1 node`, `2 nodes`.
pub fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

fn nodes(f: &mut fmt::Formatter<'_>, failures: &[NodeFailure], what: &str) -> fmt::Result {
    write!(f, "{} {what}", count(failures.len(), "node"))?;
    for (at, NodeFailure { node, phase, cause }) in failures.iter().enumerate() {
        write!(f, "{} node `{node}`, {phase}: {cause}", if at == 0 { ":" } else { ";" })?;
    }
    Ok(())
}

/// An error and its causes, each said once: many libraries repeat their source in their own text.
pub fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let said = cause.to_string();
        if text.is_empty() {
            text = said;
        } else if !text.contains(&said) {
            let _ = write!(text, ": {said}");
        }
    }
    text
}

impl From<anyhow::Error> for StepError {
    /// A step's own error that travelled through plumbing stays what it was; and a helm that was ended because the step is to
    /// stop has not failed: Argo starts the step again.
    fn from(error: anyhow::Error) -> Self {
        let is_stopped = error.downcast_ref::<HelmError>().is_some_and(HelmError::is_stopped);
        if is_stopped { Self::Stopped } else { error.downcast::<Self>().unwrap_or_else(Self::Failed) }
    }
}

impl From<Vec<Refusal>> for StepError {
    fn from(refusals: Vec<Refusal>) -> Self {
        Self::Refused(refusals)
    }
}

impl From<Refusal> for StepError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(vec![refusal])
    }
}

impl From<crate::cluster::ApiError> for StepError {
    fn from(error: crate::cluster::ApiError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<HelmError> for StepError {
    fn from(error: HelmError) -> Self {
        anyhow::Error::from(error).into()
    }
}

/// Prints the error, leaves the line that Kubernetes shows, and gives the exit code.
pub fn end(result: Result<(), StepError>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    for line in error.report().lines() {
        tracing_or_stderr(line);
    }
    // Not there on a laptop, not writable in some pods: the message is in the log as well.
    let _ = std::fs::write(TERMINATION_LOG, error.termination_message());
    ExitCode::from(error.code())
}

const TERMINATION_LOG: &str = "/dev/termination-log";

fn tracing_or_stderr(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;
    use klm_core::phase::NodePhase;

    use super::*;

    fn failed() -> StepError {
        StepError::Unverified(vec![NodeFailure::new("blue-7", NodePhase::Verifying, "verification pod exited with 3")])
    }

    #[test]
    fn each_kind_of_end_has_its_documented_code() {
        let codes = [
            StepError::Failed(anyhow::anyhow!("x")),
            StepError::Refused(vec![]),
            failed(),
            StepError::Stuck(vec![]),
            StepError::Stopped,
        ]
        .map(|error| error.code());
        assert_eq!(codes, [1, 3, 4, 5, 143]);
    }

    #[test]
    fn a_helm_that_ends_because_the_step_is_to_stop_has_not_failed() {
        let stopped = || HelmError::stopped(&klm_core::helm_command::version());
        let through_plumbing = StepError::from(anyhow::Error::from(stopped()).context("failed to read the release"));
        assert_eq!([through_plumbing.code(), StepError::from(stopped()).code()], [143, 143]);
        assert_eq!(StepError::from(HelmError::said("history", "no".to_owned())).code(), 1);
    }

    #[test]
    fn the_termination_message_is_one_line_with_node_phase_cause_and_what_now() {
        let line = failed().termination_message();
        assert!(!line.contains('\n'));
        for part in ["blue-7", "verifying", "exited with 3", "rollback step"] {
            assert!(line.contains(part), "{part}: {line}");
        }
    }

    #[test]
    fn a_long_termination_message_is_cut_between_characters() {
        let cause = "ü".repeat(2000);
        let line = StepError::Stuck(vec![NodeFailure::new("n", NodePhase::RollingBack, cause)]).termination_message();
        assert!(line.len() <= TERMINATION_MESSAGE_LIMIT + "…".len());
    }

    #[test]
    fn a_refusal_that_travelled_as_anyhow_is_still_a_refusal() {
        let travelled = anyhow::Error::new(StepError::Refused(vec![Refusal::new("no")])).context("while looking");
        assert_eq!(StepError::from(travelled).code(), 3);
    }

    #[test]
    fn a_cause_is_said_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("connection refused: {0}")]
        struct Repeats(#[source] std::fmt::Error);
        let error = Err::<(), _>(Repeats(std::fmt::Error)).context("failed to list nodes").unwrap_err();
        let inner = std::fmt::Error.to_string();
        assert_eq!(chain(&error), format!("failed to list nodes: connection refused: {inner}"));
    }

    #[test]
    fn every_reason_to_refuse_is_printed_with_its_own_hint() {
        let error = StepError::from(vec![Refusal::new("a is wrong").hint("fix a"), Refusal::new("b is wrong")]);
        assert_eq!(error.report(), "error: a is wrong\nhint: fix a\nerror: b is wrong");
    }
}
