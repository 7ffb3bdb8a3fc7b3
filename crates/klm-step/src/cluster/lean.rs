//! Objects of which we need a few fields only: a Node's list of images alone is twenty times what we read.

use k8s_openapi::api::core::v1::{NodeCondition, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};

/// A Node without what no step looks at.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct LeanNode {
    /// Name, labels, annotations.
    pub metadata: ObjectMeta,
    /// Cordon and taints.
    #[serde(default)]
    pub spec: LeanNodeSpec,
    /// Conditions and software versions.
    #[serde(default)]
    pub status: LeanNodeStatus,
}

/// See [`LeanNode`].
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct LeanNodeSpec {
    /// Cordoned.
    #[serde(default)]
    pub unschedulable: bool,
    /// All taints.
    #[serde(default)]
    pub taints: Option<Vec<Taint>>,
}

/// See [`LeanNode`].
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LeanNodeStatus {
    /// `Ready` and others.
    #[serde(default)]
    pub conditions: Option<Vec<NodeCondition>>,
    /// Versions that the kubelet reports.
    #[serde(default)]
    pub node_info: LeanNodeInfo,
}

/// See [`LeanNode`].
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LeanNodeInfo {
    /// For example `amd64`.
    #[serde(default)]
    pub architecture: String,
    /// For example `containerd://2.1.0`.
    #[serde(default)]
    pub container_runtime_version: String,
}

/// An Argo Workflow: is it still running?
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Workflow {
    /// Name and UID.
    pub metadata: ObjectMeta,
    /// How far it is.
    #[serde(default)]
    pub status: WorkflowStatus,
}

/// See [`Workflow`].
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkflowStatus {
    /// `Running`, `Succeeded`, …; empty before the controller has seen it.
    #[serde(default)]
    pub phase: String,
    /// Set once it is over, its exit handler included.
    #[serde(default)]
    pub finished_at: Option<String>,
}

impl Workflow {
    /// Whether it, or its exit handler, may still start steps.
    pub fn is_running(&self) -> bool {
        let over = matches!(self.status.phase.as_str(), "Succeeded" | "Failed" | "Error");
        !over && self.status.finished_at.is_none()
    }
}

/// An Argo `WorkflowTemplate`: is it there, and what does it give its runs?
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct WorkflowTemplate {
    /// Its name.
    pub metadata: ObjectMeta,
    /// What we read of its definition.
    #[serde(default)]
    pub spec: WorkflowTemplateSpec,
}

/// See [`WorkflowTemplate`].
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct WorkflowTemplateSpec {
    /// The arguments of a run that gives none.
    #[serde(default)]
    pub arguments: WorkflowTemplateArguments,
}

/// See [`WorkflowTemplate`].
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct WorkflowTemplateArguments {
    /// Parameters with their values, as Argo lists them.
    #[serde(default)]
    pub parameters: Vec<serde_json::Value>,
}

/// A `CustomResourceDefinition` without its schema, which for Argo is megabytes.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct ApiDefinition {
    /// Its name.
    pub metadata: ObjectMeta,
}

macro_rules! resource {
    ($type:ty, $group:literal, $version:literal, $api_version:literal, $kind:literal, $plural:literal, $scope:ty) => {
        impl k8s_openapi::Resource for $type {
            const API_VERSION: &'static str = $api_version;
            const GROUP: &'static str = $group;
            const KIND: &'static str = $kind;
            const VERSION: &'static str = $version;
            const URL_PATH_SEGMENT: &'static str = $plural;
            type Scope = $scope;
        }

        impl k8s_openapi::Metadata for $type {
            type Ty = ObjectMeta;

            fn metadata(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn metadata_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

resource!(LeanNode, "", "v1", "v1", "Node", "nodes", k8s_openapi::ClusterResourceScope);
resource!(
    Workflow,
    "argoproj.io",
    "v1alpha1",
    "argoproj.io/v1alpha1",
    "Workflow",
    "workflows",
    k8s_openapi::NamespaceResourceScope
);
resource!(
    WorkflowTemplate,
    "argoproj.io",
    "v1alpha1",
    "argoproj.io/v1alpha1",
    "WorkflowTemplate",
    "workflowtemplates",
    k8s_openapi::NamespaceResourceScope
);
resource!(
    ApiDefinition,
    "apiextensions.k8s.io",
    "v1",
    "apiextensions.k8s.io/v1",
    "CustomResourceDefinition",
    "customresourcedefinitions",
    k8s_openapi::ClusterResourceScope
);
