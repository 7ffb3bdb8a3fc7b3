//! A Helm release as Helm's own JSON tells it.

use semver::Version;
use serde::{Deserialize, Serialize};

use crate::values::{self, Values};

/// What `helm` says about kata-deploy's release. User values may hold secrets: this is never printed.
#[derive(Clone, Debug, PartialEq)]
pub struct Release {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its last revision.
    pub metadata: Metadata,
    /// The values that users gave.
    pub user: Values,
    /// Those laid over the chart's defaults.
    pub all: Values,
    /// All revisions that Helm kept, oldest first.
    pub history: Vec<Revision>,
}

/// `helm get metadata -o json`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// The chart's name.
    pub chart: String,
    /// The chart's version.
    pub version: String,
    /// The chart's `appVersion`.
    #[serde(default)]
    pub app_version: String,
    /// Number of the revision.
    pub revision: u64,
    /// Where it stands.
    pub status: Status,
    /// When it was made, RFC 3339.
    #[serde(default)]
    pub deployed_at: String,
}

/// One line of `helm history -o json`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Revision {
    /// Its number.
    pub revision: u64,
    /// Where it stands.
    pub status: Status,
    /// `name-version`.
    #[serde(default)]
    pub chart: String,
    /// What whoever made it said about it.
    #[serde(default)]
    pub description: String,
    /// When, RFC 3339.
    #[serde(default)]
    pub updated: String,
}

/// Where a revision stands, in Helm's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "each is Helm's own word")]
pub enum Status {
    Unknown,
    Deployed,
    Uninstalled,
    Superseded,
    Failed,
    Uninstalling,
    PendingInstall,
    PendingUpgrade,
    PendingRollback,
}

