//! The DaemonSet of daemonset mode.

use serde_json::{Value, json};

use super::Rendering;

/// The DaemonSet with the labels, probes and grace of its version.
pub(super) fn render(chart: &Rendering<'_>) -> Value {
    let name = format!("kata-deploy{}", chart.suffix());
    let image = chart.image();
    let mut labels = json!({});
    let mut spec = json!({
        "serviceAccountName": format!("kata-deploy-sa{}", chart.suffix()),
        "terminationGracePeriodSeconds": if chart.version.reaches(3, 28) { 600 } else { 120 },
        "containers": [{
            "name": "kube-kata", "image": image, "imagePullPolicy": chart.value("imagePullPolicy"),
            "command": ["/usr/bin/kata-deploy", "install"], "env": chart.environment(&image),
        }],
    });
    let mut annotations = Value::Null;
    for (field, key) in
        [("nodeSelector", "nodeSelector"), ("tolerations", "tolerations"), ("imagePullSecrets", "imagePullSecrets")]
    {
        copy_unless_empty(&mut spec, field, chart.value(key));
    }
    if chart.version.reaches(3, 31) {
        spec["priorityClassName"] = chart.value("priorityClassName");
        let container = &mut spec["containers"][0];
        container["startupProbe"] =
            json!({"httpGet": {"path": "/readyz", "port": 8090}, "periodSeconds": 10, "failureThreshold": 60});
        container["livenessProbe"] = json!({"httpGet": {"path": "/healthz", "port": 8090}, "periodSeconds": 10});
        container["readinessProbe"] = json!({"httpGet": {"path": "/readyz", "port": 8090}, "periodSeconds": 5});
    } else if !chart.version.reaches(3, 28) {
        spec["containers"][0]["lifecycle"] =
            json!({"preStop": {"exec": {"command": ["/usr/bin/kata-deploy", "cleanup"]}}});
    }
    if chart.version.reaches(4, 0) {
        copy_unless_empty(&mut spec, "affinity", chart.value("affinity"));
        if let Value::Object(more) = chart.value("podLabels") {
            more.into_iter().for_each(|(key, value)| labels[key] = value);
        }
        annotations = chart.value("podAnnotations");
    }
    labels["name"] = json!(name);
    let mut daemonset = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": name, "namespace": chart.namespace},
        "spec": {
            "selector": {"matchLabels": {"name": name}}, "updateStrategy": chart.value("updateStrategy"),
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    });
    copy_unless_empty(&mut daemonset["spec"]["template"]["metadata"], "annotations", annotations);
    daemonset
}

fn copy_unless_empty(into: &mut Value, field: &str, value: Value) {
    let empty = match &value {
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        other => other.is_null(),
    };
    if !empty {
        into[field] = value;
    }
}
