//! What an observed verification pod means: passed, not yet, or failed, and by which cause.

use std::fmt;
use std::time::Duration;

use crate::pod::{Container, Phase, PodFacts, State};

/// The word on one verification pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It ended well: Kata works on the node.
    Passed,
    /// It has time left; what it was last seen doing.
    Running(String),
    /// It failed.
    Failed(Failure),
}

/// Why a verification failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What kind of failure.
    pub cause: Cause,
    /// The words of whoever saw it: scheduler, kubelet, runtime or API server.
    pub seen: String,
}

/// What kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The API server wouldn't take the pod: a quota, pod security, a missing `RuntimeClass`.
    Refused,
    /// No room or no permission for it on the node.
    Scheduling,
    /// Its image couldn't be had.
    ImagePull,
    /// The runtime couldn't start it.
    Sandbox,
    /// It ended with this exit code.
    ExitCode(i64),
    /// It ran longer than allowed.
    Timeout,
    /// The kubelet put it out of the node.
    Evicted,
    /// Somebody deleted it.
    Deleted,
}

impl Cause {
    /// Its word, for programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Scheduling => "scheduling",
            Self::ImagePull => "image-pull",
            Self::Sandbox => "sandbox",
            Self::ExitCode(_) => "exit-code",
            Self::Timeout => "timeout",
            Self::Evicted => "evicted",
            Self::Deleted => "deleted",
        }
    }

    /// What to look at.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Refused => "make room for the pod in the verification namespace, or choose another namespace",
            Self::Scheduling => "check what the pod requests against what the node has free",
            Self::ImagePull => "check the pod's image, its pull secret and the node's way to the registry",
            Self::Sandbox => "look at the container runtime and Kata on the node",
            Self::ExitCode(_) => "read the pod's log above",
            Self::Timeout => "raise `verification-timeout`, or look at what the pod waits for",
            Self::Evicted => "check the node's memory and disk",
            Self::Deleted => "find out who deleted the pod, then submit again",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cause {
            Cause::Refused => f.write_str("the API server refused the verification pod")?,
            Cause::Scheduling => f.write_str("the verification pod could not be scheduled")?,
            Cause::ImagePull => f.write_str("the verification pod's image could not be pulled")?,
            Cause::Sandbox => f.write_str("the runtime could not start the verification pod")?,
            Cause::ExitCode(code) => write!(f, "the verification pod ended with exit code {code}")?,
            Cause::Timeout => f.write_str("the verification pod did not end in time")?,
            Cause::Evicted => f.write_str("the kubelet evicted the verification pod")?,
            Cause::Deleted => f.write_str("the verification pod was deleted")?,
        }
        if self.seen.is_empty() { Ok(()) } else { write!(f, ": {}", self.seen) }
    }
}

/// An event about the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventFacts {
    /// For example `FailedCreatePodSandBox`.
    pub reason: String,
    /// What it says.
    pub message: String,
}

/// The word on a pod that was created `age` ago and may take `limit`. `events` are its warnings, the newest last.
pub fn verdict(pod: Option<&PodFacts>, events: &[EventFacts], age: Duration, limit: Duration) -> Verdict {
    let Some(pod) = pod else { return failed(Cause::Deleted, "") };
    match pod.phase {
        Phase::Succeeded => Verdict::Passed,
        Phase::Failed => Verdict::Failed(ended(pod)),
        _ if pod.deleting => failed(Cause::Deleted, ""),
        _ => match hopeless(pod) {
            Some(failure) => Verdict::Failed(failure),
            None if age < limit => Verdict::Running(progress(pod, events).seen),
            None => Verdict::Failed(progress(pod, events)),
        },
    }
}

/// The API server's answer to a pod that it wouldn't take.
pub fn refused(answer: &str) -> Failure {
    Failure { cause: Cause::Refused, seen: answer.to_owned() }
}

fn failed(cause: Cause, seen: &str) -> Verdict {
    Verdict::Failed(Failure { cause, seen: seen.to_owned() })
}

