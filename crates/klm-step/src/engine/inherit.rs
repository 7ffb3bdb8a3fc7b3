//! What runs that are over left behind, and making it this run's own in order to settle it.

use std::collections::BTreeSet;

use klm_core::contract::{JOURNAL, RUN_LABEL, STATUS};
use klm_core::journal::RunId;
use klm_core::node::NodeFacts;
use klm_core::phase::NodePhase;
use klm_core::plan::{Mode, Plan};

use super::context::Run;
use super::record::{self, Claim};
use super::take_back::TakenBack;
use super::wave::Wave;
use crate::cluster::Query;
use crate::exit::{NodeFailure, StepError};

/// Why a run that begins takes a node back: the word by which a step that is started again knows what it had begun.
const FINISHING: &str = "an earlier run was taking it back";

/// Nodes that carry the record of a run that is over.
#[derive(Clone, Debug, Default)]
pub struct Left {
    /// The nodes.
    pub nodes: Vec<NodeFacts>,
    /// Their runs.
    pub runs: BTreeSet<RunId>,
    /// Nodes whose record can't be read.
    pub unreadable: Vec<String>,
}

impl Run<'_> {
    /// Everything of this release that other runs left unsettled. The lock is ours, so they are over.
    pub async fn left_by_others(&self) -> anyhow::Result<Left> {
        let words = NodePhase::ALL.into_iter().filter(|phase| !phase.is_settled()).map(NodePhase::as_str);
        let query = Query::labels(format!("{STATUS} in ({})", words.collect::<Vec<_>>().join(",")));
        let mut left = Left::default();
        for node in self.world.cluster.nodes(&query).await? {
            match &node.journal {
                Some(Err(_)) => left.unreadable.push(node.name.to_string()),
                Some(Ok(journal)) if journal.release == self.release_name() => {
                    left.runs.insert(journal.run.clone());
                    left.nodes.push(node);
                }
                Some(Ok(_)) => {}
                None => tracing::warn!(node = %node.name, "it has our status but no `{JOURNAL}`; leaving it alone"),
            }
        }
        Ok(left)
    }

    /// Makes nodes this run's own, on their way back.
    pub async fn adopt(&self, nodes: Vec<NodeFacts>, reason: &str) -> Result<Vec<NodeFacts>, StepError> {
        let release = self.release_name();
        let target = self.target.to_string();
        let mut wave = Wave { going: nodes, ..Wave::default() };
        wave.turn(self, async |node| {
            let source = node.version.clone();
            let (source, back_to) = (source.as_deref(), self.back_to());
            let claim = Claim { run: &self.id, release: &release, source, target: &target, back_to };
            self.write(node, |node| record::reopen(node, &claim, reason)).await
        })
        .await?;
        if wave.failed.is_empty() { Ok(wave.going) } else { Err(StepError::Stuck(wave.failed)) }
    }

    /// A rollback that an earlier run began is finished before this run begins: a node never goes on upwards from there.
    /// One that this run's own failure began isn't: a step that is started again must end as a failure.
    pub async fn finish_old_rollbacks(&mut self) -> Result<(), StepError> {
        let left = self.left_by_others().await?;
        let failed_here = |node: &NodeFacts| {
            let reason = record::ours(node, &self.id).ok().and_then(|journal| journal.reason);
            reason.is_some_and(|reason| !reason.starts_with(FINISHING))
        };
        let going_back = |node: &NodeFacts| node.status == Some(NodePhase::RollingBack) && !failed_here(node);
        let nodes: Vec<NodeFacts> = left.nodes.into_iter().filter(going_back).collect();
        if nodes.is_empty() {
            return Ok(());
        }
        tracing::warn!(nodes = nodes.len(), "finishing rollbacks that an earlier run began");
        let nodes = self.adopt(nodes, FINISHING).await?;
        let taken = self.take_back(nodes, FINISHING).await?;
        // They are this run's to upgrade now, and its label would say that it had settled them.
        for node in &taken.restored {
            self.forget(node.clone()).await?;
        }
        if taken.stuck.is_empty() { Ok(()) } else { Err(StepError::Stuck(taken.stuck)) }
    }

    async fn forget(&self, node: NodeFacts) -> anyhow::Result<()> {
        let forget = |node: &NodeFacts| {
            let ours = node.labels.get(RUN_LABEL) == Some(&self.id.uid) && node.journal.is_none();
            let labels = [(RUN_LABEL.to_owned(), None)].into();
            Ok(ours.then(|| crate::cluster::NodePatch { labels, ..Default::default() }))
        };
        self.write(node, forget).await.map(drop)
    }

    /// With `rollback-scope=wave`: the nodes of the failed nodes' waves that this run has completed, opened again.
    pub async fn reopen_waves(
        &self,
        plan: &Plan,
        item: usize,
        failed: &[NodeFacts],
    ) -> Result<Vec<NodeFacts>, StepError> {
        let mut reopened = Vec::new();
        for number in plan.waves_of_item(item) {
            let planned = plan.wave(number);
            if !planned.iter().any(|planned| failed.iter().any(|node| node.name == planned.0)) {
                continue;
            }
            let query = Query::labels(format!("{RUN_LABEL}={},{STATUS}={}", self.id.uid, NodePhase::Completed));
            let nodes = self.world.cluster.nodes(&query).await?;
            let of_wave = nodes.into_iter().filter(|node| planned.iter().any(|planned| planned.0 == node.name));
            reopened.extend(self.adopt(of_wave.collect(), "another node of its wave failed").await?);
        }
        Ok(reopened)
    }

    /// Takes nodes back and clears up, also when taking back ended with an error: lent values and marks needn't wait for
    /// whatever it was.
    pub async fn settle(&mut self, nodes: Vec<NodeFacts>, reason: &str) -> Result<TakenBack, StepError> {
        let taken = self.take_back(nodes, reason).await.map_err(StepError::from);
        if matches!(taken, Err(StepError::Stopped)) {
            return taken;
        }
        let cleared = self.clear_up().await;
        if let (Err(_), Err(error)) = (&taken, &cleared) {
            tracing::error!(cause = format!("{error:#}"), "nor can be cleared up what the run leaves");
        }
        let taken = taken?;
        cleared?;
        Ok(taken)
    }

    /// The nodes that go back where this run does, and those that are to go elsewhere.
    pub fn own(&self, nodes: Vec<NodeFacts>) -> (Vec<NodeFacts>, Vec<NodeFacts>) {
        let takes = |node: &NodeFacts| matches!(&node.journal, Some(Ok(journal)) if self.takes(journal));
        nodes.into_iter().partition(takes)
    }

    /// Gives back what isn't a node's: lent values, marks, verification pods.
    pub async fn clear_up(&mut self) -> anyhow::Result<()> {
        self.unlock().await?;
        if self.mode == Mode::Job {
            Box::pin(self.make_release_good()).await?;
        }
        self.restore_values().await?;
        self.unmark_nodes().await?;
        self.delete_verification_pods().await
    }
}

/// The reasons that stand on nodes, as failures of a run.
pub fn failures(nodes: &[NodeFacts], otherwise: &str) -> Vec<NodeFailure> {
    nodes
        .iter()
        .map(|node| {
            let reason = node.journal.as_ref().and_then(|journal| journal.as_ref().ok()?.reason.clone());
            let phase = node.status.unwrap_or(NodePhase::Preparing);
            NodeFailure::new(&node.name, phase, reason.unwrap_or_else(|| otherwise.to_owned()))
        })
        .collect()
}
