//! Draining a node: evict what may go, wait for what is going, give up at the deadline and say what is in the way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::node::v1::RuntimeClass;
use klm_core::drain::{self, Answer, Fate, Next, Rules};
use klm_core::node::NodeFacts;
use klm_core::pod::PodFacts;
use tokio::time::Instant;

use super::context::Run;
use super::daemonset::first_of;
use super::each::each;
use super::record;
use super::wave::{Turn, Wave};
use crate::cluster::{Cause, Query, View};
use crate::wait::{Seen, Wait, poll};

/// Time between two looks at a node's pods.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Pauses between two tries of one eviction while the API server is busy.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

/// What all drains of a wave have in common.
struct Shared {
    daemonsets: BTreeSet<(String, String)>,
    kata_classes: BTreeSet<String>,
}

/// One node on its way to being drained.
struct Draining {
    node: NodeFacts,
    pods: View<Pod, PodFacts>,
    /// Whether its pods have been looked at since they were listed.
    looked: bool,
    ends: Instant,
    progress: Progress,
}

/// What came of the evictions on a node so far.
#[derive(Default)]
struct Progress {
    refused: BTreeMap<String, (String, String)>,
    next_try: BTreeMap<String, Instant>,
    pauses: BTreeMap<String, Duration>,
    hopeless: Option<String>,
}

/// What one look makes of one node's drain.
enum Look {
    /// It goes on; what is in the way.
    Going(Box<Draining>, String),
    /// It is over.
    Over(Turn),
}

impl Run<'_> {
    /// Drains the wave's nodes, all at the same time however many they are: their deadlines run from now. A node that
    /// can't be drained fails; nothing on it was changed.
    pub async fn drain(&self, wave: &mut Wave) -> anyhow::Result<()> {
        let now = self.world.clock.now().to_string();
        wave.turn(self, async |node| self.write(node, |node| record::begin_drain(node, &self.id, &now)).await).await?;
        if wave.going.is_empty() {
            return Ok(());
        }
        let shared = self.shared().await?;
        let rules = self.rules(&shared)?;
        let mut open = each(std::mem::take(&mut wave.going), async |node| self.draining(node).await).await?;
        let longest = open.iter().map(|node| node.ends).max().unwrap_or_else(Instant::now);
        let name = format!("{} nodes to be drained", open.len());
        let wait = Wait { name, every: LOOK_EVERY, deadline: longest };
        let mut over = Vec::new();
        poll(self.world, &wait, async || {
            let mut waits_for = None;
            for look in each(std::mem::take(&mut open), async |node| self.look_at(node, &rules, &shared).await).await? {
                match look {
                    Look::Over(turn) => over.push(turn),
                    Look::Going(node, in_the_way) => {
                        waits_for.get_or_insert(in_the_way);
                        open.push(*node);
                    }
                }
            }
            Ok(match (open.first(), waits_for) {
                (Some(first), Some(why)) => Seen::NotYet(first_of(open.len(), &first.node.name, &why)),
                _ => Seen::Done(()),
            })
        })
        .await?
        .or_fail()?;
        wave.take_in(self, over).await
    }

    async fn shared(&self) -> anyhow::Result<Shared> {
        let all = Query::all();
        let daemonsets = self.world.cluster.list(None, &all, |it: DaemonSet| {
            Some((it.metadata.namespace.unwrap_or_default(), it.metadata.name.unwrap_or_default()))
        });
        let of_kata = Query::labels("app.kubernetes.io/managed-by=kata-deploy");
        let classes = self.world.cluster.list(None, &of_kata, |it: RuntimeClass| it.metadata.name);
        Ok(Shared {
            daemonsets: daemonsets.await?.into_iter().collect(),
            kata_classes: classes.await?.into_iter().collect(),
        })
    }

    fn rules<'a>(&'a self, shared: &'a Shared) -> anyhow::Result<Rules<'a>> {
        Ok(Rules {
            kata_only: self.settings.drain_scope == "kata",
            selector: self.settings.drain_pod_selector.parse().context("parameter `drain-pod-selector`")?,
            delete_empty_dir: self.settings.drain_delete_emptydir_data,
            force: self.settings.drain_force,
            kata_classes: &shared.kata_classes,
            workflow: (&self.id.namespace, &self.id.name),
            kata_namespace: &self.release.namespace,
        })
    }

    async fn draining(&self, node: NodeFacts) -> anyhow::Result<Draining> {
        let ends = Instant::now() + self.drain_time_left(&node);
        let query = Query::fields(format!("spec.nodeName={}", node.name));
        let pods = View::of_pods(&self.world.cluster, None, query).await?;
        Ok(Draining { node, pods, looked: false, ends, progress: Progress::default() })
    }

    async fn look_at(&self, mut draining: Draining, rules: &Rules<'_>, shared: &Shared) -> anyhow::Result<Look> {
        let follows = std::mem::replace(&mut draining.looked, true);
        if follows {
            draining.pods.follow().await?;
        }
        let (mut leaving, mut blocked) = sort(draining.pods.objects().values(), rules, shared);
        if follows && leaving.is_empty() {
            // A node is drained by what the server says now, not by what a watch hasn't told.
            draining.pods.list_again().await?;
            (leaving, blocked) = sort(draining.pods.objects().values(), rules, shared);
        }
        if !blocked.is_empty() {
            return Ok(draining.failed(&blocked.join("; ")));
        }
        if leaving.is_empty() {
            tracing::info!(node = %draining.node.name, "drained");
            return Ok(Look::Over(Turn::On(Box::new(draining.node))));
        }
        self.evict_due(&leaving, &mut draining.progress).await;
        let in_the_way = draining.progress.describe(leaving.iter().map(|(pod, _)| *pod));
        if let Some(why) = draining.progress.hopeless.take() {
            return Ok(draining.failed(&why));
        }
        if Instant::now() >= draining.ends {
            let after = klm_core::duration::format(Duration::from_secs(self.settings.drain_timeout));
            return Ok(draining.failed(&format!("not drained within {after}: {in_the_way}")));
        }
        Ok(Look::Going(Box::new(draining), in_the_way))
    }

    /// A drain that began before a restart has only the rest of its time.
    fn drain_time_left(&self, node: &NodeFacts) -> Duration {
        let timeout = Duration::from_secs(self.settings.drain_timeout);
        let started = record::ours(node, &self.id).ok().and_then(|journal| journal.drain_started);
        let started = started.and_then(|text| text.parse::<jiff::Timestamp>().ok());
        started.map_or(timeout, |started| {
            drain::time_left(started.as_second(), self.world.clock.now().as_second(), timeout)
        })
    }

    /// Asks for the eviction of every pod whose turn it is.
    async fn evict_due(&self, leaving: &[(&PodFacts, Fate)], progress: &mut Progress) {
        let now = Instant::now();
        let here = (&*self.world.here.namespace, &*self.world.here.pod);
        let due = leaving.iter().filter(|(pod, fate)| {
            let is_due = progress.next_try.get(&pod.uid).is_none_or(|at| *at <= now);
            *fate == Fate::Evict && is_due && (pod.namespace.as_str(), pod.name.as_str()) != here
        });
        let grace =
            u64::try_from(self.settings.drain_grace_period).ok().and_then(|seconds| i64::try_from(seconds).ok());
        let due: Vec<&PodFacts> = due.map(|(pod, _)| *pod).collect();
        let answers = each(due, async |pod| {
            Ok((pod, self.world.cluster.evict(&pod.namespace, &pod.name, &pod.uid, grace).await))
        });
        for (pod, answer) in answers.await.unwrap_or_default() {
            progress.take(pod, answer, now);
        }
    }
}

