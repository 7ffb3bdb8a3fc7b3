//! The ground truth: what really happened on a node, in annotations that only tests read.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use serde_json::json;

use crate::names::TRUTH_PREFIX;

/// Which of kata-deploy's two ways was at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A pod of the `DaemonSet`.
    Daemonset,
    /// A per-node Job.
    Job,
}

impl Mode {
    /// The word for it in annotations and values.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Daemonset => "daemonset",
            Self::Job => "job",
        }
    }
}

/// What happened on a node so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Truth {
    /// The tag (or digest) of the image that installed last; none when nothing is installed.
    pub installed_version: Option<String>,
    /// How many installations ended well.
    pub install_count: u32,
    /// How often Kata was taken off the node.
    pub uninstall_count: u32,
    /// The UID of the pod that did the last of these.
    pub last_actor: Option<String>,
    /// `daemonset` or `job`.
    pub last_mode: Option<String>,
}

/// What a pod did to its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It installed its version.
    Installed,
    /// It took Kata away.
    Uninstalled,
}

impl Truth {
    /// What the node's annotations say.
    pub fn of(node: &Node) -> Self {
        let annotations = node.annotations();
        let text = |name| annotations.get(&annotation(name)).cloned();
        let count = |name| text(name).and_then(|count| count.parse().ok()).unwrap_or(0);
        Self {
            installed_version: text("installed-version"),
            install_count: count("install-count"),
            uninstall_count: count("uninstall-count"),
            last_actor: text("last-actor"),
            last_mode: text("last-mode"),
        }
    }

    /// The truth after `event`.
    #[must_use]
    pub fn after(&self, event: Event, version: &str, actor: &str, mode: Mode) -> Self {
        let installed = event == Event::Installed;
        Self {
            installed_version: installed.then(|| version.to_owned()),
            install_count: self.install_count + u32::from(installed),
            uninstall_count: self.uninstall_count + u32::from(!installed),
            last_actor: Some(actor.to_owned()),
            last_mode: Some(mode.as_str().to_owned()),
        }
    }

    fn annotations(&self) -> BTreeMap<String, Option<String>> {
        let Self { installed_version, install_count, uninstall_count, last_actor, last_mode } = self.clone();
        [
            ("installed-version", installed_version),
            ("install-count", Some(install_count.to_string())),
            ("uninstall-count", Some(uninstall_count.to_string())),
            ("last-actor", last_actor),
            ("last-mode", last_mode),
        ]
        .into_iter()
        .map(|(name, value)| (annotation(name), value))
        .collect()
    }
}

/// The full name of one of our annotations.
pub fn annotation(name: &str) -> String {
    format!("{TRUTH_PREFIX}/{name}")
}

/// Reads the truth about a node.
pub async fn read(client: &Client, node: &str) -> Result<Truth> {
    let node = Api::<Node>::all(client.clone()).get(node).await;
    Ok(Truth::of(&node.context("reading a node's ground truth")?))
}

/// Reads the truth about every node, by name.
pub async fn read_all(client: &Client) -> Result<BTreeMap<String, Truth>> {
    let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await?;
    Ok(nodes.iter().map(|node| (node.name_any(), Truth::of(node))).collect())
}

/// Changes the truth. Counts must not be lost, so a write on a node that changed meanwhile is done again.
pub async fn change(client: &Client, node: &str, change: impl Fn(&Truth) -> Truth) -> Result<()> {
    let nodes = Api::<Node>::all(client.clone());
    for _ in 0..50 {
        let seen = nodes.get(node).await.with_context(|| format!("reading node `{node}`"))?;
        let patch = json!({"metadata": {
            "resourceVersion": seen.metadata.resource_version,
            "annotations": change(&Truth::of(&seen)).annotations(),
        }});
        match nodes.patch(node, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_) => return Ok(()),
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(error).with_context(|| format!("recording the truth on node `{node}`")),
        }
    }
    bail!("node `{node}` changed each of the 50 times that its truth was written")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_installation_and_a_removal_are_counted_apart() {
        let first = Truth::default().after(Event::Installed, "3.31.0", "pod-1", Mode::Daemonset);
        let second = first.after(Event::Installed, "4.0.0", "pod-2", Mode::Job);
        assert_eq!(
            second,
            Truth {
                installed_version: Some("4.0.0".to_owned()),
                install_count: 2,
                uninstall_count: 0,
                last_actor: Some("pod-2".to_owned()),
                last_mode: Some("job".to_owned()),
            }
        );
        let gone = second.after(Event::Uninstalled, "4.1.0", "pod-3", Mode::Job);
        assert_eq!((gone.installed_version, gone.install_count, gone.uninstall_count), (None, 2, 1));
    }

    #[test]
    fn the_truth_reads_back_from_a_node() {
        let truth = Truth::default().after(Event::Installed, "3.31.0", "pod-1", Mode::Daemonset);
        let mut node = Node::default();
        node.metadata.annotations =
            Some(truth.annotations().into_iter().filter_map(|(name, value)| Some((name, value?))).collect());
        assert_eq!(Truth::of(&node), truth);
        assert_eq!(Truth::of(&Node::default()), Truth::default());
    }
}