/// A pod whose phase is `Failed`.
fn ended(pod: &PodFacts) -> Failure {
    let words = pod.message.clone().unwrap_or_default();
    match pod.reason.as_deref() {
        Some("DeadlineExceeded") => return Failure { cause: Cause::Timeout, seen: words },
        Some("Evicted" | "NodeLost" | "NodeShutdown" | "Terminated" | "Preempting") => {
            return Failure { cause: Cause::Evicted, seen: words };
        }
        // The kubelet looks at the node again when the pod arrives.
        Some(reason) if pod.containers.iter().all(|container| container.state == State::Unknown) => {
            return Failure { cause: Cause::Scheduling, seen: join(reason, &words) };
        }
        _ => {}
    }
    let ends = |container: &&Container| matches!(container.state, State::Terminated { code, .. } if code != 0);
    match pod.containers.iter().find(ends).map(|container| (&container.name, &container.state)) {
        Some((_, State::Terminated { reason, message, .. })) if is_start_error(reason) => {
            Failure { cause: Cause::Sandbox, seen: join(reason, message) }
        }
        Some((name, State::Terminated { code, reason, message })) => {
            let why = if reason == "Error" { String::new() } else { reason.clone() };
            let seen = join(&format!("container `{name}`"), &join(&why, message));
            Failure { cause: Cause::ExitCode(*code), seen }
        }
        _ => Failure { cause: Cause::Deleted, seen: words },
    }
}

/// The runtime's reasons for a container that never ran.
fn is_start_error(reason: &str) -> bool {
    matches!(reason, "StartError" | "ContainerCannotRun" | "ContainerStatusUnknown")
}

/// States that no waiting ends.
fn hopeless(pod: &PodFacts) -> Option<Failure> {
    pod.containers.iter().find_map(|container| match &container.state {
        State::Waiting { reason, message } if matches!(reason.as_str(), "InvalidImageName" | "ErrImageNeverPull") => {
            Some(Failure { cause: Cause::ImagePull, seen: join(reason, message) })
        }
        _ => None,
    })
}

/// What a pod that hasn't ended is at, and what it failed of if its time is over now.
fn progress(pod: &PodFacts, events: &[EventFacts]) -> Failure {
    if let Some(why) = &pod.unschedulable {
        return Failure { cause: Cause::Scheduling, seen: why.clone() };
    }
    if pod.node.is_none() {
        return Failure { cause: Cause::Scheduling, seen: "no scheduler has looked at it".to_owned() };
    }
    for container in &pod.containers {
        let State::Waiting { reason, message } = &container.state else { continue };
        match reason.as_str() {
            "ErrImagePull" | "ImagePullBackOff" | "ImageInspectError" | "RegistryUnavailable" => {
                return Failure { cause: Cause::ImagePull, seen: join(reason, message) };
            }
            // Said of every container before the sandbox is there, and of those behind one that starts up.
            "ContainerCreating" | "PodInitializing" | "" => {}
            _ => return Failure { cause: Cause::Sandbox, seen: join(reason, message) },
        }
    }
    if pod.containers.iter().any(|container| matches!(container.state, State::Running | State::Terminated { .. })) {
        return Failure { cause: Cause::Timeout, seen: "it is still running".to_owned() };
    }
    let warning =
        events.last().map_or("no container has started".to_owned(), |event| join(&event.reason, &event.message));
    Failure { cause: Cause::Sandbox, seen: warning }
}

