//! Default values, as layers: each holds what that version added, changed or (with null) removed.

use klm_core::values::{Values, overlay};
use serde_json::{Value, json};

use crate::world::profile::Version;

/// The default values of a version.
pub fn defaults(version: &Version) -> Values {
    let mut values = Values::new();
    for (major, minor, layer) in layers() {
        if version.reaches(major, minor)
            && let Value::Object(layer) = layer
        {
            overlay(&mut values, &layer);
        }
    }
    values
}

fn layers() -> Vec<(u64, u64, Value)> {
    vec![
        (0, 0, base()),
        (3, 28, json!({"kubectlImage": {"reference": "quay.io/kata-containers/kubectl", "tag": "latest"}})),
        (
            3,
            29,
            json!({"containerd": {"configDir": "", "configFileName": ""}, "snapshotter": {"setup": ["nydus"]},
                "runtimeClasses": {"overheadEnabled": true}}),
        ),
        (3, 31, json!({"priorityClassName": "system-node-critical", "resources": {}, "health": {"port": 8090}})),
        (3, 32, job_mode()),
        (
            4,
            0,
            json!({"startupTaints": [], "podLabels": {}, "podAnnotations": {}, "affinity": {},
                "containerd": {"runtimeSocket": ""}, "snapshotter": {"erofsSnapshotterMode": ""},
                "defaultShim": {"amd64": "qemu-runtime-rs", "arm64": "qemu-runtime-rs", "s390x": "qemu-runtime-rs"}}),
        ),
        (4, 1, without_job_selection()),
        (
            4,
            2,
            json!({"job": {"dispatcherImage": {"reference": "ghcr.io/kata-containers/k8s-job-dispatcher", "tag": "0.1.0"}}}),
        ),
    ]
}

fn base() -> Value {
    json!({
        "image": {"reference": "quay.io/kata-containers/kata-deploy", "tag": ""},
        "imagePullPolicy": "Always", "imagePullSecrets": [], "nodeSelector": {}, "tolerations": [],
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
        "debug": false, "k8sDistribution": "k8s", "snapshotter": {"setup": []},
        "shims": {"qemu": {"enabled": true}, "qemu-runtime-rs": {"enabled": true}},
        "defaultShim": {"amd64": "qemu", "arm64": "qemu", "s390x": "qemu", "ppc64le": "qemu"},
        "runtimeClasses": {"enabled": true, "createDefault": false, "defaultName": "kata"},
        "env": {"installationPrefix": "", "hostOS": "", "multiInstallSuffix": ""},
        "verification": {"namespace": "default", "timeout": 180, "daemonsetTimeout": 1200, "pod": ""},
    })
}

fn job_mode() -> Value {
    json!({
        "deploymentMode": "daemonset", "logLevel": "info", "monitor": {"enabled": false}, "containerd": {"userDropIn": ""},
        "job": {
            "nodes": [], "nodeSelector": {},
            "nodeSelectorExpressions": [
                {"key": "node-role.kubernetes.io/control-plane", "operator": "DoesNotExist"},
                {"key": "node-role.kubernetes.io/master", "operator": "DoesNotExist"},
            ],
            "parallelism": 100, "backoffLimit": 3, "ttlSecondsAfterFinished": 600,
            "dispatcherImage": {"reference": "quay.io/kata-containers/kata-deploy-job-dispatcher", "tag": ""},
            "cleanup": {
                "nodes": [], "nodeSelector": {},
                "nodeSelectorExpressions": [{"key": "katacontainers.io/kata-runtime", "operator": "Exists"}],
            },
        },
    })
}

fn without_job_selection() -> Value {
    json!({
        "devkit": false, "nodeFeatureRules": {"create": false}, "defaultShim": {"ppc64le": "qemu-runtime-rs"},
        "job": {
            "nodeSelector": null, "nodeSelectorExpressions": null, "activeDeadlineSeconds": 3600,
            "waitForNodesSeconds": 120, "nodeSettleSeconds": 15, "waitNodeReadySeconds": 300,
            "dispatcherNodeSelector": {}, "dispatcherTolerations": [],
            "cleanup": {"nodeSelectorExpressions": null, "nodeAffinity": {}},
        },
    })
}
