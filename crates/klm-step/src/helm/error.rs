//! What helm's failures mean. Its exit code is 1 for all of them, so its words decide.

use klm_core::helm_command::{Arg, HelmCommand};
use klm_core::release::Unreadable;

use super::Output;
use super::private::Private;
use super::program::End;
use crate::exit::cut;

/// A call of helm that didn't do what it should.
#[derive(Debug, thiserror::Error)]
#[error("`helm {call}` failed: {said}")]
pub struct HelmError {
    /// The verb.
    pub call: String,
    /// The kind of failure.
    pub trouble: Trouble,
    /// The cause in helm's words, without secrets.
    pub said: String,
}

/// Kinds of failure that callers treat differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// There is no such release.
    NoRelease,
    /// Another helm is at work, or died at work.
    Locked,
    /// The release has no good revision to start from.
    NothingDeployed,
    /// A hook failed or took too long: objects are changed, the revision is `failed`.
    Hook,
    /// Somebody else owns a field that the chart sets.
    FieldConflict,
    /// No way to the API server or the registry, or no time there for us.
    Unreachable,
    /// We lack a right; a server that has just been started says so for some seconds.
    Forbidden,
    /// We were asked to stop; helm recorded what it could.
    Stopped,
    /// It took longer than it may.
    TooSlow,
    /// Anything else: refused values, a chart that doesn't render, missing rights.
    Other,
}

/// Of helm's words; a rendered manifest in them may be long.
const SAID_LIMIT: usize = 1200;

/// Order matters: a failed hook may also mention a timeout.
const SIGNS: &[(&str, Trouble)] = &[
    ("another operation", Trouble::Locked),
    // Another helm made the revision that this one was about to make.
    ("release: already exists", Trouble::Locked),
    ("release: not found", Trouble::NoRelease),
    ("has no deployed releases", Trouble::NothingDeployed),
    ("hooks failed", Trouble::Hook),
    ("hook failed", Trouble::Hook),
    ("conflict occurred while applying", Trouble::FieldConflict),
    ("cluster unreachable", Trouble::Unreachable),
    ("connection refused", Trouble::Unreachable),
    ("i/o timeout", Trouble::Unreachable),
    ("no such host", Trouble::Unreachable),
    ("TLS handshake timeout", Trouble::Unreachable),
    ("no route to host", Trouble::Unreachable),
    ("connection reset by peer", Trouble::Unreachable),
    ("client connection lost", Trouble::Unreachable),
    ("unexpected EOF", Trouble::Unreachable),
    ("the server is currently unable to handle the request", Trouble::Unreachable),
    ("the server was unable to return a response in the time allotted", Trouble::Unreachable),
    ("the server has received too many requests", Trouble::Unreachable),
    ("toomanyrequests", Trouble::Unreachable),
    ("etcdserver: leader changed", Trouble::Unreachable),
    ("etcdserver: request timed out", Trouble::Unreachable),
    ("context canceled", Trouble::Stopped),
    ("is forbidden: User", Trouble::Forbidden),
];

impl HelmError {
    /// What a failed run says, without quoting values: those of the call and those that are private beside them.
    pub fn of(command: &HelmCommand, output: &Output, private: &Private) -> Self {
        let said = complaint(&output.stderr, output.code);
        let trouble = SIGNS.iter().find(|(sign, _)| said.contains(sign)).map_or(Trouble::Other, |(_, it)| *it);
        let mut private = private.clone();
        for arg in &command.args {
            if let Arg::Values(values) = arg {
                private.add(values);
            }
        }
        Self { call: verb(command), trouble, said: cut(&private.cut_out_of(&said), SAID_LIMIT) }
    }

