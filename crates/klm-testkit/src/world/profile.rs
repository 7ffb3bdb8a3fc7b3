//! What each version of kata-deploy does on a node, as one table.

use semver::Version as Semver;
use serde_json::Value;

use crate::api::object;

/// Tells the version of an image whose tag doesn't.
pub const CHART_VERSION_ENV: &str = "FAKE_CHART_VERSION";

/// A version of the chart, as written and as compared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    parsed: Semver,
    text: String,
}

impl Version {
    /// Parses `3.29.0`; anything else is no version.
    pub fn parse(text: &str) -> Option<Self> {
        Some(Self { parsed: text.parse().ok()?, text: text.to_owned() })
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is that minor version or a later one.
    pub fn reaches(&self, major: u64, minor: u64) -> bool {
        (self.parsed.major, self.parsed.minor) >= (major, minor)
    }
}

/// Which dispatcher a version brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dispatcher {
    /// Lists its Jobs, ends when that fails, adopts finished Jobs of earlier runs.
    V3_32,
    /// The same, but asks for each Job and never gives up.
    V4_0,
    /// Knows its Jobs by owner, labels nodes itself, and cleans up nodes that it owns but wasn't given.
    V4_1,
}

/// The behaviour of one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// Ready means installed.
    pub probes: bool,
    /// Deleting its pod takes Kata off the node.
    pub uninstalls_on_stop: bool,
    /// It labels the node with its instance's marker, too.
    pub marks: bool,
    /// Its dispatcher, if it knows job mode.
    pub dispatcher: Option<Dispatcher>,
}

impl Profile {
    /// The behaviour of a version.
    pub fn of(version: &Version) -> Self {
        let dispatcher = if version.reaches(4, 1) {
            Some(Dispatcher::V4_1)
        } else if version.reaches(4, 0) {
            Some(Dispatcher::V4_0)
        } else {
            version.reaches(3, 32).then_some(Dispatcher::V3_32)
        };
        Self {
            probes: version.reaches(3, 31),
            uninstalls_on_stop: !version.reaches(3, 29),
            marks: version.reaches(4, 1),
            dispatcher,
        }
    }
}

/// What a container installs: the tag (or digest) of its image, and the version that it behaves like.
pub fn installed_by(container: &Value) -> (String, Version) {
    let image = object::text(container, "/image");
    let tag = image.rsplit_once('@').map_or_else(|| image.rsplit(':').next().unwrap_or_default(), |(_, digest)| digest);
    let stated = object::items(container, "/env").iter().find(|it| it["name"] == CHART_VERSION_ENV);
    let behaves = stated.map_or(tag, |it| object::text(it, "/value"));
    let version = Version::parse(behaves)
        .unwrap_or_else(|| panic!("the fake kata-deploy can't tell the version of image {image:?}"));
    (tag.to_owned(), version)
}
