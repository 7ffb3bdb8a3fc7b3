//! The RuntimeClasses: they change for the whole cluster with the first wave, whatever its size.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Rendering;

/// One for each enabled shim, and the default one if asked for.
pub(super) fn render(chart: &Rendering<'_>) -> Vec<Value> {
    if chart.value("runtimeClasses.enabled") != json!(true) {
        return Vec::new();
    }
    let mut classes: BTreeMap<String, String> =
        chart.enabled_shims().into_iter().map(|name| (name.clone(), name)).collect();
    if chart.value("runtimeClasses.createDefault") == json!(true) && chart.suffix().is_empty() {
        let handler = format!("kata-{}", chart.text("defaultShim.amd64"));
        classes.insert(chart.text("runtimeClasses.defaultName").to_owned(), handler);
    }
    let mut selector = json!({"katacontainers.io/kata-runtime": "true"});
    if chart.version.reaches(4, 1) {
        selector[format!("kata-deploy.katacontainers.io/{}", chart.instance())] = json!("true");
    }
    let memory = if chart.version.reaches(4, 0) { "320Mi" } else { "160Mi" };
    let class = |(name, handler): (String, String)| {
        let mut class = json!({
            "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass",
            "metadata": {"name": name, "labels": {
                "app.kubernetes.io/managed-by": "kata-deploy", "kata-deploy/instance": chart.instance(),
            }},
            "handler": handler, "overhead": {"podFixed": {"cpu": "250m", "memory": memory}},
            "scheduling": {"nodeSelector": selector},
        });
        if chart.version.reaches(3, 32) {
            class["metadata"]["annotations"] = json!({"katacontainers.io/kata-version": chart.version.as_str()});
        }
        class
    };
    classes.into_iter().map(class).collect()
}
