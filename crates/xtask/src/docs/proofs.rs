//! Who has seen that a command in a fenced block works: a test that runs it, or the reason why no test of ours can.

use std::collections::BTreeSet;
use std::fs;

use klm_bed::paths::workspace;

use super::commands::in_markdown;
use super::{none, pages};

enum Proof {
    /// This test of this file runs it, or the same with this repository's chart in place of a published one.
    Run(&'static str, &'static str),
    /// It can't be run where our tests run. It is parsed, as all are.
    Parsed(&'static str),
}

use Proof::{Parsed, Run};

const CHART: &str = "tests/e2e/tests/chart.rs";
const LOOKS: Proof = Run(CHART, "every_documented_look_at_a_run_and_its_nodes_works");

/// By the words that a command begins with; the first that fits counts.
const PROOFS: &[(&str, Proof)] = &[
    ("argo submit", Run(CHART, "every_documented_submission_is_accepted")),
    ("argo get", LOOKS),
    ("argo list", LOOKS),
    ("argo logs", LOOKS),
    ("argo watch", LOOKS),
    ("cargo xtask", Parsed("makes, starts or runs what all other tests are made of")),
    ("cosign verify", Parsed("needs a published release and the network")),
    ("docker buildx", Parsed("needs Docker and a published release")),
    ("gh attestation verify", Parsed("needs GitHub")),
    (
        "helm install kata-deploy",
        Run("tests/e2e/tests/standin/daemonset.rs", "each_version_installs_and_labels_every_node_in_daemonset_mode"),
    ),
    (
        "helm install kata-lifecycle-manager",
        Run(CHART, "the_documented_command_installs_the_chart_and_argo_finds_no_fault"),
    ),
    ("helm show values", Parsed("needs a published release and the network")),
    ("helm test", Run(CHART, "helm_test_passes_and_names_a_right_that_was_taken_away")),
    (
        "helm upgrade kata-deploy",
        Run(
            "tests/e2e/tests/standin/values.rs",
            "a_mode_cannot_change_from_4_1_on_and_a_misspelt_one_deletes_the_daemonset_before",
        ),
    ),
    ("kind create cluster", Parsed("needs Docker; the workflow \"E2E Tests\" does the same")),
    ("klm-step plan", Run("crates/klm-step/src/steps/plan/tests.rs", "an_installed_template_gives_what_was_not_given")),
    (
        "klm-step status",
        Run("crates/klm-step/src/steps/status/tests.rs", "people_read_where_each_node_with_kata_stands"),
    ),
    ("kubectl apply", Parsed("needs the network; the workflow \"E2E Tests\" does the same")),
    ("kubectl create namespace", Parsed("belongs to the two lines beside it, which need Docker and the network")),
    ("kubectl", LOOKS),
];

/// Every command that a page tells people to type, by the words that it is known by, with those that nothing knows.
fn known() -> (BTreeSet<&'static str>, Vec<String>) {
    let mut used = BTreeSet::new();
    let mut complaints = Vec::new();
    for page in pages() {
        for command in in_markdown(&page.text).into_iter().filter(|command| command.whole) {
            let shown = command.words.join(" ");
            match PROOFS.iter().find(|(words, _)| format!("{shown} ").starts_with(&format!("{words} "))) {
                Some((words, _)) => _ = used.insert(*words),
                None => complaints.push(format!(
                    "{}: no test runs `{shown}`; run it in one, and name that test in {}",
                    page.path.display(),
                    file!()
                )),
            }
        }
    }
    (used, complaints)
}

#[test]
fn every_command_to_type_is_run_by_a_test_or_says_why_it_is_not() {
    let (used, mut complaints) = known();
    let unused = PROOFS.iter().filter(|(words, _)| !used.contains(words));
    complaints.extend(unused.map(|(words, _)| format!("no page shows `{words}` any more")));
    none(&complaints);
}

#[test]
fn every_test_that_is_said_to_run_a_command_is_there() {
    for (words, proof) in PROOFS {
        match proof {
            Run(file, test) => {
                let source = fs::read_to_string(workspace().join(file)).unwrap_or_default();
                assert!(source.contains(&format!("fn {test}(")), "{words}: {file} has no test `{test}`");
            }
            Parsed(why) => assert!(!why.is_empty(), "{words}"),
        }
    }
}
