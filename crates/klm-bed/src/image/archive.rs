//! A layout as one tar file, the form that `ctr images import` and `kind load image-archive` read.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::Path;

use anyhow::{Context, Result};
use tar::{Builder, EntryType, Header};

/// Packs a finished layout into a file.
pub fn archive(layout: &Path, to: &Path) -> Result<()> {
    let file = File::create(to).with_context(|| format!("cannot create {}", to.display()))?;
    let mut tar = Builder::new(BufWriter::new(file));
    // The index last: a reader that streams has seen every blob by then.
    let mut names = Vec::new();
    for entry in fs::read_dir(layout.join("blobs/sha256"))? {
        names.push(format!("blobs/sha256/{}", entry?.file_name().to_string_lossy()));
    }
    names.sort();
    names.extend(["oci-layout".to_owned(), "index.json".to_owned()]);
    for name in names {
        let source = File::open(layout.join(&name))
            .with_context(|| format!("{} isn't a whole image layout", layout.display()))?;
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_size(source.metadata()?.len());
        tar.append_data(&mut header, &name, source)?;
    }
    tar.into_inner()?.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
    Ok(())
}
