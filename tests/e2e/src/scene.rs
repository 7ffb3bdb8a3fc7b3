//! What a test starts with: the cluster, a client with an administrator's rights, and the command line tools.

use std::ffi::OsStr;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use klm_bed::Cluster;
use klm_bed::wait::{Seen, Wait};
use kube::{Api, Client};

/// The cluster as a test sees it.
#[derive(Clone)]
pub struct Scene {
    /// The handle, for everything that isn't here.
    pub cluster: Cluster,
    /// An administrator's client.
    pub client: Client,
}

impl Scene {
    /// The cluster that `cargo xtask test` named to us.
    pub async fn open() -> Result<Self> {
        let cluster = Cluster::from_env()?;
        // Also when the suite was started by hand: nearly every test begins with taking away what it finds.
        cluster.may_be_wiped().await?;
        let client = cluster.client().await?;
        Ok(Self { cluster, client })
    }

    /// Runs `kubectl` and returns its standard output.
    pub fn kubectl<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<String> {
        self.cluster.run("kubectl", arguments)
    }

    /// Runs `helm` and returns its standard output.
    pub fn helm<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<String> {
        self.cluster.run("helm", arguments)
    }

    /// Runs `argo` and returns its standard output.
    pub fn argo<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Result<String> {
        self.cluster.run("argo", arguments)
    }

    /// Applies a manifest, YAML or JSON.
    pub fn apply(&self, manifest: &str) -> Result<()> {
        self.cluster.apply(manifest).map(|_| ())
    }

    /// Creates a namespace with a name that no other test has, and returns the name.
    pub fn namespace(&self, prefix: &str) -> Result<String> {
        let name = unique(prefix);
        self.kubectl(&["create", "namespace", &name])?;
        // The controller makes it; a pod that comes earlier is refused.
        Wait::new(format!("the default service account of {name}"), Duration::from_secs(120)).until_blocking(|| {
            self.kubectl(&["get", "serviceaccount", "default", "--namespace", &name])?;
            Ok(Seen::Done(()))
        })?;
        Ok(name)
    }

    /// Waits until a pod has ended, well or not, and returns it.
    pub async fn ended_pod(&self, namespace: &str, name: &str, deadline: Duration) -> Result<Pod> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        Wait::new(format!("the pod {namespace}/{name} to end"), deadline)
            .until(async || {
                let pod = pods.get(name).await?;
                let status = pod.status.clone().unwrap_or_default();
                let phase = status.phase.clone().unwrap_or_default();
                Ok(match phase.as_str() {
                    "Succeeded" | "Failed" => Seen::Done(pod),
                    _ => Seen::NotYet(format!("{phase}: {}", serde_json::to_string(&status.container_statuses)?)),
                })
            })
            .await
    }

    /// What a pod wrote.
    pub fn logs(&self, namespace: &str, name: &str) -> Result<String> {
        self.kubectl(&["logs", "--namespace", namespace, name])
            .with_context(|| format!("cannot read the log of the pod {namespace}/{name}"))
    }
}

/// A name that no other test of this or an earlier run has.
pub fn unique(prefix: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}-{}-{number}", std::process::id())
}
