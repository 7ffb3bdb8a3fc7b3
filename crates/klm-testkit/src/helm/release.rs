//! One revision of a release, in the shapes that helm stores and prints.

use std::collections::BTreeMap;

use klm_core::values::Values;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::chart;
use crate::world::profile::Version;

/// A stored revision.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Release {
    /// Release name.
    pub name: String,
    /// Release namespace.
    pub namespace: String,
    /// Revision number.
    pub revision: u64,
    /// One of helm's status words.
    pub status: String,
    /// Chart version.
    pub chart: String,
    /// The user's values.
    pub config: Values,
    /// Rendered objects that aren't hooks.
    pub manifest: String,
    /// Rendered hooks.
    pub hooks: Vec<Value>,
    /// What `helm history` shows.
    pub description: String,
    /// RFC 3339.
    pub first_deployed: String,
    /// RFC 3339.
    pub last_deployed: String,
    /// Labels of the user.
    pub labels: BTreeMap<String, String>,
    /// `ssa` or `csa`.
    pub apply_method: String,
}

impl Release {
    /// A first revision that went well: for fixtures.
    pub(crate) fn installed(
        name: &str,
        namespace: &str,
        version: &Version,
        config: Values,
        documents: Vec<chart::Document>,
        now: jiff::Timestamp,
    ) -> Self {
        let (documents, hooks) = super::manifest::partition(documents);
        Self {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            revision: 1,
            status: "deployed".to_owned(),
            chart: version.as_str().to_owned(),
            config,
            manifest: super::manifest::join(&documents),
            hooks,
            description: "Install complete".to_owned(),
            first_deployed: now.to_string(),
            last_deployed: now.to_string(),
            labels: BTreeMap::new(),
            apply_method: "ssa".to_owned(),
        }
    }

    /// Whether an operation is under way, or was when its process died.
    pub fn is_pending(&self) -> bool {
        self.status.starts_with("pending-")
    }

    /// The chart's version.
    pub fn chart_version(&self) -> Version {
        Version::parse(&self.chart)
            .unwrap_or_else(|| panic!("release {} is of chart version {:?}", self.name, self.chart))
    }

    /// `helm status -o json`: no chart, no labels; `version` is the revision.
    pub(super) fn status_json(&self) -> Value {
        let hook = |hook: &Value| {
            let annotation = |key: &str| crate::api::object::annotation(hook, key).unwrap_or_default().to_owned();
            let list =
                |text: String| text.split(',').filter(|it| !it.is_empty()).map(str::to_owned).collect::<Vec<_>>();
            json!({
                "name": hook["metadata"]["name"], "kind": hook["kind"], "path": "kata-deploy/templates/hook.yaml",
                "manifest": super::manifest::to_yaml(hook), "events": list(annotation("helm.sh/hook")),
                "last_run": {"started_at": "", "completed_at": "", "phase": ""},
                "weight": annotation("helm.sh/hook-weight").parse::<i64>().unwrap_or(0),
                "delete_policies": list(annotation("helm.sh/hook-delete-policy")),
            })
        };
        json!({
            "name": self.name,
            "info": {
                "first_deployed": self.first_deployed, "last_deployed": self.last_deployed,
                "description": self.description, "status": self.status,
            },
            "config": self.config, "manifest": self.manifest, "hooks": self.hooks.iter().map(hook).collect::<Vec<_>>(),
            "version": self.revision, "namespace": self.namespace, "apply_method": self.apply_method,
        })
    }

    /// One entry of `helm history -o json`.
    pub(super) fn history_json(&self) -> Value {
        json!({
            "revision": self.revision, "updated": self.last_deployed, "status": self.status,
            "chart": format!("{}-{}", chart::NAME, self.chart), "app_version": self.chart, "description": self.description,
        })
    }

    /// `helm get metadata -o json`: `version` is the chart's.
    pub(super) fn metadata_json(&self) -> Value {
        let mut labels = json!({
            "name": self.name, "owner": "helm", "status": self.status, "version": self.revision.to_string(),
            "modifiedAt": "0",
        });
        for (key, value) in &self.labels {
            labels[key] = json!(value);
        }
        let deployed = self.last_deployed.split('.').next().unwrap_or_default().trim_end_matches('Z');
        json!({
            "name": self.name, "chart": chart::NAME, "version": self.chart, "appVersion": self.chart, "labels": labels,
            "namespace": self.namespace, "revision": self.revision, "status": self.status,
            "deployedAt": format!("{deployed}Z"), "applyMethod": self.apply_method,
        })
    }
}
