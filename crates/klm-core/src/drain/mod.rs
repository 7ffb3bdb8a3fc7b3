//! Draining a node: which pods go, what an answer to an eviction means, and whether a budget can ever let a pod go.

mod answer;
mod budget;

use std::collections::BTreeSet;
use std::time::Duration;

pub use answer::{Answer, Next, next};
pub use budget::{Budget, Outlook};

use crate::pod::PodFacts;
use crate::selector::Selector;
use crate::verification::is_verification_pod;

/// What a drain does with a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Ask the API server to evict it.
    Evict,
    /// It is on its way out, or asked to be waited for.
    Await,
    /// It stays; why.
    Leave(&'static str),
    /// It may not be evicted, so nothing on the node is: why, and which parameter allows it.
    Block(&'static str),
}

/// What decides a pod's fate, the same for all pods of a run.
#[derive(Clone, Debug)]
pub struct Rules<'a> {
    /// Only pods that run in Kata.
    pub kata_only: bool,
    /// Only pods that this matches.
    pub selector: Selector,
    /// Evict pods that keep data in an `emptyDir`.
    pub delete_empty_dir: bool,
    /// Evict pods that nothing creates again.
    pub force: bool,
    /// Names of the `RuntimeClass`es that are kata-deploy's.
    pub kata_classes: &'a BTreeSet<String>,
    /// Namespace and name of the Workflow whose pods stay.
    pub workflow: (&'a str, &'a str),
    /// Namespace of kata-deploy.
    pub kata_namespace: &'a str,
}

/// Label by which users of Cluster API leave a pod out of drains, or have it waited for.
const DRAIN_LABEL: &str = "cluster.x-k8s.io/drain";

impl Rules<'_> {
    /// What happens to a pod. `has_daemonset` says whether the `DaemonSet` that controls it still exists. The order is
    /// kubectl's, after the pods that the run itself needs.
    pub fn fate(&self, pod: &PodFacts, has_daemonset: bool) -> Fate {
        if pod.is_mirror {
            return Fate::Leave("the kubelet made it from a file");
        }
        if let Some(why) = self.needed(pod) {
            return Fate::Leave(why);
        }
        if !self.selector.matches(&pod.labels) {
            return Fate::Leave("`drain-pod-selector` leaves it out");
        }
        if self.kata_only && !self.runs_in_kata(pod) {
            return Fate::Leave("it doesn't run in Kata");
        }
        match pod.labels.get(DRAIN_LABEL).map(String::as_str) {
            Some("skip") => return Fate::Leave("its label `cluster.x-k8s.io/drain` says so"),
            Some("wait-completed") if !pod.is_finished() => return Fate::Await,
            _ => {}
        }
        if pod.deleting {
            return Fate::Await;
        }
        let of_daemonset = pod.controller.as_ref().is_some_and(|owner| owner.kind == "DaemonSet");
        if pod.is_finished() {
            return Fate::Evict;
        }
        // Left by a run that was killed, or in use by a run over another release: either way it has a deadline.
        if is_verification_pod(&pod.labels) {
            return Fate::Await;
        }
        match of_daemonset {
            true if has_daemonset => Fate::Leave("its DaemonSet would create it again at once"),
            true if !self.force => Fate::Block("its DaemonSet is gone; `drain-force=true` evicts it"),
            false if pod.has_empty_dir && !self.delete_empty_dir => {
                Fate::Block("it keeps data in an emptyDir; `drain-delete-emptydir-data=true` evicts it")
            }
            false if pod.controller.is_none() && !self.force => {
                Fate::Block("nothing creates it again; `drain-force=true` evicts it")
            }
            _ => Fate::Evict,
        }
    }

    /// Whether the pod runs in Kata, by its `RuntimeClass`.
    pub fn runs_in_kata(&self, pod: &PodFacts) -> bool {
        pod.runtime_class.as_ref().is_some_and(|class| self.kata_classes.contains(class) || class.starts_with("kata"))
    }

    /// Pods without which the run, or the node's way to the next version, ends.
    fn needed(&self, pod: &PodFacts) -> Option<&'static str> {
        let label = |key: &str| pod.labels.get(key).map(String::as_str);
        if pod.namespace == self.workflow.0 && label("workflows.argoproj.io/workflow") == Some(self.workflow.1) {
            return Some("it is a step of this run");
        }
        let controller = "workflow-controller";
        if [label("app"), label("app.kubernetes.io/component")].contains(&Some(controller)) {
            return Some("it is Argo's controller");
        }
        let of_kata_deploy = label("name").is_some_and(|name| name.starts_with("kata-deploy"))
            || label("app.kubernetes.io/name") == Some("kata-deploy")
            || label("kata-deploy/dispatcher").is_some()
            || label("kata-deploy-job-dispatcher/owner").is_some();
        (pod.namespace == self.kata_namespace && of_kata_deploy).then_some("it is kata-deploy's own")
    }
}

