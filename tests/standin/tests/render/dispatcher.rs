//! The dispatcher's Job and the per-node Jobs that it makes, version by version.

use crate::helm::{JOB_VERSIONS, find, job_template, render_job, try_render};
use k8s_openapi::api::batch::v1::Job;
use klm_standin::dispatch::Flags;
use klm_standin::profile::{Dispatcher, Profile};
use rstest::rstest;
use serde_json::{Value, json};

const INSTALL: &str = "kata-deploy-install-dispatcher";

fn dispatcher(version: &str, arguments: &[&str]) -> Value {
    find(&render_job(version, arguments), "Job", INSTALL).clone()
}

fn flags(version: &str, arguments: &[&str]) -> Vec<String> {
    let job = dispatcher(version, arguments);
    let args = job["spec"]["template"]["spec"]["containers"][0]["args"].as_array().unwrap();
    args.iter().map(|one| one.as_str().unwrap().to_owned()).collect()
}

fn has(flags: &[String], flag: &str) -> bool {
    flags.iter().any(|one| one == flag || one.starts_with(&format!("{flag}=")))
}

const NODES: [&str; 2] = ["--set", "job.nodes={b,a}"];

#[test]
fn from_4_1_on_it_always_gets_the_template_that_uninstalls() {
    for version in JOB_VERSIONS {
        let expected = version >= "4.1.0";
        for arguments in [&[][..], &NODES, &["--set-json", "job.nodes=[]"]] {
            assert_eq!(has(&flags(version, arguments), "--cleanup-job-template"), expected, "{version} {arguments:?}");
        }
    }
}

#[test]
fn named_nodes_replace_every_selector() {
    for version in JOB_VERSIONS {
        let named = flags(version, &[&NODES[..], &["--set", "nodeSelector.pool=kata"]].concat());
        assert!(named.contains(&"--nodes=b,a".to_owned()), "{version} {named:?}");
        for flag in ["--node-selector", "--wait-for-nodes-secs", "--node-settle-secs"] {
            assert!(!has(&named, flag), "{version} {flag}");
        }
    }
}

#[test]
fn an_empty_set_names_one_empty_node() {
    assert!(
        flags("4.1.0", &["--set", "job.nodes={}"]).contains(&"--nodes=".to_owned()),
        "helm parses it as a list of one"
    );
    assert!(!has(&flags("4.1.0", &["--set-json", "job.nodes=[]"]), "--nodes"));
}

#[test]
fn without_names_the_selectors_count() {
    let first = "--node-selector=!node-role.kubernetes.io/control-plane,!node-role.kubernetes.io/master".to_owned();
    for version in ["3.32.0", "4.0.0"] {
        assert!(flags(version, &[]).contains(&first), "{version}");
        let pooled = flags(version, &["--set", "job.nodeSelector.pool=kata"]);
        assert!(
            pooled.iter().any(|one| one.starts_with("--node-selector=pool=kata,!node-role")),
            "{version} {pooled:?}"
        );
    }
    for version in ["4.1.0", "4.2.0"] {
        assert!(!has(&flags(version, &[]), "--node-selector"), "{version}: every node");
        assert!(has(&flags(version, &[]), "--wait-for-nodes-secs"), "{version}");
        assert!(flags(version, &["--set", "nodeSelector.pool=kata"]).contains(&"--node-selector=pool=kata".to_owned()));
        let terms = r#"affinity={"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"a","operator":"Exists"}]},{"matchExpressions":[{"key":"b","operator":"In","values":["1","2"]}]}]}}}"#;
        let union = flags(version, &["--set-json", terms]);
        assert!(union.contains(&"--node-selector=a".to_owned()), "{version} {union:?}");
        assert!(union.contains(&"--node-selector=b in (1,2)".to_owned()), "{version} {union:?}");
    }
}

