//! kata-deploy's second label. Charts from 4.1 on select it in every `RuntimeClass` from the first wave on, so nodes that
//! wait for their turn get it beforehand, or no new Kata pod could land on them until then.

use std::collections::BTreeSet;

use klm_core::contract::KATA_RUNTIME;
use klm_core::name::NodeName;
use klm_core::node::NodeFacts;
use klm_core::proof::marker;
use klm_core::release::Revision;
use klm_core::version::marks_nodes;

use super::context::{Aim, Run};
use super::each::each;
use crate::cluster::{ApiError, NodePatch, Query};
use crate::origin_store;

impl Run<'_> {
    /// Marks every node that serves Kata today. Which ones is recorded first, so that only these marks are taken off.
    pub async fn mark_waiting_nodes(&mut self) -> anyhow::Result<()> {
        if !marks_nodes(&self.target) || marks_nodes(&self.version(Aim::Origin)?) {
            return Ok(());
        }
        let label = marker(self.suffix());
        let query = Query::labels(format!("{KATA_RUNTIME}=true,!{label}"));
        let nodes = self.world.cluster.nodes(&query).await?;
        if nodes.is_empty() {
            return Ok(());
        }
        let names: BTreeSet<NodeName> =
            nodes.iter().map(|node| node.name.clone()).chain(self.origin.marked.iter().cloned()).collect();
        self.origin.marked = names.into_iter().collect();
        origin_store::write_origin(&self.world.cluster, &self.release, &self.origin).await?;
        tracing::info!(nodes = nodes.len(), %label, "marking nodes that serve Kata, so that they go on serving it meanwhile");
        self.label(nodes, |node| {
            // Installed in the meantime: kata-deploy's own word stands.
            (!node.labels.contains_key(&label)).then(|| set(&label, Some("true")))
        })
        .await
    }

    /// Takes our marks off again when the release is back at a chart that doesn't know them. Nodes that were upgraded
    /// keep theirs: there it is kata-deploy's own.
    pub async fn unmark_nodes(&mut self) -> anyhow::Result<()> {
        if self.origin.marked.is_empty() {
            return Ok(());
        }
        let history = self.history().await?;
        let live = history.last().map(Revision::chart_version);
        if live.is_none_or(|version| semver::Version::parse(version).is_ok_and(|version| marks_nodes(&version))) {
            return Ok(());
        }
        let label = marker(self.suffix());
        let target = self.target.to_string();
        let ours: BTreeSet<&NodeName> = self.origin.marked.iter().collect();
        let nodes = self.world.cluster.nodes(&Query::labels(format!("{label}=true"))).await?;
        let nodes: Vec<NodeFacts> = nodes.into_iter().filter(|node| ours.contains(&node.name)).collect();
        self.label(nodes, |node| (node.version.as_deref() != Some(&target)).then(|| set(&label, None))).await?;
        self.origin.marked.clear();
        if self.asked {
            self.record_asked().await?;
            // Meanwhile another run may have recorded an origin of its own.
            let stored = origin_store::read(&self.world.cluster, &self.release).await?;
            if stored.is_none_or(|stored| stored.origin.revision != self.origin.revision) {
                return Ok(());
            }
        }
        origin_store::write_origin(&self.world.cluster, &self.release, &self.origin).await
    }

    async fn label(
        &self,
        nodes: Vec<NodeFacts>,
        decide: impl Fn(&NodeFacts) -> Option<NodePatch>,
    ) -> anyhow::Result<()> {
        each(nodes, async |node| {
            let changed = self.world.cluster.change_node(node, |node| Ok::<_, ApiError>(decide(node)));
            changed.await.map(drop).map_err(Into::into)
        })
        .await
        .map(drop)
    }
}

fn set(label: &str, value: Option<&str>) -> NodePatch {
    let labels = [(label.to_owned(), value.map(str::to_owned))].into();
    NodePatch { labels, ..NodePatch::default() }
}
