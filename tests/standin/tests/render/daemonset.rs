//! The `DaemonSet`, version by version.

use crate::helm::{ALL_VERSIONS, find, render};
use k8s_openapi::api::apps::v1::DaemonSet;
use serde_json::{Value, json};

fn daemonset(version: &str, arguments: &[&str]) -> Value {
    find(&render(version, arguments), "DaemonSet", "kata-deploy").clone()
}

fn container(version: &str, arguments: &[&str]) -> Value {
    daemonset(version, arguments)["spec"]["template"]["spec"]["containers"][0].clone()
}

#[test]
fn it_is_found_by_one_label_and_no_others() {
    for version in ALL_VERSIONS {
        let seen = daemonset(version, &[]);
        assert_eq!(seen["metadata"]["labels"], json!(null), "{version}");
        assert_eq!(seen["spec"]["selector"], json!({"matchLabels": {"name": "kata-deploy"}}), "{version}");
        assert_eq!(seen["spec"]["template"]["metadata"]["labels"], json!({"name": "kata-deploy"}), "{version}");
        assert_eq!(seen["spec"]["template"]["spec"]["containers"][0]["name"], "kube-kata", "{version}");
        serde_json::from_value::<DaemonSet>(seen).unwrap();
    }
}

#[test]
fn pod_labels_count_from_4_0_on_and_never_replace_the_name() {
    let labels = ["--set", "podLabels.team=x,podLabels.name=other"];
    let seen = |version| daemonset(version, &labels)["spec"]["template"]["metadata"]["labels"].clone();
    assert_eq!(seen("3.32.0"), json!({"name": "kata-deploy"}));
    assert_eq!(seen("4.0.0"), json!({"name": "kata-deploy", "team": "x"}));
}

#[test]
fn ready_means_something_from_3_31_on() {
    for version in ALL_VERSIONS {
        let seen = container(version, &[]);
        let paths =
            ["startupProbe", "livenessProbe", "readinessProbe"].map(|probe| seen[probe]["httpGet"]["path"].clone());
        if version >= "3.31.0" {
            assert_eq!(paths, [json!("/readyz"), json!("/healthz"), json!("/readyz")], "{version}");
            assert_eq!(seen["startupProbe"]["httpGet"]["port"], 8090);
            let seconds = &seen["startupProbe"];
            let limit = seconds["periodSeconds"].as_i64().unwrap() * seconds["failureThreshold"].as_i64().unwrap();
            assert_eq!(limit, 600, "upstream's ten minutes");
        } else {
            assert_eq!(paths, [json!(null), json!(null), json!(null)], "{version}");
        }
    }
}

#[test]
fn only_3_27_cleans_up_before_it_stops() {
    for version in ALL_VERSIONS {
        let spec = daemonset(version, &[])["spec"]["template"]["spec"].clone();
        let (grace, pre_stop) = match version {
            "3.27.0" => (120, json!(["/usr/bin/kata-deploy", "cleanup"])),
            _ => (600, json!(null)),
        };
        assert_eq!(spec["terminationGracePeriodSeconds"], grace, "{version}");
        assert_eq!(spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"], pre_stop, "{version}");
    }
}

#[test]
fn its_program_is_not_the_first_process_which_could_not_be_told_to_go_while_it_starts() {
    for version in ALL_VERSIONS {
        assert_eq!(daemonset(version, &[])["spec"]["template"]["spec"]["shareProcessNamespace"], true, "{version}");
    }
}

#[test]
fn on_delete_leaves_the_rolling_update_settings_beside_it() {
    for version in ALL_VERSIONS {
        let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}});
        assert_eq!(daemonset(version, &[])["spec"]["updateStrategy"], rolling, "{version}");
        let on_delete = json!({"type": "OnDelete", "rollingUpdate": {"maxUnavailable": 1}});
        assert_eq!(daemonset(version, &["--set", "updateStrategy.type=OnDelete"])["spec"]["updateStrategy"], on_delete);
    }
}

#[test]
fn the_image_follows_the_chart_unless_it_is_pinned() {
    for version in ALL_VERSIONS {
        let image = |arguments: &[&str]| container(version, arguments)["image"].clone();
        assert_eq!(image(&[]), format!("quay.io/kata-containers/kata-deploy:{version}"));
        assert_eq!(image(&["--set", "image.tag=3.27.0"]), "quay.io/kata-containers/kata-deploy:3.27.0");
        assert_eq!(image(&["--set", "image.repository=example.org/x"]), image(&[]), "there is no such key");
    }
    let digest = ["--set", "image.reference=example.org/x@sha256:abc,image.tag=1.2.3"];
    assert_eq!(container("3.29.0", &digest)["image"], "example.org/x@sha256:abc");
    assert_eq!(container("3.27.0", &digest)["image"], "example.org/x@sha256:abc:1.2.3");
}

#[test]
fn a_pinned_image_keeps_the_pod_template_across_versions() {
    let template = |version| {
        let mut template = daemonset(version, &["--set", "image.tag=3.32.0"])["spec"]["template"].clone();
        template["metadata"]["annotations"] = json!(null);
        template
    };
    assert_eq!(template("3.31.0"), template("3.32.0"), "or a chart's version alone would restart the pods");
    assert_eq!(template("3.32.0"), template("4.0.0"));
}

#[test]
fn placement_comes_from_the_values() {
    let seen =
        daemonset("4.0.0", &["--set", "nodeSelector.pool=kata,tolerations[0].key=a,tolerations[0].operator=Exists"]);
    let pod = &seen["spec"]["template"]["spec"];
    assert_eq!(pod["nodeSelector"], json!({"pool": "kata"}));
    assert_eq!(pod["tolerations"], json!([{"key": "a", "operator": "Exists"}]));
    assert_eq!(pod["priorityClassName"], "system-node-critical");
    assert_eq!(daemonset("3.29.0", &[])["spec"]["template"]["spec"]["priorityClassName"], json!(null));
    let affinity = [
        "--set-json",
        r#"affinity={"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"a","operator":"Exists"}]}]}}}"#,
    ];
    let of = |version| daemonset(version, &affinity)["spec"]["template"]["spec"]["affinity"].clone();
    assert_eq!(of("3.32.0"), json!(null), "no such key before 4.0.0");
    assert!(of("4.0.0")["nodeAffinity"].is_object());
}
