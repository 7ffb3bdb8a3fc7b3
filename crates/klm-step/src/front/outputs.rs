//! Output parameters for Argo: one file each.

use std::path::Path;

use anyhow::Context as _;

/// A folder of output parameters.
#[derive(Clone, Copy, Debug)]
pub struct Outputs<'a>(pub &'a Path);

impl Outputs<'_> {
    /// Writes one parameter.
    pub fn write(self, name: &str, text: &str) -> anyhow::Result<()> {
        let file = self.0.join(name);
        std::fs::create_dir_all(self.0)
            .and_then(|()| std::fs::write(&file, text))
            .with_context(|| format!("failed to write output `{name}` to `{}`", file.display()))
    }
}