fn join(reason: &str, message: &str) -> String {
    match (reason.trim(), message.trim()) {
        ("", text) | (text, "") => text.to_owned(),
        (reason, message) => format!("{reason}: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn pod(status: &Value) -> PodFacts {
        PodFacts::from_json(&json!({
            "metadata": {"name": "p", "namespace": "n"},
            "spec": {"nodeName": "w", "containers": [{"name": "c", "image": "i"}]},
            "status": status
        }))
    }

    fn container(state: &Value) -> Value {
        json!({"phase": "Pending", "containerStatuses": [{"name": "c", "state": state}]})
    }

    const LIMIT: Duration = Duration::from_secs(600);

    fn after_its_time(pod: &PodFacts, events: &[EventFacts]) -> String {
        match verdict(Some(pod), events, LIMIT, LIMIT) {
            Verdict::Failed(failure) => format!("{}; {}", failure.cause.as_str(), failure),
            other => format!("{other:?}"),
        }
    }

    #[rstest]
    #[case::passed(json!({"phase": "Succeeded"}), "Passed")]
    #[case::exit(json!({"phase": "Failed", "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 7, "reason": "Error"}}}]}),
        "exit-code; the verification pod ended with exit code 7: container `c`")]
    #[case::memory(json!({"phase": "Failed", "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]}),
        "exit-code; the verification pod ended with exit code 137: container `c`: OOMKilled")]
    #[case::start(json!({"phase": "Failed", "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 128, "reason": "StartError", "message": "no vmm"}}}]}),
        "sandbox; the runtime could not start the verification pod: StartError: no vmm")]
    #[case::deadline(json!({"phase": "Failed", "reason": "DeadlineExceeded", "message": "Pod was active too long"}),
        "timeout; the verification pod did not end in time: Pod was active too long")]
    #[case::evicted(json!({"phase": "Failed", "reason": "Evicted", "message": "low on memory"}),
        "evicted; the kubelet evicted the verification pod: low on memory")]
    #[case::kubelet(json!({"phase": "Failed", "reason": "OutOfmemory", "message": "Node didn't have enough resource"}),
        "scheduling; the verification pod could not be scheduled: OutOfmemory: Node didn't have enough resource")]
    #[case::unschedulable(json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes"}]}),
        "scheduling; the verification pod could not be scheduled: 0/3 nodes")]
    #[case::pull(container(&json!({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling"}})),
        "image-pull; the verification pod's image could not be pulled: ImagePullBackOff: Back-off pulling")]
    #[case::config(container(&json!({"waiting": {"reason": "CreateContainerError", "message": "x"}})),
        "sandbox; the runtime could not start the verification pod: CreateContainerError: x")]
    #[case::slow(json!({"phase": "Running", "containerStatuses": [{"name": "c", "state": {"running": {}}}]}),
        "timeout; the verification pod did not end in time: it is still running")]
    fn each_end_has_its_cause(#[case] status: Value, #[case] expected: &str) {
        assert_eq!(after_its_time(&pod(&status), &[]), expected);
    }

    #[test]
    fn a_sandbox_that_never_comes_is_told_by_its_last_event() {
        let events = [("FailedScheduling", "old"), ("FailedCreatePodSandBox", "no handler")]
            .map(|(reason, message)| EventFacts { reason: reason.into(), message: message.into() });
        let found = after_its_time(&pod(&container(&json!({"waiting": {"reason": "ContainerCreating"}}))), &events);
        assert_eq!(
            found,
            "sandbox; the runtime could not start the verification pod: FailedCreatePodSandBox: no handler"
        );
    }

    #[test]
    fn nothing_that_may_pass_fails_before_its_time() {
        for status in [
            json!({}),
            json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "message": "m"}]}),
            container(&json!({"waiting": {"reason": "ErrImagePull"}})),
            container(&json!({"waiting": {"reason": "ContainerCreating"}})),
            container(&json!({"running": {}})),
        ] {
            let found = verdict(Some(&pod(&status)), &[], Duration::from_secs(599), LIMIT);
            assert!(matches!(found, Verdict::Running(_)), "{status}: {found:?}");
        }
    }

    #[test]
    fn what_no_waiting_ends_fails_at_once() {
        let found = verdict(
            Some(&pod(&container(&json!({"waiting": {"reason": "InvalidImageName"}})))),
            &[],
            Duration::ZERO,
            LIMIT,
        );
        assert!(matches!(found, Verdict::Failed(Failure { cause: Cause::ImagePull, .. })), "{found:?}");
    }

    #[test]
    fn a_pod_that_is_gone_or_going_did_not_pass() {
        assert_eq!(verdict(None, &[], Duration::ZERO, LIMIT), failed(Cause::Deleted, ""));
        let going = PodFacts { deleting: true, ..pod(&json!({"phase": "Running"})) };
        assert_eq!(verdict(Some(&going), &[], Duration::ZERO, LIMIT), failed(Cause::Deleted, ""));
        let done = PodFacts { deleting: true, ..pod(&json!({"phase": "Succeeded"})) };
        assert_eq!(verdict(Some(&done), &[], Duration::ZERO, LIMIT), Verdict::Passed);
    }
}
