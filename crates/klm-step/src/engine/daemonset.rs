//! A wave in daemonset mode: the old pod is deleted, its `DaemonSet` brings the new one, and that proves the node.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Pod;
use klm_core::contract::{RUN_LABEL, STATUS};
use klm_core::name::NodeName;
use klm_core::node::{NodeFacts, Readiness};
use klm_core::phase::NodePhase;
use klm_core::proof::{self, DaemonSetFacts, Expected, KataPod, Proof};
use semver::Version;
use tokio::time::Instant;

use super::context::{Aim, Run};
use super::each::each;
use super::record;
use super::wave::{Turn, Wave};
use crate::cluster::{Dependents, LeanNode, Note, Only, Query, View};
use crate::observe;
use crate::wait::{Seen, Wait, Waited, poll};

/// Time between two looks at the controller.
const ASK_EVERY: Duration = Duration::from_secs(3);

/// Time between two looks at a wave, which cost no request: watches keep it up to date.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The controller needs a moment to see a new template; a pod that is deleted before would come back as it was.
const TEMPLATE_SEEN_WITHIN: Duration = Duration::from_secs(120);

impl Run<'_> {
    /// Deletes the nodes' pods and waits until the new ones are proven. The release is there already.
    pub async fn roll(&self, wave: &mut Wave, aim: Aim) -> anyhow::Result<()> {
        let daemonset = self.current_daemonset().await?;
        wave.look_again(self).await?;
        if aim == Aim::Origin {
            self.clear_way_back(wave, &daemonset.tolerations).await?;
        }
        let mut pods = self.kata_pods(&wave.going).await?;
        let by_node = by_node(&pods);
        wave.turn(self, async |node| {
            let own = by_node.get(node.name.as_str()).map_or(&[][..], Vec::as_slice);
            self.replace_pod(node, own, &daemonset, aim).await
        })
        .await?;
        let version = self.version(aim)?;
        self.await_pods(wave, &mut pods, &daemonset, &version, aim).await
    }

    /// kata-deploy's `DaemonSet`, once its controller has seen it as it is.
    async fn current_daemonset(&self) -> anyhow::Result<DaemonSetFacts> {
        let name = self.base_name();
        let wait = Wait::new(format!("the controller to see daemonset `{name}`"), ASK_EVERY, TEMPLATE_SEEN_WITHIN);
        let waited = poll(self.world, &wait, async || {
            let found = self.world.cluster.get::<DaemonSet>(Some(&self.release.namespace), &name).await?;
            let found = found.with_context(|| format!("there is no daemonset `{}/{name}`", self.release.namespace))?;
            let seen = found.status.as_ref().and_then(|status| status.observed_generation);
            Ok(if seen >= found.metadata.generation {
                Seen::Done(observe::daemonset(&found))
            } else {
                Seen::NotYet(format!("it has seen generation {seen:?} of {:?}", found.metadata.generation))
            })
        });
        let daemonset = waited.await?.or_fail()?;
        anyhow::ensure!(
            daemonset.on_delete,
            "daemonset `{}/{name}` isn't `OnDelete` any more: its pods restart by themselves, so no wave can be kept apart",
            self.release.namespace
        );
        Ok(daemonset)
    }

    /// Makes the node change, unless an earlier try has begun that already.
    async fn replace_pod(
        &self,
        node: NodeFacts,
        own: &[&KataPod],
        daemonset: &DaemonSetFacts,
        aim: Aim,
    ) -> anyhow::Result<Turn> {
        let journal = record::ours(&node, &self.id);
        let current: Vec<&&KataPod> = own.iter().filter(|pod| !pod.terminating && pod.owner == daemonset.uid).collect();
        let changed = journal.as_ref().is_ok_and(|journal| journal.changed);
        let is_new = |pod: &&&KataPod| {
            let old = journal.as_ref().ok().and_then(|journal| journal.old_pod.as_deref());
            changed && Some(pod.uid.as_str()) != old && pod.template_generation == daemonset.template_generation
        };
        if current.iter().any(is_new) {
            return self.write(node, |node| record::go_on(node, &self.id)).await;
        }
        let old = current.first().map(|pod| pod.uid.clone());
        let old = old.or_else(|| journal.ok().and_then(|journal| journal.old_pod));
        let written = self.write(node, |node| record::begin_change(node, &self.id, old.as_deref())).await?;
        written
            .and(async |node| {
                if aim == Aim::Target && !changed {
                    self.note(&node, Note::UpgradeStarted, &format!("moving kata-deploy to {}", self.target)).await;
                }
                for pod in current {
                    let namespace = Some(self.release.namespace.as_str());
                    self.world
                        .cluster
                        .delete::<Pod>(namespace, &pod.name, Only::Uid(&pod.uid), Dependents::Background)
                        .await?;
                    tracing::info!(node = %node.name, pod = %pod.name, "deleted the kata-deploy pod");
                }
                Ok(Turn::On(Box::new(node)))
            })
            .await
    }

    /// Waits for all of the wave together.
    async fn await_pods(
        &self,
        wave: &mut Wave,
        pods: &mut View<Pod, KataPod>,
        daemonset: &DaemonSetFacts,
        version: &Version,
        aim: Aim,
    ) -> anyhow::Result<()> {
        let expected = Expected { version, suffix: self.suffix() };
        let wait = Wait::new("the new kata-deploy pods", LOOK_EVERY, self.patience(aim));
        let mut arrived = Vec::new();
        let mut seen: BTreeMap<String, String> = BTreeMap::new();
        let mut nodes = self.nodes_in_flight(aim).await?;
        let waited = poll(self.world, &wait, async || {
            let mut changed = nodes.follow().await?;
            changed |= pods.follow().await?;
            if Instant::now() >= wait.deadline {
                // No node fails because of what a watch hasn't told.
                nodes.list_again().await?;
                pods.list_again().await?;
                changed = true;
            }
            if changed {
                self.refresh(wave, nodes.objects()).await?;
                let by_node = by_node(pods);
                let turns = std::mem::take(&mut wave.going).into_iter().filter_map(|node| {
                    let own = by_node.get(node.name.as_str()).map_or(&[][..], Vec::as_slice);
                    let old = record::ours(&node, &self.id).ok().and_then(|journal| journal.old_pod);
                    match ready(proof::daemonset(&expected, daemonset, old.as_deref(), &node, own), &node) {
                        Proof::Proven => {
                            arrived.push(node);
                            None
                        }
                        Proof::Waiting(why) | Proof::Again(why) => {
                            seen.insert(node.name.to_string(), why);
                            Some(Turn::On(Box::new(node)))
                        }
                        Proof::Failed(why) => Some(Turn::Fails(Box::new(node), why)),
                    }
                });
                let turns: Vec<Turn> = turns.collect();
                self.explain(&turns).await;
                wave.take_in(self, turns).await?;
                self.mark_proven(&mut arrived, wave, aim).await?;
            }
            Ok(if wave.going.is_empty() { Seen::Done(()) } else { Seen::NotYet(still(wave.going.iter(), &seen)) })
        });
        if let Waited::TimedOut(timed_out) = waited.await? {
            let after = klm_core::duration::format(timed_out.after);
            let late = |node: NodeFacts| {
                let last = seen.get(node.name.as_str()).map_or("nothing", String::as_str);
                let why = format!("the new kata-deploy pod is not proven after {after}: {last}");
                Turn::Fails(Box::new(node), why)
            };
            let turns: Vec<Turn> = std::mem::take(&mut wave.going).into_iter().map(late).collect();
            self.explain(&turns).await;
            wave.take_in(self, turns).await?;
        }
        wave.going = arrived;
        Ok(())
    }

    /// Says why, for every node whose install failed.
    pub(super) async fn explain(&self, turns: &[Turn]) {
        for turn in turns {
            if let Turn::Fails(node, _) = turn {
                self.explain_install(node).await;
            }
        }
    }

    /// The nodes that this run changes right now.
    pub(super) async fn nodes_in_flight(&self, aim: Aim) -> anyhow::Result<View<LeanNode, NodeFacts>> {
        let status = if aim == Aim::Target { NodePhase::Upgrading } else { NodePhase::RollingBack };
        let query = Query::labels(format!("{RUN_LABEL}={},{STATUS}={status}", self.id.uid));
        Ok(View::open(&self.world.cluster, None, query, |node| observe::node(&node)).await?)
    }

    /// The wave's nodes as they are now.
    pub(super) async fn refresh(&self, wave: &mut Wave, now: &BTreeMap<String, NodeFacts>) -> anyhow::Result<()> {
        let turns = each(std::mem::take(&mut wave.going), async |before| {
            if let Some(node) = now.get(before.name.as_str()).filter(|node| node.uid == before.uid) {
                return Ok(Turn::On(Box::new(node.clone())));
            }
            // Its labels are not ours to rely on: somebody may have taken them off.
            Ok(match self.world.cluster.node(&before.name).await?.filter(|node| node.uid == before.uid) {
                Some(node) => match record::ours(&node, &self.id) {
                    Ok(_) => Turn::On(Box::new(node)),
                    Err(why) => Turn::Untouched(node.name, why.to_string()),
                },
                None => Turn::Gone(before.name),
            })
        });
        wave.take_in(self, turns.await?).await
    }

    /// Says on each proven node that it is; a node on its way back is verified first.
    pub(super) async fn mark_proven(
        &self,
        arrived: &mut Vec<NodeFacts>,
        wave: &mut Wave,
        aim: Aim,
    ) -> anyhow::Result<()> {
        if aim == Aim::Origin {
            return Ok(());
        }
        let unmarked = arrived.extract_if(.., |node| node.status != Some(NodePhase::Verifying)).collect::<Vec<_>>();
        let mut marking = Wave { going: unmarked, ..Wave::default() };
        marking.turn(self, async |node| self.write(node, |node| record::proven(node, &self.id)).await).await?;
        for node in &marking.going {
            tracing::info!(node = %node.name, version = %self.target, "installed and proven");
        }
        arrived.append(&mut marking.going);
        wave.failed.append(&mut marking.failed);
        Ok(())
    }

    /// kata-deploy's pods. For one node the API server picks them; for more it can't, and they are listed once, all.
    async fn kata_pods(&self, nodes: &[NodeFacts]) -> anyhow::Result<View<Pod, KataPod>> {
        let query = Query::labels(format!("name={}", self.base_name()));
        let query = match nodes {
            [node] => query.and_fields(format!("spec.nodeName={}", node.name)),
            _ => query,
        };
        let namespace = Some(self.release.namespace.as_str());
        Ok(View::open(&self.world.cluster, namespace, query, |pod| observe::kata_pod(&pod)).await?)
    }
}

