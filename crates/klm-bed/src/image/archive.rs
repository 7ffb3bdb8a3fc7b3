//! A layout as one tar stream, the form that `ctr images import` and `kind load image-archive` read.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;
use tar::{Builder, EntryType, Header};

use super::layout::{index, named};

/// Writes a finished layout. With `names`, its images get these instead of the ones that they were added with.
pub fn archive(layout: &Path, names: &[&str], to: impl Write) -> Result<()> {
    let unfinished = || format!("{} isn't a whole image layout", layout.display());
    let mut tar = Builder::new(to);
    // The index last: a reader that streams has seen every blob by then.
    let mut blobs = Vec::new();
    for entry in fs::read_dir(layout.join("blobs/sha256")).with_context(unfinished)? {
        blobs.push(format!("blobs/sha256/{}", entry?.file_name().to_string_lossy()));
    }
    blobs.sort();
    blobs.push("oci-layout".to_owned());
    for name in blobs {
        let source = File::open(layout.join(&name)).with_context(unfinished)?;
        let size = source.metadata()?.len();
        append(&mut tar, &name, size, source)?;
    }
    let mut content = fs::read(layout.join("index.json")).with_context(unfinished)?;
    if !names.is_empty() {
        content = serde_json::to_vec(&renamed(&serde_json::from_slice(&content)?, names))?;
    }
    append(&mut tar, "index.json", content.len() as u64, &content[..])?;
    tar.into_inner()?.flush()?;
    Ok(())
}

fn renamed(written: &Value, names: &[&str]) -> Value {
    let mut manifests: Vec<Value> = Vec::new();
    for entry in written["manifests"].as_array().into_iter().flatten() {
        let known = manifests.iter().any(|other| other["digest"] == entry["digest"]);
        if !known {
            manifests.extend(named(entry, names));
        }
    }
    index(&manifests)
}

fn append(tar: &mut Builder<impl Write>, name: &str, size: u64, content: impl Read) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_size(size);
    tar.append_data(&mut header, name, content)?;
    Ok(())
}
