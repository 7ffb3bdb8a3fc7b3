//! `cargo xtask release`: the chart as it is published, with its version and the digest of the image that belongs to it.
//!
//! What a task finds out it prints as `name=value` lines, the form in which a GitHub workflow takes the results of a step.

mod once;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use klm_bed::{parts, paths, process};
use klm_core::contract::{CHART_NAME, UTILS_IMAGE};
use semver::Version;

/// What to do with the chart.
#[derive(Subcommand)]
pub enum Task {
    /// Fail when a version may not be published: it is already, or isn't what is run on
    Check {
        /// Version of the chart
        #[arg(long)]
        version: String,
        /// What the workflow runs on, such as `refs/tags/0.1.0`
        #[arg(long, value_name = "REF")]
        git_ref: String,
        /// Chart and image without a version, for example `ghcr.io/me/lifecycle-manager-utils`
        #[arg(required = true, value_name = "REPOSITORY")]
        repositories: Vec<String>,
    },
    /// Write the chart's archive
    Package {
        /// Version of the chart
        #[arg(long)]
        version: String,
        /// The image that steps run in, with its digest
        #[arg(long)]
        image: String,
        /// Folder for the archive
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Push an archive to a registry that helm or docker is logged in to, unless its version is there already
    Push {
        /// The archive
        #[arg(long, value_name = "FILE")]
        archive: PathBuf,
        /// Where charts live, for example `oci://ghcr.io/me/kata-lifecycle-manager-charts`
        #[arg(long, value_name = "URL")]
        to: String,
        /// The registry speaks no TLS: for a registry on this machine
        #[arg(long)]
        plain_http: bool,
    },
}

pub fn run(task: &Task) -> Result<ExitCode> {
    match task {
        Task::Check { version, git_ref, repositories } => {
            let version = published_version(version)?;
            once::from_its_tag(&version, git_ref)?;
            repositories.iter().try_for_each(|repository| once::is_new(&format!("{repository}:{version}"), false))?;
        }
        Task::Package { version, image, out } => {
            let version = published_version(version)?;
            let archive = package(&version, image, out)?;
            result("archive", &archive.display().to_string());
            result("prerelease", if version.pre.is_empty() { "false" } else { "true" });
        }
        Task::Push { archive, to, plain_http } => result("digest", &push(archive, to, *plain_http)?),
    }
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::print_stdout, reason = "the result, which a workflow reads")]
fn result(name: &str, value: &str) {
    println!("{name}={value}");
}

/// A version that can be an image's tag too.
fn published_version(text: &str) -> Result<Version> {
    let version =
        Version::parse(text).with_context(|| format!("`{text}` isn't a version, such as 0.1.0 or 0.1.0-dev"))?;
    if !version.build.is_empty() {
        bail!("`{text}` has build metadata, which no tag in a registry can hold\nhint: leave out `+{}`", version.build);
    }
    Ok(version)
}

fn package(version: &Version, image: &str, out: &Path) -> Result<PathBuf> {
    let stage = tempfile::tempdir()?;
    let chart = stage.path().join(CHART_NAME);
    copy(&paths::workspace().join("chart"), &chart)?;
    name_release(&chart, version, image)?;
    fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    let version = version.to_string();
    process::run(
        helm()?
            .arg("package")
            .arg(&chart)
            .args(["--version", &version, "--app-version", &version, "--destination"])
            .arg(out),
    )?;
    Ok(out.join(format!("{CHART_NAME}-{version}.tgz")))
}

/// Puts the image with its digest in the place of the default one: a chart and its steps speak to each other, so a
/// released chart must not run whatever `latest` is on the day that it is used.
fn name_release(chart: &Path, version: &Version, image: &str) -> Result<()> {
    let digest = image.split_once("@sha256:").map(|(_, digest)| digest).unwrap_or_default();
    if digest.len() != 64 || !digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        bail!("the image `{image}` has no digest\nhint: name it as NAME:TAG@sha256:DIGEST");
    }
    let prerelease = !version.pre.is_empty();
    replace_once(
        &chart.join("values.yaml"),
        &[(&format!("utils: \"{UTILS_IMAGE}\""), &format!("utils: \"{image}\""))],
    )?;
    replace_once(
        &chart.join("Chart.yaml"),
        &[
            (&format!("image: {UTILS_IMAGE}"), &format!("image: {image}")),
            ("artifacthub.io/prerelease: \"true\"", &format!("artifacthub.io/prerelease: \"{prerelease}\"")),
        ],
    )
}

