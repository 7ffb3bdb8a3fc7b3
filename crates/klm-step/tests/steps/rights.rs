//! The chart's roles against what runs ask for: none is unused, none is missing, and one that is taken away is named
//! before anything is touched.

use std::collections::BTreeSet;
use std::sync::Arc;

use klm_step::exit::StepError;
use klm_step::run::dispatch;
use klm_step::world::Here;
use klm_testkit::fixtures::{Fleet, pod};
use klm_testkit::{Grant, Injection, PodFate, Rbac};
use serde_json::json;

use crate::bed::{Bed, DEFAULTS, NAMESPACE, account, command, rights_of, unverified};
use crate::kill::{ALL, Kill};

/// The chart with `rbac.scope=namespaced` and without drains: there a right in a namespace isn't hidden behind the same
/// right in the whole cluster.
const NAMESPACED: &str = include_str!("../../../klm-chartgen/tests/rendered/namespaced.yaml");

/// What neither a step nor a chart of kata-deploy so far needs: verbs, resource, where it is known to be needed.
const ELSEWHERE: &[(&[&str], &str, &str)] = &[
    (&["create"], "selfsubjectaccessreviews", "a cluster that took `system:basic-user` away; here everybody may ask"),
    (&["create", "patch"], "workflowtaskresults", "Argo's executor, in every run on a real cluster"),
    (&["delete"], "secrets", "helm: the oldest revisions of a release that has more than 256"),
    // Kept, although no version up to 4.2 needs it: helm would stop in the middle of the upgrade that does.
    (&["delete"], "serviceaccounts", "helm: an object that a later chart no longer has"),
    (&["delete"], "daemonsets", "helm: kata-monitor, when it is switched off"),
    (&["delete"], "roles", "helm: an object that a later chart no longer has"),
    (&["delete"], "rolebindings", "helm: an object that a later chart no longer has"),
    (&["delete"], "clusterroles", "helm: an object that a later chart no longer has"),
    (&["delete"], "clusterrolebindings", "helm: an object that a later chart no longer has"),
];

const ALL_NODES: [&str; 3] = ["worker-1", "worker-2", "worker-3"];

type Rights = Arc<Rbac>;

fn bed(fleet: Fleet, rights: &Rights) -> Bed {
    Bed::under(fleet, account(Arc::clone(rights)))
}

fn assert_nothing_was_forbidden(bed: &Bed) {
    let forbidden: Vec<String> =
        bed.cluster.entries().into_iter().filter(|entry| entry.code == 403).map(|entry| entry.line).collect();
    assert_eq!(forbidden, Vec::<String>::new());
}

/// Rollout, rollback, recover and rollback-node in both modes, with drains.
async fn every_script(rights: &Rights) {
    for scenario in &ALL {
        let bed = scenario.bed_under(account(Arc::clone(rights)));
        let flow = bed.flow("check", &scenario.given());
        bed.step(&flow, &["check-prerequisites", "--target-version", scenario.to]).await.unwrap();
        bed.end(&flow, "Succeeded");
        scenario.prepare(&bed).await;
        assert!(scenario.perform(&bed, &Kill::default()).await.is_none());
        assert_nothing_was_forbidden(&bed);
    }
}

/// A wave with an install that fails and a verification pod that never starts: both are explained.
async fn failures_are_explained(rights: &Rights) {
    let bed = bed(Fleet::new(), rights);
    bed.cluster.misbehave_at("worker-1", "4.0.0", Injection::Crash);
    bed.cluster.misbehave_at("worker-2", "4.0.0", Injection::Verification(PodFate::SandboxFails));
    let flow = bed.flow("up", &[("batch-size", "3"), ("verification-timeout", "60s")]);
    bed.plan(&flow, "4.0.0", &ALL_NODES).await;
    assert_eq!(unverified(bed.rollout(&flow, 1).await).len(), 2);
    assert_nothing_was_forbidden(&bed);
}