impl Status {
    /// Helm's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Deployed => "deployed",
            Self::Uninstalled => "uninstalled",
            Self::Superseded => "superseded",
            Self::Failed => "failed",
            Self::Uninstalling => "uninstalling",
            Self::PendingInstall => "pending-install",
            Self::PendingUpgrade => "pending-upgrade",
            Self::PendingRollback => "pending-rollback",
        }
    }

    /// Whether Helm takes the release for being worked on; nothing but the last revision's status says so.
    pub const fn is_pending(self) -> bool {
        matches!(self, Self::PendingInstall | Self::PendingUpgrade | Self::PendingRollback)
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An answer of helm that isn't what it should be. Doesn't quote it: values may be secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`helm {call}` printed no JSON of the expected form: line {line}, column {column}")]
pub struct Unreadable {
    /// Which call.
    pub call: &'static str,
    /// Where it breaks off.
    pub line: usize,
    /// Where in that line.
    pub column: usize,
}

/// Reads `helm get metadata -o json`.
pub fn metadata(text: &str) -> Result<Metadata, Unreadable> {
    read("get metadata", text)
}

/// Reads `helm history -o json`.
pub fn history(text: &str) -> Result<Vec<Revision>, Unreadable> {
    read("history", text)
}

/// Reads `helm get values -o json`, which is `null` when there are none.
pub fn user_values(text: &str) -> Result<Values, Unreadable> {
    Ok(read::<Option<Values>>("get values", text)?.unwrap_or_default())
}

/// Helm prints lines such as `Pulled: …` before its JSON.
fn read<T: serde::de::DeserializeOwned>(call: &'static str, text: &str) -> Result<T, Unreadable> {
    let is_json = |line: &str| line.starts_with(['{', '[']) || line.trim() == "null";
    let start = text.split_inclusive('\n').take_while(|line| !is_json(line)).map(str::len).sum::<usize>();
    serde_json::from_str(&text[start..]).map_err(|error| Unreadable {
        call,
        line: error.line(),
        column: error.column(),
    })
}

impl Release {
    /// Chart version of the last revision, when it is a version.
    pub fn version(&self) -> Option<Version> {
        Version::parse(&self.metadata.version).ok()
    }

    /// What kata-deploy puts behind its objects' names when several of them share a cluster.
    pub fn suffix(&self) -> Option<&str> {
        values::text(&self.all, "env.multiInstallSuffix")
    }

    /// The label that charts from 4.1.0 on put on the nodes that this release owns.
    pub fn marker(&self) -> String {
        format!("{}{}", crate::contract::MARKER_PREFIX, self.suffix().unwrap_or("default"))
    }

    /// Whether nothing restarts by itself: the strategy that every rollout needs.
    pub fn is_on_delete(&self) -> bool {
        values::text(&self.all, "updateStrategy.type") == Some("OnDelete")
    }

    /// The last good revision: what Helm takes values from, and what a run starts from.
    pub fn last_deployed(&self) -> Option<&Revision> {
        last_good(&self.history)
    }
}

impl Revision {
    /// Whether it is or was live.
    pub const fn is_good(&self) -> bool {
        matches!(self.status, Status::Deployed | Status::Superseded)
    }

    /// The version in `kata-deploy-<version>`.
    pub fn chart_version(&self) -> &str {
        self.chart.strip_prefix("kata-deploy-").unwrap_or(&self.chart)
    }
}

/// The revision of this number, unless Helm has pruned it.
pub fn numbered(history: &[Revision], number: u64) -> Option<&Revision> {
    history.iter().find(|revision| revision.revision == number)
}

/// The number of the revision that comes after these.
pub fn next(history: &[Revision]) -> u64 {
    history.last().map_or(1, |last| last.revision + 1)
}

/// The newest revision that Helm calls deployed. Helm writes `superseded` on the old one before `deployed` on the new
/// one, so a helm that was killed in between leaves none: then it is the newest that was.
pub fn last_good(history: &[Revision]) -> Option<&Revision> {
    let newest = |status| history.iter().rev().find(move |revision| revision.status == status);
    newest(Status::Deployed).or_else(|| newest(Status::Superseded))
}

/// The image that kata-deploy runs with these values, all defaults included, in a chart of this version.
pub fn image(all: &Values, chart_version: &str) -> Option<String> {
    let reference = values::text(all, "image.reference")?;
    if reference.contains('@') {
        return Some(reference.to_owned());
    }
    Some(format!("{reference}:{}", values::text(all, "image.tag").unwrap_or(chart_version)))
}

/// A release for tests to alter.
#[cfg(test)]
pub mod fixtures {
    use super::{Metadata, Release, Status, Values};

    /// Release `apps/kata` of a chart's version, deployed as this revision, without values or history.
    pub fn at(version: &str, revision: u64) -> Release {
        Release {
            name: "kata".into(),
            namespace: "apps".into(),
            metadata: Metadata {
                chart: "kata-deploy".into(),
                version: version.into(),
                app_version: version.into(),
                revision,
                status: Status::Deployed,
                deployed_at: String::new(),
            },
            user: Values::new(),
            all: Values::new(),
            history: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn helms_json_is_read_and_what_it_prints_before_is_not() {
        let text = "Pulled: x/y:1\nDigest: sha256:0\n[{\"revision\":3,\"updated\":\"2026-01-01T00:00:00Z\",\"status\":\"pending-upgrade\",\
                    \"chart\":\"kata-deploy-4.0.0\",\"app_version\":\"4.0.0\",\"description\":\"Preparing upgrade\"}]\n";
        let revisions = history(text).unwrap();
        assert_eq!((revisions[0].revision, revisions[0].status), (3, Status::PendingUpgrade));
        let found = metadata(
            r#"{"name":"r","chart":"kata-deploy","version":"4.0.0","appVersion":"4.0.0","revision":7,"status":"deployed","applyMethod":"ssa"}"#,
        );
        assert_eq!(found.unwrap().revision, 7);
    }

    #[test]
    fn no_values_are_an_empty_map() {
        assert_eq!(user_values("null\n"), Ok(Values::new()));
        assert_eq!(user_values("{\"a\": 1}").unwrap().len(), 1);
    }

    #[test]
    fn an_answer_that_can_not_be_read_is_not_quoted() {
        let error = user_values("{\"password\": \"hunter2\"").unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn every_status_reads_back() {
        for status in [Status::Unknown, Status::Deployed, Status::PendingRollback, Status::Uninstalling] {
            assert_eq!(serde_json::from_value::<Status>(json!(status.as_str())).unwrap(), status);
        }
    }

    #[test]
    fn the_image_is_the_tag_the_chart_or_a_digest() {
        for (image_values, expected) in [
            (json!({"reference": "q/k", "tag": ""}), Some("q/k:4.0.0")),
            (json!({"reference": "q/k", "tag": "x"}), Some("q/k:x")),
            (json!({"reference": "q/k@sha256:0", "tag": "x"}), Some("q/k@sha256:0")),
            (json!({}), None),
        ] {
            let all: Values = serde_json::from_value(json!({"image": image_values})).unwrap();
            assert_eq!(image(&all, "4.0.0").as_deref(), expected);
        }
    }
}