fn by_node(pods: &View<Pod, KataPod>) -> BTreeMap<&str, Vec<&KataPod>> {
    let mut by_node: BTreeMap<&str, Vec<&KataPod>> = BTreeMap::new();
    for pod in pods.objects().values() {
        by_node.entry(pod.node.as_str()).or_default().push(pod);
    }
    by_node
}

/// A node that isn't ready has arrived nowhere; a restarted container runtime makes it so for a moment.
pub(super) fn ready(proof: Proof, node: &NodeFacts) -> Proof {
    match proof {
        Proof::Proven if node.ready != Readiness::Ready => Proof::Waiting("the node is not ready".to_owned()),
        other => other,
    }
}

/// What a wave waits for, shortly: the first node's reason and how many there are.
pub(super) fn still<'a>(
    mut going: impl ExactSizeIterator<Item = &'a NodeFacts>,
    seen: &BTreeMap<String, String>,
) -> String {
    let count = going.len();
    let Some(first) = going.next() else { return String::new() };
    let why = seen.get(first.name.as_str()).map_or("not looked at yet", String::as_str);
    first_of(count, &first.name, why)
}

/// One of so many nodes and what it waits for.
pub(super) fn first_of(count: usize, name: &NodeName, why: &str) -> String {
    match count {
        1 => format!("node `{name}`: {why}"),
        many => format!("node `{name}`: {why}; and {} more", many - 1),
    }
}
