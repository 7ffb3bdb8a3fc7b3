//! Which of its two models a release of kata-deploy uses, and the way from one to the other.

use semver::Version;

use crate::contract::MIN_JOB;
use crate::plan::Mode;
use crate::refusal::Refusal;
use crate::release::Release;
use crate::values;
use crate::version::{has_job_mode, marks_nodes};

/// A mode and how it was found, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detected {
    /// The mode.
    pub mode: Mode,
    /// How we know.
    pub how: String,
}

/// The mode of a live release.
pub fn detect(release: &Release) -> Result<Detected, Refusal> {
    let version = &release.metadata.version;
    if release.version().is_some_and(|version| !has_job_mode(&version)) {
        let how = format!("chart {version} is older than {MIN_JOB}, the first with job mode");
        return Ok(Detected { mode: Mode::Daemonset, how });
    }
    match values::text(&release.all, "deploymentMode") {
        None => Ok(Detected {
            mode: Mode::Daemonset,
            how: "the release's values have no `deploymentMode`, and the chart's default is `daemonset`".to_owned(),
        }),
        Some(word @ ("daemonset" | "job")) => Ok(Detected {
            mode: if word == "job" { Mode::Job } else { Mode::Daemonset },
            how: format!("the release's values have `deploymentMode={word}`"),
        }),
        Some(other) => Err(Refusal::new(format!(
            "release `{}/{}` has `deploymentMode={other}`, which chart {version} doesn't know: it installs nothing",
            release.namespace, release.name
        ))
        .hint("set `deploymentMode` to `daemonset` or `job` with `helm upgrade`, then submit again")),
    }
}

/// Whether the requested mode, if one was requested, is the release's own. `chart` is where kata-deploy's chart is.
pub fn check(requested: &str, found: Mode, release: &Release, chart: &str) -> Option<Refusal> {
    let wanted = match requested {
        "daemonset" => Mode::Daemonset,
        "job" => Mode::Job,
        _ => return None,
    };
    (wanted != found).then(|| {
        Refusal::new(format!(
            "release `{}/{}` runs in {found} mode, but parameter `deployment-mode` is `{wanted}`; a run never switches it, \
             because that changes every node at once",
            release.namespace, release.name
        ))
        .hint(migration(wanted, release, chart))
    })
}

/// The commands that really switch this release, once and for all nodes.
fn migration(wanted: Mode, release: &Release, chart: &str) -> String {
    let Release { name, namespace, metadata, .. } = release;
    let sets = match wanted {
        Mode::Job => "--set deploymentMode=job --set verification.pod=",
        Mode::Daemonset => "--set deploymentMode=daemonset --set updateStrategy.type=OnDelete --set verification.pod=",
    };
    let current = release.version();
    if current.as_ref().is_some_and(marks_nodes) {
        return format!(
            "from chart 4.1.0 on, kata-deploy keeps its mode for good, so the switch is a new install; it takes Kata off all \
             nodes in between, so stop the Kata workloads first:\n\
             helm get values {name} --namespace {namespace} -o yaml > kata-deploy-values.yaml\n\
             helm uninstall {name} --namespace {namespace} --wait\n\
             helm install {name} {chart} --namespace {namespace} --version {} -f kata-deploy-values.yaml {sets}",
            metadata.version
        );
    }
    let version = match current {
        Some(version) if has_job_mode(&version) => version,
        _ => MIN_JOB,
    };
    let moves = if version == Version::parse(&metadata.version).unwrap_or(MIN_JOB) {
        String::new()
    } else {
        format!(", which moves them all to {version}")
    };
    format!(
        "use `deployment-mode=auto` to stay in the release's mode, or switch once, on all nodes together{moves}:\n\
         helm upgrade {name} {chart} --namespace {namespace} --version {version} --reset-then-reuse-values {sets}"
    )
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::contract::KATA_DEPLOY_CHART;
    use crate::release::fixtures;

    fn release(version: &str, mode: Option<&str>) -> Release {
        Release {
            all: serde_json::from_value(mode.map_or(json!({}), |mode| json!({"deploymentMode": mode}))).unwrap(),
            ..fixtures::at(version, 3)
        }
    }

    #[rstest]
    #[case::before_there_was_one("3.31.0", None, Mode::Daemonset, "older than 3.32.0")]
    #[case::an_old_chart_ignores_the_value("3.31.0", Some("job"), Mode::Daemonset, "older than 3.32.0")]
    #[case::said("3.32.0", Some("job"), Mode::Job, "`deploymentMode=job`")]
    #[case::said_too("4.1.0", Some("daemonset"), Mode::Daemonset, "`deploymentMode=daemonset`")]
    #[case::the_default("4.0.0", None, Mode::Daemonset, "default")]
    fn the_mode_is_found_and_how_is_said(
        #[case] version: &str,
        #[case] value: Option<&str>,
        #[case] mode: Mode,
        #[case] how: &str,
    ) {
        let found = detect(&release(version, value)).unwrap();
        assert_eq!(found.mode, mode);
        assert!(found.how.contains(how), "{}", found.how);
    }

    #[test]
    fn a_mode_that_the_chart_does_not_know_is_refused() {
        assert!(detect(&release("3.32.0", Some("jobs"))).unwrap_err().what.contains("deploymentMode=jobs"));
    }

    #[test]
    fn the_same_mode_and_auto_pass() {
        for (requested, found) in [("auto", Mode::Job), ("auto", Mode::Daemonset), ("job", Mode::Job)] {
            assert_eq!(check(requested, found, &release("4.0.0", None), KATA_DEPLOY_CHART), None);
        }
    }

    #[test]
    fn each_mismatch_prints_the_commands_that_work_for_its_version() {
        let cases = [
            ("3.31.0", "job", Mode::Daemonset),
            ("4.0.0", "job", Mode::Daemonset),
            ("4.1.0", "job", Mode::Daemonset),
            ("3.32.0", "daemonset", Mode::Job),
            ("4.1.0", "daemonset", Mode::Job),
        ];
        let texts = cases.map(|(version, requested, found)| {
            let refusal = check(requested, found, &release(version, None), KATA_DEPLOY_CHART).unwrap();
            format!("{version} {found} -> {requested}\n{refusal}\n")
        });
        insta::assert_snapshot!(texts.join("\n"));
    }
}
