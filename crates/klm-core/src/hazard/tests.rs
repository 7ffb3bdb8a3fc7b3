use serde_json::json;

use super::*;
use crate::name::NodeName;
use crate::node::Readiness;
use crate::release::fixtures;

fn release(version: &str, all: Value) -> Release {
    Release { all: serde_json::from_value(all).unwrap(), ..fixtures::at(version, 4) }
}

fn node(name: &str, arch: &str) -> NodeFacts {
    let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    NodeFacts {
        name: name.try_into().unwrap(),
        uid: "u".into(),
        resource_version: "1".into(),
        labels: [label("kubernetes.io/arch", arch), label(crate::contract::KATA_RUNTIME, "true")].into(),
        taints: Vec::new(),
        unschedulable: false,
        ready: Readiness::Ready,
        deleting: false,
        status: None,
        version: None,
        journal: None,
    }
}

fn template(class: &str) -> Template {
    let pod =
        json!({"apiVersion": "v1", "kind": "Pod", "spec": {"runtimeClassName": class, "containers": [{"name": "c"}]}});
    Template::check(vec![pod], "default").unwrap()
}

/// What is said of a release that moves to `target` on node `a`; node `b` stays.
fn said(release: &Release, mode: Mode, target: &str, class: &str) -> Vec<String> {
    let chosen: NodeName = "a".try_into().unwrap();
    hazards(&Situation {
        release,
        set: &Values::new(),
        target: &target.parse().unwrap(),
        mode,
        all: &[node("a", "amd64"), node("b", "s390x")],
        chosen: &[PlannedNode(chosen, "u".into(), None)],
        verification: &template(class),
        classes: Some(&["kata-qemu".to_owned()]),
        others: &[],
    })
}

const QUIET: &str = r#"{"updateStrategy": {"type": "OnDelete"}}"#;

fn quiet(version: &str) -> Release {
    release(version, serde_json::from_str(QUIET).unwrap())
}

#[test]
fn a_long_way_up_in_daemonset_mode() {
    let all = json!({"monitor": {"enabled": true}, "node-feature-discovery": {"enabled": true}});
    insta::assert_snapshot!(said(&release("3.27.0", all), Mode::Daemonset, "4.1.0", "kata").join("\n"));
}

#[test]
fn a_way_down_in_job_mode() {
    insta::assert_snapshot!(said(&quiet("4.0.0"), Mode::Job, "3.32.0", "kata-qemu").join("\n"));
}

#[test]
fn a_short_way_has_only_what_it_meets() {
    let found = said(&quiet("4.1.0"), Mode::Job, "4.1.1", "kata-qemu");
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn a_failed_revision_and_another_install_are_named() {
    let mut failed = quiet("4.1.0");
    failed.metadata.status = Status::Failed;
    let template = template("kata-qemu");
    let found = hazards(&Situation {
        release: &failed,
        set: &Values::new(),
        target: &"4.1.1".parse().unwrap(),
        mode: Mode::Job,
        all: &[],
        chosen: &[],
        verification: &template,
        classes: None,
        others: &["lab/kata".to_owned()],
    });
    assert_eq!(found.len(), 2);
    assert!(found[0].contains("revision 4") && found[1].contains("`lab/kata`"));
}

#[test]
fn an_image_of_the_runs_own_is_said() {
    let set = serde_json::from_value(json!({"image": {"reference": "r", "tag": "t"}})).unwrap();
    assert_eq!(custom_image(&set).unwrap(), "the image is the run's own: image.reference=r, image.tag=t");
    assert_eq!(custom_image(&Values::new()), None);
}
