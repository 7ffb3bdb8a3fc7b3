//! What Helm renders, kept file by file. klm-chartgen's tests read the kept files, and fail when they are older than
//! the chart.
//!
//! To keep them anew: `UPDATE_RENDERED=1 cargo test -p klm-e2e --test rendering -- --ignored rendered`.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::{CASES, chart, rendered, tests, values};
use klm_bed::parts::Parts;
use serde_json::Value;
use similar::TextDiff;

fn helm(args: &[&str], files: &[&Path]) -> Output {
    let parts = Parts::find().unwrap();
    let pod = format!("defaults.verificationPod={}", tests().join("values/verification-pod.yaml").display());
    let mut helm = Command::new(parts.path("helm").unwrap());
    helm.args(["template", "some-release"]).arg(chart()).args(["--namespace", "argo", "--kube-version", "1.33.0"]);
    for file in files {
        helm.arg("--values").arg(file);
    }
    helm.args(args);
    // Not `--set-file`, which would win over a file's own pod.
    if !files.iter().any(|file| fs::read_to_string(file).unwrap().contains("verificationPod")) {
        helm.args(["--set-file", &pod]);
    }
    helm.output().unwrap()
}

fn text(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
#[ignore = "needs the bed's programs: cargo xtask test cluster"]
fn helm_renders_what_is_kept() {
    let mut report = String::new();
    for case in CASES {
        let now = text(helm(&[], &[&values(case)]));
        let kept = fs::read_to_string(rendered(case)).unwrap_or_default();
        if now != kept {
            if std::env::var_os("UPDATE_RENDERED").is_some() {
                fs::write(rendered(case), &now).unwrap();
                continue;
            }
            let diff = TextDiff::from_lines(&kept, &now).unified_diff().header(case, "as rendered now").to_string();
            report.push_str(&diff);
        }
    }
    if std::env::var_os("UPDATE_RENDERED").is_some() {
        crate::support::keep_fingerprint();
    }
    assert!(
        report.is_empty(),
        "{report}\nrun: UPDATE_RENDERED=1 cargo test -p klm-e2e --test rendering -- --ignored rendered"
    );
}

#[test]
#[ignore = "needs the bed's programs: cargo xtask test cluster"]
fn each_value_has_an_effect() {
    let whole: Value = serde_yaml::from_str(&fs::read_to_string(values("everything")).unwrap()).unwrap();
    let with_all = text(helm(&[], &[&values("everything")]));
    let folder = tempfile::tempdir().unwrap();
    let mut idle = Vec::new();
    for leaf in klm_chartgen::tree::leaves().unwrap() {
        let pointer = format!("/{}", leaf.path.replace('.', "/"));
        let mut without = whole.clone();
        let set = without.pointer_mut(&pointer).unwrap_or_else(|| panic!("everything.yaml doesn't set {}", leaf.path));
        // At false, these would leave nothing for the values beside them to show in.
        let gate = ["rbac.create", "serviceAccount.create"].contains(&leaf.path);
        let other = if gate { false.into() } else { leaf.default };
        assert_ne!(*set, other, "{} is at its default in everything.yaml", leaf.path);
        *set = other;
        if leaf.path == "defaults.verificationPod" {
            *set = "{apiVersion: v1, kind: Pod, spec: {containers: [{name: another}]}}".into();
        }
        let file = folder.path().join("values.yaml");
        fs::write(&file, serde_json::to_string(&without).unwrap()).unwrap();
        if text(helm(&[], &[&file])) == with_all {
            idle.push(leaf.path);
        }
    }
    assert!(idle.is_empty(), "values without an effect: {idle:?}");
}

#[test]
#[ignore = "needs the bed's programs: cargo xtask test cluster"]
fn the_chart_lints_without_a_remark() {
    let parts = Parts::find().unwrap();
    let lint = Command::new(parts.path("helm").unwrap()).args(["lint", "--strict"]).arg(chart()).output().unwrap();
    let said = String::from_utf8_lossy(&lint.stdout);
    assert!(lint.status.success() && !said.contains("[WARNING]") && !said.contains("[INFO]"), "{said}");
}
