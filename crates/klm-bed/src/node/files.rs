//! The configuration files of a node's containerd, network plugins and kubelet.

use serde_json::json;

use super::{Node, PAUSE_IMAGE, RUN, SOCKET};
use crate::address;

/// The runtime handlers that a `RuntimeClass` can name, beside the default one.
///
/// They run ordinary containers: there is no virtual machine here, but everything that Kubernetes does about a runtime class happens.
pub const HANDLERS: &[&str] = &["kata-qemu", "kata-qemu-runtime-rs", "kata-qemu-two"];

impl Node<'_> {
    // Devices of the machine (`cdi`) are for no pod here, and looking out for them costs an inotify instance.
    pub(super) fn containerd(&self) -> String {
        let runtimes: String = HANDLERS
            .iter()
            .chain(&["runc"])
            .flat_map(|handler| {
                [
                    "[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.",
                    handler,
                    "]\nruntime_type = 'io.containerd.runc.v2'\n",
                ]
            })
            .collect();
        format!(
            "version = 3\n\
             root = '/var/lib/containerd'\n\
             state = '/run/containerd'\n\
             oom_score = 0\n\
             disabled_plugins = ['io.containerd.internal.v1.opt', 'io.containerd.nri.v1.nri', 'io.containerd.tracing.processor.v1.otlp']\n\
             [plugins.'io.containerd.cri.v1.images']\n\
             snapshotter = 'overlayfs'\n\
             [plugins.'io.containerd.cri.v1.images'.pinned_images]\n\
             sandbox = '{PAUSE_IMAGE}'\n\
             [plugins.'io.containerd.cri.v1.images'.registry]\n\
             config_path = '{registries}'\n\
             [plugins.'io.containerd.cri.v1.runtime']\n\
             enable_cdi = false\n\
             restrict_oom_score_adj = true\n\
             [plugins.'io.containerd.cri.v1.runtime'.cni]\n\
             use_internal_loopback = true\n\
             bin_dirs = ['/usr/lib/cni', '/opt/cni/bin']\n\
             conf_dir = '{cni}'\n\
             [plugins.'io.containerd.cri.v1.runtime'.containerd]\n\
             default_runtime_name = 'runc'\n\
             {runtimes}",
            registries = self.inside("registries"),
            cni = self.inside("cni"),
        )
    }

    pub(super) fn cni(&self) -> serde_json::Value {
        json!({
            "cniVersion": "0.4.0",
            "name": "bed",
            "plugins": [{
                "type": "bridge",
                "bridge": "pods",
                "isGateway": true,
                "ipMasq": false,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": address::pods(self.number)}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                    "dataDir": "/run/cni",
                },
            }],
        })
    }

    pub(super) fn kubelet(&self) -> serde_json::Value {
        let ca = format!("{RUN}/pki/ca.crt");
        json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {"anonymous": {"enabled": false}, "x509": {"clientCAFile": ca}},
            "containerRuntimeEndpoint": format!("unix://{SOCKET}"),
            "podLogsDir": self.inside("pods"),
            "volumePluginDir": self.inside("volume-plugins"),
            // Works on machines with the old and with the new kind of control groups, with or without systemd.
            "cgroupDriver": "cgroupfs",
            "failCgroupV1": false,
            "cgroupRoot": self.cgroup(),
            "enforceNodeAllocatable": [],
            "failSwapOn": false,
            "localStorageCapacityIsolation": false,
            // The disk and memory are the whole machine's; its state isn't a reason to evict pods from this node.
            "evictionHard": {"memory.available": "0%", "nodefs.available": "0%", "imagefs.available": "0%"},
            // Images were imported and can't be pulled again.
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "resolvConf": "",
            // It made its certificate itself. Watching the file costs an inotify instance, of which a machine has few.
            "featureGates": {"ReloadKubeletServerCertificateFile": false},
            "syncFrequency": "10s",
            "nodeStatusUpdateFrequency": "5s",
            "registryPullQPS": 0,
            "serializeImagePulls": false,
            "kubeAPIQPS": 100,
            "kubeAPIBurst": 200,
        })
    }
}
