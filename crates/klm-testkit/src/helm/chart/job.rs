//! Job mode: the templates of per-node Jobs, and the hook Jobs that run the dispatcher.

use serde_json::{Value, json};

use super::Rendering;
use crate::api::object;

/// The ConfigMap that the dispatcher reads.
pub(super) fn templates(chart: &Rendering<'_>) -> Value {
    let since41 = chart.version.reaches(4, 1);
    let install: &[&str] =
        if since41 { &["host-check", "artifacts", "cri"] } else { &["host-check", "artifacts", "cri", "label"] };
    let cleanup: &[&str] =
        if since41 { &["revert-cri", "remove-artifacts"] } else { &["unlabel", "revert-cri", "remove-artifacts"] };
    // JSON is YAML: the dispatcher reads either.
    let text = |stage: &str, stages: &[&str]| node_job(chart, stage, stages).to_string();
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": format!("kata-deploy{}-job-templates", chart.suffix()), "namespace": chart.namespace},
        "data": {"install-job.yaml": text("install", install), "cleanup-job.yaml": text("cleanup", cleanup)},
    })
}

fn node_job(chart: &Rendering<'_>, stage: &str, stages: &[&str]) -> Value {
    let since41 = chart.version.reaches(4, 1);
    let image = chart.image();
    let labels = json!({
        "app.kubernetes.io/name": "kata-deploy", "app.kubernetes.io/instance": chart.release, "kata-deploy/stage": stage,
    });
    let container = |name: &&str| {
        json!({"name": name, "image": image, "command": ["/usr/bin/kata-deploy", format!("{stage}-stage-{name}")],
            "env": chart.environment(&image)})
    };
    let containers: Vec<Value> = stages.iter().map(container).collect();
    let (main, init) = containers.split_last().expect("every pipeline has a stage");
    let mut pod = json!({"restartPolicy": "Never", "initContainers": init, "containers": [main]});
    if !since41 {
        pod["serviceAccountName"] = json!(format!("kata-deploy-sa{}", chart.suffix()));
    }
    let tolerations = tolerations(chart);
    if !tolerations.is_empty() {
        pod["tolerations"] = json!(tolerations);
    }
    let mut job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"labels": labels},
        "spec": {
            "backoffLimit": chart.value("job.backoffLimit"), "ttlSecondsAfterFinished": chart.value("job.ttlSecondsAfterFinished"),
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    });
    if since41 {
        job["spec"]["activeDeadlineSeconds"] = chart.value("job.activeDeadlineSeconds");
    }
    job
}

/// From 4.1.0 on like a DaemonSet's, or everything when the nodes were named.
fn tolerations(chart: &Rendering<'_>) -> Vec<Value> {
    let own = chart.list("tolerations");
    if !chart.version.reaches(4, 1) {
        return own;
    }
    if !chart.list("job.nodes").is_empty() {
        return vec![json!({"operator": "Exists"})];
    }
    let like = |key: &str, effect: &str| json!({"key": format!("node.kubernetes.io/{key}"), "operator": "Exists", "effect": effect});
    let mut all: Vec<Value> = ["not-ready", "unreachable"].map(|key| like(key, "NoExecute")).to_vec();
    all.extend(
        ["disk-pressure", "memory-pressure", "pid-pressure", "unschedulable"].map(|key| like(key, "NoSchedule")),
    );
    all.extend(own);
    all
}

/// The hook that installs.
pub(super) fn install_dispatcher(chart: &Rendering<'_>) -> Result<Value, String> {
    let mut more = Vec::new();
    let since41 = chart.version.reaches(4, 1);
    let nodes = chart.value("job.nodes");
    if nodes.as_array().is_some_and(|nodes| !nodes.is_empty()) {
        more.push(format!("--nodes={}", object::strings(&nodes, "").join(",")));
    } else if since41 {
        let selector = labels_selector(&chart.value("nodeSelector"));
        more.extend((!selector.is_empty()).then(|| format!("--node-selector={selector}")));
        more.push(format!("--wait-for-nodes-secs={}", chart.value("job.waitForNodesSeconds")));
        more.push(format!("--node-settle-secs={}", chart.value("job.nodeSettleSeconds")));
    } else {
        let selector = old_selector(&chart.value("job.nodeSelector"), &chart.value("job.nodeSelectorExpressions"));
        more.extend((!selector.is_empty()).then(|| format!("--node-selector={selector}")));
    }
    if since41 {
        let suffix = chart.text("env.multiInstallSuffix");
        more.extend((!suffix.is_empty()).then(|| format!("--multi-install-suffix={suffix}")));
        more.extend(["--node-label=true".to_owned(), "--claim-node-pending".to_owned()]);
        more.push(format!("--wait-node-ready-secs={}", chart.value("job.waitNodeReadySeconds")));
        more.push(format!("--require-node-handlers={}", chart.enabled_shims().join(",")));
    }
    dispatcher(chart, "install", "post-install,post-upgrade", "before-hook-creation", more)
}

