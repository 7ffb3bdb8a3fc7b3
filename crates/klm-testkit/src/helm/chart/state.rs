//! What the chart refuses to render, and from 4.1.0 on the ConfigMap that fixes mode and suffix.

use serde_json::{Value, json};

use super::Rendering;
use crate::api::object;

/// The checks, and the objects that come with them.
pub(super) fn render(chart: &Rendering<'_>) -> Result<Vec<Value>, String> {
    if !chart.version.reaches(4, 1) {
        return Ok(Vec::new());
    }
    let mode = chart.text("deploymentMode").to_owned();
    if !matches!(mode.as_str(), "daemonset" | "job") {
        return Err(format!("deploymentMode must be \"daemonset\" or \"job\", got {mode:?}"));
    }
    let job = chart.value("job");
    for removed in ["nodeSelector", "nodeAffinity", "nodeSelectorExpressions"] {
        if job.get(removed).is_some() {
            return Err(format!(
                "job.{removed} was removed in 4.1.0: select nodes with the top-level nodeSelector and affinity"
            ));
        }
    }
    if job["cleanup"].get("nodeSelectorExpressions").is_some() {
        return Err("job.cleanup.nodeSelectorExpressions was removed in 4.1.0: use job.cleanup.nodeAffinity".to_owned());
    }
    if job["ttlSecondsAfterFinished"].as_i64().unwrap_or(0) < 60 {
        return Err(format!("job.ttlSecondsAfterFinished must be at least 60, got {}", job["ttlSecondsAfterFinished"]));
    }
    let suffix = chart.text("env.multiInstallSuffix");
    if chart.is_upgrade {
        check_identity(chart, &mode, suffix)?;
    }
    let name: String = format!("{}-kata-deploy-state", chart.release).chars().take(63).collect();
    Ok(vec![json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": chart.namespace},
        "data": {"multiInstallSuffix": suffix, "deploymentMode": mode},
    })])
}

fn check_identity(chart: &Rendering<'_>, mode: &str, suffix: &str) -> Result<(), String> {
    let was = match &chart.lookups.state {
        Some(state) => {
            let had = object::text(state, "/data/multiInstallSuffix");
            if had != suffix {
                return Err(format!("env.multiInstallSuffix can't change from {had:?} to {suffix:?} on a living release. Uninstall it and install it anew"));
            }
            object::text(state, "/data/deploymentMode")
        }
        // A release of before 4.1.0 left no state: its objects tell what it was.
        None if chart.lookups.job_templates => "job",
        None if chart.lookups.daemonset => "daemonset",
        None => return Err("cannot verify the previous kata-deploy identity: neither its state, nor its job templates, nor its DaemonSet were found".to_owned()),
    };
    if was == mode {
        return Ok(());
    }
    Err(format!(
        "deploymentMode can't change from {was:?} to {mode:?} on a living release. Uninstall the existing mode cleanly, then install the other one"
    ))
}
