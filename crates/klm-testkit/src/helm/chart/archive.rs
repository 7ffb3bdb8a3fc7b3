//! The chart as a file: a real archive with `Chart.yaml` and `values.yaml`, so that a pulled chart can be read back.

use std::io::{self, Read as _};
use std::path::Path;

use serde_json::{Value, json};

use super::{NAME, defaults};
use crate::world::profile::Version;

/// `Chart.yaml` as data.
pub(crate) fn metadata(version: &Version) -> Value {
    json!({"apiVersion": "v2", "name": NAME, "type": "application", "version": version.as_str(), "appVersion": version.as_str(),
        "description": "A Helm chart for deploying Kata Containers"})
}

/// Packs a chart version; the same version gives the same bytes, as long as it is the same edition.
pub fn pack(version: &Version, edition: u32) -> io::Result<Vec<u8>> {
    let encoder = flate2::GzBuilder::new().mtime(edition).write(Vec::new(), flate2::Compression::fast());
    let mut archive = tar::Builder::new(encoder);
    let files = [("Chart.yaml", metadata(version)), ("values.yaml", Value::Object(defaults(version)))];
    for (name, content) in files {
        let text = serde_yaml::to_string(&content).map_err(io::Error::other)?;
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, format!("{NAME}/{name}"), text.as_bytes())?;
    }
    archive.into_inner()?.finish()
}

/// The version of a packed chart; nothing when the file is no chart.
pub fn version_of(path: &Path) -> Option<Version> {
    let file = std::fs::File::open(path).ok()?;
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
    for entry in archive.entries().ok()? {
        let mut entry = entry.ok()?;
        if entry.path().ok()?.ends_with("Chart.yaml") {
            let mut text = String::new();
            entry.read_to_string(&mut text).ok()?;
            let chart: Value = serde_yaml::from_str(&text).ok()?;
            return Version::parse(chart["version"].as_str()?);
        }
    }
    None
}
