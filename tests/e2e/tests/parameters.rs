//! Each parameter and default, changed once, has its effect; those of waves, drains and selection are in their own suites.

use std::time::Duration;

use anyhow::{Context as _, Result};
use klm_core::contract::{Kind, PARAMETERS};
use klm_e2e::fleet::{Fleet, Kata, Lifecycle, VerificationPod};
use klm_standin::injection::Injection;
use klm_standin::setup;
use serde_json::{Value, json};

const FIRST: &str = "node-selector=kubernetes.io/hostname=worker-1";

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn every_default_of_the_chart_arrives_in_the_plan_of_a_run() -> Result<()> {
    let fleet = Fleet::bare().await?;
    let mut lifecycle = Lifecycle::default();
    let mut expected = Vec::new();
    for parameter in PARAMETERS {
        let Some((text, json)) = another(parameter.name, parameter.kind) else { continue };
        lifecycle = lifecycle.set(&format!("{}={}", parameter.value, text.replace(',', "\\,")));
        expected.push((camel(parameter.name), json));
    }
    fleet.install_lifecycle(&lifecycle.set("defaults.nodeSelector=no=node"))?;
    fleet.install(&Kata::daemonset("4.0.0")).await?;
    let before = fleet.before().await?;

    let run = fleet.deploy("4.1.0", &[]).await?.well()?;

    let name = format!("{}-plan", run.name);
    let plan = fleet.scene.kubectl(&["get", "configmap", "-n", "argo", &name, "-o", "jsonpath={.data.plan\\.json}"])?;
    let plan: Value = serde_json::from_str(&plan).context("the plan")?;
    for (name, value) in expected {
        assert_eq!(plan["settings"][&name], value, "{name} in {}", plan["settings"]);
    }
    assert_eq!(plan["settings"]["nodeSelector"], "no=node");
    fleet.nothing_left(&before, &run).await
}

/// A value that isn't the default, and how the plan has it. Nothing for those that decide whether this run can be at all.
fn another(name: &str, kind: Kind) -> Option<(String, Value)> {
    let (text, json) = match (name, kind) {
        ("helm-release" | "helm-namespace" | "deployment-mode" | "kata-deploy-chart" | "helm-set-values", _)
        | (_, Kind::PodManifest | Kind::Selector) => return None,
        ("verification-namespace", _) => ("kube-public", json!("kube-public")),
        (_, Kind::TaintKey) => ("a-taint", json!("a-taint")),
        (_, Kind::TaintValue) => ("a-value", json!("a-value")),
        (_, Kind::Integer { .. }) => ("7", json!(7)),
        (_, Kind::Bool) => ("true", json!(true)),
        (_, Kind::Duration) => ("2m7s", json!(127)),
        (_, Kind::OneOf(words)) => return words.last().map(|word| ((*word).to_owned(), json!(word))),
        (_, Kind::Namespace | Kind::Release | Kind::SetValues | Kind::ChartReference) => return None,
    };
    Some((text.to_owned(), json))
}

fn camel(name: &str) -> String {
    let mut words = name.split('-');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |text, word| format!("{text}{}{}", word[..1].to_uppercase(), &word[1..]))
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn another_release_in_another_namespace_moves_and_the_first_one_does_not() -> Result<()> {
    let fleet = Fleet::bare().await?;
    let (theirs, checks) = (fleet.made_namespace("kata-two")?, fleet.made_namespace("checks")?);
    fleet.install_lifecycle(
        &Lifecycle::default()
            .set("rbac.scope=namespaced")
            .set(&format!("rbac.helmNamespaces={{{theirs}}}"))
            .set(&format!("rbac.verificationNamespaces={{{checks}}}"))
            .set("rbac.installSuffixes={two}"),
    )?;
    fleet.install(&Kata::daemonset("4.0.0")).await?;
    let second =
        Kata::daemonset("3.31.0").named("kata-two", &theirs).set("env.multiInstallSuffix=two").set("debug=true");
    fleet.install(&second).await?;
    let first_pods = fleet.kata_pods("kube-system").await?;
    let before = fleet.before_with("kata-two", &theirs).await?;

    let parameters = [
        "helm-release=kata-two",
        &format!("helm-namespace={theirs}"),
        &format!("verification-namespace={checks}"),
        "batch-size=3",
        // The second install has RuntimeClasses of its own.
        &format!("verification-pod={}", of_class("kata-qemu-two").base64()),
    ];
    let run = fleet.deploy("4.0.0", &parameters).await?.well()?;

    let revisions = fleet.revisions_of("kata-two", &theirs)?;
    assert_eq!(revisions.last().map(|last| last.version.as_str()), Some("4.0.0"), "{revisions:?}");
    assert_eq!(fleet.release_at()?, ("4.0.0".to_owned(), 1), "the first release has no new revision");
    assert_eq!(fleet.kata_pods("kube-system").await?, first_pods, "and none of its pods was touched");
    assert_eq!(fleet.statuses().await?, ["completed"; 3], "{}", run.log());
    let started = ["get", "events", "-n", &checks, "--field-selector=reason=Started", "-o", "name"];
    let started = fleet.scene.kubectl(&started)?;
    assert_eq!(started.lines().count(), 3, "verification pods ran in {checks}: {started}");
    assert!(run.log().contains("kube-system/kata-deploy"), "the other install is mentioned: {}", run.log());
    fleet.nothing_left(&before, &run).await
}

