//! The chart on a real cluster, as its README says to use it: Helm installs it, Argo accepts what is submitted, and
//! the steps' account may do what the chart grants.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use klm_bed::paths::workspace;
use klm_bed::process::output;
use klm_e2e::{Scene, Seen, Wait, unique};
use serde_json::{Value, json};

const RELEASE: &str = "kata-lifecycle-manager";
const MINUTE: Duration = Duration::from_secs(60);

/// The README's pod, in a folder of its own, where the README's commands are run.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let readme = fs::read_to_string(workspace().join("README.md")).unwrap();
    let pod = readme.split("```yaml\n# my-verification-pod.yaml\n").nth(1).unwrap().split("```").next().unwrap();
    fs::write(folder.path().join("my-verification-pod.yaml"), pod).unwrap();
    folder
}

fn chart() -> PathBuf {
    workspace().join("chart")
}

/// An installed chart, taken away again at the end of the test, however it ends.
struct Installed<'a> {
    scene: &'a Scene,
    folder: tempfile::TempDir,
}

impl<'a> Installed<'a> {
    /// The contract's command, with the chart of this repository.
    fn new(scene: &'a Scene, more: &[&str]) -> Result<Self> {
        uninstall(scene);
        let installed = Self { scene, folder: folder() };
        installed.helm("install", more)?;
        Ok(installed)
    }

    fn helm(&self, verb: &str, more: &[&str]) -> Result<String> {
        let mut helm = self.scene.cluster.command("helm");
        helm.current_dir(self.folder.path()).args([verb, RELEASE]).arg(chart()).args(["--namespace", "argo"]);
        output(helm.args(["--set-file", "defaults.verificationPod=./my-verification-pod.yaml"]).args(more))
    }
}

impl Drop for Installed<'_> {
    fn drop(&mut self) {
        uninstall(self.scene);
    }
}

fn uninstall(scene: &Scene) {
    let _ = scene.kubectl(&["delete", "workflows", "--all", "--namespace", "argo"]);
    scene.helm(&["uninstall", RELEASE, "--namespace", "argo", "--ignore-not-found", "--wait"]).unwrap();
}

