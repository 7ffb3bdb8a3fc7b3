//! The rules that keep one `WorkflowTemplate` whole on every Argo from 3.4 to 4.1. Each is a way in which some version
//! hangs, skips a failure or refuses the template. They hold for whatever values the chart was rendered with.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use klm_core::contract::CHART_NAME;
use serde_json::Value;
use support::{calls, each, is_leaf, list, name, named, template, templates, texts};

#[test]
fn the_documented_name_does_not_depend_on_the_release() {
    let workflow = template("defaults");
    assert_eq!((name(&workflow["metadata"]), &workflow["metadata"]["namespace"]), (CHART_NAME, &"argo".into()));
}

#[test]
fn fail_fast_stands_only_where_items_run_one_by_one() {
    each(|workflow, case| {
        for template in templates(workflow).iter().filter(|t| t.get("failFast").is_some()) {
            assert_eq!(name(template), "rollout", "{case}");
        }
        let rollout = named(workflow, "rollout");
        assert_eq!((&rollout["failFast"], &rollout["parallelism"]), (&true.into(), &1.into()), "{case}");
        let groups = calls(rollout);
        assert_eq!(groups.iter().map(Vec::len).collect::<Vec<_>>(), [1], "{case}: one call only");
        let item = groups[0][0];
        for forbidden in ["continueOn", "hooks", "when"] {
            assert!(item.get(forbidden).is_none(), "{case}: {forbidden}");
        }
        // A retried pod's first attempt would count as a failure, and the run might hang for ever.
        let called = named(workflow, item["template"].as_str().unwrap());
        assert!(!is_leaf(called) && called.get("retryStrategy").is_none(), "{case}");
    });
}

#[test]
fn a_wave_fails_also_when_its_rollback_succeeds() {
    each(|workflow, case| {
        let wave = named(workflow, "wave");
        let targets: BTreeSet<_> = wave["dag"]["target"].as_str().unwrap().split(' ').collect();
        assert_eq!(targets, BTreeSet::from(["verify", "rollback"]), "{case}");
        let tasks = calls(wave).remove(0);
        let depends: BTreeMap<_, _> = tasks.iter().map(|task| (name(task), task["depends"].as_str())).collect();
        let wanted = BTreeMap::from([
            ("apply", None),
            ("verify", Some("apply.Succeeded")),
            ("rollback", Some("apply.Failed || apply.Errored || verify.Failed || verify.Errored")),
        ]);
        assert_eq!(depends, wanted, "{case}");
        for task in tasks {
            for forbidden in ["continueOn", "hooks", "when", "withParam", "withItems", "withSequence"] {
                assert!(task.get(forbidden).is_none(), "{case}: {forbidden}");
            }
        }
        for forbidden in ["failFast", "retryStrategy", "parallelism"] {
            assert!(wave.get(forbidden).is_none() && wave["dag"].get(forbidden).is_none(), "{case}: {forbidden}");
        }
    });
}

#[test]
fn calls_go_at_most_six_deep_and_never_in_circles() {
    fn depth(workflow: &Value, of: &str, path: &mut Vec<String>) -> usize {
        assert!(!path.iter().any(|above| above == of), "{path:?} → {of}");
        path.push(of.to_owned());
        let template = named(workflow, of);
        let called: Vec<_> = calls(template).concat();
        let below = called.iter().map(|call| depth(workflow, call["template"].as_str().unwrap(), path)).max();
        path.pop();
        // A retried step is one more level for Argo.
        1 + below.unwrap_or(0) + usize::from(template.get("retryStrategy").is_some())
    }
    each(|workflow, case| {
        for template in templates(workflow) {
            let deep = depth(workflow, name(template), &mut Vec::new());
            assert!(deep <= 6, "{case}: {} is {deep} deep", name(template));
        }
    });
}

#[test]
fn only_leaves_are_retried_and_only_when_their_pod_was_lost() {
    each(|workflow, case| {
        for template in templates(workflow) {
            let Some(retry) = template.get("retryStrategy") else {
                assert!(!is_leaf(template), "{case}: {} isn't retried", name(template));
                continue;
            };
            assert!(is_leaf(template), "{case}: {}", name(template));
            assert!(retry["limit"].is_string(), "{case}: {retry}");
            // The default policy beside an expression differs between versions; a wait would delay every failure.
            assert_eq!(retry["retryPolicy"], "Always", "{case}");
            assert!(retry.get("backoff").is_none(), "{case}");
            let expression = retry["expression"].as_str().unwrap();
            assert_eq!(
                expression, r#"lastRetry.status == "Error" || lastRetry.exitCode in ["137", "143", "255"]"#,
                "{case}"
            );
        }
    });
}

