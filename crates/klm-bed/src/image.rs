//! Container images without Docker: what is in one, and how a multi-platform set of them is written.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use klm_bed::image::{Image, Layer, Layout, Platform};
//! let layer = Layer::new().file("/bin/tool", "target/tool", 0o755);
//! let image = Image::new(Platform::linux("amd64")).layer(layer).entrypoint(["/bin/tool"]);
//! let mut layout = Layout::create("out/tool")?;
//! layout.add(&image, &["registry.example/tool:1"])?;
//! layout.finish()?;
//! # Ok(()) }
//! ```

mod archive;
mod layer;
mod layout;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub use archive::archive;
pub use layer::Layer;
pub use layout::{Compression, Layout};

use crate::parts::hex;

/// The kind of machine that an image runs on, in the words of the OCI specification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// `amd64`, `arm64`, `s390x`, `ppc64le`.
    pub architecture: String,
    /// Only `arm64` has one: `v8`.
    pub variant: Option<String>,
}

impl Platform {
    /// Linux on this architecture.
    pub fn linux(architecture: &str) -> Self {
        Self { architecture: architecture.to_owned(), variant: (architecture == "arm64").then(|| "v8".to_owned()) }
    }

    /// The machine that we run on.
    pub fn host() -> Self {
        Self::linux(match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "powerpc64" => "ppc64le",
            other => other,
        })
    }

    fn describe(&self) -> Value {
        let mut platform = json!({"architecture": self.architecture, "os": "linux"});
        if let Some(variant) = &self.variant {
            platform["variant"] = json!(variant);
        }
        platform
    }
}

/// One image for one platform.
#[derive(Clone, Debug)]
pub struct Image {
    platform: Platform,
    layers: Vec<Layer>,
    user: String,
    env: BTreeMap<String, String>,
    entrypoint: Vec<String>,
    command: Vec<String>,
    labels: BTreeMap<String, String>,
    created: String,
}

impl Image {
    /// An empty image.
    pub fn new(platform: Platform) -> Self {
        Self {
            platform,
            layers: Vec::new(),
            user: String::new(),
            env: BTreeMap::from([("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned())]),
            entrypoint: Vec::new(),
            command: Vec::new(),
            labels: BTreeMap::new(),
            // The same input makes the same image; the day of the build isn't input.
            created: "1970-01-01T00:00:00Z".to_owned(),
        }
    }

    /// Adds a layer on top.
    #[must_use]
    pub fn layer(mut self, layer: Layer) -> Self {
        self.layers.push(layer);
        self
    }

    /// The user that processes run as, `uid` or `uid:gid`.
    #[must_use]
    pub fn user(mut self, user: &str) -> Self {
        user.clone_into(&mut self.user);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The program that a container runs, with its fixed arguments.
    #[must_use]
    pub fn entrypoint<'a>(mut self, words: impl IntoIterator<Item = &'a str>) -> Self {
        self.entrypoint = words.into_iter().map(str::to_owned).collect();
        self
    }

    /// The arguments that a container's own arguments replace.
    #[must_use]
    pub fn command<'a>(mut self, words: impl IntoIterator<Item = &'a str>) -> Self {
        self.command = words.into_iter().map(str::to_owned).collect();
        self
    }

    /// Sets a label.
    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The time of creation that the image states, as RFC 3339 text.
    #[must_use]
    pub fn created(mut self, time: &str) -> Self {
        time.clone_into(&mut self.created);
        self
    }

    /// A hash over everything in the image and the names that it is to have.
    pub fn fingerprint(&self, names: &[&str]) -> Result<String> {
        let diff_ids: Vec<String> = self.layers.iter().map(layout::diff_id).collect::<Result<_>>()?;
        let all = serde_json::to_vec(&(self.config(&diff_ids), names))?;
        Ok(hex(&Sha256::digest(all)))
    }

    /// The configuration blob, given the hashes of the uncompressed layers.
    fn config(&self, diff_ids: &[String]) -> Value {
        let env: Vec<String> = self.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut run = json!({"Env": env});
        if !self.user.is_empty() {
            run["User"] = json!(self.user);
        }
        if !self.entrypoint.is_empty() {
            run["Entrypoint"] = json!(self.entrypoint);
        }
        if !self.command.is_empty() {
            run["Cmd"] = json!(self.command);
        }
        if !self.labels.is_empty() {
            run["Labels"] = json!(self.labels);
        }
        let mut config = self.platform.describe();
        config["created"] = json!(self.created);
        config["config"] = run;
        config["rootfs"] = json!({"type": "layers", "diff_ids": diff_ids});
        config
    }
}
