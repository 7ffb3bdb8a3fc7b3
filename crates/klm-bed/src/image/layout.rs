//! An OCI image layout in a folder: blobs by their hash, and an index that names the images.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::GzBuilder;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Image, Layer};
use crate::parts::hex;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// How layers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// As they are: quickest to write and to import on the same machine.
    None,
    /// As registries expect them.
    Gzip,
}

/// A layout that is being written.
#[derive(Debug)]
pub struct Layout {
    folder: PathBuf,
    compression: Compression,
    manifests: Vec<Value>,
}

impl Layout {
    /// Starts a layout in a folder of its own, with uncompressed layers.
    pub fn create(folder: impl Into<PathBuf>) -> Result<Self> {
        let folder = folder.into();
        fs::create_dir_all(folder.join("blobs/sha256"))
            .with_context(|| format!("cannot create an image layout in {}", folder.display()))?;
        Ok(Self { folder, compression: Compression::None, manifests: Vec::new() })
    }

    /// How layers that are added from now on are stored.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// Adds an image under each of these full names and returns the digest of its manifest.
    pub fn add(&mut self, image: &Image, names: &[&str]) -> Result<String> {
        let descriptor = self.manifest(image)?;
        Ok(self.name(&descriptor, names))
    }

    /// Adds a set of images for different platforms under each of these names and returns the digest of their index.
    pub fn add_platforms(&mut self, images: &[Image], names: &[&str]) -> Result<String> {
        let mut manifests = Vec::new();
        for image in images {
            let mut descriptor = self.manifest(image)?;
            descriptor["platform"] = image.platform.describe();
            manifests.push(descriptor);
        }
        let index = index(&manifests);
        let descriptor = self.json_blob(INDEX, &index)?;
        Ok(self.name(&descriptor, names))
    }

    /// Writes the index: the layout is whole now.
    pub fn finish(self) -> Result<()> {
        let index = index(&self.manifests);
        fs::write(self.folder.join("index.json"), serde_json::to_vec(&index)?)?;
        fs::write(self.folder.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        Ok(())
    }

    fn name(&mut self, descriptor: &Value, names: &[&str]) -> String {
        self.manifests.extend(named(descriptor, names));
        descriptor["digest"].as_str().unwrap_or_default().to_owned()
    }

    fn manifest(&self, image: &Image) -> Result<Value> {
        let mut layers = Vec::new();
        let mut diff_ids = Vec::new();
        for layer in &image.layers {
            let (descriptor, diff_id) = self.layer_blob(layer)?;
            layers.push(descriptor);
            diff_ids.push(diff_id);
        }
        let config = self.json_blob(CONFIG, &image.config(&diff_ids))?;
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers,
        });
        self.json_blob(MANIFEST, &manifest)
    }

    fn json_blob(&self, media_type: &str, value: &Value) -> Result<Value> {
        let bytes = serde_json::to_vec(value)?;
        let digest = hex(&Sha256::digest(&bytes));
        fs::write(self.blob(&digest), &bytes)?;
        Ok(described(media_type, &digest, bytes.len() as u64))
    }

    /// Writes a layer; returns its descriptor and the hash of its uncompressed bytes.
    fn layer_blob(&self, layer: &Layer) -> Result<(Value, String)> {
        let scratch = tempfile::NamedTempFile::new_in(&self.folder)?;
        let out = Hashing::new(BufWriter::new(scratch.as_file().try_clone()?));
        let (stored, diff_id, media_type) = match self.compression {
            Compression::None => {
                let stored = write_through(layer, out)?;
                let diff_id = stored.digest();
                (stored, diff_id, LAYER.to_owned())
            }
            Compression::Gzip => {
                // No time and no name in the header, so that the same layer has the same bytes.
                let gzip: GzEncoder<_> = GzBuilder::new().mtime(0).write(out, flate2::Compression::default());
                let plain = write_through(layer, Hashing::new(gzip))?;
                let diff_id = plain.digest();
                (plain.into.finish()?, diff_id, format!("{LAYER}+gzip"))
            }
        };
        let (digest, size) = (stored.digest(), stored.written);
        stored.into.into_inner().map_err(io::IntoInnerError::into_error)?;
        persist(scratch, &self.blob(&digest))?;
        Ok((described(&media_type, &digest, size), format!("sha256:{diff_id}")))
    }

    fn blob(&self, digest: &str) -> PathBuf {
        self.folder.join("blobs/sha256").join(digest)
    }
}

/// One entry of an index for each name; without names, one that has none.
pub(super) fn named(descriptor: &Value, names: &[&str]) -> Vec<Value> {
    if names.is_empty() {
        return vec![descriptor.clone()];
    }
    names
        .iter()
        .map(|name| {
            let mut entry = descriptor.clone();
            // containerd reads the full name from its own annotation; other tools read the tag from the standard one.
            let tag = name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
            entry["annotations"] = json!({
                "io.containerd.image.name": name,
                "org.opencontainers.image.ref.name": tag,
            });
            entry
        })
        .collect()
}

/// The index of a layout.
pub(super) fn index(manifests: &[Value]) -> Value {
    json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests})
}

fn write_through<W: Write>(layer: &Layer, mut out: Hashing<W>) -> Result<Hashing<W>> {
    layer.write(&mut out)?;
    Ok(out)
}

// A temporary file is private to its owner; a published blob isn't.
fn persist(scratch: tempfile::NamedTempFile, path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let file: File = scratch.persist(path).with_context(|| format!("cannot write {}", path.display()))?;
    file.set_permissions(fs::Permissions::from_mode(0o644))?;
    Ok(())
}

fn described(media_type: &str, digest: &str, size: u64) -> Value {
    json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": size})
}

/// The hash of the layer's uncompressed bytes, without writing them anywhere.
pub(super) fn diff_id(layer: &Layer) -> Result<String> {
    Ok(format!("sha256:{}", write_through(layer, Hashing::new(io::sink()))?.digest()))
}

/// Passes bytes on and remembers their hash and number.
struct Hashing<W> {
    into: W,
    hash: Sha256,
    written: u64,
}

impl<W> Hashing<W> {
    fn new(into: W) -> Self {
        Self { into, hash: Sha256::new(), written: 0 }
    }

    fn digest(&self) -> String {
        hex(&self.hash.clone().finalize())
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.into.write(bytes)?;
        self.hash.update(&bytes[..count]);
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.into.flush()
    }
}
