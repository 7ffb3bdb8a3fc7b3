//! One layer: files, folders and links with their modes and owners, written as the same tar bytes every time.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tar::{Builder, EntryType, Header};

/// The files of one layer, by their absolute path in the image.
#[derive(Clone, Debug, Default)]
pub struct Layer {
    entries: BTreeMap<String, Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    content: Content,
    mode: u32,
    owner: u64,
}

#[derive(Clone, Debug)]
enum Content {
    Folder,
    File(PathBuf),
    Bytes(Vec<u8>),
    Link(String),
}

impl Layer {
    /// A layer with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// A file with the content of a file here. It is read when the layer is written.
    #[must_use]
    pub fn file(self, path: &str, source: impl Into<PathBuf>, mode: u32) -> Self {
        self.entry(path, Content::File(source.into()), mode)
    }

    /// A file with this content.
    #[must_use]
    pub fn bytes(self, path: &str, content: impl Into<Vec<u8>>, mode: u32) -> Self {
        self.entry(path, Content::Bytes(content.into()), mode)
    }

    /// A folder. Parents of files needn't be named; they get mode 0755.
    #[must_use]
    pub fn folder(self, path: &str, mode: u32) -> Self {
        self.entry(path, Content::Folder, mode)
    }

    /// A symbolic link.
    #[must_use]
    pub fn link(self, path: &str, target: &str) -> Self {
        self.entry(path, Content::Link(target.to_owned()), 0o777)
    }

    /// Makes this user, and the group of the same number, the owner of a path that was added before.
    #[must_use]
    pub fn owned_by(mut self, path: &str, owner: u64) -> Self {
        if let Some(entry) = self.entries.get_mut(relative(path)) {
            entry.owner = owner;
        }
        self
    }

    fn entry(mut self, path: &str, content: Content, mode: u32) -> Self {
        let path = relative(path);
        for (at, _) in path.match_indices('/') {
            self.entries.entry(path[..at].to_owned()).or_insert(Entry {
                content: Content::Folder,
                mode: 0o755,
                owner: 0,
            });
        }
        self.entries.insert(path.to_owned(), Entry { content, mode, owner: 0 });
        self
    }

    /// Writes the layer as a tar stream: sorted, without times, names of users or anything else of this machine.
    pub(super) fn write(&self, out: impl Write) -> Result<()> {
        let mut tar = Builder::new(out);
        for (path, entry) in &self.entries {
            write_entry(&mut tar, path, entry).with_context(|| format!("cannot put /{path} into the layer"))?;
        }
        tar.finish()?;
        Ok(())
    }
}

fn write_entry(tar: &mut Builder<impl Write>, path: &str, entry: &Entry) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_mode(entry.mode);
    header.set_uid(entry.owner);
    header.set_gid(entry.owner);
    header.set_mtime(0);
    header.set_size(0);
    match &entry.content {
        Content::Folder => {
            header.set_entry_type(EntryType::Directory);
            tar.append_data(&mut header, format!("{path}/"), std::io::empty())?;
        }
        Content::Link(target) => {
            header.set_entry_type(EntryType::Symlink);
            tar.append_link(&mut header, path, Path::new(target))?;
        }
        Content::Bytes(bytes) => append_file(tar, header, path, bytes.len() as u64, &bytes[..])?,
        Content::File(source) => {
            let file = File::open(source).with_context(|| format!("cannot open {}", source.display()))?;
            let size = file.metadata()?.len();
            append_file(tar, header, path, size, file)?;
        }
    }
    Ok(())
}

fn append_file(
    tar: &mut Builder<impl Write>,
    mut header: Header,
    path: &str,
    size: u64,
    content: impl Read,
) -> Result<()> {
    header.set_entry_type(EntryType::Regular);
    header.set_size(size);
    tar.append_data(&mut header, path, content)?;
    Ok(())
}

fn relative(path: &str) -> &str {
    path.trim_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(layer: &Layer) -> Vec<u8> {
        let mut bytes = Vec::new();
        layer.write(&mut bytes).unwrap();
        bytes
    }

    fn listed(layer: &Layer) -> Vec<String> {
        tar::Archive::new(&written(layer)[..])
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                let link = entry.link_name().unwrap();
                format!(
                    "{:?} {:o} {}:{} {}{}",
                    header.entry_type(),
                    header.mode().unwrap(),
                    header.uid().unwrap(),
                    header.gid().unwrap(),
                    entry.path().unwrap().display(),
                    link.map(|to| format!(" -> {}", to.display())).unwrap_or_default(),
                )
            })
            .collect()
    }

    #[test]
    fn parents_come_before_what_is_in_them() {
        let layer = Layer::new()
            .bytes("/usr/bin/tool", "x", 0o755)
            .link("/bin", "usr/bin")
            .folder("/tmp", 0o1777)
            .folder("/home/me", 0o700)
            .owned_by("/home/me", 65532);
        assert_eq!(
            listed(&layer),
            [
                "Symlink 777 0:0 bin -> usr/bin",
                "Directory 755 0:0 home/",
                "Directory 700 65532:65532 home/me/",
                "Directory 1777 0:0 tmp/",
                "Directory 755 0:0 usr/",
                "Directory 755 0:0 usr/bin/",
                "Regular 755 0:0 usr/bin/tool",
            ]
        );
    }

    #[test]
    fn the_order_of_adding_makes_no_difference() {
        let one = Layer::new().bytes("/a", "1", 0o644).bytes("/b", "2", 0o644);
        let two = Layer::new().bytes("/b", "2", 0o644).bytes("/a", "1", 0o644);
        assert_eq!(written(&one), written(&two));
    }

    #[test]
    fn a_source_that_is_not_there_is_named_with_its_place() {
        let layer = Layer::new().file("/bin/tool", "/no/such/tool", 0o755);
        let error = format!("{:#}", layer.write(std::io::sink()).unwrap_err());
        assert!(error.contains("/bin/tool") && error.contains("/no/such/tool"), "{error}");
    }
}
