//! The nodes that go one way together. A node that fails leaves the others; a node that is gone is no failure.

use klm_core::name::NodeName;
use klm_core::node::{NodeFacts, Readiness};
use klm_core::phase::NodePhase;
use klm_core::plan::PlannedNode;

use super::context::Run;
use super::each::each;
use super::record::{self, Untouchable};
use crate::cluster::{ApiError, Changed, NodePatch, Note};
use crate::exit::NodeFailure;

/// Where the nodes of a wave have got to.
#[derive(Clone, Debug, Default)]
pub struct Wave {
    /// Those that are still on their way.
    pub going: Vec<NodeFacts>,
    /// Those that failed, with reasons.
    pub failed: Vec<NodeFailure>,
    /// Those that arrived earlier.
    pub done: Vec<NodeName>,
    /// Whether the step that installs verifies as well, so that it may begin early.
    pub verified_here: bool,
    /// Those that were verified early, and are still to be settled.
    pub verified: Vec<NodeFacts>,
}

/// What one turn makes of one node.
#[derive(Clone, Debug)]
pub enum Turn {
    /// It goes on.
    On(Box<NodeFacts>),
    /// It fails: it is marked for the rollback.
    Fails(Box<NodeFacts>, String),
    /// It fails, and isn't ours to mark.
    Untouched(NodeName, String),
    /// There is no such node any more.
    Gone(NodeName),
}

/// A write that didn't happen.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The API server.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The node isn't ours to write on.
    #[error(transparent)]
    Untouchable(#[from] Untouchable),
}

impl Wave {
    /// The planned nodes as they are now: those in flight by one list, the others each by itself.
    pub async fn look(run: &Run<'_>, planned: &[PlannedNode]) -> anyhow::Result<Self> {
        let in_flight = run.unsettled().await?;
        let found = each(planned, async |planned| {
            let listed = in_flight.iter().find(|node| node.name == planned.0).cloned();
            Ok((planned, if listed.is_some() { listed } else { run.world.cluster.node(&planned.0).await? }))
        });
        let found = found.await?;
        let mut wave = Self::default();
        for (PlannedNode(name, uid, _), node) in found {
            let same = node.filter(|node| node.uid.starts_with(uid.as_str()) && !node.deleting);
            if let Some(node) = same {
                wave.sort_in(run, node);
            } else {
                tracing::warn!(node = %name, "the node is gone or another one by now; leaving it out");
            }
        }
        Ok(wave)
    }

    /// A node that this run has settled already isn't touched again.
    fn sort_in(&mut self, run: &Run<'_>, node: NodeFacts) {
        let of_this_run = node.labels.get(klm_core::contract::RUN_LABEL) == Some(&run.id.uid);
        let ours = record::ours(&node, &run.id);
        match (node.status, of_this_run && node.journal.is_none()) {
            (Some(NodePhase::Completed), true) => self.done.push(node.name),
            (Some(NodePhase::RolledBack), true) => {
                self.failed.push(NodeFailure::new(
                    &node.name,
                    NodePhase::RolledBack,
                    "this run has taken it back already",
                ));
            }
            (Some(NodePhase::RollingBack), _) if ours.is_ok() => {
                let reason = ours.ok().and_then(|journal| journal.reason).unwrap_or_default();
                self.failed.push(NodeFailure::new(&node.name, NodePhase::RollingBack, reason));
            }
            _ if node.ready != Readiness::Ready && ours.is_err() => {
                let phase = node.status.unwrap_or(NodePhase::Preparing);
                self.failed.push(NodeFailure::new(&node.name, phase, "the node is not ready, so it was not begun"));
            }
            _ => self.going.push(node),
        }
    }

    /// The nodes as they are now, by one list. Kubernetes answers a cordon with a taint: without this, the next write
    /// on each node would meet a node that has changed, and cost two requests more.
    pub async fn look_again(&mut self, run: &Run<'_>) -> anyhow::Result<()> {
        let found = run.unsettled().await?;
        for node in &mut self.going {
            // One that isn't there is for the next write to find out about.
            if let Some(now) = found.iter().find(|now| now.name == node.name && now.uid == node.uid) {
                node.clone_from(now);
            }
        }
        Ok(())
    }

