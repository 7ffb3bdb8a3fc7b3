//! What the API server's answer to an eviction means.

use std::time::Duration;

/// A refused eviction, as the API's `Status` tells it. A success needs no reading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status, or the code of a `Status` inside a success.
    pub code: u16,
    /// The status's reason.
    pub reason: String,
    /// Its message.
    pub message: String,
    /// The reasons of its causes, for example `DisruptionBudget`.
    pub causes: Vec<String>,
    /// Seconds that the server asks to wait.
    pub retry_after: Option<u64>,
}

/// What to do after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// The pod is gone.
    Gone,
    /// Wait for the pod's end.
    Await,
    /// Another pod has that name now: read the node's pods again.
    Look,
    /// A budget says no for now: ask again after this time, and say so meanwhile.
    Blocked {
        /// When to ask again.
        after: Duration,
        /// The budget's words.
        why: String,
    },
    /// The API server is busy or out of reach: ask again after this time, or with growing pauses.
    Busy(Option<Duration>),
    /// No eviction of this pod can succeed: the node's drain has failed.
    Never(String),
}

const SOON: Duration = Duration::from_secs(5);

/// Reads an answer. `deleting` says whether the pod was already on its way out.
pub fn next(answer: &Answer, deleting: bool) -> Next {
    let Answer { code, message, causes, retry_after, .. } = answer;
    let caused = |cause: &str| causes.iter().any(|found| found == cause);
    let asked = retry_after.map(Duration::from_secs);
    match code {
        404 => Next::Gone,
        409 => Next::Look,
        // The server reports two budgets for one pod as its own error, and will do so until one is gone.
        500 if message.contains("more than one PodDisruptionBudget") => Next::Never(message.clone()),
        429 if caused("DisruptionBudget") => Next::Blocked { after: asked.unwrap_or(SOON), why: message.clone() },
        403 if caused("NamespaceTerminating") && deleting => Next::Await,
        403 if caused("NamespaceTerminating") => Next::Busy(Some(SOON)),
        // A budget whose status has counted too many disruptions; it recovers.
        403 if message.contains("disruption") => Next::Blocked { after: asked.unwrap_or(SOON), why: message.clone() },
        408 | 429 | 500..=599 => Next::Busy(asked),
        _ => Next::Never(message.clone()),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn answer(code: u16, message: &str, cause: &str, retry_after: Option<u64>) -> Answer {
        let causes = if cause.is_empty() { Vec::new() } else { vec![cause.to_owned()] };
        Answer { code, message: message.to_owned(), causes, retry_after, ..Answer::default() }
    }

    #[rstest]
    #[case::gone(answer(404, "", "", None), Next::Gone)]
    #[case::another_uid(answer(409, "", "", None), Next::Look)]
    #[case::budget(answer(429, "needs 2 healthy pods and has 2 currently", "DisruptionBudget", None),
        Next::Blocked { after: SOON, why: "needs 2 healthy pods and has 2 currently".into() })]
    #[case::budget_not_counted_yet(answer(429, "not processed", "DisruptionBudget", Some(10)),
        Next::Blocked { after: Duration::from_secs(10), why: "not processed".into() })]
    #[case::throttled(answer(429, "too many requests", "", Some(1)), Next::Busy(Some(Duration::from_secs(1))))]
    #[case::two_budgets(answer(500, "This pod has more than one PodDisruptionBudget, which x", "", None),
        Next::Never("This pod has more than one PodDisruptionBudget, which x".into()))]
    #[case::odd_budget(answer(403, "pdb disruption budget b: negative disruptions allowed", "", None),
        Next::Blocked { after: SOON, why: "pdb disruption budget b: negative disruptions allowed".into() })]
    #[case::conflicts(answer(504, "", "", Some(10)), Next::Busy(Some(Duration::from_secs(10))))]
    #[case::down(answer(503, "", "", None), Next::Busy(None))]
    #[case::broken(answer(500, "etcd", "", None), Next::Busy(None))]
    #[case::namespace(answer(403, "", "NamespaceTerminating", None), Next::Busy(Some(SOON)))]
    #[case::rights(answer(403, "pods is forbidden", "", None), Next::Never("pods is forbidden".into()))]
    #[case::credentials(answer(401, "Unauthorized", "", None), Next::Never("Unauthorized".into()))]
    fn each_answer_has_its_consequence(#[case] answer: Answer, #[case] expected: Next) {
        assert_eq!(next(&answer, false), expected);
    }

    #[test]
    fn a_pod_that_goes_with_its_namespace_is_waited_for() {
        assert_eq!(next(&answer(403, "", "NamespaceTerminating", None), true), Next::Await);
    }
}
