//! Packs the chart for one version: one tree of templates, values as that version had them.

mod files;
mod values;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use flate2::{Compression, GzBuilder};
use semver::Version;
use serde_json::Value;

pub use values::for_version as values;

/// The chart's name: kata-deploy's object names come from it.
pub const NAME: &str = "kata-deploy";

/// The versions that the stand-in is packed as, oldest first. 4.2.0 stands for "one after 4.1.0".
pub const VERSIONS: [Version; 7] = [
    Version::new(3, 27, 0),
    Version::new(3, 29, 0),
    Version::new(3, 31, 0),
    Version::new(3, 32, 0),
    Version::new(4, 0, 0),
    Version::new(4, 1, 0),
    Version::new(4, 2, 0),
];

/// The chart's files for `version`: path below the chart's folder, and content.
pub fn tree(version: &Version) -> Result<Vec<(String, String)>> {
    let mut files = vec![
        ("Chart.yaml".to_owned(), chart_yaml(version)?),
        ("values.yaml".to_owned(), serde_yaml::to_string(&values(version)?).context("writing values.yaml")?),
    ];
    files.extend(files::TEMPLATES.iter().map(|(name, text)| (format!("templates/{name}"), (*text).to_owned())));
    Ok(files)
}

/// Writes the chart of `version` as a folder `kata-deploy` in `out_dir`, for `helm template` and for people to read.
pub fn unpack(version: &Version, out_dir: &Path) -> Result<PathBuf> {
    let root = out_dir.join(NAME);
    for (name, text) in tree(version)? {
        let path = root.join(name);
        let folder = path.parent().unwrap_or(&root);
        std::fs::create_dir_all(folder).with_context(|| format!("creating `{}`", folder.display()))?;
        std::fs::write(&path, text).with_context(|| format!("writing `{}`", path.display()))?;
    }
    Ok(root)
}

/// Packs the chart of `version` as `kata-deploy-VERSION.tgz` in `out_dir`. The same version gives the same bytes, so that its digest is stable.
pub fn package(version: &Version, out_dir: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(out_dir).with_context(|| format!("creating `{}`", out_dir.display()))?;
    let path = out_dir.join(format!("{NAME}-{version}.tgz"));
    let file = std::fs::File::create(&path).with_context(|| format!("creating `{}`", path.display()))?;
    let mut archive = tar::Builder::new(GzBuilder::new().mtime(0).write(file, Compression::default()));
    for (name, text) in tree(version)? {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        archive
            .append_data(&mut header, format!("{NAME}/{name}"), text.as_bytes())
            .with_context(|| format!("packing `{name}` into `{}`", path.display()))?;
    }
    let packed = archive.into_inner().and_then(flate2::write::GzEncoder::finish);
    packed.with_context(|| format!("finishing `{}`", path.display()))?;
    Ok(path)
}

/// Packs every version into `out_dir`.
pub fn package_all(out_dir: &Path) -> Result<Vec<PathBuf>> {
    VERSIONS.iter().map(|version| package(version, out_dir)).collect()
}

fn chart_yaml(version: &Version) -> Result<String> {
    let mut chart: Value = serde_yaml::from_str(files::CHART).context("reading Chart.yaml")?;
    chart["version"] = version.to_string().into();
    chart["appVersion"] = version.to_string().into();
    serde_yaml::to_string(&chart).context("writing Chart.yaml")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn a_package_holds_the_chart_below_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = package(&Version::new(3, 31, 0), folder.path()).unwrap();
        assert_eq!(path.file_name().unwrap(), "kata-deploy-3.31.0.tgz");
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()));
        let mut chart = String::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            if entry.path().unwrap().as_ref() == Path::new("kata-deploy/Chart.yaml") {
                entry.read_to_string(&mut chart).unwrap();
            }
        }
        let chart: Value = serde_yaml::from_str(&chart).unwrap();
        assert_eq!(chart["name"], "kata-deploy");
        assert_eq!(chart["version"], "3.31.0");
        assert_eq!(chart["appVersion"], "3.31.0");
    }

    #[test]
    fn the_same_version_gives_the_same_bytes() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let bytes = |folder: &Path| std::fs::read(package(&Version::new(4, 1, 0), folder).unwrap()).unwrap();
        assert_eq!(bytes(one.path()), bytes(two.path()));
    }

    #[test]
    fn every_file_of_the_source_tree_is_packed() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("chart");
        let names = |folder: &str| {
            let mut names: Vec<String> = std::fs::read_dir(source.join(folder))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        assert_eq!(names("templates"), files::TEMPLATES.map(|(name, _)| name.to_owned()));
        assert_eq!(names("values"), files::VALUES.map(|(version, _)| format!("{version}.yaml")));
    }
}