/// Somebody deleted what helm had made, and a shim is switched off.
async fn helm_makes_and_takes_away_objects(rights: &Rights) {
    for (fleet, from, to) in [(Fleet::new(), "4.0.0", "4.1.0"), (Fleet::new().job(), "3.32.0", "4.0.0")] {
        let bed = bed(fleet.version(from), rights);
        for (kind, namespace) in [
            ("serviceaccounts", NAMESPACE),
            ("roles", NAMESPACE),
            ("rolebindings", NAMESPACE),
            ("clusterroles", ""),
            ("clusterrolebindings", ""),
            ("runtimeclasses", ""),
        ] {
            for object in bed.cluster.objects(kind) {
                let name = object["metadata"]["name"].as_str().unwrap();
                bed.cluster.remove(kind, namespace, name);
            }
        }
        let flow = bed.flow("up", &[("batch-size", "3"), ("helm-set-values", "shims.qemu-runtime-rs.enabled=false")]);
        bed.plan(&flow, to, &ALL_NODES).await;
        bed.rollout(&flow, 1).await.unwrap();
        assert_nothing_was_forbidden(&bed);
    }
    // The DaemonSet as well: nobody serves Kata until the upgrade has made it again.
    let bed = bed(Fleet::new(), rights);
    let flow = bed.flow("up", &[]);
    bed.plan(&flow, "4.0.0", &ALL_NODES).await;
    bed.cluster.remove("daemonsets", NAMESPACE, "kata-deploy");
    for revision in bed.cluster.objects("controllerrevisions") {
        bed.cluster.remove("controllerrevisions", NAMESPACE, revision["metadata"]["name"].as_str().unwrap());
    }
    let _ = bed.step(&flow, &["apply-wave", "--item", "1"]).await;
    assert_nothing_was_forbidden(&bed);
}

/// A step that is started again waits for the pod of its first try, and knows its own.
async fn a_step_has_a_pod(rights: &Rights) {
    let bed = bed(Fleet::new(), rights);
    let mut first: serde_json::Value = pod("up-a").on("worker-1").into();
    first["metadata"]["namespace"] = json!("flows");
    first["status"] = json!({"phase": "Succeeded"});
    bed.cluster.add(first);
    let flow = bed.flow("up", &[]);
    for name in ["up-a", "up-b"] {
        let (mut world, _switch) = bed.world();
        world.here = Here { pod: name.to_owned(), namespace: "flows".to_owned(), node: "worker-1".to_owned() };
        bed.step_in(&world, &flow, &["check-prerequisites", "--target-version", "4.0.0"]).await.unwrap();
        bed.step_in(&world, &flow, &["select-nodes", "--target-version", "4.0.0"]).await.unwrap();
    }
    assert_nothing_was_forbidden(&bed);
}

/// What `helm test` runs.
async fn preflight(bed: &Bed) -> Result<(), StepError> {
    let (world, _switch) = bed.world();
    dispatch(command(&["preflight", "--workflow-namespace=flows", "--verification-pod", crate::bed::POD]), &world).await
}

fn add_argo(bed: &Bed) {
    bed.cluster.add(json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "workflows.argoproj.io"}, "spec": {},
    }));
}

#[tokio::test(start_paused = true)]
async fn no_right_is_unused_and_none_is_missing() {
    let (everywhere, by_namespace) = (Arc::new(rights_of(DEFAULTS)), Arc::new(rights_of(NAMESPACED)));
    every_script(&everywhere).await;
    helm_makes_and_takes_away_objects(&everywhere).await;
    a_step_has_a_pod(&everywhere).await;
    failures_are_explained(&everywhere).await;
    failures_are_explained(&by_namespace).await;
    let bed = bed(Fleet::new(), &everywhere);
    add_argo(&bed);
    preflight(&bed).await.unwrap();

    let what = |grant: &Grant| (grant.namespace.clone(), grant.resource.clone(), grant.verb.clone());
    let hidden: BTreeSet<_> = by_namespace.used().iter().map(what).collect();
    let unused: Vec<Grant> = everywhere.unused().into_iter().filter(|grant| !hidden.contains(&what(grant))).collect();
    let elsewhere = |grant: &Grant| {
        ELSEWHERE.iter().any(|(verbs, resource, _)| verbs.contains(&grant.verb.as_str()) && *resource == grant.resource)
    };
    let surplus: Vec<String> = unused.iter().filter(|grant| !elsewhere(grant)).map(ToString::to_string).collect();
    assert_eq!(surplus, Vec::<String>::new(), "nobody needs these");
    for (verbs, resource, who) in ELSEWHERE {
        for verb in *verbs {
            let is_unused = unused.iter().any(|grant| grant.resource == *resource && grant.verb == *verb);
            assert!(is_unused, "{verb} {resource} is used here too, not only by {who}");
        }
    }
}

