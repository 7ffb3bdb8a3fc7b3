//! Under which names the stub's one image has to be known to a node, and where the chart looks for its program.

use anyhow::{Context as _, Result};
use semver::Version;

/// Paths of the program inside the image. It looks at its own name to know which of upstream's programs it plays.
pub const PROGRAMS: [&str; 4] = [
    "/usr/bin/kata-deploy",
    "/usr/bin/kata-deploy-job-dispatcher",
    "/usr/bin/k8s-job-dispatcher",
    "/usr/bin/kata-monitor",
];

/// The dispatcher that has releases of its own, from 4.2.0 on.
const EXTERNAL_DISPATCHER: &str = "ghcr.io/kata-containers/k8s-job-dispatcher";

/// Every image that a release of chart `version` with default values may start, and the hooks' one.
pub fn references(version: &Version) -> Vec<String> {
    let mut names = vec![
        format!("quay.io/kata-containers/kata-deploy:{version}"),
        "quay.io/kata-containers/kubectl:latest".to_owned(),
    ];
    if *version >= Version::new(3, 32, 0) {
        names.push(format!("quay.io/kata-containers/kata-monitor:{version}"));
        names.push(if *version >= Version::new(4, 2, 0) {
            format!("{EXTERNAL_DISPATCHER}:0.1.0")
        } else {
            format!("quay.io/kata-containers/kata-deploy-job-dispatcher:{version}")
        });
    }
    names
}

/// An image's reference, as far as the stub cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRef {
    repository: String,
    /// The tag, or the digest if there is one: what tests read as the installed version.
    label: String,
}

impl ImageRef {
    /// Splits a reference; without tag and digest it is `latest`, as for any container runtime.
    pub fn parse(reference: &str) -> Self {
        let (repository, label) = reference.split_once('@').unwrap_or_else(|| {
            match reference.rsplit_once(':') {
                // A colon before the last slash belongs to the registry's port.
                Some((repository, tag)) if !tag.contains('/') => (repository, tag),
                _ => (reference, "latest"),
            }
        });
        Self { repository: repository.to_owned(), label: label.to_owned() }
    }

    /// What tests read as the installed version.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Whether this is the dispatcher with releases of its own.
    pub fn is_external_dispatcher(&self) -> bool {
        self.repository.rsplit('/').next() == EXTERNAL_DISPATCHER.rsplit('/').next()
    }

    /// The version of kata-deploy that an image with this name would hold; for tags that don't say, the chart's.
    pub fn version(&self, chart_version: Option<&str>) -> Result<Version> {
        if let Ok(version) = Version::parse(&self.label) {
            return Ok(version);
        }
        let chart = chart_version.with_context(|| {
            format!("the tag `{}` of `{}` is no version, and the chart gave none", self.label, self.repository)
        })?;
        Version::parse(chart).with_context(|| format!("the chart's version `{chart}`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("quay.io/kata-containers/kata-deploy:3.31.0", "3.31.0")]
    #[case("127.0.0.1:5000/kata-deploy:mine", "mine")]
    #[case("127.0.0.1:5000/kata-deploy", "latest")]
    #[case("quay.io/x/kata-deploy@sha256:abc", "sha256:abc")]
    fn the_label_of_an_image_is_its_tag_or_digest(#[case] reference: &str, #[case] label: &str) {
        assert_eq!(ImageRef::parse(reference).label(), label);
    }

    #[test]
    fn the_chart_tells_the_version_of_an_image_whose_tag_is_a_word() {
        let image = ImageRef::parse("example.org/kata-deploy:mine");
        assert_eq!(image.version(Some("4.0.0")).unwrap(), Version::new(4, 0, 0));
        assert!(image.version(None).is_err());
        let pinned = ImageRef::parse("example.org/kata-deploy:3.31.0");
        assert_eq!(
            pinned.version(Some("4.0.0")).unwrap(),
            Version::new(3, 31, 0),
            "a pinned tag keeps the old behaviour"
        );
    }

    #[test]
    fn only_the_last_version_uses_the_external_dispatcher() {
        let external = |minor| {
            references(&Version::new(4, minor, 0)).iter().any(|name| ImageRef::parse(name).is_external_dispatcher())
        };
        assert!(!external(1));
        assert!(external(2));
        assert_eq!(references(&Version::new(3, 31, 0)).len(), 2, "no dispatcher and no monitor before 3.32.0");
    }
}