#[test]
fn each_dispatcher_knows_every_flag_that_its_chart_gives_it() {
    let everything = ["--set", "env.multiInstallSuffix=x,startupTaints[0].key=t,startupTaints[0].effect=NoSchedule"];
    for version in JOB_VERSIONS {
        let dispatcher = Profile::of(&version.parse().unwrap()).dispatcher.unwrap();
        for arguments in [&[][..], &NODES] {
            let flags = flags(version, arguments);
            Flags::parse(dispatcher, &flags).unwrap_or_else(|error| panic!("{version} {flags:?}: {error}"));
        }
        let objects = render_job(version, &everything);
        for name in ["kata-deploy-x-install-dispatcher", "kata-deploy-x-cleanup-dispatcher"] {
            let args = &find(&objects, "Job", name)["spec"]["template"]["spec"]["containers"][0]["args"];
            let args: Vec<String> = serde_json::from_value(args.clone()).unwrap();
            Flags::parse(dispatcher, &args).unwrap_or_else(|error| panic!("{version} {args:?}: {error}"));
        }
    }
}

#[test]
fn an_old_dispatcher_ends_on_the_flags_of_a_newer_chart() {
    for (old, chart) in [(Dispatcher::V4_0, "4.1.0"), (Dispatcher::V4_1, "4.2.0")] {
        assert!(Flags::parse(old, &flags(chart, &NODES)).is_err(), "{old:?} with {chart}");
    }
}

#[test]
fn it_is_tried_once_unprivileged_and_stays_until_its_ttl() {
    for version in JOB_VERSIONS {
        let job = dispatcher(version, &[]);
        let pod = &job["spec"]["template"]["spec"];
        assert_eq!((&job["spec"]["backoffLimit"], &job["spec"]["ttlSecondsAfterFinished"]), (&json!(0), &json!(600)));
        assert_eq!((&pod["restartPolicy"], &pod["securityContext"]["runAsUser"]), (&json!("Never"), &json!(65532)));
        assert_eq!(pod["serviceAccountName"], "kata-deploy-dispatcher-sa");
        assert_eq!(job["spec"]["template"]["metadata"]["labels"]["kata-deploy/dispatcher"], "install");
        serde_json::from_value::<Job>(job).unwrap();
    }
}

#[test]
fn its_image_has_the_charts_version_until_it_has_its_own() {
    let image = |version, arguments: &[&str]| {
        dispatcher(version, arguments)["spec"]["template"]["spec"]["containers"][0]["image"].clone()
    };
    for version in ["3.32.0", "4.0.0", "4.1.0"] {
        assert_eq!(image(version, &[]), format!("quay.io/kata-containers/kata-deploy-job-dispatcher:{version}"));
    }
    assert_eq!(image("4.2.0", &[]), "ghcr.io/kata-containers/k8s-job-dispatcher:0.1.0");
    let untagged = ["--set", "deploymentMode=job,job.dispatcherImage.tag="];
    assert!(try_render("4.2.0", &untagged).unwrap_err().contains("job.dispatcherImage.tag is required"));
    assert!(try_render("4.2.0", &["--set", "job.dispatcherImage.tag="]).is_ok(), "only in job mode");
    let digest = ["--set", "job.dispatcherImage.tag=,job.dispatcherImage.reference=example.org/d@sha256:abc"];
    assert_eq!(image("4.2.0", &digest), "example.org/d@sha256:abc");
}

#[test]
fn its_own_tolerations_replace_the_common_ones_from_4_1_on() {
    let both = [
        "--set",
        "tolerations[0].operator=Exists,job.dispatcherTolerations[0].key=a,job.dispatcherTolerations[0].operator=Exists",
    ];
    let seen =
        |version, arguments: &[&str]| dispatcher(version, arguments)["spec"]["template"]["spec"]["tolerations"].clone();
    assert_eq!(seen("4.0.0", &both), json!([{"operator": "Exists"}]));
    assert_eq!(seen("4.1.0", &both), json!([{"key": "a", "operator": "Exists"}]));
    assert_eq!(seen("4.1.0", &["--set", "tolerations[0].operator=Exists"]), json!([{"operator": "Exists"}]));
}

#[rstest]
#[case("job.nodeSelector={}")]
#[case("job.nodeSelector=null")]
#[case("job.nodeAffinity={}")]
#[case("job.nodeSelectorExpressions=[]")]
#[case("job.cleanup.nodeSelectorExpressions=[]")]
fn a_removed_key_fails_from_4_1_on_in_both_modes(#[case] key: &str) {
    let name = key.split('=').next().unwrap();
    for version in ["4.1.0", "4.2.0"] {
        for mode in ["job", "daemonset"] {
            let mode = format!("deploymentMode={mode}");
            let error = try_render(version, &["--set", &mode, "--set-json", key]).unwrap_err();
            assert!(error.contains(name), "{version} {mode} {error}");
        }
    }
    assert!(try_render("4.0.0", &["--set-json", key]).is_ok());
}

