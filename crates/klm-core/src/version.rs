//! kata-deploy versions: which are versions at all, and what a chart of that version does.

use semver::Version;

use crate::contract::{MIN_DAEMONSET, MIN_JOB};
use crate::plan::Mode;
use crate::refusal::Refusal;

/// Reads a version that somebody gave; `what` names where it came from, for example ``parameter `target-version` ``.
pub fn parse(what: &str, text: &str) -> Result<Version, Refusal> {
    if text.is_empty() {
        return Err(Refusal::new(format!("{what} is missing")).hint("give a version such as `4.0.0`"));
    }
    let version = Version::parse(text).map_err(|_| {
        let refusal = Refusal::new(format!("{what} is `{text}`, which is not a version"));
        match text.strip_prefix('v').filter(|rest| Version::parse(rest).is_ok()) {
            Some(rest) => refusal.hint(format!("kata-deploy's versions have no `v`: write `{rest}`")),
            None => refusal.hint("give all three numbers, such as `4.0.0`"),
        }
    })?;
    if (version.major, version.minor, version.patch) == (0, 0, 0) {
        return Err(Refusal::new(format!(
            "{what} is `{text}`, a development build that doesn't say which release it stands for"
        ))
        .hint("give a released version such as `4.0.0`"));
    }
    Ok(version)
}

/// The released charts that were read and tried when this was written, oldest first. Not a list of what is allowed: a
/// later one is taken to do what the last of these does.
pub static RELEASES: [Version; 8] = [v(3, 27), v(3, 28), v(3, 29), v(3, 30), v(3, 31), v(3, 32), v(4, 0), v(4, 1)];

/// The oldest chart that this mode works with.
pub const fn minimum(mode: Mode) -> Version {
    match mode {
        Mode::Daemonset => MIN_DAEMONSET,
        Mode::Job => MIN_JOB,
    }
}

/// Whether a version is at least this one, a pre-release counting as the release that it leads to: it already behaves so.
pub fn reaches(version: &Version, minimum: &Version) -> bool {
    (version.major, version.minor, version.patch) >= (minimum.major, minimum.minor, minimum.patch)
}

const fn v(major: u64, minor: u64) -> Version {
    Version::new(major, minor, 0)
}

/// Whether deleting a kata-deploy pod of this version takes Kata off the node until the new pod has installed again.
pub fn uninstalls_on_pod_deletion(version: &Version) -> bool {
    !reaches(version, &v(3, 29))
}

/// Whether a ready pod of this version has installed; before, it was ready as soon as it ran.
pub fn is_ready_only_when_installed(version: &Version) -> bool {
    reaches(version, &v(3, 31))
}

/// Whether the chart has job mode; an older one ignores `deploymentMode` and makes a `DaemonSet` on every node.
pub fn has_job_mode(version: &Version) -> bool {
    reaches(version, &MIN_JOB)
}

/// Whether the chart marks the nodes that it owns: it then selects the mark in `RuntimeClass`es, cleans up nodes that
/// aren't in `job.nodes`, and keeps mode and suffix for good.
pub fn marks_nodes(version: &Version) -> bool {
    reaches(version, &v(4, 1))
}

/// A version as a label's value: `+`, which labels don't allow, becomes `-`; cut to what a label can hold.
pub fn label_value(version: &str) -> String {
    let mut text: String = version
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' })
        .take(63)
        .collect();
    while text.ends_with(['-', '_', '.']) {
        text.pop();
    }
    text.trim_start_matches(['-', '_', '.']).to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::selector::is_label_text;

    #[rstest]
    #[case("")]
    #[case("3.27")]
    #[case("v3.27.0")]
    #[case("latest")]
    #[case("0.0.0-dev")]
    #[case("0.0.0")]
    #[case("3.27.0 ")]
    #[case("03.27.0")]
    fn what_is_no_release_is_refused_by_name(#[case] text: &str) {
        let refusal = parse("parameter `target-version`", text).unwrap_err();
        assert!(refusal.what.starts_with("parameter `target-version` is") && refusal.hint.is_some(), "{refusal}");
    }

    #[rstest]
    #[case::rollout_starts("3.26.0", [true, false, false, false])]
    #[case("3.28.0", [true, false, false, false])]
    #[case("3.29.0", [false, false, false, false])]
    #[case("3.31.0", [false, true, false, false])]
    #[case("3.32.0", [false, true, true, false])]
    #[case("4.0.0", [false, true, true, false])]
    #[case::a_pre_release_behaves_as_its_release("4.1.0-rc0", [false, true, true, true])]
    #[case("5.0.0", [false, true, true, true])]
    fn what_a_chart_does_follows_from_its_version(#[case] text: &str, #[case] expected: [bool; 4]) {
        let version = parse("chart", text).unwrap();
        let found = [
            uninstalls_on_pod_deletion(&version),
            is_ready_only_when_installed(&version),
            has_job_mode(&version),
            marks_nodes(&version),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn build_metadata_fits_a_label() {
        assert_eq!(label_value("4.1.0+build.7"), "4.1.0-build.7");
    }

    proptest! {
        #[test]
        fn every_version_fits_a_label(text in ".{0,100}") {
            prop_assert!(is_label_text(&label_value(&text)));
        }
    }
}
