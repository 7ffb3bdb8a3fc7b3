mod of_nodes;

use std::time::Duration;

use rstest::rstest;
use semver::Version;
use serde_json::{Value, json};

use super::*;
use crate::release::{Release, Revision, Status, fixtures};
use crate::settings::{Given, Settings};
use crate::standing::Begun;
use crate::values::Values;

fn map(value: Value) -> Values {
    serde_json::from_value(value).unwrap()
}

fn settings(pairs: &[(&str, &str)]) -> Settings {
    let given: Given = pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    Settings::parse(&given).unwrap()
}

/// Release `apps/kata` at a version, deployed, with these user values; its defaults are those of a small chart.
fn at(version: &str, user: Value) -> Release {
    let mut all =
        map(json!({"image": {"reference": "q/k", "tag": ""}, "defaultShim": {"amd64": "qemu"}, "tolerations": []}));
    let user = map(user);
    crate::values::overlay(&mut all, &user);
    Release {
        user,
        all,
        history: [(3, Status::Deployed), (4, Status::Deployed)]
            .map(|(revision, status)| Revision {
                revision,
                status,
                chart: format!("kata-deploy-{version}"),
                description: String::new(),
                updated: String::new(),
            })
            .into(),
        ..fixtures::at(version, 4)
    }
}

fn with_status(status: Status) -> Release {
    let mut release = at("4.0.0", json!({}));
    release.metadata.status = status;
    release.history[1].status = status;
    release
}

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

