//! How large things are: in bytes, as the API server hands them out.

use anyhow::Result;
use k8s_openapi::api::core::v1::{Node, Secret};
use klm_core::contract::{RUN_LABEL, STATUS};
use kube::api::{Api, ListParams};

use crate::record::Sizes;
use crate::stage::{ARGO, KUBE_SYSTEM, RELEASE, Stage};

/// Limits in bytes.
pub mod limit {
    /// Above this Argo packs the list of nodes; etcd takes half as much again.
    pub const WORKFLOW: usize = 1024 * 1024;
    /// A `ConfigMap`'s or Secret's data.
    pub const DATA: usize = 1024 * 1024;
    /// All annotations of an object.
    pub const ANNOTATIONS: usize = 256 * 1024;
}

impl Sizes {
    /// The larger of each.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            workflow: self.workflow.max(other.workflow),
            plan: self.plan.max(other.plan),
            release: self.release.max(other.release),
            origin: self.origin.max(other.origin),
            annotations: self.annotations.max(other.annotations),
        }
    }
}

/// Looks at what a run has written so far.
pub async fn look(stage: &Stage, workflow: &str, uid: &str) -> Result<Sizes> {
    let object = |path: String| async move {
        let request = http::Request::get(path).body(Vec::new())?;
        // What isn't there yet has no size.
        anyhow::Ok(stage.client.request_text(request).await.map_or(0, |text| text.len()))
    };
    Ok(Sizes {
        workflow: object(format!("/apis/argoproj.io/v1alpha1/namespaces/{ARGO}/workflows/{workflow}")).await?,
        plan: object(format!("/api/v1/namespaces/{ARGO}/configmaps/{workflow}-plan")).await?,
        release: largest_secret(stage, &format!("owner=helm,name={RELEASE}")).await?,
        origin: largest_secret(stage, "app.kubernetes.io/managed-by=kata-lifecycle-manager").await?,
        annotations: annotations(stage, uid).await?,
    })
}

async fn largest_secret(stage: &Stage, labels: &str) -> Result<usize> {
    let secrets: Api<Secret> = Api::namespaced(stage.client.clone(), KUBE_SYSTEM);
    let listed = secrets.list(&ListParams::default().labels(labels)).await?;
    let size = |secret: &Secret| secret.data.iter().flatten().map(|(key, value)| key.len() + value.0.len()).sum();
    Ok(listed.iter().map(size).max().unwrap_or(0))
}

/// Of the nodes that the run works on: only there is a journal.
async fn annotations(stage: &Stage, uid: &str) -> Result<usize> {
    let query = format!("{RUN_LABEL}={uid},{STATUS} notin (completed,rolled-back)");
    let nodes = Api::<Node>::all(stage.client.clone()).list(&ListParams::default().labels(&query).match_any()).await?;
    let size =
        |node: &Node| node.metadata.annotations.iter().flatten().map(|(key, value)| key.len() + value.len()).sum();
    Ok(nodes.iter().map(size).max().unwrap_or(0))
}