    /// Takes every node that is still on its way through one turn, side by side.
    pub async fn turn(
        &mut self,
        run: &Run<'_>,
        turn: impl AsyncFn(NodeFacts) -> anyhow::Result<Turn>,
    ) -> anyhow::Result<()> {
        let turns = each(std::mem::take(&mut self.going), turn).await?;
        self.take_in(run, turns).await
    }

    /// Sorts the nodes by what became of them, and marks those that failed.
    pub async fn take_in(&mut self, run: &Run<'_>, turns: Vec<Turn>) -> anyhow::Result<()> {
        let marked = each(turns, async |turn| {
            Ok(match turn {
                Turn::Fails(node, reason) => {
                    let failure = NodeFailure::new(&node.name, node.status.unwrap_or(NodePhase::Preparing), &*reason);
                    tracing::error!(node = %failure.node, phase = %failure.phase, cause = %reason, "node failed");
                    run.mark_failed(*node, &reason).await?;
                    Err(Some(failure))
                }
                Turn::Untouched(name, reason) => {
                    tracing::error!(node = %name, cause = %reason, "node failed and is left alone");
                    Err(Some(NodeFailure::new(&name, NodePhase::Preparing, reason)))
                }
                Turn::Gone(name) => {
                    tracing::warn!(node = %name, "the node is gone; leaving it out");
                    Err(None)
                }
                Turn::On(node) => Ok(*node),
            })
        });
        for node in marked.await? {
            match node {
                Ok(node) => self.going.push(node),
                Err(failure) => self.failed.extend(failure),
            }
        }
        Ok(())
    }
}

impl Run<'_> {
    /// Writes on a node and says what that makes of it.
    pub async fn write(
        &self,
        node: NodeFacts,
        decide: impl FnMut(&NodeFacts) -> Result<Option<NodePatch>, Untouchable>,
    ) -> anyhow::Result<Turn> {
        let mut decide = decide;
        let name = node.name.clone();
        let mut opened = None;
        let decide = |node: &NodeFacts| {
            let patch = decide(node)?;
            opened = patch.as_ref().filter(|_| record::is_opened(node, &self.id)).map(|patch| patch.unschedulable);
            Ok::<_, WriteError>(patch)
        };
        match self.world.cluster.change_node(node, decide).await {
            Ok(Changed::Node(node)) => {
                if let Some(cordoned) = opened {
                    self.report_opened(&node, cordoned == Some(true)).await;
                }
                Ok(Turn::On(node))
            }
            Ok(Changed::Gone) => Ok(Turn::Gone(name)),
            Err(WriteError::Untouchable(why @ Untouchable::LabelLost)) => match self.world.cluster.node(&name).await? {
                Some(node) => Ok(Turn::Fails(Box::new(node), why.to_string())),
                None => Ok(Turn::Gone(name)),
            },
            Err(WriteError::Untouchable(why)) => Ok(Turn::Untouched(name, why.to_string())),
            Err(WriteError::Api(error)) => Err(error.into()),
        }
    }

    /// Says that somebody uncordoned a node that is being worked on, and what became of that.
    async fn report_opened(&self, node: &NodeFacts, cordoned: bool) {
        let then = if cordoned { "cordoned again, because it is about to change" } else { "left so" };
        let message = format!("somebody uncordoned the node while the run works on it: {then}");
        tracing::warn!(node = %node.name, "{message}");
        self.note(node, Note::Uncordoned, &message).await;
    }

    /// Marks a node for the rollback, with the reason.
    async fn mark_failed(&self, node: NodeFacts, reason: &str) -> anyhow::Result<()> {
        if let Turn::On(node) = self.write(node, |node| record::fail(node, &self.id, reason)).await? {
            self.note(&node, Note::RollbackStarted, reason).await;
        }
        Ok(())
    }

    /// Leaves an event on a node.
    pub async fn note(&self, node: &NodeFacts, what: Note, message: &str) {
        self.world.cluster.note(node, &self.id, what, message, self.world.clock.now()).await;
    }
}

impl Turn {
    /// The same with something done to a node that goes on.
    pub async fn and(self, next: impl AsyncFnOnce(NodeFacts) -> anyhow::Result<Self>) -> anyhow::Result<Self> {
        match self {
            Self::On(node) => next(*node).await,
            other => Ok(other),
        }
    }
}
