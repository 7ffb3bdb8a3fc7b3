//! Which objects there are, and what they are called and may do.

use crate::helm::{
    ALL_VERSIONS, JOB_VERSIONS, find, job_template, names, render, render_job, rules, try_find, try_render,
};
use rstest::rstest;
use serde_json::json;

const RELEASE_REMOVED: [&str; 4] = [
    "ClusterRole/kata-deploy-cleanup-role",
    "ClusterRoleBinding/kata-deploy-cleanup-rb",
    "Job/kata-deploy-rb-cleanup",
    "ServiceAccount/kata-deploy-sa-cleanup",
];
const INSTALLER: [&str; 3] =
    ["ClusterRole/kata-deploy-role", "ClusterRoleBinding/kata-deploy-rb", "ServiceAccount/kata-deploy-sa"];
const CLASSES: [&str; 2] = ["RuntimeClass/kata-qemu", "RuntimeClass/kata-qemu-runtime-rs"];
const DISPATCHER: [&str; 8] = [
    "ClusterRole/kata-deploy-dispatcher-noderole",
    "ClusterRoleBinding/kata-deploy-dispatcher-noderb",
    "ConfigMap/kata-deploy-job-templates",
    "Job/kata-deploy-cleanup-dispatcher",
    "Job/kata-deploy-install-dispatcher",
    "Role/kata-deploy-dispatcher-role",
    "RoleBinding/kata-deploy-dispatcher-rb",
    "ServiceAccount/kata-deploy-dispatcher-sa",
];

fn together(lists: &[&[&str]]) -> Vec<String> {
    let mut all: Vec<String> = lists.concat().into_iter().map(str::to_owned).collect();
    all.sort();
    all
}

#[test]
fn daemonset_mode_has_upstreams_objects_and_no_others() {
    for version in ALL_VERSIONS {
        let state: &[&str] = if version >= "4.1.0" { &["ConfigMap/rel-kata-deploy-state"] } else { &[] };
        let expected = together(&[&RELEASE_REMOVED, &INSTALLER, &CLASSES, &["DaemonSet/kata-deploy"], state]);
        assert_eq!(names(&render(version, &[])), expected, "{version}");
    }
}

#[test]
fn job_mode_has_upstreams_objects_and_no_others() {
    for version in JOB_VERSIONS {
        let since41 = version >= "4.1.0";
        let state: &[&str] = if since41 { &["ConfigMap/rel-kata-deploy-state"] } else { &[] };
        let installer: &[&str] = if since41 { &[] } else { &INSTALLER };
        let expected = together(&[&RELEASE_REMOVED, installer, &CLASSES, &DISPATCHER, state]);
        assert_eq!(names(&render_job(version, &[])), expected, "{version}");
    }
}

#[rstest]
#[case("3.27.0")]
#[case("3.29.0")]
#[case("3.31.0")]
fn before_3_32_job_mode_is_ignored_and_every_node_gets_a_daemonset(#[case] version: &str) {
    assert_eq!(names(&render_job(version, &[])), names(&render(version, &[])));
}

#[test]
fn an_unknown_mode_deletes_the_daemonset_until_4_1_refuses_it() {
    for version in ["3.32.0", "4.0.0"] {
        let objects = render(version, &["--set", "deploymentMode=jobs"]);
        assert_eq!(names(&objects), together(&[&RELEASE_REMOVED, &INSTALLER, &CLASSES]), "{version}");
    }
    for version in ["4.1.0", "4.2.0"] {
        assert!(try_render(version, &["--set", "deploymentMode=jobs"]).unwrap_err().contains("deploymentMode"));
    }
}

#[test]
fn the_suffix_stands_before_a_workloads_part_and_behind_every_other_name() {
    let objects = render_job("4.0.0", &["--set", "env.multiInstallSuffix=cicd"]);
    let expected = [
        "ClusterRole/kata-deploy-cleanup-role-cicd",
        "ClusterRole/kata-deploy-dispatcher-noderole-cicd",
        "ClusterRole/kata-deploy-role-cicd",
        "ClusterRoleBinding/kata-deploy-cleanup-rb-cicd",
        "ClusterRoleBinding/kata-deploy-dispatcher-noderb-cicd",
        "ClusterRoleBinding/kata-deploy-rb-cicd",
        "ConfigMap/kata-deploy-cicd-job-templates",
        "Job/kata-deploy-cicd-cleanup-dispatcher",
        "Job/kata-deploy-cicd-install-dispatcher",
        "Job/kata-deploy-rb-cleanup-cicd",
        "Role/kata-deploy-dispatcher-role-cicd",
        "RoleBinding/kata-deploy-dispatcher-rb-cicd",
        "RuntimeClass/kata-qemu-cicd",
        "RuntimeClass/kata-qemu-runtime-rs-cicd",
        "ServiceAccount/kata-deploy-dispatcher-sa-cicd",
        "ServiceAccount/kata-deploy-sa-cicd",
        "ServiceAccount/kata-deploy-sa-cleanup-cicd",
    ];
    assert_eq!(names(&objects), expected);
    let daemonset = render("4.0.0", &["--set", "env.multiInstallSuffix=cicd"]);
    let daemonset = find(&daemonset, "DaemonSet", "kata-deploy-cicd");
    assert_eq!(daemonset["spec"]["selector"]["matchLabels"], json!({"name": "kata-deploy-cicd"}));
}