/// Whether a line of the check says that this right isn't there. What is granted everywhere may be asked for in one
/// namespace.
fn names(line: &str, grant: &Grant) -> bool {
    let place = grant.namespace.as_ref().map_or_else(String::new, |namespace| format!(" in namespace `{namespace}`"));
    line.contains(&format!(" may not {} {} ", grant.verb, grant.resource)) && line.ends_with(&place)
}

/// The rights in namespaces that the runs here are about.
fn concerns_a_run(grant: &Grant) -> bool {
    grant.namespace.as_deref().is_none_or(|namespace| ["flows", NAMESPACE, "default"].contains(&namespace))
}

#[tokio::test(start_paused = true)]
async fn a_right_that_is_taken_away_is_named_or_not_needed() {
    let fleets = [("daemonset", Fleet::new(), "4.0.0"), ("job", Fleet::new().version("4.0.0").job(), "4.1.0")];
    let mut named = BTreeSet::new();
    for (rendered, drain) in [(DEFAULTS, "true"), (NAMESPACED, "false")] {
        let rights = rights_of(rendered);
        // What is granted everywhere is the same in both.
        let grants = rights.grants().iter().filter(|grant| drain == "true" || grant.namespace.is_some());
        for grant in grants.filter(|grant| concerns_a_run(grant)) {
            for (mode, fleet, target) in &fleets {
                let bed = bed(fleet.clone(), &Arc::new(rights.without(grant)));
                let flow = bed.flow("up", &[("drain-enabled", drain), ("batch-size", "3")]);
                match bed.step(&flow, &["check-prerequisites", "--target-version", target]).await {
                    Err(StepError::Refused(refusals)) => {
                        let said: Vec<&str> = refusals.iter().map(|refusal| refusal.what.as_str()).collect();
                        assert!(said.iter().any(|line| names(line, grant)), "{mode} without {grant}: {said:#?}");
                        assert_eq!(bed.cluster.write_transcript().iter().filter(|line| changes(line)).count(), 0);
                        named.insert(grant.to_string());
                    }
                    // Then a run succeeds without it.
                    Ok(()) => {
                        bed.step(&flow, &["select-nodes", "--target-version", target]).await.unwrap();
                        bed.rollout(&flow, 1).await.unwrap_or_else(|error| panic!("{mode} without {grant}: {error}"));
                        bed.assert_tidy();
                    }
                    Err(other) => panic!("{mode} without {grant}: {other:?}"),
                }
            }
        }
    }
    let grants = [DEFAULTS, NAMESPACED].map(|rendered| rights_of(rendered).grants().to_vec()).concat();
    // The right to ask answers itself.
    let asked_for = |grant: &&Grant| concerns_a_run(grant) && grant.resource != "selfsubjectaccessreviews";
    let grants = grants.iter().filter(asked_for).map(ToString::to_string);
    let never: Vec<String> = grants.filter(|grant| !named.contains(grant)).collect();
    assert_eq!(never, Vec::<String>::new());
}

/// Questions about rights and rehearsals are POSTs that change nothing.
fn changes(line: &str) -> bool {
    !line.contains("/selfsubject") && !line.contains("dryRun=All")
}