/// The time that a drain has left. `started` and `now` are seconds on one clock; a clock that was put back gives no
/// more than the whole time.
pub fn time_left(started: i64, now: i64, timeout: Duration) -> Duration {
    let spent = Duration::from_secs(u64::try_from(now.saturating_sub(started)).unwrap_or(0));
    timeout.saturating_sub(spent)
}

/// What keeps a node from being empty, for people: pods whose eviction is refused, then pods that don't end.
pub fn obstacles(refused: &[(String, String)], going: &[&PodFacts]) -> String {
    let refused = refused.iter().map(|(pod, why)| format!("pod `{pod}` may not be evicted: {why}"));
    let going = going.iter().map(|pod| match pod.finalizers.as_slice() {
        [] => format!("pod `{}` is still terminating", pod.full_name()),
        finalizers => format!("pod `{}` waits for its finalizer `{}`", pod.full_name(), finalizers.join("`, `")),
    });
    refused.chain(going).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::contract::{CHART_NAME, RUN_LABEL};
    use crate::pod::{Owner, Phase};

    fn rules(classes: &BTreeSet<String>) -> Rules<'_> {
        Rules {
            kata_only: false,
            selector: Selector::default(),
            delete_empty_dir: false,
            force: false,
            kata_classes: classes,
            workflow: ("flows", "up-1"),
            kata_namespace: "apps",
        }
    }

    fn pod(controller: Option<&str>) -> PodFacts {
        let owner = |kind: &str| Owner { kind: kind.into(), name: "o".into(), uid: "u".into() };
        PodFacts {
            namespace: "n".into(),
            name: "p".into(),
            phase: Phase::Running,
            controller: controller.map(owner),
            ..PodFacts::default()
        }
    }

    fn labelled(namespace: &str, key: &str, value: &str) -> PodFacts {
        PodFacts {
            namespace: namespace.into(),
            labels: [(key.to_owned(), value.to_owned())].into(),
            has_empty_dir: true,
            ..pod(None)
        }
    }

    fn verification(phase: Phase) -> PodFacts {
        let mut pod = PodFacts { phase, ..labelled("n", RUN_LABEL, "uid-of-a-run") };
        pod.labels.insert("app.kubernetes.io/managed-by".to_owned(), CHART_NAME.to_owned());
        pod
    }

    #[rstest]
    #[case::replica(pod(Some("ReplicaSet")), "Evict")]
    #[case::bare(pod(None), "Block")]
    #[case::bare_but_done(PodFacts { phase: Phase::Failed, ..pod(None) }, "Evict")]
    #[case::data(PodFacts { has_empty_dir: true, ..pod(Some("ReplicaSet")) }, "Block")]
    #[case::data_but_done(PodFacts { has_empty_dir: true, phase: Phase::Succeeded, ..pod(Some("Job")) }, "Evict")]
    #[case::daemon(pod(Some("DaemonSet")), "Leave")]
    #[case::daemon_done(PodFacts { phase: Phase::Succeeded, ..pod(Some("DaemonSet")) }, "Evict")]
    #[case::mirror(PodFacts { is_mirror: true, ..pod(None) }, "Leave")]
    #[case::going(PodFacts { deleting: true, ..pod(None) }, "Await")]
    #[case::own_step(labelled("flows", "workflows.argoproj.io/workflow", "up-1"), "Leave")]
    #[case::another_run(labelled("flows", "workflows.argoproj.io/workflow", "up-2"), "Block")]
    #[case::same_name_elsewhere(labelled("n", "workflows.argoproj.io/workflow", "up-1"), "Block")]
    #[case::argo(labelled("flows", "app", "workflow-controller"), "Leave")]
    #[case::kata_deploy(labelled("apps", "name", "kata-deploy-cicd"), "Leave")]
    #[case::dispatcher(labelled("apps", "kata-deploy/dispatcher", "install"), "Leave")]
    #[case::per_node_job(labelled("apps", "kata-deploy-job-dispatcher/owner", "kata-deploy-install"), "Leave")]
    #[case::not_kata_deploys(labelled("n", "name", "kata-deploy"), "Block")]
    #[case::asked_to_stay(labelled("n", DRAIN_LABEL, "skip"), "Leave")]
    #[case::asked_to_be_waited_for(labelled("n", DRAIN_LABEL, "wait-completed"), "Await")]
    #[case::verification_pod(verification(Phase::Running), "Await")]
    #[case::verification_pod_done(verification(Phase::Succeeded), "Evict")]
    fn a_pods_fate_is_kubectls(#[case] pod: PodFacts, #[case] expected: &str) {
        let fate = rules(&BTreeSet::new()).fate(&pod, true);
        assert!(format!("{fate:?}").starts_with(expected), "{fate:?}");
    }

    #[test]
    fn each_flag_lets_its_own_pods_go() {
        let none = BTreeSet::new();
        let force = Rules { force: true, ..rules(&none) };
        assert_eq!(force.fate(&pod(None), true), Fate::Evict);
        assert_eq!(force.fate(&pod(Some("DaemonSet")), false), Fate::Evict);
        assert!(matches!(rules(&none).fate(&pod(Some("DaemonSet")), false), Fate::Block(_)));
        let data = PodFacts { has_empty_dir: true, ..pod(Some("ReplicaSet")) };
        assert!(matches!(force.fate(&data, true), Fate::Block(_)));
        assert_eq!(Rules { delete_empty_dir: true, ..rules(&none) }.fate(&data, true), Fate::Evict);
    }

    #[test]
    fn a_kata_drain_leaves_everything_else() {
        let classes = BTreeSet::from(["sealed".to_owned()]);
        let rules = Rules { kata_only: true, ..rules(&classes) };
        for (class, fate) in [
            (None, false),
            (Some("runc"), false),
            (Some("sealed"), true),
            (Some("kata-qemu"), true),
            (Some("gvisor"), false),
        ] {
            let pod = PodFacts { runtime_class: class.map(str::to_owned), ..pod(Some("ReplicaSet")) };
            assert_eq!(rules.fate(&pod, true) == Fate::Evict, fate, "{class:?}");
        }
        assert!(matches!(rules.fate(&pod(None), true), Fate::Leave(_)), "nor does it block");
    }

    #[test]
    fn a_selector_narrows_what_goes() {
        let none = BTreeSet::new();
        let rules = Rules { selector: "app=web".parse().unwrap(), ..rules(&none) };
        let web = PodFacts { labels: [("app".into(), "web".into())].into(), ..pod(Some("ReplicaSet")) };
        assert_eq!(rules.fate(&web, true), Fate::Evict);
        assert!(matches!(rules.fate(&pod(None), true), Fate::Leave(_)));
    }

    #[rstest]
    #[case(100, 100, 300)]
    #[case(100, 250, 150)]
    #[case(100, 400, 0)]
    #[case(100, 9_999, 0)]
    #[case::the_clock_was_put_back(100, 50, 300)]
    fn a_restart_gives_a_drain_no_more_time(#[case] started: i64, #[case] now: i64, #[case] left: u64) {
        assert_eq!(time_left(started, now, Duration::from_secs(300)), Duration::from_secs(left));
    }

    #[test]
    fn obstacles_are_named_by_kind() {
        let stuck = PodFacts { finalizers: vec!["x/y".into()], ..pod(None) };
        let text = obstacles(&[("n/a".into(), "budget `b` needs 2".into())], &[&stuck, &pod(None)]);
        assert_eq!(
            text,
            "pod `n/a` may not be evicted: budget `b` needs 2; pod `n/p` waits for its finalizer `x/y`; pod `n/p` is still terminating"
        );
    }
}
