//! Taking nodes back: the origin restored, proven and verified, each node given back as it was found. Nodes on which
//! nothing was changed are only given back.

use klm_core::contract::{CURRENT_VERSION, RUN_LABEL, STATUS};
use klm_core::journal::Journal;
use klm_core::node::NodeFacts;
use klm_core::phase::NodePhase;
use klm_core::plan::Mode;
use klm_core::version::label_value;

use super::context::{Aim, Run};
use super::record;
use super::release::Unmoved;
use super::wave::{Turn, Wave};
use crate::cluster::{LeanNode, Note, Query};
use crate::exit::NodeFailure;

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct TakenBack {
    /// Nodes that are as they were found.
    pub restored: Vec<NodeFacts>,
    /// Nodes that need a person.
    pub stuck: Vec<NodeFailure>,
}

impl TakenBack {
    /// Both together.
    pub fn add(&mut self, more: Self) {
        self.restored.extend(more.restored);
        self.stuck.extend(more.stuck);
    }
}

impl Run<'_> {
    /// Takes these nodes back, whatever they were in the middle of. They carry this run's record.
    pub async fn take_back(&mut self, nodes: Vec<NodeFacts>, reason: &str) -> anyhow::Result<TakenBack> {
        let mut wave = Wave { going: nodes, ..Wave::default() };
        wave.turn(self, async |node| self.turn_round(node, reason).await).await?;
        let is_changed = |node: &NodeFacts| record::ours(node, &self.id).is_ok_and(|journal| journal.changed);
        let (changed, untouched): (Vec<_>, Vec<_>) = std::mem::take(&mut wave.going).into_iter().partition(is_changed);
        let mut taken = TakenBack { stuck: wave.take_failures(), ..TakenBack::default() };
        taken.restored = self.give_back(untouched).await?;
        let mut changed = Wave { going: changed, ..Wave::default() };
        self.release_back(&mut changed).await?;
        if changed.going.is_empty() {
            taken.stuck.extend(self.leave_stuck(changed).await?);
            return Ok(taken);
        }
        match self.mode {
            Mode::Daemonset => self.roll(&mut changed, Aim::Origin).await?,
            Mode::Job => self.dispatch(&mut changed, Aim::Origin, "failed nodes of a wave").await?,
        }
        self.verify(&mut changed, Aim::Origin).await?;
        taken.restored.extend(self.restore(&mut changed).await?);
        taken.stuck.extend(self.leave_stuck(changed).await?);
        Ok(taken)
    }

    /// Nodes that carry this run's record: in flight, or failed.
    pub async fn unsettled(&self) -> anyhow::Result<Vec<NodeFacts>> {
        let words = NodePhase::ALL.into_iter().filter(|phase| !phase.is_settled()).map(NodePhase::as_str);
        let query = format!("{RUN_LABEL}={},{STATUS} in ({})", self.id.uid, words.collect::<Vec<_>>().join(","));
        let nodes = self.world.cluster.nodes(&Query::labels(query)).await?;
        let ours = |node: &NodeFacts| record::ours(node, &self.id).is_ok_and(|journal| self.takes(&journal));
        Ok(nodes.into_iter().filter(ours).collect())
    }

    /// Whether a node with this record goes back where this run goes back to.
    pub fn takes(&self, journal: &Journal) -> bool {
        journal.back_to.as_deref() == self.back_to()
    }

    /// How many nodes are verified at the target, by this run or an earlier one on the same way.
    pub async fn completed(&self) -> anyhow::Result<usize> {
        let version = label_value(&self.target.to_string());
        let query = Query::labels(format!("{STATUS}={},{CURRENT_VERSION}={version}", NodePhase::Completed));
        Ok(self.world.cluster.list(None, &query, |_: LeanNode| Some(())).await?.len())
    }

    async fn turn_round(&self, node: NodeFacts, reason: &str) -> anyhow::Result<Turn> {
        let before = node.status;
        let written = self.write(node, |node| record::fail(node, &self.id, reason)).await?;
        written
            .and(async |node| {
                if before != Some(NodePhase::RollingBack) {
                    self.note(&node, Note::RollbackStarted, reason).await;
                }
                Ok(Turn::On(Box::new(node)))
            })
            .await
    }

    /// The release goes back when a node must be changed by it, and also when nothing of the run is worth keeping.
    async fn release_back(&mut self, changed: &mut Wave) -> anyhow::Result<()> {
        if changed.going.is_empty() && (self.mode == Mode::Job || self.completed().await? > 0) {
            return Ok(());
        }
        Box::pin(self.choose_values()).await?;
        if self.mode == Mode::Job {
            return Ok(());
        }
        if let Err(Unmoved(why)) = self.release_to_origin().await? {
            if changed.going.is_empty() {
                tracing::warn!(cause = %why, "the release stays where it is; no node depends on it");
            }
            changed.fail_all(self, &why).await?;
        }
        Ok(())
    }

    async fn give_back(&self, nodes: Vec<NodeFacts>) -> anyhow::Result<Vec<NodeFacts>> {
        let mut wave = Wave { going: nodes, ..Wave::default() };
        wave.turn(self, async |node| {
            let written = self.write(node, |node| record::give_back(node, &self.id)).await?;
            written
                .and(async |node| {
                    tracing::info!(node = %node.name, "given back untouched");
                    self.note(&node, Note::RolledBack, "nothing was changed; the node is as it was").await;
                    Ok(Turn::On(Box::new(node)))
                })
                .await
        })
        .await?;
        Ok(wave.going)
    }

    async fn restore(&self, wave: &mut Wave) -> anyhow::Result<Vec<NodeFacts>> {
        let version = self.origin.chart_version.as_str();
        wave.turn(self, async |node| {
            let written = self.write(node, |node| record::restore(node, &self.id, version)).await?;
            written
                .and(async |node| {
                    tracing::info!(node = %node.name, %version, "rolled back");
                    self.note(&node, Note::RolledBack, &format!("kata-deploy {version} is restored and verified"))
                        .await;
                    Ok(Turn::On(Box::new(node)))
                })
                .await
        })
        .await?;
        Ok(std::mem::take(&mut wave.going))
    }

    /// Says on each node why its rollback failed. It stays cordoned: nothing may land on it.
    async fn leave_stuck(&self, wave: Wave) -> anyhow::Result<Vec<NodeFailure>> {
        for failure in &wave.failed {
            let name = klm_core::name::NodeName::try_from(failure.node.as_str())?;
            let Some(node) = self.world.cluster.node(&name).await? else { continue };
            let written = self.write(node, |node| record::stuck(node, &self.id, &failure.cause)).await?;
            if let Turn::On(node) = written {
                self.note(&node, Note::RollbackStuck, &failure.cause).await;
            }
        }
        Ok(wave.failed)
    }
}