/// The hook that takes everything away when the release goes.
pub(super) fn cleanup_dispatcher(chart: &Rendering<'_>) -> Result<Value, String> {
    let selector = "--node-selector=katacontainers.io/kata-runtime".to_owned();
    dispatcher(chart, "cleanup", "pre-delete", "before-hook-creation,hook-succeeded", vec![selector])
}

fn dispatcher(
    chart: &Rendering<'_>,
    stage: &str,
    hook: &str,
    policy: &str,
    more: Vec<String>,
) -> Result<Value, String> {
    let since41 = chart.version.reaches(4, 1);
    let external = chart.version.reaches(4, 2);
    let prefix = format!("kata-deploy{}-{stage}", chart.suffix());
    let name = format!("{prefix}-dispatcher");
    let mut args = vec![format!("--job-template=/etc/kata-job/{stage}-job.yaml")];
    if since41 && stage == "install" {
        // The argument that takes Kata off every node outside `job.nodes`.
        args.push("--cleanup-job-template=/etc/kata-job/cleanup-job.yaml".to_owned());
    }
    args.extend([format!("--name-prefix={prefix}"), format!("--owner-job-name={name}")]);
    args.push(format!("--parallelism={}", chart.value("job.parallelism")));
    args.extend(more);
    if external {
        args.extend([
            "--tracking-label-prefix=kata-deploy-job-dispatcher".to_owned(),
            "--require-node-machine-id".to_owned(),
        ]);
    }
    let image = chart.dispatcher_image()?;
    let labels = json!({
        "app.kubernetes.io/name": "kata-deploy", "app.kubernetes.io/instance": chart.release, "kata-deploy/dispatcher": stage,
    });
    let own = if since41 { chart.list("job.dispatcherTolerations") } else { Vec::new() };
    let tolerations = if own.is_empty() { chart.list("tolerations") } else { own };
    let command = if external { "/usr/bin/k8s-job-dispatcher" } else { "/usr/bin/kata-deploy-job-dispatcher" };
    let mut pod = json!({
        "serviceAccountName": format!("kata-deploy-dispatcher-sa{}", chart.suffix()), "restartPolicy": "Never",
        "securityContext": {"runAsNonRoot": true, "runAsUser": 65532},
        "containers": [{"name": "dispatcher", "image": image, "command": [command], "args": args, "env": chart.environment(&image)}],
        "volumes": [{"name": "job-templates", "configMap": {"name": format!("kata-deploy{}-job-templates", chart.suffix())}}],
    });
    if !tolerations.is_empty() {
        pod["tolerations"] = json!(tolerations);
    }
    Ok(json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {
            "name": name, "namespace": chart.namespace, "labels": labels,
            "annotations": {"helm.sh/hook": hook, "helm.sh/hook-weight": "5", "helm.sh/hook-delete-policy": policy},
        },
        "spec": {
            "backoffLimit": 0, "ttlSecondsAfterFinished": chart.value("job.ttlSecondsAfterFinished"),
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }))
}

fn labels_selector(labels: &Value) -> String {
    let pairs = labels.as_object().into_iter().flatten();
    pairs.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect::<Vec<_>>().join(",")
}

fn old_selector(labels: &Value, expressions: &Value) -> String {
    let mut parts: Vec<String> = Some(labels_selector(labels)).filter(|text| !text.is_empty()).into_iter().collect();
    for expression in object::items(expressions, "") {
        let key = object::text(expression, "/key");
        let values = object::strings(expression, "/values").join(",");
        parts.push(match object::text(expression, "/operator") {
            "Exists" => key.to_owned(),
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            _ => format!("!{key}"),
        });
    }
    parts.join(",")
}
