//! Whether a `PodDisruptionBudget` lets a pod go: now, later, or never.

use serde_json::Value;

use crate::pod::PodFacts;
use crate::selector::Selector;

/// A budget, as its status counts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its pods; `None`: none.
    pub selector: Option<Selector>,
    /// Pods that may go now.
    pub allowed: i64,
    /// Pods that are healthy.
    pub healthy: i64,
    /// Pods that must stay healthy.
    pub desired: i64,
    /// Pods in all.
    pub expected: i64,
}

/// What a drain can expect of a pod's budgets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// It may go.
    Free,
    /// Not now; it may when other pods are healthy.
    Later(String),
    /// Not while too few of its pods are healthy.
    Unhealthy(String),
    /// Not as long as the budget is what it is.
    Never(String),
}

impl Budget {
    /// Reads a `PodDisruptionBudget` as the API gives it.
    pub fn from_json(budget: &Value) -> Self {
        let text = |pointer: &str| budget.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let number = |key: &str| budget["status"][key].as_i64().unwrap_or(0);
        Self {
            namespace: text("/metadata/namespace"),
            name: text("/metadata/name"),
            selector: budget.pointer("/spec/selector").and_then(|selector| Selector::from_json(selector).ok()),
            allowed: number("disruptionsAllowed"),
            healthy: number("currentHealthy"),
            desired: number("desiredHealthy"),
            expected: number("expectedPods"),
        }
    }

    fn covers(&self, pod: &PodFacts) -> bool {
        self.namespace == pod.namespace && self.selector.as_ref().is_some_and(|selector| selector.matches(&pod.labels))
    }

    fn words(&self) -> String {
        let Self { namespace, name, healthy, desired, .. } = self;
        format!("budget `{namespace}/{name}` needs {desired} healthy pods and has {healthy}")
    }
}

impl Outlook {
    /// What the budgets of a cluster mean for one pod.
    pub fn of(pod: &PodFacts, budgets: &[Budget]) -> Self {
        let own: Vec<&Budget> = budgets.iter().filter(|budget| budget.covers(pod)).collect();
        match own.as_slice() {
            [] => Self::Free,
            [budget] if budget.allowed > 0 => Self::Free,
            [budget] if budget.expected > 0 && budget.desired >= budget.expected => {
                Self::Never(format!("{} of {}, so none may ever go", budget.words(), budget.expected))
            }
            [budget] if budget.healthy < budget.desired => Self::Unhealthy(budget.words()),
            [budget] => Self::Later(budget.words()),
            many => {
                let names = many.iter().map(|budget| format!("`{}`", budget.name)).collect::<Vec<_>>().join(" and ");
                Self::Never(format!(
                    "budgets {names} cover it together, and Kubernetes evicts no pod with more than one"
                ))
            }
        }
    }

    /// Its word, for programs.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Later(_) => "blocked-now",
            Self::Unhealthy(_) => "blocked-unhealthy",
            Self::Never(_) => "never-opens",
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn pod() -> PodFacts {
        PodFacts { namespace: "n".into(), labels: [("app".into(), "web".into())].into(), ..PodFacts::default() }
    }

    fn budget(name: &str, allowed: i64, healthy: i64, desired: i64, expected: i64) -> Budget {
        Budget::from_json(&json!({
            "metadata": {"namespace": "n", "name": name},
            "spec": {"selector": {"matchLabels": {"app": "web"}}},
            "status": {"disruptionsAllowed": allowed, "currentHealthy": healthy, "desiredHealthy": desired, "expectedPods": expected}
        }))
    }

    #[rstest]
    #[case::none(vec![], "free")]
    #[case::open(vec![budget("b", 1, 3, 2, 3)], "free")]
    #[case::used_up(vec![budget("b", 0, 2, 2, 3)], "blocked-now")]
    #[case::sick(vec![budget("b", 0, 1, 2, 3)], "blocked-unhealthy")]
    #[case::closed(vec![budget("b", 0, 3, 3, 3)], "never-opens")]
    #[case::one_replica(vec![budget("b", 0, 1, 1, 1)], "never-opens")]
    #[case::two(vec![budget("b", 1, 3, 2, 3), budget("c", 1, 3, 2, 3)], "never-opens")]
    fn a_budgets_numbers_tell_when_it_opens(#[case] budgets: Vec<Budget>, #[case] expected: &str) {
        assert_eq!(Outlook::of(&pod(), &budgets).as_str(), expected);
    }

    #[test]
    fn a_budget_covers_its_own_pods_only() {
        let closed = budget("b", 0, 3, 3, 3);
        let elsewhere = PodFacts { namespace: "m".into(), ..pod() };
        let other = PodFacts { labels: [("app".into(), "db".into())].into(), ..pod() };
        for pod in [elsewhere, other] {
            assert_eq!(Outlook::of(&pod, std::slice::from_ref(&closed)), Outlook::Free);
        }
        let everything = Budget { selector: Some(Selector::default()), ..closed.clone() };
        assert_eq!(Outlook::of(&pod(), &[everything]).as_str(), "never-opens");
        let nothing = Budget { selector: None, ..closed };
        assert_eq!(Outlook::of(&pod(), &[nothing]), Outlook::Free);
    }
}
