//! helm-postrender: what helm pipes a chart's manifests through in job mode; see `klm_core::post_render`.

use std::io::{Read as _, Write as _};

use anyhow::Context as _;
use klm_core::post_render::scope;
use klm_core::version::marks_nodes;
use semver::Version;

use crate::exit::StepError;
use crate::helm::CHART_VERSION;
use crate::manifest;

/// Reads manifests on stdin and writes them, limited to the wave, to stdout. Anything unexpected fails the upgrade.
pub fn run() -> Result<(), StepError> {
    let mut manifests = String::new();
    std::io::stdin().read_to_string(&mut manifests).context("failed to read the manifests")?;
    let version =
        std::env::var(CHART_VERSION).with_context(|| format!("{CHART_VERSION} doesn't say the chart's version"))?;
    let scoped = scoped(&manifests, &version)?;
    std::io::stdout().write_all(scoped.as_bytes()).context("failed to write the manifests")?;
    Ok(())
}

/// The manifests of a chart of this version, limited to the wave.
pub fn scoped(manifests: &str, version: &str) -> anyhow::Result<String> {
    let version = Version::parse(version).context("failed to read the chart's version")?;
    Ok(scope(manifests, marks_nodes(&version), manifest::document)?)
}
