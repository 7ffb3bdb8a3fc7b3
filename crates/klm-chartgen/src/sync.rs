//! Write, compare or print what [`crate::render`] returns. The only place that reads and writes files.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use similar::TextDiff;

use crate::{Files, Sources, render};

/// Documents that hold generated tables.
const DOCUMENTS: &[&str] = &["README.md"];

/// The repository that this crate was compiled in.
pub fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).unwrap_or(manifest).to_owned()
}

/// Reads everything that rendering needs.
pub fn read(root: &Path) -> Result<Sources> {
    let mut sources = Sources::default();
    let templates = root.join("templates");
    let mut folders = vec![templates.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(&templates)?.to_string_lossy().into_owned();
                sources.templates.insert(name, text(&path)?);
            }
        }
    }
    for document in DOCUMENTS {
        sources.documents.insert(document.into(), text(&root.join(document))?);
    }
    Ok(sources)
}

fn text(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| path.display().to_string())
}

/// Writes what is stale; returns the paths.
pub fn write(root: &Path) -> Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    for (path, wanted) in render(&read(root)?)? {
        let file = root.join(&path);
        if fs::read_to_string(&file).is_ok_and(|found| found == wanted) {
            continue;
        }
        fs::create_dir_all(file.parent().context("a path without a folder")?)?;
        fs::write(&file, wanted).with_context(|| file.display().to_string())?;
        written.push(path);
    }
    Ok(written)
}

/// The difference between what is there and what should be, as a person reads it; empty: none.
pub fn check(root: &Path) -> Result<String> {
    Ok(difference(root, &render(&read(root)?)?))
}

fn difference(root: &Path, files: &Files) -> String {
    let mut report = String::new();
    for (path, wanted) in files {
        let found = fs::read_to_string(root.join(path)).unwrap_or_default();
        if found != *wanted {
            let diff = TextDiff::from_lines(&found, wanted);
            let name = path.display().to_string();
            let _ = write!(report, "{}", diff.unified_diff().context_radius(2).header(&name, "as generated"));
        }
    }
    if !report.is_empty() {
        report.push_str("run: cargo chart write\n");
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_byte_shows_as_a_difference_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.yaml"), "one\ntwo\n").unwrap();
        let files = Files::from([("a.yaml".into(), "one\nTwo\n".into()), ("b.yaml".into(), "new\n".into())]);
        let report = difference(folder.path(), &files);
        assert!(report.contains("-two\n+Two\n") && report.contains("+new\n"), "{report}");
        assert!(report.ends_with("run: cargo chart write\n"), "{report}");
    }

    #[test]
    fn nothing_is_said_when_all_is_as_generated() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.yaml"), "one\n").unwrap();
        assert_eq!(difference(folder.path(), &Files::from([("a.yaml".into(), "one\n".into())])), "");
    }
}