    /// A run that didn't come to its own end.
    pub fn ended(command: &HelmCommand, end: End) -> Self {
        let (trouble, said) = match end {
            End::Stopped => (Trouble::Stopped, "ended because the step was asked to stop".to_owned()),
            End::TooSlow(limit) => {
                (Trouble::TooSlow, format!("ended because it took longer than {}", klm_core::duration::format(limit)))
            }
            End::NotStarted(error) => (Trouble::Other, format!("can't be started: {error}")),
        };
        Self { call: verb(command), trouble, said }
    }

    /// Not started, because another helm has made a revision since we looked.
    pub fn overtaken(command: &HelmCommand) -> Self {
        let said = "another operation came first: the release has a revision that wasn't there when we looked";
        Self { call: verb(command), trouble: Trouble::Locked, said: said.to_owned() }
    }

    /// Not started, because we were asked to stop.
    pub fn stopped(command: &HelmCommand) -> Self {
        Self::ended(command, End::Stopped)
    }

    /// An answer that is no answer.
    pub fn unreadable(error: &Unreadable) -> Self {
        Self::said(error.call, error.to_string())
    }

    /// Our own files for helm can't be written.
    pub fn files(error: &std::io::Error) -> Self {
        Self::said("call", format!("can't write helm's files: {error}"))
    }

    /// Whether it was ended, or not begun, because the step was asked to stop.
    pub fn is_stopped(&self) -> bool {
        self.trouble == Trouble::Stopped
    }

    /// Whether the same call may do better a little later. A hook fails not only by its own end: also when it can't be
    /// made.
    pub fn may_pass(&self) -> bool {
        let passes = |trouble| matches!(trouble, Trouble::Locked | Trouble::Unreachable | Trouble::Forbidden);
        let by_words = || SIGNS.iter().any(|(sign, trouble)| passes(*trouble) && self.said.contains(sign));
        passes(self.trouble) || (self.trouble == Trouble::Hook && by_words())
    }

    /// Any other failure.
    pub fn said(call: &str, said: String) -> Self {
        Self { call: call.to_owned(), trouble: Trouble::Other, said }
    }
}

fn verb(command: &HelmCommand) -> String {
    let words = command.args.iter().take(2).filter_map(|arg| match arg {
        Arg::Text(text) if !text.starts_with('-') => Some(text.as_str()),
        _ => None,
    });
    let words: Vec<&str> = words.collect();
    if words.first() == Some(&"get") { words.join(" ") } else { words.first().copied().unwrap_or_default().to_owned() }
}

