//! Bad values are refused when the chart is installed, with the name, what was given and what is allowed.

use std::process::Command;

use crate::support::{chart, tests};
use klm_bed::parts::Parts;

/// What helm renders; it must.
fn render(args: &[&str]) -> String {
    let pod = format!("defaults.verificationPod={}", tests().join("values/verification-pod.yaml").display());
    let parts = Parts::find().unwrap();
    let mut helm = Command::new(parts.path("helm").unwrap());
    let output =
        helm.args(["template", "some-release"]).arg(chart()).args(["--set-file", &pod]).args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What helm says; it must refuse.
fn refusal(args: &[&str], pod: Option<&str>) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut file = tests().join("values/verification-pod.yaml");
    if let Some(pod) = pod {
        file = folder.path().join("pod.yaml");
        std::fs::write(&file, pod).unwrap();
    }
    let parts = Parts::find().unwrap();
    let mut helm = Command::new(parts.path("helm").unwrap());
    helm.args(["template", "some-release"]).arg(chart()).args(["--namespace", "argo"]);
    // `--set-file` would win over what `args` say of the pod.
    if !args.iter().any(|arg| arg.contains("verificationPod")) {
        helm.arg("--set-file").arg(format!("defaults.verificationPod={}", file.display()));
    }
    helm.args(args);
    let output = helm.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{args:?} {pod:?} was accepted");
    said
}

#[test]
#[ignore = "needs the bed's programs: cargo xtask test cluster"]
fn a_wrong_value_is_refused_by_name() {
    for (args, wanted) in [
        (["--set", "defaults.batchSize=0"], ["/defaults/batchSize", "minimum: got 0, want 1"]),
        (["--set", "defaults.batchSize=-1"], ["/defaults/batchSize", "minimum: got -1, want 1"]),
        (["--set", "defaults.batchSize=many"], ["/defaults/batchSize", "got string, want integer"]),
        (["--set", "defaults.batchSize=1.5"], ["/defaults/batchSize", "got string, want integer"]),
        (["--set", "defaults.deploymentMode=pod"], ["/defaults/deploymentMode", "'auto', 'daemonset', 'job'"]),
        (
            ["--set", "defaults.drainTimeout=5 minutes"],
            ["/defaults/drainTimeout", "'5 minutes' does not match pattern"],
        ),
        (["--set", "defaults.drainTimeout=300"], ["/defaults/drainTimeout", "got number, want string"]),
        (["--set", "defaults.drainEnabled=yes"], ["/defaults/drainEnabled", "got string, want boolean"]),
        (["--set", "defaults.helmNamespace=Kube_System"], ["/defaults/helmNamespace", "does not match pattern"]),
        (["--set", "defaults.batchsize=2"], ["/defaults", "'batchsize' not allowed"]),
        (["--set", "rbca.create=false"], ["", "'rbca' not allowed"]),
        (["--set", "rbac.scope=global"], ["/rbac/scope", "'cluster', 'namespaced'"]),
        (["--set", "images.utils=two words"], ["/images/utils", "does not match pattern"]),
        (["--set-json", "defaults.verificationPod={\"kind\":\"Pod\"}"], ["/defaults/verificationPod", "want string"]),
        (
            ["--set-json", "rbac={\"scope\":\"namespaced\",\"helmNamespaces\":[\"*\"]}"],
            ["rbac.helmNamespaces", "holds `*`"],
        ),
    ] {
        let said = refusal(&args, None);
        assert!(wanted.iter().all(|wanted| said.contains(wanted)), "{args:?}: {said}");
    }
}

#[test]
#[ignore = "needs the bed's programs: cargo xtask test cluster"]
fn the_steps_rights_never_go_to_the_account_that_pods_have_by_default() {
    const FOREIGN: &str = "serviceAccount.create=false";
    for name in ["", "default"] {
        let name = format!("serviceAccount.name={name}");
        let said = refusal(&["--set", FOREIGN, "--set", &name], None);
        for wanted in ["serviceAccount.create is false", "serviceAccount.name", "rbac.create=false"] {
            assert!(said.contains(wanted), "{name}: {said}");
        }
    }
    // An account of somebody's, or rights that the chart doesn't give out.
    for args in
        [["--set", FOREIGN, "--set", "serviceAccount.name=steps"], ["--set", FOREIGN, "--set", "rbac.create=false"]]
    {
        assert!(render(&args).contains("kind: WorkflowTemplate"), "{args:?}");
    }
}

#[test]
#[ignore = "needs the bed's programs: cargo xtask test cluster"]
fn what_is_no_pod_is_refused_with_the_way_to_give_one() {
    const HINT: &str = "--set-file defaults.verificationPod=";
    for (pod, wanted) in [
        ("", "defaults.verificationPod is empty"),
        ("\n  \n", "defaults.verificationPod is empty"),
        ("# only a remark\n", "holds 0 objects"),
        ("kind: [Pod", "isn't the YAML of a Pod"),
        ("apiVersion: v1\nkind: Pod\n\tspec: {}\n", "isn't the YAML of a Pod"),
        ("- a\n- b\n", "isn't the YAML of a Pod"),
        ("./my-verification-pod.yaml", "isn't the YAML of a Pod"),
        ("apiVersion: apps/v1\nkind: Deployment\n", "is a `Deployment`, but must be a `Pod`"),
        ("apiVersion: v1\nkind: List\nitems: []\n", "is a `List`"),
        ("apiVersion: v1\nkind: Pod\n---\napiVersion: v1\nkind: Pod\n", "holds 2 objects"),
        ("apiVersion: v2\nkind: Pod\n", "apiVersion `v2`"),
        ("apiVersion: v1\nkind: Pod\n", "has no spec"),
        ("apiVersion: v1\nkind: Pod\nspec: {containers: []}\n", "has no containers"),
        ("YXBpVmVyc2lvbjogdjEKa2luZDogU2VydmljZQo=", "is a `Service`"),
    ] {
        let said = refusal(&[], Some(pod));
        assert!(said.contains(wanted) && said.contains(HINT), "{pod:?}: {said}");
    }
    let large = format!("apiVersion: v1\nkind: Pod\nspec: {{containers: [{{name: {}}}]}}\n", "x".repeat(50_000));
    assert!(refusal(&[], Some(&large)).contains("at most 46080"));
}

#[test]
#[ignore = "needs the bed's programs: cargo xtask test cluster"]
fn a_pod_may_come_after_a_remark_and_in_base64() {
    let parts = Parts::find().unwrap();
    let render = |pod: &str| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pod.yaml");
        std::fs::write(&file, pod).unwrap();
        let mut helm = Command::new(parts.path("helm").unwrap());
        helm.args(["template", "x", "--show-only", "templates/workflowtemplate.yaml"]).arg(chart());
        let output =
            helm.arg("--set-file").arg(format!("defaults.verificationPod={}", file.display())).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let pod = "# a remark\n---\napiVersion: v1\nkind: Pod\nspec: {containers: [{name: c}]}\n";
    let base64 = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(pod)
    };
    assert_eq!(render(pod), render(&base64));
    assert!(render(pod).contains(&base64));
}