impl Draining {
    fn failed(self, why: &str) -> Look {
        Look::Over(Turn::Fails(Box::new(self.node), format!("drain failed: {why}")))
    }
}

impl Progress {
    fn take(&mut self, pod: &PodFacts, answer: Result<(), Cause>, now: Instant) {
        let next = match answer {
            Ok(()) => Next::Await,
            Err(cause) => drain::next(&reading(&cause), pod.deleting),
        };
        let pause = self.pauses.entry(pod.uid.clone()).or_insert(FIRST_PAUSE);
        let again = match next {
            Next::Blocked { after, why } => {
                if self.refused.insert(pod.uid.clone(), (pod.full_name(), why.clone())).is_none() {
                    tracing::warn!(pod = %pod.full_name(), %why, "eviction refused; trying again");
                }
                after
            }
            Next::Busy(after) => {
                let wait = after.unwrap_or(*pause);
                *pause = (*pause * 2).min(LONGEST_PAUSE);
                wait
            }
            Next::Never(why) => {
                self.hopeless = Some(format!("pod `{}` can't be evicted: {why}", pod.full_name()));
                return;
            }
            Next::Gone | Next::Await | Next::Look => {
                self.refused.remove(&pod.uid);
                LOOK_EVERY
            }
        };
        self.next_try.insert(pod.uid.clone(), now + again);
    }

    fn describe<'a>(&self, leaving: impl Iterator<Item = &'a PodFacts>) -> String {
        let is_refused = |pod: &&PodFacts| self.refused.contains_key(&pod.uid) && !pod.deleting;
        let (refused, going): (Vec<_>, Vec<_>) = leaving.partition(is_refused);
        let refused: Vec<_> = refused.iter().filter_map(|pod| self.refused.get(&pod.uid).cloned()).collect();
        drain::obstacles(&refused, &going)
    }
}

/// The pods that must leave, and why others keep the node from being drained at all.
fn sort<'a>(
    pods: impl Iterator<Item = &'a PodFacts>,
    rules: &Rules<'_>,
    shared: &Shared,
) -> (Vec<(&'a PodFacts, Fate)>, Vec<String>) {
    let mut leaving = Vec::new();
    let mut blocked = Vec::new();
    for pod in pods {
        let has_daemonset = pod.controller.as_ref().is_some_and(|owner| {
            owner.kind == "DaemonSet" && shared.daemonsets.contains(&(pod.namespace.clone(), owner.name.clone()))
        });
        match rules.fate(pod, has_daemonset) {
            Fate::Leave(_) => {}
            Fate::Block(why) => blocked.push(format!("pod `{}`: {why}", pod.full_name())),
            fate @ (Fate::Evict | Fate::Await) => leaving.push((pod, fate)),
        }
    }
    (leaving, blocked)
}

fn reading(cause: &Cause) -> Answer {
    match cause {
        Cause::Status(status) => {
            let details = status.details.as_ref();
            let retry_after = details.map_or(0, |details| details.retry_after_seconds);
            Answer {
                code: status.code,
                reason: status.reason.clone(),
                message: status.message.clone(),
                causes: details.iter().flat_map(|it| &it.causes).map(|cause| cause.reason.clone()).collect(),
                retry_after: (retry_after > 0).then_some(retry_after.into()),
            }
        }
        // Out of reach for a moment, like a busy server.
        Cause::Unreachable(why) => Answer { code: 503, message: why.clone(), ..Answer::default() },
        Cause::Malformed(why) => Answer { code: 400, message: why.clone(), ..Answer::default() },
    }
}