fn of_class(class: &str) -> VerificationPod {
    let mut pod = VerificationPod::documented();
    pod.spec()["runtimeClassName"] = class.into();
    pod
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn helm_set_values_reach_the_release_as_helm_reads_them_and_secrets_reach_nothing_else() -> Result<()> {
    let fleet = Fleet::open().await?;
    fleet.install(&Kata::daemonset("4.0.0").set("debug=true").set("pullPassword=hunter-one")).await?;
    let mut pod = VerificationPod::documented();
    pod.container()["env"] = json!([{"name": "TOKEN", "value": "hunter-three"}]);

    // The contract's example: the key of the repository is another one, and saying nothing would install the wrong image.
    let example = "helm-set-values=image.repository=myregistry.io/kata-deploy,image.tag=my-custom-tag";
    let example = fleet.plan_by_hand("4.1.0", &[FIRST, example])?;
    assert!(example.said.contains("image.reference"), "{}", example.said);

    let values = r"helm-set-values=podAnnotations.example\.com/token=hunter-two\,x,image.tag=4.2.0,tolerations[0].operator=Exists";
    let run = fleet.deploy("4.1.0", &[FIRST, values, &format!("verification-pod={}", pod.base64())]).await?.well()?;

    assert_eq!(fleet.versions().await?, ["4.2.0", "4.0.0", "4.0.0"], "the image is the user's: {}", run.log());
    let user = fleet.user_values()?;
    assert_eq!(user["podAnnotations"]["example.com/token"], "hunter-two,x");
    assert_eq!(user["tolerations"], json!([{"operator": "Exists"}]));
    assert_eq!((&user["debug"], &user["pullPassword"]), (&true.into(), &"hunter-one".into()));

    let origin =
        fleet.scene.kubectl(&["get", "secret", "klm-origin-kata-deploy", "-n", "kube-system", "-o", "name"])?;
    assert_eq!(origin.trim(), "secret/klm-origin-kata-deploy");
    let everything = [
        run.log(),
        run.messages().join("\n"),
        format!("{:?}", run.history.moments),
        format!("{:?}", run.requests),
        run.output("onExit", "report"),
        fleet.scene.kubectl(&["get", "events,configmaps,leases,nodes", "-A", "-o", "json"])?,
        format!("{:?}", fleet.revisions()?),
        // What was submitted is in the Workflow by nature; what steps report there is not.
        run.outcome.object["status"]["nodes"].to_string(),
    ];
    assert!(!run.outcome.object.to_string().contains("hunter-one"), "{}", run.outcome.object);
    for secret in ["hunter-one", "hunter-two", "hunter-three"] {
        for (at, text) in everything.iter().enumerate() {
            assert!(!text.contains(secret), "{secret} is in place {at}");
        }
    }
    Ok(())
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_second_run_is_refused_or_waits_as_it_was_told() -> Result<()> {
    let fleet = Fleet::open().await?;
    fleet.install(&Kata::daemonset("3.31.0")).await?;
    let slow = [Injection::Slow(Duration::from_secs(15))];
    setup::inject(&fleet.client(), "kube-system", Some("worker-1"), Some("4.0.0"), &slow).await?;
    let before = fleet.before().await?;

    let mut first = fleet.begin("4.0.0", &[FIRST]).await?;
    first.until_status(&fleet, "worker-1", "upgrading").await?;
    let waits = fleet.begin("4.0.0", &["when-locked=wait", "batch-size=2"]).await?;
    let refused = fleet.deploy("4.0.0", &[]).await?.badly()?;
    assert!(refused.messages().join("\n").contains(&first.name), "the holder is named: {:?}", refused.messages());
    let first = first.ended(&fleet).await?.well()?;
    let waited = waits.ended(&fleet).await?.well()?;

    assert_eq!(fleet.versions().await?, ["4.0.0"; 3], "{}\n{}", first.log(), waited.log());
    assert_eq!(fleet.installs().await?, [2, 2, 2]);
    fleet.nothing_left(&before, &first).await?;
    fleet.nothing_left(&before, &waited).await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_verification_that_fails_names_its_cause() -> Result<()> {
    let fleet = Fleet::bare().await?;
    // The new version is bad on both nodes, in two ways; the old one isn't.
    let mut pod = VerificationPod::failing_first_on(&["worker-1", "worker-2"]);
    let script = pod.container()["command"][2]
        .as_str()
        .unwrap_or_default()
        .replace("exit 7", "test ${NODE} = worker-1 || exit 9; sleep 60");
    pod.container()["command"][2] = script.into();
    fleet.install_lifecycle(&Lifecycle::verifying_with(pod))?;
    fleet.install(&Kata::daemonset("3.31.0")).await?;
    let before = fleet.before().await?;

    let run = fleet.deploy("4.0.0", &["batch-size=2", "verification-timeout=12s"]).await?.badly()?;

    let said = run.messages().join("\n");
    assert!(said.contains("node `worker-1`, verifying: the verification pod did not end in time"), "{said}");
    assert!(said.contains("node `worker-2`, verifying: the verification pod ended with exit code 9"), "{said}");
    assert_eq!(fleet.versions().await?, ["3.31.0"; 3], "{}", run.log());
    fleet.nothing_left(&before, &run).await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_pod_that_never_starts_is_told_apart_by_its_cause() -> Result<()> {
    let fleet = Fleet::open().await?;
    fleet.install(&Kata::daemonset("3.31.0")).await?;
    // A class of its own for each node: one whose runtime isn't there, one that works for a pod whose image isn't there.
    for (node, handler) in [("worker-1", "absent"), ("worker-2", "kata-qemu")] {
        let class = json!({
            "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": node}, "handler": handler,
        });
        fleet.scene.apply(&class.to_string())?;
    }
    let mut pod = of_class("${NODE}");
    pod.container()["image"] = "quay.io/kata-containers/no-such-image:1".into();
    let given = format!("verification-pod={}", pod.base64());

    let run = fleet.deploy("4.0.0", &["batch-size=2", "verification-timeout=25s", &given]).await?.badly()?;

    let said = run.messages().join("\n");
    assert!(said.contains("node `worker-1`, verifying: the runtime could not start the verification pod"), "{said}");
    assert!(said.contains("node `worker-2`, verifying:") && said.contains("image could not be pulled"), "{said}");
    // The old version can't be proven with that pod either; it is there all the same.
    assert_eq!(fleet.versions().await?, ["3.31.0"; 3], "{}", run.log());
    Ok(())
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn admission_says_no_before_the_run_or_in_it_and_both_are_verdicts() -> Result<()> {
    let fleet = Fleet::open().await?;
    fleet.install(&Kata::daemonset("3.31.0")).await?;
    let checks = fleet.made_namespace("checks")?;
    let there = format!("verification-namespace={checks}");
    let before = fleet.before().await?;

    // Pod Security is known before: nothing is touched.
    fleet.scene.kubectl(&["label", "namespace", &checks, "pod-security.kubernetes.io/enforce=restricted"])?;
    let insecure = fleet.refused_by_hand("4.0.0", &[FIRST, &there])?;
    assert!(insecure.contains("PodSecurity"), "{insecure}");
    assert_eq!(fleet.statuses().await?, ["", "", ""]);
    assert_eq!(fleet.release_at()?.1, 1);
    fleet.scene.kubectl(&["label", "namespace", &checks, "pod-security.kubernetes.io/enforce-"])?;

    // A quota that is full by then.
    let mut run = fleet.begin("4.0.0", &[FIRST, &there]).await?;
    run.until_status(&fleet, "worker-1", "cordoned").await?;
    fleet.scene.kubectl(&["create", "quota", "none", "--hard=pods=0", "-n", &checks])?;
    run.until_status(&fleet, "worker-1", "rolling-back").await?;
    fleet.scene.kubectl(&["delete", "quota", "none", "-n", &checks])?;
    let run = run.ended(&fleet).await?.badly()?;
    let said = run.messages().join("\n");
    assert!(said.contains("the API server refused the verification pod") && said.contains("quota"), "{said}");
    assert_eq!(fleet.versions().await?, ["3.31.0"; 3], "{}", run.log());
    fleet.nothing_left(&before, &run).await
}
