//! Recordings: what a demo showed, with times of our own, as a cast for asciinema and as a picture that moves.

mod cast;
mod film;
mod order;
mod svg;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::painter::Beat;

/// Writes `NAME.cast` and `NAME.svg`.
pub fn write(folder: &Path, name: &str, title: &str, beats: &[Beat]) -> Result<()> {
    let film = film::Film::of(title, &order::settled(beats));
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for (ending, text) in [("cast", cast::text(&film)), ("svg", svg::text(&film))] {
        let path = folder.join(format!("{name}.{ending}"));
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
