//! Calls helm and looks into what it rendered.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use klm_standin::chart;
use semver::Version;
use serde_json::Value;

/// The versions with job mode.
pub const JOB_VERSIONS: [&str; 4] = ["3.32.0", "4.0.0", "4.1.0", "4.2.0"];

/// Every version.
pub const ALL_VERSIONS: [&str; 7] = ["3.27.0", "3.29.0", "3.31.0", "3.32.0", "4.0.0", "4.1.0", "4.2.0"];

fn helm() -> &'static Path {
    static HELM: OnceLock<std::path::PathBuf> = OnceLock::new();
    HELM.get_or_init(|| klm_bed::parts::build_one("helm", &|line| eprintln!("{line}")).unwrap())
}

/// Renders the chart of `version` as release `rel` in namespace `kata`; what helm complains about is the error.
pub fn try_render(version: &str, arguments: &[&str]) -> Result<Vec<Value>, String> {
    let folder = tempfile::tempdir().unwrap();
    let chart = chart::package(&version.parse().unwrap(), folder.path()).unwrap();
    template(&chart, arguments)
}

/// Renders the templates of `new` with the values of `old`, which is what helm's `--reuse-values` does.
pub fn render_with_old_values(old: &str, new: &str, arguments: &[&str]) -> Result<Vec<Value>, String> {
    let folder = tempfile::tempdir().unwrap();
    let chart = chart::unpack(&new.parse().unwrap(), folder.path()).unwrap();
    let values = chart::values(&old.parse::<Version>().unwrap()).unwrap();
    std::fs::write(chart.join("values.yaml"), serde_json::to_string(&values).unwrap()).unwrap();
    template(&chart, arguments)
}

fn template(chart: &Path, arguments: &[&str]) -> Result<Vec<Value>, String> {
    let output = Command::new(helm())
        .args(["template", "rel"])
        .arg(chart)
        .args(["--namespace", "kata"])
        .args(arguments)
        .output()
        .unwrap();
    if !output.status.success() {
        return Err(String::from_utf8(output.stderr).unwrap());
    }
    let text = String::from_utf8(output.stdout).unwrap();
    let documents = serde_yaml::Deserializer::from_str(&text).map(|one| {
        let value: Value = serde::Deserialize::deserialize(one).unwrap();
        value
    });
    Ok(documents.filter(|one| !one.is_null()).collect())
}

pub fn render(version: &str, arguments: &[&str]) -> Vec<Value> {
    try_render(version, arguments).unwrap_or_else(|error| panic!("{version} {arguments:?}: {error}"))
}

pub fn render_job(version: &str, arguments: &[&str]) -> Vec<Value> {
    render(version, &[&["--set", "deploymentMode=job"], arguments].concat())
}

/// `Kind/name` of each object, sorted.
pub fn names(objects: &[Value]) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut names: Vec<String> =
        objects.iter().map(|one| text(&one["kind"]) + "/" + one["metadata"]["name"].as_str().unwrap()).collect();
    names.sort();
    names
}

pub fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    try_find(objects, kind, name).unwrap_or_else(|| panic!("no {kind} `{name}` among {:?}", names(objects)))
}

pub fn try_find<'a>(objects: &'a [Value], kind: &str, name: &str) -> Option<&'a Value> {
    objects.iter().find(|one| one["kind"] == kind && one["metadata"]["name"] == name)
}

/// The per-node Job in a `job-templates` `ConfigMap`.
pub fn job_template(objects: &[Value], stage: &str) -> Value {
    let map = find(objects, "ConfigMap", "kata-deploy-job-templates");
    serde_yaml::from_str(map["data"][format!("{stage}-job.yaml")].as_str().unwrap()).unwrap()
}

/// The rules of a Role or `ClusterRole`, one line for each: `resource, …: verb, …`.
pub fn rules(objects: &[Value], kind: &str, name: &str) -> Vec<String> {
    let list = |value: &Value| {
        value.as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect::<Vec<_>>().join(", ")
    };
    let rules = find(objects, kind, name)["rules"].as_array().unwrap();
    rules
        .iter()
        .map(|rule| {
            let group = list(&rule["apiGroups"]);
            let dot = if group.is_empty() { "" } else { "." };
            format!("{}{dot}{group}: {}", list(&rule["resources"]), list(&rule["verbs"]))
        })
        .collect()
}
