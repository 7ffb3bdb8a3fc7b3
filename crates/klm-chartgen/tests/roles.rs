//! The chart grants what the table of rights says, where it says so, and nothing else.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod support;

use std::collections::BTreeSet;

use klm_core::contract::{Place, RIGHTS, Right};
use serde_json::Value;
use support::{CASES, objects, of_kind, template};

/// One permission: namespace (empty: the whole cluster), group, resource, verb, name (empty: any).
type Permission = (String, String, String, String, String);

fn words(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(|word| word.as_str().unwrap().to_owned()).collect()
}

/// What the steps' service account may do in a case.
fn granted(case: &str) -> BTreeSet<Permission> {
    let objects = objects(case);
    let account = template(case)["spec"]["serviceAccountName"].clone();
    let mut granted = BTreeSet::new();
    for (role, binding) in [("ClusterRole", "ClusterRoleBinding"), ("Role", "RoleBinding")] {
        for role in of_kind(&objects, role) {
            let same = |other: &&Value| {
                other["metadata"]["name"] == role["metadata"]["name"]
                    && other["metadata"]["namespace"] == role["metadata"]["namespace"]
            };
            let bound = of_kind(&objects, binding)
                .into_iter()
                .filter(same)
                .any(|binding| binding["roleRef"]["kind"] == role["kind"] && binding["subjects"][0]["name"] == account);
            if bound {
                let namespace = role["metadata"]["namespace"].as_str().unwrap_or_default();
                for rule in role["rules"].as_array().unwrap() {
                    granted.extend(permissions(namespace, rule));
                }
            }
        }
    }
    granted
}

fn permissions(namespace: &str, rule: &Value) -> Vec<Permission> {
    let mut names = words(&rule["resourceNames"]);
    if names.is_empty() {
        names.push(String::new());
    }
    let mut found = Vec::new();
    for group in words(&rule["apiGroups"]) {
        for resource in words(&rule["resources"]) {
            for verb in words(&rule["verbs"]) {
                for name in &names {
                    found.push((namespace.to_owned(), group.clone(), resource.clone(), verb.clone(), name.clone()));
                }
            }
        }
    }
    found
}

fn of_right(right: &Right, namespace: &str) -> Vec<Permission> {
    let Right { place: _, group, resources, verbs, names, user: _ } = *right;
    let rule =
        serde_json::json!({ "apiGroups": [group], "resources": resources, "verbs": verbs, "resourceNames": names });
    permissions(namespace, &rule)
}

/// The table's permissions, with the namespaces of each place.
fn table(namespaces: impl Fn(Place) -> Vec<&'static str>) -> BTreeSet<Permission> {
    RIGHTS.iter().flat_map(|right| namespaces(right.place).into_iter().flat_map(|ns| of_right(right, ns))).collect()
}

#[test]
fn by_default_a_run_may_name_any_verification_namespace_but_reads_secrets_in_one() {
    let wanted = table(|place| match place {
        Place::Cluster | Place::Drain | Place::Workflows | Place::VerificationNamespace => vec![""],
        Place::WorkflowNamespace => vec!["argo"],
        Place::HelmNamespace => vec!["kube-system"],
        Place::NodeEvents => vec!["default"],
        Place::NodeFeatureDiscovery | Place::HelmNamespaceNodeFeatureDiscovery => vec![],
    });
    assert_eq!(granted("defaults"), wanted);
}

#[test]
fn namespaced_means_only_the_namespaces_that_are_listed() {
    let wanted = table(|place| match place {
        Place::Cluster => vec![""],
        Place::WorkflowNamespace | Place::Workflows => vec!["argo"],
        Place::HelmNamespace => vec!["kube-system", "kata-canary"],
        Place::VerificationNamespace => vec!["default", "kata-verify"],
        Place::NodeEvents => vec!["default"],
        Place::Drain | Place::NodeFeatureDiscovery | Place::HelmNamespaceNodeFeatureDiscovery => vec![],
    });
    assert_eq!(granted("namespaced"), wanted);
}

