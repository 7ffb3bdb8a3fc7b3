//! Built programs of the image, kept in the cache under the hash of what they are made of: building all takes half an hour.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use super::Arch;
use crate::parts::hex;
use crate::paths;

/// What a program is made of: texts such as a compiler's version, and files or whole folders of the repository.
pub struct Ingredients<'a> {
    /// Texts.
    pub texts: &'a [String],
    /// Paths, relative to the repository.
    pub paths: &'a [&'a str],
}

/// The program's path in the cache; `build` makes it at the path that it is given, unless it is there.
pub fn program(
    name: &str,
    arch: Arch,
    ingredients: &Ingredients<'_>,
    build: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let folder = paths::cache().join("image-programs");
    let title = format!("{name}-{}-", arch.as_str());
    let before = hash(&paths::workspace(), ingredients)?;
    let path = folder.join(format!("{title}{}", &before[..12]));
    if !path.is_file() {
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let scratch = tempfile::tempdir_in(&folder)?;
        let fresh = scratch.path().join(name);
        build(&fresh)?;
        if hash(&paths::workspace(), ingredients)? != before {
            bail!("the sources changed while {name} was built\nhint: build it again");
        }
        remove_all(&folder, &title);
        fs::rename(&fresh, &path).with_context(|| format!("cannot keep {}", path.display()))?;
    }
    Ok(path)
}

/// Those that were made of something else.
fn remove_all(folder: &Path, title: &str) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(title) {
            // One that can't be removed costs space only.
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn hash(root: &Path, ingredients: &Ingredients<'_>) -> Result<String> {
    let mut hash = Sha256::new();
    // Lengths keep one text's end apart from the next one's beginning.
    let mut add = |bytes: &[u8]| {
        hash.update(bytes.len().to_le_bytes());
        hash.update(bytes);
    };
    ingredients.texts.iter().for_each(|text| add(text.as_bytes()));
    for path in ingredients.paths {
        for file in files(&root.join(path))? {
            let relative = file.strip_prefix(root).unwrap_or(&file);
            add(relative.as_os_str().as_encoded_bytes());
            add(&fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?);
        }
    }
    Ok(hex(&hash.finalize()))
}

/// The file, or all files below the folder, in an order that is always the same.
fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut entries: Vec<PathBuf> = fs::read_dir(path)
        .with_context(|| format!("cannot read {}", path.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    entries.sort();
    Ok(entries.iter().map(|entry| files(entry)).collect::<Result<Vec<_>>>()?.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_goes_into_a_program_changes_its_hash() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            fs::create_dir_all(root.path().join(path).parent().unwrap()).unwrap();
            fs::write(root.path().join(path), text).unwrap();
        };
        write("lock", "1");
        write("src/a/b.rs", "x");
        let hash = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
            hash(root.path(), &Ingredients { texts: &texts, paths: &["lock", "src"] }).unwrap()
        };
        let mut seen = vec![hash(&["rustc 1"])];
        assert_eq!(hash(&["rustc 1"]), seen[0]);
        seen.push(hash(&["rustc 2"]));
        write("src/a/b.rs", "y");
        seen.push(hash(&["rustc 1"]));
        write("src/a/c.rs", "");
        seen.push(hash(&["rustc 1"]));
        write("lock", "2");
        seen.push(hash(&["rustc 1"]));
        let count = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), count);
    }
}