/// The lines that begin with `Error:`, or the last one that says anything.
fn complaint(stderr: &str, code: Option<i32>) -> String {
    let said = stderr.find("Error: ").map(|at| &stderr[at + "Error: ".len()..]);
    let last = || stderr.lines().rev().find(|line| !line.trim().is_empty());
    let text = said.or_else(last).map(str::trim).unwrap_or_default().replace('\n', "; ");
    match (text.is_empty(), code) {
        (false, _) => text,
        (true, Some(code)) => format!("exit code {code}, nothing said"),
        (true, None) => "ended by a signal".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn command(values: &Value) -> HelmCommand {
        let values = values.as_object().cloned().unwrap();
        HelmCommand {
            args: vec![Arg::Text("upgrade".into()), Arg::Text("--install".into()), Arg::Values(values)],
            makes: None,
        }
    }

    fn failed(stderr: &str) -> Output {
        Output { code: Some(1), stderr: stderr.to_owned(), ..Output::default() }
    }

    fn error(stderr: &str) -> HelmError {
        HelmError::of(&command(&json!({})), &failed(stderr), &Private::default())
    }

    #[rstest]
    #[case("Error: UPGRADE FAILED: another operation (install/upgrade/rollback) is in progress", Trouble::Locked)]
    #[case("Error: UPGRADE FAILED: release: already exists", Trouble::Locked)]
    #[case("Error: release: not found", Trouble::NoRelease)]
    #[case("Error: UPGRADE FAILED: \"kd\" has no deployed releases", Trouble::NothingDeployed)]
    #[case(
        "Error: UPGRADE FAILED: post-upgrade hooks failed: resource Job/a/b not ready. status: Failed",
        Trouble::Hook
    )]
    #[case(
        "Error: UPGRADE FAILED: post-upgrade hooks failed: Job/a/b: InProgress\ncontext deadline exceeded",
        Trouble::Hook
    )]
    #[case(
        "Error: UPGRADE FAILED: conflict occurred while applying object a/b apps/v1, Kind=DaemonSet: Apply failed",
        Trouble::FieldConflict
    )]
    #[case("Error: kubernetes cluster unreachable: Get \"https://x\": dial tcp: i/o timeout", Trouble::Unreachable)]
    #[case("Error: UPGRADE FAILED: context canceled", Trouble::Stopped)]
    #[case(
        "Error: query: failed to query with labels: secrets is forbidden: User \"a\" cannot list",
        Trouble::Forbidden
    )]
    #[case("Error: execution error at (kata-deploy/x.yaml:3:4): job.nodeSelector was removed", Trouble::Other)]
    fn helms_words_decide_what_kind_of_failure_it_is(#[case] stderr: &str, #[case] trouble: Trouble) {
        assert_eq!(error(stderr).trouble, trouble);
    }

    #[rstest]
    #[case("UPGRADE FAILED: another operation (install/upgrade/rollback) is in progress", true)]
    #[case("kubernetes cluster unreachable: Get \"https://x\": dial tcp: i/o timeout", true)]
    #[case("UPGRADE FAILED: the server has received too many requests and has asked us to try again later", true)]
    #[case("query: failed to query with labels: secrets is forbidden: User \"a\" cannot list", true)]
    #[case("UPGRADE FAILED: post-upgrade hooks failed: Post \"https://x\": dial tcp: connection refused", true)]
    #[case("UPGRADE FAILED: post-upgrade hooks failed: resource Job/a/b not ready. status: Failed", false)]
    #[case("UPGRADE FAILED: post-upgrade hooks failed: Job/a/b: InProgress; context deadline exceeded", false)]
    #[case("UPGRADE FAILED: context canceled", false)]
    #[case("UPGRADE FAILED: no matches for kind X", false)]
    fn what_keeps_a_call_from_its_work_may_pass(#[case] said: &str, #[case] passes: bool) {
        assert_eq!(error(&format!("Error: {said}")).may_pass(), passes);
    }

    #[test]
    fn the_cause_is_said_once_and_without_helms_log_lines() {
        let error = error("level=WARN msg=\"deprecated\"\nError: UPGRADE FAILED: no matches for kind X\n");
        assert_eq!(error.to_string(), "`helm upgrade` failed: UPGRADE FAILED: no matches for kind X");
    }

    #[test]
    fn a_value_of_the_user_never_appears_in_a_message() {
        let command = command(&json!({"auth": {"tokens": ["hunter2-long", "yes"]}}));
        // Helm reads what the release has by itself.
        let mut private = Private::default();
        private.add(json!({"auth": {"password": "correct horse"}}).as_object().unwrap());
        let output = failed("Error: can't parse hunter2-long, yes; Invalid value: \"correct horse\"");
        let expected = "can't parse <value of auth.tokens>, yes; Invalid value: \"<value of auth.password>\"";
        assert_eq!(HelmError::of(&command, &output, &private).said, expected);
    }

    #[test]
    fn what_kind_of_failure_it_is_is_read_before_values_are_cut_out() {
        let mut private = Private::default();
        private.add(json!({"words": "release: not found"}).as_object().unwrap());
        let error = HelmError::of(&command(&json!({})), &failed("Error: release: not found"), &private);
        assert_eq!((error.trouble, &*error.said), (Trouble::NoRelease, "<value of words>"));
    }

    #[test]
    fn a_silent_failure_still_says_something() {
        assert_eq!(error("").said, "exit code 1, nothing said");
    }
}