fn json(scene: &Scene, arguments: &[&str]) -> Value {
    let text = scene.kubectl(&[arguments, &["--output", "json"]].concat()).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn the_documented_command_installs_the_chart_and_argo_finds_no_fault() {
    let scene = Scene::open().await.unwrap();
    let installed = Installed::new(&scene, &[]).unwrap();
    let template = json(&scene, &["get", "workflowtemplate", RELEASE, "--namespace", "argo"]);
    assert_eq!(template["spec"]["entrypoint"], "deploy-version");
    let manifest = scene.helm(&["get", "manifest", RELEASE, "--namespace", "argo"]).unwrap();
    let file = installed.folder.path().join("manifest.yaml");
    fs::write(&file, manifest).unwrap();
    scene.argo(&["lint", "--namespace", "argo", "--strict", &file.display().to_string()]).unwrap();
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn without_a_verification_pod_nothing_is_installed() {
    let scene = Scene::open().await.unwrap();
    uninstall(&scene);
    let chart = chart().display().to_string();
    let error = scene.helm(&["install", RELEASE, &chart, "--namespace", "argo"]).unwrap_err().to_string();
    assert!(error.contains("--set-file defaults.verificationPod="), "{error}");
    assert_eq!(scene.helm(&["list", "--namespace", "argo", "--short"]).unwrap(), "");
}

/// Every command in the blocks of README and docs that begins with one of these, whole.
fn documented(beginnings: &[&str]) -> Vec<String> {
    let docs = fs::read_dir(workspace().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut found = Vec::new();
    for page in docs.chain([workspace().join("README.md")]).filter(|page| page.extension().is_some_and(|it| it == "md"))
    {
        let text = fs::read_to_string(page).unwrap().replace("\\\n", " ");
        let mut in_block = false;
        for line in text.lines().map(str::trim) {
            in_block = if line.starts_with("```") { line == "```sh" } else { in_block };
            if in_block && beginnings.iter().any(|beginning| line.starts_with(beginning)) {
                found.push(line.split(" #").next().unwrap().trim().to_owned());
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn every_documented_submission_is_accepted() {
    let scene = Scene::open().await.unwrap();
    let installed = Installed::new(&scene, &[]).unwrap();
    let submissions = documented(&["argo submit "]);
    assert!(submissions.len() >= 12, "{submissions:#?}");
    let mut submitted = Vec::new();
    for command in submissions {
        // Whoever follows the log waits for the end; what is asked here is whether there is a beginning.
        let command = command.replace(" --log", "").replace(" --watch", "");
        let mut shell = scene.cluster.command("sh");
        shell.current_dir(installed.folder.path()).args(["-ec", &format!("{command} --output name")]);
        let name = output(&mut shell).with_context(|| command.clone()).unwrap();
        submitted.push((command, name.trim().to_owned()));
    }
    for (command, name) in submitted {
        // The controller looks at a Workflow again before it makes the first pod.
        Wait::new(format!("the first step of `{command}`"), MINUTE)
            .until(async || {
                let workflow = json(&scene, &["get", "workflow", &name, "--namespace", "argo"]);
                let status = &workflow["status"];
                ensure!(status["phase"] != "Error", "{command}: {}", status["message"]);
                let pods = status["nodes"].as_object().into_iter().flatten();
                let pods = pods.filter(|(_, node)| node["type"] == "Pod").count();
                Ok(if pods > 0 { Seen::Done(()) } else { Seen::NotYet(status["message"].to_string()) })
            })
            .await
            .unwrap();
        // It may have ended by itself: there is no kata-deploy here.
        let _ = scene.argo(&["terminate", &name, "--namespace", "argo"]);
    }
}

/// What the documented commands do to `worker-1`, undone at the end of the test, however it ends.
struct Unlabelled<'a>(&'a Scene);

impl Drop for Unlabelled<'_> {
    fn drop(&mut self) {
        let label = "katacontainers.io/kata-lifecycle-manager-window-";
        let _ = self.0.kubectl(&["label", "node", "worker-1", label, "katacontainers.io/kata-runtime-"]);
        let _ = self.0.kubectl(&["taint", "nodes", "worker-1", "kata-lifecycle-manager-"]);
        let _ = self.0.kubectl(&["delete", "lease", "--namespace", "kube-system", "klm-kata-deploy"]);
    }
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn every_documented_look_at_a_run_and_its_nodes_works() {
    let scene = Scene::open().await.unwrap();
    let _installed = Installed::new(&scene, &[]).unwrap();
    let _unlabelled = Unlabelled(&scene);
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "klm-kata-deploy", "namespace": "kube-system"},
        "spec": {"holderIdentity": "argo/a-run/its-uid"},
    });
    scene.apply(&lease.to_string()).unwrap();
    // Refused before it looks for a chart, which takes its time where there is no network: a run that is over, with a log.
    let plan = ["submit", "-n", "argo", "--from", "workflowtemplate/kata-lifecycle-manager", "--entrypoint", "plan"];
    let _ = scene.argo(&[&plan[..], &["-p", "target-version=4.1.0", "-p", "batch-size=none", "--wait"]].concat());
    let commands = documented(&["argo get ", "argo list ", "argo logs ", "argo watch ", "kubectl "]);
    assert!(commands.len() >= 12, "{commands:#?}");
    for command in commands {
        let in_argo = if command.starts_with("argo") && !command.contains(" -n ") { " -n argo" } else { "" };
        let mut shell = scene.cluster.command("sh");
        output(shell.args(["-ec", &format!("{command}{in_argo}")])).with_context(|| command.clone()).unwrap();
    }
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_submission_that_lacks_what_its_entrypoint_needs_is_refused() {
    let scene = Scene::open().await.unwrap();
    let _installed = Installed::new(&scene, &[]).unwrap();
    let submit = ["submit", "--namespace", "argo", "--from", "workflowtemplate/kata-lifecycle-manager"];
    for (more, missing) in [
        (&[][..], "target-version"),
        (&["--entrypoint", "plan"], "target-version"),
        (&["--entrypoint", "rollback-node"], "node-name"),
    ] {
        let error = scene.argo(&[&submit, more].concat()).unwrap_err().to_string();
        assert!(error.contains(missing) && error.contains("was not supplied"), "{more:?}: {error}");
    }
    assert_eq!(json(&scene, &["get", "workflows", "--namespace", "argo"])["items"].as_array().unwrap().len(), 0);
}

/// Everything that a chart could leave behind, by kind, namespace and name.
fn portrait(scene: &Scene) -> Vec<String> {
    let kinds = "clusterroles,clusterrolebindings,roles,rolebindings,serviceaccounts,workflowtemplates,configmaps,\
                 secrets,networkpolicies,pods,jobs,leases";
    let columns = "custom-columns=K:.kind,S:.metadata.namespace,N:.metadata.name";
    // The namespaces of earlier tests may still be on their way out, and what is in them with them.
    let ending = ["get", "namespaces", "--field-selector=status.phase=Terminating", "--output=name"];
    let ending = scene.kubectl(&ending).unwrap().replace("namespace/", "");
    let is_ending = |line: &str| ending.lines().any(|namespace| line.split_whitespace().nth(1) == Some(namespace));
    let all = scene.kubectl(&["get", kinds, "--all-namespaces", "--no-headers", "--output", columns]).unwrap();
    let kept = |line: &&str| !line.starts_with("Lease") && !is_ending(line);
    let mut all: Vec<_> = all.lines().filter(kept).map(str::to_owned).collect();
    all.sort();
    all
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn upgrade_and_uninstall_leave_nothing_behind() {
    let scene = Scene::open().await.unwrap();
    uninstall(&scene);
    let before = portrait(&scene);
    let installed = Installed::new(&scene, &["--set", "networkPolicy.enabled=true"]).unwrap();
    let with_defaults = portrait(&scene);
    assert!(with_defaults.len() > before.len() + 8, "{with_defaults:#?}");

    let narrow =
        ["--set", "rbac.scope=namespaced", "--set", "rbac.drain=false", "--set", "networkPolicy.enabled=false"];
    installed.helm("upgrade", &narrow).unwrap();
    let narrowed = portrait(&scene);
    assert!(!narrowed.iter().any(|line| line.starts_with("NetworkPolicy")), "{narrowed:#?}");
    let verification = |line: &&String| line.starts_with("Role") && line.contains("-argo-verification");
    assert_eq!(narrowed.iter().filter(verification).count(), 2, "{narrowed:#?}");
    installed.helm("upgrade", &["--set", "fullnameOverride=other"]).unwrap();
    assert!(!portrait(&scene).iter().any(|line| line.contains(RELEASE) && line.starts_with("WorkflowTemplate")));

    drop(installed);
    assert_eq!(portrait(&scene), before);
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn helm_test_passes_and_names_a_right_that_was_taken_away() {
    let scene = Scene::open().await.unwrap();
    let _installed = Installed::new(&scene, &[]).unwrap();
    let test = || {
        let mut helm = scene.cluster.command("helm");
        let done = helm.args(["test", RELEASE, "--namespace", "argo", "--timeout", "2m"]).output().unwrap();
        (done.status.success(), String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned())
    };
    let (well, said) = test();
    assert!(well, "{said}");

    let role = format!("clusterrole/{RELEASE}-argo");
    let rules = json(&scene, &["get", &role])["rules"].clone();
    let nodes = rules.as_array().unwrap().iter().position(|rule| rule["resources"][0] == "nodes").unwrap();
    let patch = format!(r#"[{{"op": "remove", "path": "/rules/{nodes}"}}]"#);
    scene.kubectl(&["patch", &role, "--type", "json", "--patch", &patch]).unwrap();
    let (well, said) = test();
    assert!(!well, "{said}");
    let wanted = "the step's service account may not get, list, watch, patch nodes in the whole cluster";
    assert!(said.contains(wanted), "{said}");
    // The test's pod isn't the release's: Helm deletes it, well or not.
    let pods = json(&scene, &["get", "pods", "--namespace", "argo"]);
    assert_eq!(pods["items"].as_array().unwrap().len(), 0, "{pods}");
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_namespace_that_enforces_pod_security_restricted_admits_every_step() {
    let scene = Scene::open().await.unwrap();
    let namespace = scene.namespace("restricted").unwrap();
    scene.kubectl(&["label", "namespace", &namespace, "pod-security.kubernetes.io/enforce=restricted"]).unwrap();
    let place = format!("argoNamespace={namespace}");
    let source = format!("defaults.kataDeployChart={}", scene.cluster.kata_charts().unwrap());
    let sets = ["--set", &place, "--set", &source, "--set", "registry.plainHTTP=true"];
    let installed = Installed::new(&scene, &sets).unwrap();
    let from = "workflowtemplate/kata-lifecycle-manager";
    let submit =
        ["submit", "--namespace", &namespace, "--from", from, "--entrypoint", "plan", "-p", "target-version=4.0.0"];
    let run = || scene.argo(&[&submit[..], &["--output", "name"]].concat()).unwrap().trim().to_owned();
    let name = run();
    let outcome = scene.ended_workflow(&namespace, &name, 3 * MINUTE).await.unwrap();
    // It ran, and found that there is no kata-deploy here.
    assert!(outcome.step(".plan(0)").unwrap().message.contains("there is no Helm release"), "{outcome:?}");
    for (step, seen) in &outcome.steps {
        assert!(!seen.message.contains("PodSecurity"), "{step}: {}", seen.message);
        assert_ne!(seen.phase, "Error", "{step}: {}", seen.message);
    }
    // The namespace does enforce it: without the patch for Argo's own containers no step is admitted.
    installed.helm("upgrade", &[&sets[..], &["--set", "stepPods.patchExecutor=false"]].concat()).unwrap();
    let outcome = scene.ended_workflow(&namespace, &run(), 3 * MINUTE).await.unwrap();
    assert!(outcome.steps.values().any(|step| step.message.contains("PodSecurity")), "{outcome:?}");
    drop(installed);
    scene.kubectl(&["delete", "namespace", &namespace, "--wait=false"]).unwrap();
}

/// `yes` or `no`, as Kubernetes says it of the steps' account.
fn may(scene: &Scene, verb: &str, resource: &str, namespace: &str) -> bool {
    let mut kubectl = scene.cluster.command("kubectl");
    // kubectl reads `pods/exec` as the pod `exec`.
    let (resource, subresource) = match resource.split_once('/') {
        Some(("pods", subresource)) => ("pods", subresource),
        _ => (resource, ""),
    };
    kubectl.args(["auth", "can-i", verb, resource, "--subresource", subresource, "--namespace", namespace]);
    let answer = kubectl.args(["--as", &format!("system:serviceaccount:argo:{RELEASE}")]).output().unwrap();
    String::from_utf8_lossy(&answer.stdout).trim() == "yes"
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn the_steps_account_reads_secrets_in_one_namespace_and_owns_no_more_than_it_must() {
    let scene = Scene::open().await.unwrap();
    let installed = Installed::new(&scene, &[]).unwrap();
    let other = scene.namespace("other").unwrap();
    for (verb, resource, namespace, wanted) in [
        ("get", "secrets", "kube-system", true),
        ("get", "secrets", "argo", false),
        ("list", "secrets", other.as_str(), false),
        ("create", "pods", other.as_str(), true),
        ("create", "pods/eviction", other.as_str(), true),
        ("patch", "nodes", "default", true),
        ("delete", "nodes", "default", false),
        ("create", "pods/exec", other.as_str(), false),
        ("escalate", "clusterroles", "default", false),
        ("patch", "clusterrole/cluster-admin", "default", false),
        ("patch", "clusterrole/kata-deploy-role", "default", true),
    ] {
        assert_eq!(may(&scene, verb, resource, namespace), wanted, "{verb} {resource} in {namespace}");
    }

    let listed = format!("rbac.helmNamespaces={{{other}}}");
    installed
        .helm("upgrade", &["--set", "rbac.scope=namespaced", "--set", "rbac.drain=false", "--set", &listed])
        .unwrap();
    for (verb, resource, namespace, wanted) in [
        ("get", "secrets", other.as_str(), true),
        ("create", "pods", other.as_str(), false),
        ("create", "pods", "default", true),
        ("create", "pods/eviction", "default", false),
    ] {
        assert_eq!(may(&scene, verb, resource, namespace), wanted, "namespaced: {verb} {resource} in {namespace}");
    }
    drop(installed);
    scene.kubectl(&["delete", "namespace", &other, "--wait=false"]).unwrap();
}

/// The stand-in renders what kata-deploy's chart of each version renders, roles included, so Kubernetes checks here what
/// it checks there.
#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn helm_moves_kata_deploy_between_all_versions_under_the_charts_rights() {
    let scene = Scene::open().await.unwrap();
    let namespace = unique("kata");
    klm_standin::setup::prepare(&scene.client, &namespace).await.unwrap();
    let _installed = Installed::new(&scene, &["--set", &format!("defaults.helmNamespace={namespace}")]).unwrap();
    let repository = scene.cluster.kata_charts().unwrap();
    let account = format!("system:serviceaccount:argo:{RELEASE}");
    let helm = |verb: &[&str], version: &str, more: &[&str]| {
        let common = [&repository, "--plain-http", "--version", version, "--namespace", &namespace, "--wait=hookOnly"];
        scene.helm(&[verb, &["kata-deploy"], &common[..], &["--timeout", "3m"], more].concat()).map(drop)
    };
    let as_steps = [
        "--reset-then-reuse-values",
        "--set",
        "verification.pod=",
        "--kube-as-user",
        &account,
        "--kube-as-group",
        "system:serviceaccounts",
        "--kube-as-group",
        "system:authenticated",
    ];
    let versions: Vec<String> = klm_standin::chart::VERSIONS.iter().map(ToString::to_string).collect();
    let newest = versions.last().unwrap();
    for mode in ["daemonset", "job"] {
        let has_mode = |version: &&String| mode == "daemonset" || *version >= &"3.32.0".to_owned();
        let there: Vec<&String> = versions.iter().filter(has_mode).collect();
        let set = format!("deploymentMode={mode}");
        let sets = ["--set", "updateStrategy.type=OnDelete", "--set", &set];
        helm(&["install"], there[0], &sets).unwrap();
        // Every version once on the way up; then all the way down, which takes away what any of them has brought, and up.
        for version in there.iter().copied().chain([there[0], newest]) {
            helm(&["upgrade"], version, &[&as_steps[..], &sets].concat())
                .with_context(|| format!("{mode}: to {version}"))
                .unwrap();
        }
        let uninstall = ["uninstall", "kata-deploy", "--namespace", &namespace, "--timeout", "3m"];
        scene.helm(&uninstall).unwrap();
    }
    scene.kubectl(&["delete", "namespace", &namespace, "--wait=false"]).unwrap();
}
