//! Whoever may choose parameters chooses parameters, and nothing else: no text of theirs becomes a command, an argument of
//! helm, another namespace or another node.

use base64::Engine as _;
use klm_core::contract::{Kind, PARAMETERS};
use klm_core::refusal::Refusal;
use klm_step::exit::StepError;
use klm_step::manifest::verification_pod;
use klm_testkit::fixtures::Fleet;
use serde_json::{Value, json};

use crate::bed::{Bed, NAMESPACE, POD, RELEASE};

/// Texts that mean something to a shell, to helm, to Argo, to YAML or to a terminal.
const HOSTILE: [&str; 14] = [
    "$(touch /tmp/x)",
    "`id`",
    "; id",
    "x\nid",
    "--post-renderer=sh",
    "-f/etc/passwd",
    "{{ .Values.secret }}",
    "{{workflow.uid}}",
    "{{=sprig.env('TOKEN')}}",
    "a: b\n- c: &d {e: f}",
    "\u{1b}[2J",
    "'\"\\",
    "../../kube-system",
    "a b",
];

/// Writes it so that helm's grammar gives it back.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace(',', "\\,").replace('{', "\\{").replace('=', "\\=")
}

/// Helm's arguments without the names of files of our own.
fn arguments(bed: &Bed) -> Vec<Vec<String>> {
    let anonymous = |argument: &String| if argument.starts_with('/') { "FILE".to_owned() } else { argument.clone() };
    bed.helm.calls().iter().map(|call| call.arguments.iter().map(anonymous).collect()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_helm_value_is_a_value_and_changes_no_argument_of_helm() {
    for (version, target, is_job) in [("3.31.0", "4.0.0", false), ("4.0.0", "4.1.0", true)] {
        let mut harmless = None;
        for text in ["harmless"].iter().chain(&HOSTILE) {
            let fleet = Fleet::new().version(version);
            let bed = Bed::new(if is_job { fleet.job() } else { fleet });
            let flow = bed.flow("up", &[("batch-size", "3"), ("helm-set-values", &format!("note={}", escaped(text)))]);
            bed.plan(&flow, target, &["worker-1", "worker-2", "worker-3"]).await;
            bed.rollout(&flow, 1).await.unwrap();
            assert_eq!(bed.helm.last(NAMESPACE, RELEASE).config["note"], json!(text), "it arrives whole");
            let called = arguments(&bed);
            assert_eq!(&called, harmless.get_or_insert_with(|| called.clone()), "{text:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_parameter_that_is_no_such_thing_is_refused_by_name_and_reaches_nobody() {
    let bed = Bed::new(Fleet::new());
    // Free texts have tests of their own.
    let words = PARAMETERS.iter().filter(|it| !matches!(it.kind, Kind::PodManifest | Kind::SetValues));
    for parameter in words {
        for (number, text) in HOSTILE.into_iter().enumerate() {
            // A path to a chart is what the parameter is for.
            if parameter.kind == Kind::ChartReference && text.starts_with("..") {
                continue;
            }
            let flow = bed.flow(&format!("{}-{number}", parameter.name), &[(parameter.name, text)]);
            let outcome = bed.step(&flow, &["check-prerequisites", "--target-version", "4.0.0"]).await;
            let Err(StepError::Refused(refusals)) = outcome else { panic!("{}={text:?}: {outcome:?}", parameter.name) };
            let named = refusals.iter().any(|refusal| refusal.what.contains(&format!("`{}`", parameter.name)));
            // A selector's own message names its text.
            assert!(named || refusals.iter().any(|refusal| refusal.what.contains(text)), "{text:?}: {refusals:?}");
        }
    }
    assert_nothing_was_carried_out(&bed);
}

#[tokio::test(start_paused = true)]
async fn an_input_that_is_no_such_thing_is_refused() {
    let bed = Bed::new(Fleet::new());
    for (number, text) in HOSTILE.into_iter().enumerate() {
        for (input, line) in [
            ["check-prerequisites", &format!("--target-version={text}"), "--batch-size=1"],
            ["rollback-node", &format!("--node-name={text}"), "--rollback-version=3.31.0"],
            ["rollback-node", "--node-name=worker-1", &format!("--rollback-version={text}")],
        ]
        .into_iter()
        .enumerate()
        {
            let flow = bed.flow(&format!("run-{number}-{input}"), &[]);
            let outcome = bed.step(&flow, &line).await;
            assert!(matches!(outcome, Err(StepError::Refused(_))), "{line:?}: {outcome:?}");
            bed.end(&flow, "Failed");
        }
    }
    assert_nothing_was_carried_out(&bed);
}

/// Questions to helm, plans and locks aside, nobody was asked for anything, and nobody was handed such a text.
fn assert_nothing_was_carried_out(bed: &Bed) {
    for line in bed.cluster.write_transcript() {
        let ours = ["/selfsubject", "-plan", "/configmaps", "/leases"].iter().any(|part| line.contains(part));
        assert!(ours || line.contains("dryRun=All"), "{line}");
    }
    for call in bed.helm.calls() {
        assert!(["version", "history", "get", "pull"].contains(&call.verb()), "{:?}", call.arguments);
        for text in HOSTILE {
            assert!(!call.arguments.iter().any(|argument| argument.contains(text)), "{:?}", call.arguments);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_hostile_pod_stays_in_its_namespace_on_its_node_and_under_our_name() {
    let manifest = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: --evil\n  generateName: x\n  finalizers: [never/ends]\n  ownerReferences: [{apiVersion: v1, kind: Node, name: worker-2, uid: u}]\n  labels: {katacontainers.io/kata-lifecycle-manager-run: somebody}\nspec:\n  nodeName: ${NODE}\n  activeDeadlineSeconds: 999999999\n  affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchFields: [{key: metadata.name, operator: In, values: [worker-3]}]}]}}}\n  containers: [{name: probe, image: probe}]\n";
    let bed = Bed::new(Fleet::new().workers(1));
    // Two names in one requirement: nowhere. The wave fails and goes back; what matters is where the pod could run.
    let flow = bed.flow("up", &[("verification-pod", manifest), ("verification-timeout", "60s")]);
    bed.plan(&flow, "4.0.0", &["worker-1"]).await;
    bed.step(&flow, &["apply-wave", "--item", "1"]).await.unwrap();
    bed.step(&flow, &["verify", "--item", "1"]).await.unwrap_err();
    let created: Vec<String> = bed
        .cluster
        .write_transcript()
        .into_iter()
        .filter(|line| line.starts_with("POST") && line.contains("/pods "))
        .collect();
    assert!(!created.is_empty());
    for line in created {
        let (path, body) = line.split_once(" {").unwrap();
        assert_eq!(path, "POST /api/v1/namespaces/default/pods");
        let pod: Value = serde_json::from_str(&format!("{{{body}")).unwrap();
        assert!(pod["metadata"]["name"].as_str().unwrap().starts_with("klm-verify-"));
        assert_eq!((pod["metadata"].get("finalizers"), pod["metadata"].get("ownerReferences")), (None, None));
        assert_eq!(pod["spec"].get("nodeName"), None, "the scheduler looks at what is free");
        assert!(pod["spec"]["activeDeadlineSeconds"].as_u64().unwrap() < 3600);
        assert!(pod["spec"]["affinity"].to_string().contains("worker-1"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_can_not_reach_for_the_credentials_of_steps_or_of_kata_deploy() {
    let pod = format!("{POD}  volumes: [{{name: v, secret: {{secretName: sh.helm.release.v1.kata-deploy.v1}}}}]\n");
    for namespace in [NAMESPACE, "flows"] {
        for line in [
            ["check-prerequisites", "--target-version=4.0.0"],
            ["rollback-node", "--node-name=worker-1"],
            ["recover", "--batch-size=1"],
        ] {
            let bed = Bed::new(Fleet::new());
            let done = bed.flow("done", &[]);
            bed.plan(&done, "4.0.0", &["worker-1", "worker-2", "worker-3"]).await;
            bed.rollout(&done, 3).await.unwrap();
            let flow = bed.flow("up", &[("verification-pod", &pod), ("verification-namespace", namespace)]);
            let nodes = bed.cluster.node_portrait();
            let outcome = bed.step(&flow, &line).await;
            let Err(StepError::Refused(refusals)) = outcome else { panic!("{line:?}: {outcome:?}") };
            let named = |refusal: &Refusal| refusal.what.contains("uses Secret `sh.helm.release.v1.kata-deploy.v1` of");
            assert!(refusals.iter().any(named), "{line:?}: {refusals:?}");
            assert_eq!(bed.cluster.node_portrait(), nodes);
        }
    }
    let bed = Bed::new(Fleet::new());
    bed.cluster.world(|world| world.ensure_namespace("checks"));
    let flow = bed.flow("up", &[("verification-pod", &pod), ("verification-namespace", "checks")]);
    bed.step(&flow, &["check-prerequisites", "--target-version", "4.0.0"]).await.unwrap();
}

#[test]
fn a_pod_of_any_size_or_depth_ends_in_an_answer() {
    let alias = |n: usize| format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 9].join(", "));
    let aliases = (1..40).map(alias).collect::<Vec<_>>().concat();
    let bombs = [
        format!("kind: Pod\na0: &a0 [x]\n{aliases}"),
        format!("kind: Pod\nspec: {}", "[".repeat(200_000)),
        format!("kind: Pod\nspec: {}{}", "{a: ".repeat(100_000), "}".repeat(100_000)),
        format!("kind: Pod\nspec: {}x", "- ".repeat(100_000)),
        format!("kind: Pod\nmetadata: {{name: {}}}", "x".repeat(5_000_000)),
        format!("{POD}---\n").repeat(10_000),
        format!("kind: Pod\nspec: !!binary {}", "A".repeat(100_000)),
    ];
    for bomb in bombs {
        let beginning: String = bomb.chars().take(40).collect();
        for text in [bomb.clone(), base64::engine::general_purpose::STANDARD.encode(&bomb)] {
            let refusals = verification_pod(&text, "default").expect_err(&beginning);
            assert!(refusals.iter().all(|refusal| refusal.to_string().len() < 2_000), "{beginning}");
        }
    }
    let large = format!("{POD}  # {}\n", "x".repeat(2_000_000));
    assert!(verification_pod(&large, "default").is_ok(), "size alone is no fault");
}