#[rstest]
#[case("Job", "kata-deploy-install-dispatcher", "post-install,post-upgrade", "5", "before-hook-creation")]
#[case("Job", "kata-deploy-cleanup-dispatcher", "pre-delete", "5", "before-hook-creation,hook-succeeded")]
#[case("Job", "kata-deploy-rb-cleanup", "post-delete", "0", "before-hook-creation,hook-succeeded")]
#[case("ServiceAccount", "kata-deploy-sa-cleanup", "post-delete", "-5", "before-hook-creation,hook-succeeded")]
#[case("ClusterRole", "kata-deploy-cleanup-role", "post-delete", "-5", "before-hook-creation,hook-succeeded")]
#[case("Job", "rel-kata-deploy-verify", "post-install,post-upgrade", "10", "before-hook-creation,hook-succeeded")]
#[case(
    "ClusterRole",
    "rel-kata-deploy-verification",
    "post-install,post-upgrade",
    "-10",
    "before-hook-creation,hook-succeeded,hook-failed"
)]
fn a_hook_runs_when_upstreams_does(
    #[case] kind: &str,
    #[case] name: &str,
    #[case] events: &str,
    #[case] weight: &str,
    #[case] policy: &str,
) {
    for version in JOB_VERSIONS {
        let objects = render_job(version, &["--set", "verification.pod=x"]);
        let expected =
            json!({"helm.sh/hook": events, "helm.sh/hook-weight": weight, "helm.sh/hook-delete-policy": policy});
        assert_eq!(find(&objects, kind, name)["metadata"]["annotations"], expected, "{version}");
    }
}

#[test]
fn nothing_but_hooks_has_hook_annotations() {
    for version in JOB_VERSIONS {
        let hooks = render_job(version, &[])
            .iter()
            .filter(|one| !one["metadata"]["annotations"]["helm.sh/hook"].is_null())
            .count();
        assert_eq!(hooks, 6, "{version}");
    }
}

#[test]
fn the_charts_own_verification_runs_first_in_daemonset_mode() {
    let objects = render("4.0.0", &["--set", "verification.pod=x"]);
    assert_eq!(find(&objects, "Job", "rel-kata-deploy-verify")["metadata"]["annotations"]["helm.sh/hook-weight"], "0");
    assert!(try_find(&render("4.0.0", &["--set", "verification.pod="]), "Job", "rel-kata-deploy-verify").is_none());
}

#[test]
fn the_installers_account_outlives_its_release() {
    for version in ALL_VERSIONS {
        let objects = render(version, &[]);
        for (kind, name) in [
            ("ServiceAccount", "kata-deploy-sa"),
            ("ClusterRole", "kata-deploy-role"),
            ("ClusterRoleBinding", "kata-deploy-rb"),
        ] {
            assert_eq!(
                find(&objects, kind, name)["metadata"]["annotations"],
                json!({"helm.sh/resource-policy": "keep"})
            );
        }
    }
}

const FIRST_RULES: [&str; 5] = [
    "nodes: get, patch",
    "runtimeclasses.node.k8s.io: get, list, patch",
    "customresourcedefinitions.apiextensions.k8s.io: get, list",
    "nodefeaturerules.nfd.k8s-sigs.io: create, delete, get, list, patch, update, watch",
    "daemonsets.apps: get, list, watch",
];

#[test]
fn the_installers_rules_are_upstreams() {
    let of = |version| rules(&render(version, &[]), "ClusterRole", "kata-deploy-role");
    for version in ["3.27.0", "3.29.0", "3.31.0", "3.32.0"] {
        assert_eq!(of(version), FIRST_RULES, "{version}");
    }
    let [nodes, more @ ..] = FIRST_RULES;
    assert_eq!(of("4.0.0"), [&[nodes, "nodes/proxy: get"][..], &more].concat());
    for version in ["4.1.0", "4.2.0"] {
        assert_eq!(of(version), [nodes, "nodes/proxy: get", "daemonsets.apps: get, list, watch"], "{version}");
    }
}