#[test]
fn no_case_reads_secrets_of_the_whole_cluster_or_grants_by_wildcard() {
    for case in CASES {
        for (namespace, group, resource, verb, _) in granted(case) {
            assert!(resource != "secrets" || !namespace.is_empty(), "{case}: {verb} {resource}");
            for word in [&group, &resource, &verb] {
                assert!(!word.contains('*'), "{case}: {word}");
            }
            assert!(!["escalate", "bind", "impersonate"].contains(&verb.as_str()), "{case}: {verb} {resource}");
        }
    }
}

#[test]
fn argos_executor_can_report() {
    for case in CASES {
        let namespace = template(case)["metadata"]["namespace"].as_str().unwrap().to_owned();
        for verb in ["create", "patch"] {
            let needed =
                (namespace.clone(), "argoproj.io".into(), "workflowtaskresults".into(), verb.into(), String::new());
            assert!(granted(case).contains(&needed), "{case}: {verb}");
        }
    }
}

/// Kubernetes lets Helm write a role only when its account has every right in it. These are the rights in the roles of
/// kata-deploy's chart, 3.27 to 4.1, both modes.
#[test]
fn helm_has_every_right_that_kata_deploys_roles_contain() {
    const CLUSTER: [(&str, &str, &[&str]); 6] = [
        ("", "nodes", &["get", "list", "patch"]),
        ("", "nodes/proxy", &["get"]),
        ("node.k8s.io", "runtimeclasses", &["get", "list", "patch"]),
        ("apiextensions.k8s.io", "customresourcedefinitions", &["get", "list"]),
        ("nfd.k8s-sigs.io", "nodefeaturerules", &["create", "delete", "get", "list", "patch", "update", "watch"]),
        ("apps", "daemonsets", &["get", "list", "watch"]),
    ];
    const RELEASE: (&str, &str, &[&str]) = ("batch", "jobs", &["create", "delete", "get", "list", "watch"]);
    for case in CASES {
        let granted = granted(case);
        let has = |namespace: &str, (group, resource, verbs): (&str, &str, &[&str])| {
            for verb in verbs {
                let needed = (namespace.into(), group.into(), resource.into(), (*verb).into(), String::new());
                assert!(granted.contains(&needed), "{case}: {verb} {resource}.{group} in `{namespace}`");
            }
        };
        for right in CLUSTER {
            has("", right);
        }
        let release = if case == "everything" { "kata-system" } else { "kube-system" };
        has(release, RELEASE);
    }
}

#[test]
fn no_right_is_granted_twice_in_one_place() {
    for (i, right) in RIGHTS.iter().enumerate() {
        for other in &RIGHTS[i + 1..] {
            let same = right.place == other.place && right.group == other.group && right.names == other.names;
            let both = right.resources.iter().filter(|resource| other.resources.contains(resource));
            let twice: Vec<_> =
                both.filter(|_| same && right.verbs.iter().any(|verb| other.verbs.contains(verb))).collect();
            // `secrets`, `configmaps` and `pods` have several users; each rule names one.
            assert!(twice.is_empty(), "{:?}: {twice:?}", right.place);
        }
    }
}

/// A reader of the table must see which rules reach what isn't kata-deploy's.
#[test]
fn a_rule_that_reaches_every_role_of_the_cluster_says_so() {
    let reaches = |right: &&Right| {
        let is_cluster_wide = !matches!(right.place, Place::HelmNamespace | Place::HelmNamespaceNodeFeatureDiscovery);
        let is_of_roles = right.group == "rbac.authorization.k8s.io" && right.names.is_empty();
        is_cluster_wide && is_of_roles && right.verbs.iter().any(|verb| ["patch", "update", "delete"].contains(verb))
    };
    let found: Vec<_> = RIGHTS.iter().filter(reaches).collect();
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].place, Place::NodeFeatureDiscovery, "only where somebody asked for it");
    assert!(found[0].user.contains("every one of the cluster"), "{}", found[0].user);
}

#[test]
fn every_rule_says_who_uses_it() {
    for right in RIGHTS {
        let (user, purpose) = right.user.split_once([':', ' ']).unwrap_or_default();
        assert!(!user.is_empty() && !purpose.is_empty(), "{right:?}");
    }
}
