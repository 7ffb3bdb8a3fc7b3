use rstest::rstest;

use super::*;
use crate::name::NodeName;
use crate::node::Readiness;

fn node(labels: &[(&str, &str)]) -> NodeFacts {
    NodeFacts {
        name: NodeName::try_from("blue-7").unwrap(),
        uid: "n-1".into(),
        resource_version: "1".into(),
        labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        taints: Vec::new(),
        unschedulable: true,
        ready: Readiness::Ready,
        deleting: false,
        status: None,
        version: None,
        journal: None,
    }
}

fn up() -> NodeFacts {
    node(&[(KATA_RUNTIME, "true")])
}

fn daemonset_facts() -> DaemonSetFacts {
    DaemonSetFacts {
        uid: "ds".into(),
        template_generation: "7".into(),
        image: "q/k:4.0.0".into(),
        on_delete: true,
        tolerations: Vec::new(),
    }
}

fn pod() -> KataPod {
    KataPod {
        name: "kata-deploy-x".into(),
        uid: "new".into(),
        node: "blue-7".into(),
        owner: "ds".into(),
        template_generation: "7".into(),
        image: "q/k:4.0.0".into(),
        ready: true,
        terminating: false,
        restarts: 0,
        waiting: None,
    }
}

fn verdict(pod: &KataPod, node: &NodeFacts, version: &str) -> Proof {
    let version = Version::parse(version).unwrap();
    let expected = Expected { version: &version, suffix: None };
    daemonset(&expected, &daemonset_facts(), Some("old"), node, &[pod])
}

fn is_waiting_for(proof: &Proof, part: &str) -> bool {
    matches!(proof, Proof::Waiting(seen) if seen.contains(part))
}

#[test]
fn a_new_pod_and_the_label_prove_a_node() {
    assert_eq!(verdict(&pod(), &up(), "4.0.0"), Proof::Proven);
}

#[rstest]
#[case::the_old_pod(KataPod { uid: "old".into(), ..pod() })]
#[case::the_old_template(KataPod { template_generation: "6".into(), ..pod() })]
#[case::another_daemonset(KataPod { owner: "other".into(), ..pod() })]
#[case::a_pod_that_goes(KataPod { terminating: true, ..pod() })]
#[case::a_pod_that_is_not_ready(KataPod { ready: false, ..pod() })]
fn no_other_pod_proves_anything(#[case] pod: KataPod) {
    assert!(matches!(verdict(&pod, &up(), "4.0.0"), Proof::Waiting(_)));
}

#[test]
fn a_ready_pod_without_the_label_has_not_installed() {
    let proof = verdict(&pod(), &node(&[(KATA_RUNTIME, "false")]), "3.29.0");
    assert!(is_waiting_for(&proof, "is `false`, not `true`"), "{proof:?}");
}

#[test]
fn from_4_1_on_the_mark_is_needed_as_well() {
    assert!(is_waiting_for(&verdict(&pod(), &up(), "4.1.0"), "kata-deploy.katacontainers.io/default"));
    let marked = node(&[(KATA_RUNTIME, "true"), ("kata-deploy.katacontainers.io/default", "true")]);
    assert_eq!(verdict(&pod(), &marked, "4.1.0"), Proof::Proven);
}

#[test]
fn one_crash_is_no_failure_and_many_are() {
    let crashing = |restarts| KataPod { ready: false, restarts, waiting: Some("CrashLoopBackOff: x".into()), ..pod() };
    assert!(matches!(verdict(&crashing(1), &up(), "4.0.0"), Proof::Waiting(_)));
    assert!(matches!(verdict(&crashing(3), &up(), "4.0.0"), Proof::Failed(_)));
}

#[test]
fn a_pod_with_another_image_is_a_failure() {
    let pinned = KataPod { image: "q/k:3.9.9".into(), ..pod() };
    assert!(matches!(verdict(&pinned, &up(), "4.0.0"), Proof::Failed(why) if why.contains("q/k:3.9.9")));
}

fn job_of(owner: &str, end: Option<JobEnd>) -> NodeJob {
    NodeJob {
        name: "kata-deploy-install-blue-7".into(),
        uid: "j".into(),
        node: "blue-7".into(),
        owner: owner.into(),
        images: vec!["q/k:4.0.0".into()],
        end,
    }
}

fn job_verdict(jobs: &[NodeJob], node: &NodeFacts, ended: bool) -> Proof {
    let version = Version::new(4, 0, 0);
    let expected = Expected { version: &version, suffix: None };
    job(&expected, "mine", ended, Some("q/k:4.0.0"), node, &jobs.iter().collect::<Vec<_>>())
}

#[test]
fn this_waves_own_job_and_the_label_prove_a_node() {
    assert_eq!(job_verdict(&[job_of("mine", Some(JobEnd::Complete))], &up(), true), Proof::Proven);
}

#[test]
fn a_job_of_an_earlier_dispatcher_proves_nothing() {
    let stale = [job_of("earlier", Some(JobEnd::Complete))];
    assert!(matches!(job_verdict(&stale, &up(), false), Proof::Waiting(_)));
    assert!(matches!(job_verdict(&stale, &up(), true), Proof::Failed(_)));
}

#[test]
fn a_running_job_is_waited_for_even_when_the_dispatcher_died() {
    assert!(matches!(job_verdict(&[job_of("mine", None)], &up(), true), Proof::Waiting(_)));
}

#[test]
fn a_complete_job_without_its_label_is_worth_another_try_once_its_dispatcher_is_gone() {
    let down = node(&[(KATA_RUNTIME, "false")]);
    let jobs = [job_of("mine", Some(JobEnd::Complete))];
    assert!(matches!(job_verdict(&jobs, &down, true), Proof::Again(_)));
    assert!(matches!(job_verdict(&jobs, &down, false), Proof::Waiting(_)));
}

#[test]
fn a_job_with_another_image_is_a_failure() {
    let mut job = job_of("mine", Some(JobEnd::Complete));
    job.images = vec!["q/k:3.9.9".into()];
    assert!(matches!(job_verdict(&[job], &up(), true), Proof::Failed(_)));
}
