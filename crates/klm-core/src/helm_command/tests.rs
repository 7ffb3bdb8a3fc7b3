use serde_json::json;

use super::*;
use crate::release::{Revision, Status};

fn change() -> Change {
    Change {
        release: ReleaseRef { name: "kata".into(), namespace: "apps".into() },
        chart: Chart { reference: "/tmp/kata-deploy-4.1.0.tgz".into(), version: None },
        run: RunId { namespace: "argo".into(), name: "klm-x7k2p".into(), uid: "6f1c".into() },
        purpose: "upgrade to 4.1.0, wave 2 of 3".into(),
        timeout: Duration::from_secs(4500),
        revision: 8,
        history_max: 10,
    }
}

fn user() -> Values {
    serde_json::from_value(json!({"image": {"reference": "hunter2"}})).unwrap()
}

fn nodes(names: &[&str]) -> Vec<NodeName> {
    names.iter().map(|name| NodeName::try_from(*name).unwrap()).collect()
}

/// One argument a line, so that a change shows as one line.
fn lines(command: &HelmCommand) -> String {
    command.args.iter().map(|arg| format!("{arg:?}")).collect::<Vec<_>>().join("\n")
}

#[test]
fn reading_calls() {
    let release = change().release;
    let oci = Chart { reference: crate::contract::KATA_DEPLOY_CHART.into(), version: Some("4.1.0".into()) };
    let http = Chart { reference: "https://charts.example/stable/kata-deploy".into(), version: Some("4.1.0".into()) };
    let calls = [
        version(),
        history(&release),
        metadata(&release, None),
        metadata(&release, Some(3)),
        user_values(&release, None),
        all_values(&release, Some(3)),
        pull(&oci, "/tmp/charts", true).unwrap(),
        pull(&http, "/tmp/charts", false).unwrap(),
    ];
    insta::assert_snapshot!(calls.map(|call| call.to_string()).join("\n"));
    assert_eq!(pull(&change().chart, "/tmp/charts", false), None, "a path is there already");
}

#[test]
fn arming() {
    insta::assert_snapshot!(lines(&arm(&change())));
}

#[test]
fn the_upgrade_in_daemonset_mode() {
    insta::assert_snapshot!(lines(&upgrade_daemonset(&change(), &user(), true)));
}

#[test]
fn a_chart_without_modes_is_not_told_one() {
    assert!(!lines(&upgrade_daemonset(&change(), &Values::new(), false)).contains("deploymentMode"));
}

#[test]
fn a_wave_in_job_mode() {
    insta::assert_snapshot!(lines(
        &upgrade_wave(&change(), &Base::Release, &user(), &nodes(&["b", "a", "10"])).unwrap()
    ));
}

#[test]
fn a_rollback_in_job_mode_starts_from_the_recorded_values() {
    let base = Base::Exactly(user());
    insta::assert_snapshot!(lines(&upgrade_wave(&change(), &base, &Values::new(), &nodes(&["b"])).unwrap()));
}

#[test]
fn a_rehearsal_is_the_same_call_and_changes_nothing() {
    let real = upgrade_daemonset(&change(), &user(), true);
    let rehearsed = rehearse(real.clone());
    assert_eq!(rehearsed.args[..real.args.len()], real.args);
    assert!(rehearsed.args.contains(&Arg::Text("--dry-run=server".into())));
}

#[test]
fn a_wave_without_nodes_makes_no_call() {
    assert_eq!(upgrade_wave(&change(), &Base::Release, &user(), &[]), None);
}

#[test]
fn a_node_list_longer_than_an_argument_travels_in_a_file() {
    let names: Vec<String> = (0..2000).map(|n| format!("{}-{n:04}", "n".repeat(58))).collect();
    let nodes: Vec<NodeName> = names.iter().map(|name| NodeName::try_from(name.as_str()).unwrap()).collect();
    let command = upgrade_wave(&change(), &Base::Release, &Values::new(), &nodes).unwrap();
    let longest = command.args.iter().map(|arg| if let Arg::Text(text) = arg { text.len() } else { 0 }).max();
    assert!(longest < Some(131_072));
    let Some(Arg::Values(values)) = command.args.last() else { panic!("{:?}", command.args.last()) };
    assert_eq!(values["job"]["nodes"].as_array().unwrap().len(), 2000);
}

#[test]
fn an_origin_that_helm_forgot_is_made_from_what_was_recorded() {
    let text = lines(&origin_again(&change(), user(), true));
    for part in ["--reset-values", "<values file>", "updateStrategy.type=OnDelete", "--no-hooks"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("hunter2"));
}

#[test]
fn no_call_of_a_run_lets_the_chart_verify_and_a_way_back_keeps_the_users_pod_for_it() {
    let ways_back = [arm(&change()), origin_again(&change(), user(), true), restore_values(&change(), user())];
    let upgrades = [
        upgrade_daemonset(&change(), &user(), true),
        upgrade_wave(&change(), &Base::Release, &user(), &nodes(&["a"])).unwrap(),
    ];
    for (commands, switched_off, kept) in
        [(&ways_back[..], "--no-hooks", true), (&upgrades, "verification.pod=", false)]
    {
        for text in commands.iter().map(lines) {
            assert!(text.contains(switched_off), "{text}");
            assert_eq!(text.contains("verification.pod"), !kept, "{text}");
        }
    }
}

#[test]
fn giving_the_values_back() {
    insta::assert_snapshot!(lines(&restore_values(&change(), user())));
}

#[test]
fn going_back_to_a_revision() {
    insta::assert_snapshot!(rollback(&change(), 4).to_string());
}

#[test]
fn no_call_waits_for_more_than_hooks_or_rolls_back_by_itself() {
    for command in [
        arm(&change()),
        upgrade_daemonset(&change(), &user(), true),
        upgrade_wave(&change(), &Base::Release, &user(), &nodes(&["a"])).unwrap(),
        restore_values(&change(), user()),
        rollback(&change(), 1),
    ] {
        let text = lines(&command);
        assert!(text.contains("\"--wait=hookOnly\""), "{text}");
        for never in ["--atomic", "--rollback-on-failure", "\"--reuse-values\"", "--force", "hunter2"] {
            assert!(!text.contains(never), "{never}: {text}");
        }
    }
}

#[test]
fn a_revision_is_recognised_as_this_runs_by_its_description() {
    let Arg::Text(description) = change_description() else { panic!() };
    let revision =
        Revision { revision: 5, status: Status::Deployed, chart: String::new(), description, updated: String::new() };
    let run = change().run;
    assert!(is_of_run(&revision.description, &run));
    assert!(!is_of_run(&revision.description, &RunId { uid: "other".into(), ..run.clone() }));
    assert!(!is_of_run("Rollback to 3", &run));
}

fn change_description() -> Arg {
    let args = arm(&change()).args;
    let at = args.iter().position(|arg| *arg == Arg::Text("--description".into())).unwrap();
    args[at + 1].clone()
}

#[test]
fn a_run_never_prunes_what_people_go_back_to() {
    assert_eq!([history_max(0), history_max(9), history_max(40)], [10, 11, 42]);
}