fn said(refusals: &[Refusal]) -> String {
    refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[rstest]
#[case("3.27.0", Mode::Daemonset, true)]
#[case("3.26.9", Mode::Daemonset, false)]
#[case("3.27.0-rc0", Mode::Daemonset, false)]
#[case("3.32.0", Mode::Job, true)]
#[case("3.31.0", Mode::Job, false)]
fn each_mode_has_its_oldest_target(#[case] target_version: &str, #[case] mode: Mode, #[case] passes: bool) {
    let refusal = target(&version(target_version), mode);
    assert_eq!(refusal.is_none(), passes, "{refusal:?}");
}

#[rstest]
#[case("v4.2.4", true)]
#[case("v4.2.2", true)]
#[case("v5.0.0", true)]
#[case("v4.2.1", false)]
#[case("v3.19.0", false)]
#[case("", false)]
fn helm_must_be_new_enough(#[case] text: &str, #[case] passes: bool) {
    assert_eq!(helm(text).is_none(), passes);
}

#[rstest]
#[case("quay.io/argoproj/argoexec:v3.7.18", true)]
#[case("quay.io/argoproj/argoexec:v3.4.18@sha256:0", true)]
#[case("quay.io/argoproj/argoexec:v3.3.10", false)]
#[case::unknown("mirror.example:5000/argoexec@sha256:0", true)]
#[case::unknown("mirror.example:5000/argoexec", true)]
#[case::unknown("argoexec:latest", true)]
fn argo_must_be_new_enough_where_its_image_says(#[case] image: &str, #[case] passes: bool) {
    assert_eq!(argo(image).is_none(), passes);
}

#[test]
fn a_release_that_is_not_there_is_looked_for_elsewhere() {
    let settings = settings(&[("helm-release", "kata-deply")]);
    let refusals = release(&Found::Nothing { elsewhere: vec!["kube-system/kata-deploy".into()] }, &settings);
    assert!(
        said(&refusals).contains("`kube-system/kata-deply`")
            && said(&refusals).contains("did you mean `kube-system/kata-deploy`")
    );
}

#[rstest]
#[case::deployed(Status::Deployed, false, Some(1), true)]
#[case::failed(Status::Failed, false, Some(1), true)]
#[case::uninstalled(Status::Uninstalled, false, None, false)]
#[case::uninstalling(Status::Uninstalling, false, None, false)]
#[case::odd(Status::Unknown, false, None, false)]
#[case::at_work(Status::PendingUpgrade, false, Some(10), false)]
#[case::unknown_age(Status::PendingUpgrade, false, None, false)]
#[case::too_old_to_be_alive(Status::PendingUpgrade, false, Some(4_501), true)]
#[case::of_a_dead_run(Status::PendingUpgrade, true, Some(10), true)]
#[case::rollback(Status::PendingRollback, true, None, true)]
fn a_release_is_taken_only_in_a_state_to_start_from(
    #[case] status: Status,
    #[case] ours: bool,
    #[case] age: Option<u64>,
    #[case] passes: bool,
) {
    let found = with_status(status);
    let begun = Some(begun(if ours { 4 } else { 3 }));
    let found = Found::Release { release: &found, age: age.map(Duration::from_secs), begun };
    let refusals = release(&found, &settings(&[]));
    assert_eq!(refusals.is_empty(), passes, "{refusals:?}");
}

fn begun(revision: u64) -> Begun {
    Begun { revision, age: Duration::from_secs(12) }
}

#[test]
fn a_release_that_was_never_deployed_is_nothing_to_go_back_to() {
    for status in [Status::Failed, Status::PendingInstall] {
        let mut never = with_status(status);
        never.history.remove(0);
        let found = Found::Release { release: &never, age: None, begun: Some(begun(4)) };
        assert!(said(&release(&found, &settings(&[]))).contains("was ever deployed"));
    }
}

#[test]
fn another_chart_is_not_kata_deploy() {
    let mut other = at("4.0.0", json!({}));
    other.metadata.chart = "kata-monitor".into();
    let found = Found::Release { release: &other, age: None, begun: None };
    assert!(said(&release(&found, &settings(&[]))).contains("of chart `kata-monitor`"));
}

#[rstest]
#[case("3.27.0", Mode::Daemonset, true)]
#[case("3.26.0", Mode::Daemonset, false)]
#[case("0.0.0-dev", Mode::Daemonset, false)]
#[case("main", Mode::Daemonset, false)]
#[case("3.32.0", Mode::Job, true)]
fn the_release_must_be_at_a_version_to_start_from(#[case] text: &str, #[case] mode: Mode, #[case] passes: bool) {
    let refusal = origin(&at(text, json!({})), mode);
    assert_eq!(refusal.is_none(), passes, "{refusal:?}");
}

#[rstest]
#[case::nothing(json!({}), json!({}), "4.1.0", "")]
#[case::removed(json!({"job": {"nodeSelector": {"a": "b"}}}), json!({}), "4.1.0", "`job.nodeSelector`")]
#[case::removed_null(json!({"job": {"nodeSelectorExpressions": null}}), json!({}), "4.1.0", "`job.nodeSelectorExpressions`")]
#[case::removed_deep(json!({"job": {"cleanup": {"nodeSelectorExpressions": []}}}), json!({}), "4.1.0", "`job.cleanup.nodeSelectorExpressions`")]
#[case::taken_away(json!({"job": {"nodeSelector": {"a": "b"}}}), json!({"job": {"nodeSelector": null}}), "4.1.0", "")]
#[case::not_yet_removed(json!({"job": {"nodeSelector": {"a": "b"}}}), json!({}), "4.0.0", "")]
#[case::short_life(json!({"job": {"ttlSecondsAfterFinished": 30}}), json!({}), "4.1.0", "needs? 60")]
#[case::short_life_before(json!({"job": {"ttlSecondsAfterFinished": 30}}), json!({}), "4.0.0", "")]
#[case::tag(json!({"image": {"tag": "4.0.0"}}), json!({}), "4.1.0", "pin `image.tag` to `4.0.0`")]
#[case::tag_of_the_target(json!({"image": {"tag": "4.1.0"}}), json!({}), "4.1.0", "")]
#[case::tag_of_the_run(json!({"image": {"tag": "4.0.0"}}), json!({"image": {"tag": "mine"}}), "4.1.0", "")]
#[case::tag_taken_away(json!({"image": {"tag": "4.0.0"}}), json!({"image": {"tag": null}}), "4.1.0", "")]
#[case::digest(json!({"image": {"reference": "q/k@sha256:0", "tag": "x"}}), json!({}), "4.1.0", "pin `image.reference` to a digest")]
#[case::digest_of_the_run(json!({}), json!({"image": {"reference": "q/k@sha256:1"}}), "4.1.0", "")]
#[case::mirror(json!({"image": {"reference": "mirror/k"}}), json!({}), "4.1.0", "")]
#[case::dispatcher(json!({"job": {"dispatcherImage": {"tag": "4.0.0"}}}), json!({}), "4.1.0", "`job.dispatcherImage.tag`")]
#[case::dispatcher_digest(json!({"job": {"dispatcherImage": {"reference": "d@sha256:0"}}}), json!({}), "4.1.0", "`job.dispatcherImage.reference`")]
#[case::selector(json!({"nodeSelector": {"katacontainers.io/kata-runtime": "true"}}), json!({}), "4.1.0", "`nodeSelector` selects nodes by a label")]
#[case::marker(json!({"affinity": {"x": [{"key": "kata-deploy.katacontainers.io/default"}]}}), json!({}), "4.1.0", "`affinity` selects nodes by a label")]
#[case::own_selector(json!({"nodeSelector": {"pool": "kata"}}), json!({}), "4.1.0", "")]
fn values_that_the_target_can_not_use_are_refused(
    #[case] user: Value,
    #[case] set: Value,
    #[case] target: &str,
    #[case] expected: &str,
) {
    let refusals = said(&values(&at("4.0.0", user), &map(set), &version(target), Mode::Job));
    let expected = expected.replace("needs? 60", "need 60 or more");
    assert_eq!(refusals.is_empty(), expected.is_empty(), "{refusals}");
    assert!(refusals.contains(&expected), "{refusals}");
}

#[rstest]
#[case::there(json!({"job": {"nodeSelector": {"a": "b"}}}), json!({"job": {"nodeSelector": null}}), json!({"job": {"nodeSelector": null}}))]
#[case::taken(json!({"job": {"nodes": []}}), json!({"job": {"nodeSelector": null, "backoffLimit": 2}}), json!({"job": {"backoffLimit": 2}}))]
#[case::never_there(json!({}), json!({"image": {"reference": null}}), json!({"image": {}}))]
#[case::of_no_use(json!({"image": {"tag": null}}), json!({"image": {"tag": null}}), json!({"image": {}}))]
#[case::a_default_of_the_chart(json!({}), json!({"resources": null}), json!({"resources": null}))]
#[case::no_null(json!({"l": [1]}), json!({"l": [], "image": {"tag": "x"}}), json!({"l": [], "image": {"tag": "x"}}))]
fn a_null_that_the_release_has_taken_is_not_said_again(
    #[case] release: Value,
    #[case] set: Value,
    #[case] expected: Value,
) {
    assert_eq!(Value::Object(not_taken(&map(release), &map(set))), expected);
}

#[test]
fn a_dispatcher_matters_in_job_mode_only() {
    let pinned = at("4.0.0", json!({"job": {"dispatcherImage": {"tag": "4.0.0"}}}));
    assert_eq!(values(&pinned, &Values::new(), &version("4.1.0"), Mode::Daemonset), []);
}

#[rstest]
#[case::up("3.32.0", "4.0.0", json!({}), false)]
#[case::down("4.1.0", "3.32.0", json!({}), false)]
#[case::same_side("4.0.0", "4.1.0", json!({}), true)]
#[case::below("3.29.0", "3.32.0", json!({}), true)]
#[case::pinned("3.32.0", "4.0.0", json!({"defaultShim": {"amd64": "qemu"}}), true)]
#[case::suffix("3.32.0", "4.0.0", json!({"env": {"multiInstallSuffix": "b"}}), true)]
fn the_default_runtime_class_never_changes_its_handler(
    #[case] from: &str,
    #[case] to: &str,
    #[case] more: Value,
    #[case] passes: bool,
) {
    let mut user = map(json!({"runtimeClasses": {"createDefault": true}}));
    crate::values::overlay(&mut user, &map(more));
    let refusals = values(&at(from, Value::Object(user)), &Values::new(), &version(to), Mode::Daemonset);
    assert_eq!(refusals.is_empty(), passes, "{refusals:?}");
    if !passes {
        let pinned = map(json!({"defaultShim": {"amd64": "qemu"}}));
        let created = at(from, json!({"runtimeClasses": {"createDefault": true}}));
        assert_eq!(values(&created, &pinned, &version(to), Mode::Daemonset), [], "the hint works");
    }
}

#[test]
fn no_refusal_quotes_a_value_that_may_be_secret() {
    let user = json!({"imagePullSecrets": ["hunter2"], "job": {"nodeSelector": {"x": "hunter2"}}, "nodeSelector": {KEY: "hunter2"}});
    assert!(!said(&values(&at("4.0.0", user), &Values::new(), &version("4.1.0"), Mode::Job)).contains("hunter2"));
}

const KEY: &str = crate::contract::KATA_RUNTIME;

#[test]
fn missing_rights_are_one_rule_per_resource() {
    let right = |resource, verb| Right {
        scope: Scope::Namespace("apps".into()),
        group: "batch",
        resource,
        verb,
        name: String::new(),
    };
    let named = Right { name: "kata-deploy-role".into(), scope: Scope::Cluster, ..right("clusterroles", "patch") };
    let rights = [right("jobs", "list"), right("jobs", "delete"), named];
    insta::assert_snapshot!(said(&missing(&rights, "service account `flows/klm`")));
    assert_eq!(missing(&[], "x"), []);
}

#[test]
fn a_right_is_asked_for_only_where_the_run_uses_it() {
    let asks = |settings: &Settings, mode, release: Option<&Release>, resource: &str| {
        needed(settings, mode, release, "flows").iter().any(|right| right.resource == resource)
    };
    let plain = settings(&[]);
    assert!(asks(&settings(&[("drain-enabled", "true")]), None, None, "pods/eviction"));
    assert!(!asks(&plain, None, None, "pods/eviction"));
    assert!(asks(&plain, Some(Mode::Job), None, "jobs") && asks(&plain, None, None, "jobs"));
    assert!(!asks(&plain, Some(Mode::Daemonset), None, "jobs"));
    let discovering = at("4.0.0", json!({"node-feature-discovery": {"enabled": true}}));
    assert!(asks(&plain, None, Some(&discovering), "nodes/status") && !asks(&plain, None, None, "nodes/status"));
}

#[test]
fn named_rights_are_asked_for_with_the_installs_suffix() {
    let release = at("4.0.0", json!({"env": {"multiInstallSuffix": "lab"}}));
    let names: Vec<String> = needed(&settings(&[]), None, Some(&release), "flows")
        .into_iter()
        .map(|right| right.name)
        .filter(|name| !name.is_empty())
        .collect();
    assert!(names.contains(&"kata-deploy-role-lab".to_owned()) && names.iter().all(|name| name.ends_with("-lab")));
}

#[test]
fn pods_in_the_way_of_a_drain_are_named_up_to_a_point() {
    use crate::drain::{Fate, Outlook};
    use crate::pod::PodFacts;
    let pod = PodFacts { namespace: "n".into(), name: "p".into(), ..PodFacts::default() };
    let name = "w".try_into().unwrap();
    let of = |fate: Fate, outlook: Outlook| Blocked::of(&name, &pod, &fate, &outlook);
    let bare = of(Fate::Block("nothing creates it again"), Outlook::Free).unwrap();
    let closed = of(Fate::Evict, Outlook::Never("budget `n/b` is closed".into())).unwrap();
    assert_eq!(of(Fate::Evict, Outlook::Later("x".into())), None);
    assert_eq!(of(Fate::Leave("x"), Outlook::Never("x".into())), None);
    insta::assert_snapshot!(said(&drain(&[bare.clone(), closed])));
    assert_eq!(drain(&vec![bare; 50]).len(), 21);
    assert_eq!(drain(&[]), []);
}