#[test]
fn what_argo_merges_badly_is_said_once_for_all_pods_or_once_per_template() {
    each(|workflow, case| {
        let spec = &workflow["spec"];
        for field in [
            "synchronization",
            "retryStrategy",
            "activeDeadlineSeconds",
            "parallelism",
            "podSpecPatch",
            "podPriority",
            "hooks",
        ] {
            assert!(spec.get(field).is_none(), "{case}: spec.{field}");
        }
        assert!(spec["securityContext"].is_object() && spec["tolerations"].is_array(), "{case}");
        for template in templates(workflow) {
            for field in
                ["tolerations", "affinity", "nodeSelector", "securityContext", "synchronization", "priority", "timeout"]
            {
                assert!(template.get(field).is_none(), "{case}: {}.{field}", name(template));
            }
            assert!(template.get("podSpecPatch").is_some() == is_leaf(template), "{case}: {}", name(template));
        }
        // Argo merges tolerations by key.
        let keys: Vec<_> = list(&spec["tolerations"]).iter().map(|t| t["key"].as_str()).collect();
        assert_eq!(keys.len(), keys.iter().collect::<BTreeSet<_>>().len(), "{case}: {keys:?}");
    });
}

/// The limits of the full CRD of 4.x, which aren't in the schema of the version that the tests have.
#[test]
fn names_and_numbers_keep_to_the_newest_crd() {
    fn is_name(text: &str) -> bool {
        text.len() <= 128
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    }
    each(|workflow, case| {
        assert!(templates(workflow).len() <= 200, "{case}");
        for template in templates(workflow) {
            assert!(is_name(name(template)), "{case}: {}", name(template));
            let types = ["container", "steps", "dag", "suspend", "script", "resource", "data", "http", "plugin"];
            assert_eq!(
                types.iter().filter(|kind| template.get(**kind).is_some()).count(),
                1,
                "{case}: {}",
                name(template)
            );
            for group in calls(template) {
                assert!(!group.is_empty() && group.len() <= 200, "{case}: {}", name(template));
                for call in group {
                    // `depends` reads a name that begins with a digit as a number.
                    assert!(is_name(name(call)) && !name(call).starts_with(|c: char| c.is_ascii_digit()), "{case}");
                    assert!(call.get("depends").is_none() || call.get("continueOn").is_none(), "{case}");
                }
            }
        }
        for (path, text) in texts(workflow) {
            let parameter = path.contains("/parameters/") && path.ends_with("/name");
            let fits = text.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
            assert!(!parameter || fits, "{case}: {path}: {text}");
        }
    });
}

/// Fields that every Argo from 3.4 to 4.1 has. A field that one of them lacks is refused, or dropped in silence.
#[test]
fn no_field_is_newer_than_the_oldest_argo_or_gone_from_the_newest() {
    const SPEC: [&str; 19] = [
        "entrypoint",
        "onExit",
        "serviceAccountName",
        "imagePullSecrets",
        "workflowMetadata",
        "podMetadata",
        "podGC",
        "ttlStrategy",
        "archiveLogs",
        "securityContext",
        "nodeSelector",
        "tolerations",
        "affinity",
        "podPriorityClassName",
        "volumes",
        "arguments",
        "templates",
        "executor",
        "metrics",
    ];
    const TEMPLATE: [&str; 11] = [
        "name",
        "inputs",
        "outputs",
        "steps",
        "dag",
        "container",
        "parallelism",
        "failFast",
        "retryStrategy",
        "podSpecPatch",
        "metrics",
    ];
    const CALL: [&str; 6] = ["name", "template", "arguments", "depends", "withSequence", "when"];
    fn keys(value: &Value) -> impl Iterator<Item = &str> {
        value.as_object().into_iter().flatten().map(|(key, _)| key.as_str())
    }
    each(|workflow, case| {
        let unknown = |known: &[&str], value: &Value| {
            keys(value).filter(|key| !known.contains(key)).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(unknown(&SPEC, &workflow["spec"]), [""; 0], "{case}");
        assert_eq!(unknown(&["strategy"], &workflow["spec"]["podGC"]), [""; 0], "{case}");
        for template in templates(workflow) {
            assert_eq!(unknown(&TEMPLATE, template), [""; 0], "{case}: {}", name(template));
            assert_eq!(unknown(&["limit", "retryPolicy", "expression"], &template["retryStrategy"]), [""; 0], "{case}");
            for call in calls(template).concat() {
                assert_eq!(unknown(&CALL, call), [""; 0], "{case}: {}/{}", name(template), name(call));
            }
        }
    });
}

#[test]
fn a_step_gets_the_token_time_to_stop_and_locked_down_helpers_by_its_patch() {
    each(|workflow, case| {
        // Argo 3.7 ignores `true` here, and the service account gives its token to nobody who doesn't ask.
        assert!(workflow["spec"].get("automountServiceAccountToken").is_none(), "{case}");
        for template in templates(workflow).iter().filter(|template| is_leaf(template)) {
            let patch: Value = serde_json::from_str(template["podSpecPatch"].as_str().unwrap()).unwrap();
            assert_eq!(patch["automountServiceAccountToken"], true, "{case}: {}", name(template));
            assert!(patch["terminationGracePeriodSeconds"].as_u64() >= Some(30), "{case}: {}", name(template));
            let containers = [("initContainers", "init"), ("containers", "wait")];
            for (list, helper) in containers.into_iter().filter(|_| case != "everything") {
                let context = &patch[list][0]["securityContext"];
                assert_eq!(patch[list][0]["name"], helper, "{case}");
                assert_eq!(context["allowPrivilegeEscalation"], false, "{case}");
                assert_eq!(context["capabilities"]["drop"][0], "ALL", "{case}");
            }
        }
    });
}
