//! Verification pods: the documented one, and ones that fail where a test wants it.

use klm_bed::images::SHELL_IMAGE;
use serde_json::{Value, json};

use crate::unique;

/// A verification pod to install our chart with, or to submit with `-p verification-pod=…`.
#[derive(Clone, Debug)]
pub struct VerificationPod {
    /// The manifest.
    pub manifest: Value,
}

impl VerificationPod {
    /// The documented example, as it is.
    pub fn documented() -> Self {
        Self::running(
            "echo \"=== Kata Verification ===\"\n\
             echo \"Node: ${NODE}\"\n\
             echo \"Kernel: $(uname -r)\"\n\
             echo \"SUCCESS: Pod running with Kata runtime\"\n",
        )
    }

    /// Fails the first time that it runs on one of these nodes, and succeeds from then on: the new version is bad there,
    /// the old one isn't.
    pub fn failing_first_on(nodes: &[&str]) -> Self {
        let nodes = nodes.join("|");
        let script = format!(
            "case \"${{NODE}}\" in {nodes}) ;; *) echo fine; exit 0 ;; esac\n\
             if test -e /state/seen; then echo \"fine again\"; exit 0; fi\n\
             touch /state/seen; echo \"told to fail on ${{NODE}}\"; exit 7\n"
        );
        let mut pod = Self::running(&script);
        // On the node itself: what one pod leaves, the next one on that node finds.
        let path = format!("/run/{}", unique("verification"));
        pod.spec()["volumes"] = json!([{"name": "state", "hostPath": {"path": path, "type": "DirectoryOrCreate"}}]);
        pod.container()["volumeMounts"] = json!([{"name": "state", "mountPath": "/state"}]);
        pod
    }

    /// Fails on these nodes, whatever is installed there.
    pub fn failing_on(nodes: &[&str]) -> Self {
        let nodes = nodes.join("|");
        Self::running(&format!("case \"${{NODE}}\" in {nodes}) echo \"told to fail on ${{NODE}}\"; exit 7 ;; esac\n"))
    }

    /// Runs this script with the documented example's image, runtime class, node selector and tolerations.
    pub fn running(script: &str) -> Self {
        let manifest = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "${TEST_POD}"},
            "spec": {
                "runtimeClassName": "kata-qemu",
                "restartPolicy": "Never",
                "nodeSelector": {"kubernetes.io/hostname": "${NODE}"},
                "tolerations": [{"operator": "Exists"}],
                "containers": [{
                    "name": "verify",
                    "image": SHELL_IMAGE,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["sh", "-c", script],
                }],
            },
        });
        Self { manifest }
    }

    /// The pod's spec, to change.
    pub fn spec(&mut self) -> &mut Value {
        &mut self.manifest["spec"]
    }

    /// The pod's container, to change.
    pub fn container(&mut self) -> &mut Value {
        &mut self.manifest["spec"]["containers"][0]
    }

    /// As `-p verification-pod=` takes it: base64.
    pub fn base64(&self) -> String {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(self.manifest.to_string())
    }
}