#[test]
fn the_dispatchers_rules_are_upstreams() {
    let of = |version| {
        let objects = render_job(version, &[]);
        [
            rules(&objects, "ClusterRole", "kata-deploy-dispatcher-noderole"),
            rules(&objects, "Role", "kata-deploy-dispatcher-role"),
        ]
        .concat()
    };
    assert_eq!(of("3.32.0"), ["nodes: list", "jobs.batch: create, get, list, watch, delete"]);
    assert_eq!(of("4.0.0"), ["nodes: list", "jobs.batch: create, get, delete"]);
    for version in ["4.1.0", "4.2.0"] {
        assert_eq!(
            of(version),
            ["nodes: list, get, patch", "nodes/proxy: get", "jobs.batch: create, get, list, delete"]
        );
    }
    let no_guest_pull = render_job("4.1.0", &["--set-json", "snapshotter.setup=[]"]);
    assert_eq!(rules(&no_guest_pull, "ClusterRole", "kata-deploy-dispatcher-noderole"), ["nodes: list, get, patch"]);
}

#[test]
fn the_cleanup_hooks_rules_are_upstreams() {
    let of = |version| rules(&render(version, &[]), "ClusterRole", "kata-deploy-cleanup-role");
    assert_eq!(
        of("3.32.0"),
        ["clusterroles, clusterrolebindings.rbac.authorization.k8s.io: delete", "serviceaccounts: delete"]
    );
    assert_eq!(
        of("4.0.0"),
        [
            "clusterroles, clusterrolebindings, roles, rolebindings.rbac.authorization.k8s.io: delete",
            "serviceaccounts: delete"
        ]
    );
}

#[test]
fn runtime_classes_select_the_marker_from_4_1_on() {
    for version in ALL_VERSIONS {
        let objects = render(version, &[]);
        let class = find(&objects, "RuntimeClass", "kata-qemu");
        assert_eq!(class["handler"], "kata-qemu");
        assert_eq!(
            class["metadata"]["labels"],
            json!({"app.kubernetes.io/managed-by": "kata-deploy", "kata-deploy/instance": "default"})
        );
        let mut selector = json!({"katacontainers.io/kata-runtime": "true"});
        if version >= "4.1.0" {
            selector["kata-deploy.katacontainers.io/default"] = json!("true");
        }
        assert_eq!(class["scheduling"]["nodeSelector"], selector, "{version}");
        let memory = if version >= "4.0.0" { "320Mi" } else { "160Mi" };
        assert_eq!(class["overhead"]["podFixed"]["memory"], memory, "{version}");
        let annotations =
            if version >= "3.32.0" { json!({"katacontainers.io/kata-version": version}) } else { json!(null) };
        assert_eq!(class["metadata"]["annotations"], annotations, "{version}");
    }
}

#[test]
fn the_default_class_changes_its_immutable_handler_at_4_0() {
    for (version, handler) in [
        ("3.27.0", "kata-qemu"),
        ("3.32.0", "kata-qemu"),
        ("4.0.0", "kata-qemu-runtime-rs"),
        ("4.2.0", "kata-qemu-runtime-rs"),
    ] {
        let objects = render(version, &["--set", "runtimeClasses.createDefault=true"]);
        assert_eq!(find(&objects, "RuntimeClass", "kata")["handler"], handler, "{version}");
        assert!(try_find(&render(version, &[]), "RuntimeClass", "kata").is_none());
        let suffixed = render(version, &["--set", "runtimeClasses.createDefault=true,env.multiInstallSuffix=x"]);
        assert!(try_find(&suffixed, "RuntimeClass", "kata").is_none());
    }
}

#[test]
fn monitor_appears_only_when_asked_for() {
    for version in JOB_VERSIONS {
        assert!(try_find(&render(version, &[]), "DaemonSet", "kata-monitor").is_none());
        assert!(try_find(&render(version, &["--set", "monitor.enabled=true"]), "DaemonSet", "kata-monitor").is_some());
    }
    assert!(try_find(&render("3.31.0", &["--set", "monitor.enabled=true"]), "DaemonSet", "kata-monitor").is_none());
}

#[test]
fn an_upgrade_without_a_server_cannot_be_rendered_from_4_1_on() {
    assert!(try_render("4.0.0", &["--is-upgrade"]).is_ok());
    for version in ["4.1.0", "4.2.0"] {
        let error = try_render(version, &["--is-upgrade"]).unwrap_err();
        assert!(error.contains("cannot verify the previous kata-deploy identity"), "{error}");
    }
}

#[test]
fn only_pods_that_a_simulated_node_runs_say_who_plays_them() {
    let played = ["--set", "standin.playedBy=someone"];
    let label =
        |object: &serde_json::Value| object["spec"]["template"]["metadata"]["labels"]["bed.local/played-by"].clone();
    let objects = render("3.27.0", &played);
    assert_eq!(label(find(&objects, "DaemonSet", "kata-deploy")), "someone");
    let objects = render_job("4.1.0", &played);
    for stage in ["install", "cleanup"] {
        assert_eq!(label(&job_template(&objects, stage)), "someone");
        let dispatcher = find(&objects, "Job", &format!("kata-deploy-{stage}-dispatcher"));
        assert_eq!(label(dispatcher), json!(null));
        assert!(dispatcher["spec"]["template"]["spec"]["affinity"].is_object(), "and really runs, on a real node");
    }
}
