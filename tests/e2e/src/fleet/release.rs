//! What Helm says about a release.

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ListParams};
use serde_json::Value;

use super::{Fleet, KUBE_SYSTEM, RELEASE};

/// One revision of a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// Its number.
    pub number: u64,
    /// `deployed`, `superseded`, `failed` and so on.
    pub status: String,
    /// The chart's version.
    pub version: String,
    /// What its maker said.
    pub description: String,
}

impl Fleet {
    /// All revisions of kata-deploy's release, oldest first.
    pub fn revisions(&self) -> Result<Vec<Revision>> {
        self.revisions_of(RELEASE, KUBE_SYSTEM)
    }

    /// All revisions of a release, oldest first.
    pub fn revisions_of(&self, release: &str, namespace: &str) -> Result<Vec<Revision>> {
        let said = self.scene.helm(&["history", release, "--namespace", namespace, "--output", "json"])?;
        let all: Vec<Value> = serde_json::from_str(&said).context("reading `helm history`")?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        all.iter()
            .map(|one| {
                let chart = text(&one["chart"]);
                Ok(Revision {
                    number: one["revision"].as_u64().context("a revision without a number")?,
                    status: text(&one["status"]),
                    version: chart.rsplit_once('-').map_or(chart.clone(), |(_, version)| version.to_owned()),
                    description: text(&one["description"]),
                })
            })
            .collect()
    }

    /// Whether a helm upgrades kata-deploy's release just now. Read from Helm's own records: to ask `helm` again and again
    /// is much work.
    pub async fn is_helm_at_work(&self) -> Result<bool> {
        let records: Api<Secret> = Api::namespaced(self.client(), KUBE_SYSTEM);
        let pending = ListParams::default().labels(&format!("owner=helm,name={RELEASE},status=pending-upgrade"));
        Ok(!records.list_metadata(&pending).await?.items.is_empty())
    }

    /// The values that users gave kata-deploy's release.
    pub fn user_values(&self) -> Result<Value> {
        self.user_values_of(RELEASE, KUBE_SYSTEM)
    }

    /// The values that users gave a release.
    pub fn user_values_of(&self, release: &str, namespace: &str) -> Result<Value> {
        let said = self.scene.helm(&["get", "values", release, "--namespace", namespace, "--output", "json"])?;
        serde_json::from_str(&said).context("reading `helm get values`")
    }

    /// The release's chart version and the number of its last revision.
    pub fn release_at(&self) -> Result<(String, u64)> {
        let last = self.revisions()?.pop().context("the release has no revisions")?;
        Ok((last.version, last.number))
    }
}