/// Replaces each text, which must be there exactly once: what isn't found would be released unchanged.
fn replace_once(path: &Path, changes: &[(&str, &str)]) -> Result<()> {
    let mut text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    for (old, new) in changes {
        let times = text.matches(old).count();
        if times != 1 {
            bail!("{} has `{old}` {times} times, not once", path.display());
        }
        text = text.replace(old, new);
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn push(archive: &Path, to: &str, plain_http: bool) -> Result<String> {
    once::is_new(&target(archive, to)?, plain_http)?;
    let mut command = helm()?;
    command.arg("push").arg(archive).arg(to);
    if plain_http {
        command.arg("--plain-http");
    }
    let said = process::output(&mut command)?;
    pushed_digest(&said).map(str::to_owned).with_context(|| format!("helm didn't say what it pushed: {}", said.trim()))
}

/// Where helm puts an archive.
fn target(archive: &Path, to: &str) -> Result<String> {
    let name = archive.file_name().unwrap_or_default().to_string_lossy();
    let version = name.strip_prefix(CHART_NAME).and_then(|rest| rest.strip_prefix('-')?.strip_suffix(".tgz"));
    let version = version.with_context(|| format!("`{name}` isn't named as `{CHART_NAME}-VERSION.tgz`"))?;
    let charts = to.strip_prefix("oci://").with_context(|| format!("`{to}` doesn't begin with `oci://`"))?;
    Ok(format!("{}/{CHART_NAME}:{version}", charts.trim_end_matches('/')))
}

fn pushed_digest(said: &str) -> Option<&str> {
    said.lines().find_map(|line| line.strip_prefix("Digest: ")).map(str::trim)
}

/// The helm that the image holds and the tests use.
fn helm() -> Result<Command> {
    Ok(Command::new(parts::build_one("helm", &|line| eprintln!("{line}"))?))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target).with_context(|| format!("cannot copy {}", entry.path().display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    const CHART: &str = "artifacthub.io/prerelease: \"true\"\nimages: |\n  - image: ";

    fn chart(values: &str) -> tempfile::TempDir {
        let chart = tempfile::tempdir().unwrap();
        fs::write(chart.path().join("values.yaml"), values).unwrap();
        fs::write(chart.path().join("Chart.yaml"), format!("{CHART}{UTILS_IMAGE}\n")).unwrap();
        chart
    }

    fn version(text: &str) -> Version {
        Version::parse(text).unwrap()
    }

    #[test]
    fn a_released_chart_names_its_image_by_digest() {
        let chart = chart(&format!("# The image.\nimages:\n  utils: \"{UTILS_IMAGE}\"\n"));
        let image = format!("ghcr.io/me/lifecycle-manager-utils:0.1.0@{DIGEST}");
        name_release(chart.path(), &version("0.1.0"), &image).unwrap();
        let read = |name| fs::read_to_string(chart.path().join(name)).unwrap();
        assert_eq!(read("values.yaml"), format!("# The image.\nimages:\n  utils: \"{image}\"\n"));
        assert_eq!(read("Chart.yaml"), format!("{}{image}\n", CHART.replace("true", "false")));
    }

    #[test]
    fn a_prerelease_is_marked_as_one() {
        let chart = chart(&format!("utils: \"{UTILS_IMAGE}\"\n"));
        name_release(chart.path(), &version("0.1.0-dev"), &format!("a@{DIGEST}")).unwrap();
        assert!(fs::read_to_string(chart.path().join("Chart.yaml")).unwrap().contains("prerelease: \"true\""));
    }

    #[test]
    fn an_image_without_a_digest_is_refused() {
        let chart = chart(&format!("utils: \"{UTILS_IMAGE}\"\n"));
        for image in [UTILS_IMAGE, "a@sha256:", "a@sha256:0123", &format!("a@{}", DIGEST.replace('0', "x"))] {
            let error = name_release(chart.path(), &version("0.1.0"), image).unwrap_err().to_string();
            assert!(error.starts_with(&format!("the image `{image}` has no digest")), "{error}");
        }
    }

    #[test]
    fn a_chart_whose_image_cannot_be_found_is_not_released() {
        let chart = chart("utils: something-else\n");
        let error = name_release(chart.path(), &version("0.1.0"), &format!("a@{DIGEST}")).unwrap_err().to_string();
        assert!(error.ends_with("0 times, not once"), "{error}");
    }

    #[test]
    fn only_what_can_be_a_tag_is_a_version() {
        assert_eq!(published_version("0.1.0-dev").unwrap().pre.as_str(), "dev");
        for text in ["latest", "0.1", "v0.1.0", "0.1.0+build", ""] {
            assert!(published_version(text).is_err(), "{text}");
        }
    }

    /// Of the checked-out chart itself: the place that the release replaces must be there.
    #[test]
    fn the_chart_has_the_place_that_a_release_fills_in() {
        let copied = tempfile::tempdir().unwrap();
        copy(&paths::workspace().join("chart"), copied.path()).unwrap();
        name_release(copied.path(), &version("0.1.0"), &format!("a@{DIGEST}")).unwrap();
    }

    #[test]
    fn an_archive_is_looked_for_where_helm_puts_it() {
        let to = "oci://ghcr.io/me/charts";
        let found = target(Path::new("dist/kata-lifecycle-manager-0.1.0-dev.tgz"), to).unwrap();
        assert_eq!(found, "ghcr.io/me/charts/kata-lifecycle-manager:0.1.0-dev");
        assert!(target(Path::new("dist/other-0.1.0.tgz"), to).is_err());
        assert!(target(Path::new("kata-lifecycle-manager-0.1.0.tgz"), "ghcr.io/me/charts").is_err());
    }

    #[test]
    fn the_digest_is_found_in_what_helm_says() {
        let said = format!("Pushed: localhost:5000/charts/x:0.1.0\nDigest: {DIGEST}\n");
        assert_eq!(pushed_digest(&said), Some(DIGEST));
        assert_eq!(pushed_digest("Pushed: x\n"), None);
    }
}