#[test]
fn a_short_ttl_is_refused_from_4_1_on() {
    let short = ["--set", "job.ttlSecondsAfterFinished=59"];
    assert!(try_render("4.0.0", &short).is_ok());
    assert!(try_render("4.1.0", &short).unwrap_err().contains("ttlSecondsAfterFinished"));
    assert!(try_render("4.1.0", &["--set", "job.ttlSecondsAfterFinished=60"]).is_ok());
}

fn containers(job: &Value, kind: &str) -> Vec<String> {
    let all = job["spec"]["template"]["spec"][kind].as_array().unwrap();
    all.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn version_1_jobs_label_the_node_and_version_2_jobs_have_no_rights_at_all() {
    for version in JOB_VERSIONS {
        let objects = render_job(version, &[]);
        let (install, cleanup) = (job_template(&objects, "install"), job_template(&objects, "cleanup"));
        let pod = &install["spec"]["template"]["spec"];
        if version >= "4.1.0" {
            assert_eq!(containers(&install, "initContainers"), ["host-check", "artifacts"]);
            assert_eq!(containers(&install, "containers"), ["cri"]);
            assert_eq!(containers(&cleanup, "initContainers"), ["revert-cri"]);
            assert_eq!(pod["serviceAccountName"], json!(null));
            assert_eq!(pod["automountServiceAccountToken"], false);
            assert_eq!(pod["shareProcessNamespace"], json!(null));
            assert_eq!(install["spec"]["activeDeadlineSeconds"], 3600);
        } else {
            assert_eq!(containers(&install, "initContainers"), ["host-check", "artifacts", "cri"]);
            assert_eq!(containers(&install, "containers"), ["label"]);
            assert_eq!(containers(&cleanup, "initContainers"), ["unlabel", "revert-cri"]);
            assert_eq!(pod["serviceAccountName"], "kata-deploy-sa");
            assert_eq!(pod["shareProcessNamespace"], true, "as upstream's hostPID, it lets a stage be told to go");
            assert_eq!(install["spec"]["activeDeadlineSeconds"], json!(null));
        }
        assert_eq!(containers(&cleanup, "containers"), ["remove-artifacts"]);
        assert_eq!(
            (&install["spec"]["backoffLimit"], &install["spec"]["ttlSecondsAfterFinished"]),
            (&json!(3), &json!(600))
        );
        for (stage, job) in [("install", install.clone()), ("cleanup", cleanup)] {
            let labels = json!({"app.kubernetes.io/name": "kata-deploy", "app.kubernetes.io/instance": "rel", "kata-deploy/stage": stage});
            assert_eq!(job["metadata"]["labels"], labels, "{version}");
            assert_eq!(job["spec"]["template"]["metadata"]["labels"], labels, "{version}");
            serde_json::from_value::<Job>(job).unwrap();
        }
    }
}

#[test]
fn version_2_jobs_tolerate_everything_only_on_named_nodes() {
    let tolerations = |version, arguments: &[&str]| {
        job_template(&render_job(version, arguments), "install")["spec"]["template"]["spec"]["tolerations"].clone()
    };
    assert_eq!(tolerations("4.0.0", &NODES), json!(null));
    assert_eq!(tolerations("4.1.0", &NODES), json!([{"operator": "Exists"}]));
    let like_a_daemonset = tolerations("4.1.0", &["--set", "tolerations[0].key=mine,tolerations[0].operator=Exists"]);
    let keys: Vec<&str> = like_a_daemonset.as_array().unwrap().iter().map(|one| one["key"].as_str().unwrap()).collect();
    let builtin = ["not-ready", "unreachable", "disk-pressure", "memory-pressure", "pid-pressure", "unschedulable"];
    let expected: Vec<String> =
        builtin.iter().map(|key| format!("node.kubernetes.io/{key}")).chain(["mine".to_owned()]).collect();
    assert_eq!(keys, expected);
}
