//! Verification pods: one per node, all at once, followed by one watch; logs, events and exit code go into the log.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, Pod};
use klm_core::contract::RUN_LABEL;
use klm_core::node::NodeFacts;
use klm_core::pod::PodFacts;
use klm_core::verification::{
    EventFacts, Failure, Placement, Template, Verdict, pod_name, refused, verdict, verification_pods,
};
use serde_json::Value;
use tokio::time::Instant;

use super::context::{Aim, Run};
use super::daemonset::{LOOK_EVERY, still};
use super::each::each;
use super::record;
use super::wave::{Turn, Wave};
use crate::cluster::{Dependents, Note, Only, Query, View};
use crate::wait::{Seen, Wait, poll};

/// Looks go on for this long after the pods' own limit, for the kubelet to say how they ended.
const GRACE: Duration = Duration::from_secs(30);

/// Of a pod's log.
const LOG_LINES: i64 = 40;

/// Annotation on a verification pod: the release that it verifies. Whoever has the release's lock may take it away.
const RELEASE: &str = "katacontainers.io/kata-lifecycle-manager-release";

/// One verification pod in flight.
struct Probe {
    node: NodeFacts,
    name: String,
}

/// The number in a pod's name: a node that goes back is verified again, by another pod.
const fn attempt(aim: Aim) -> u32 {
    match aim {
        Aim::Target => 0,
        Aim::Origin => 1,
    }
}

impl Run<'_> {
    /// Verifies the nodes that are on their way. Those that pass stay in `going`, still cordoned and unmarked, so that
    /// the caller settles them.
    pub async fn verify(&self, wave: &mut Wave, aim: Aim) -> anyhow::Result<()> {
        if wave.going.is_empty() {
            return Ok(());
        }
        let template = self.verification_pod()?;
        let began = Instant::now();
        let started =
            each(std::mem::take(&mut wave.going), async |node| self.start(node, &template, aim).await).await?;
        let mut probes = Vec::new();
        let mut turns = Vec::new();
        for result in started {
            match result {
                Ok(probe) => probes.push(probe),
                Err(turn) => turns.push(turn),
            }
        }
        wave.take_in(self, turns).await?;
        self.await_probes(wave, probes, began).await
    }

    /// Verifies the nodes that are on their way, and settles those that pass.
    pub async fn verify_at_target(&self, wave: &mut Wave) -> anyhow::Result<()> {
        self.verify(wave, Aim::Target).await?;
        wave.going.append(&mut wave.verified);
        self.complete(wave).await
    }

    async fn complete(&self, wave: &mut Wave) -> anyhow::Result<()> {
        let version = self.target.to_string();
        wave.turn(self, async |node| {
            let written = self.write(node, |node| record::complete(node, &self.id, &version)).await?;
            written
                .and(async |node| {
                    tracing::info!(node = %node.name, %version, "completed");
                    self.note(
                        &node,
                        Note::UpgradeCompleted,
                        &format!("kata-deploy {version} is installed and verified"),
                    )
                    .await;
                    Ok(Turn::On(Box::new(node)))
                })
                .await
        })
        .await?;
        wave.done.extend(wave.going.drain(..).map(|node| node.name));
        Ok(())
    }

    /// Creates a node's pod, or finds the one that an earlier try has created. On the way back every try installs anew:
    /// a pod of an earlier one proves nothing, and the next number is taken.
    async fn start(&self, node: NodeFacts, template: &Template, aim: Aim) -> anyhow::Result<Result<Probe, Turn>> {
        let namespace = &self.settings.verification_namespace;
        // Later than the step's own verdict: of a pod that the kubelet ended, nobody can tell any more what it waited for.
        let seconds = self.settings.verification_timeout + 3 * GRACE.as_secs();
        let mut number = attempt(aim);
        loop {
            let name = pod_name(&self.id, &node.name, number);
            let mut manifest =
                template.fill(&Placement { node: &node, name: &name, namespace, run: &self.id, seconds });
            manifest["metadata"]["annotations"][RELEASE] = self.release_name().into();
            match self.world.cluster.create_pod(namespace, &manifest).await {
                Ok(_) => {
                    tracing::info!(node = %node.name, pod = %format!("{namespace}/{name}"), "verifying");
                    return Ok(Ok(Probe { node, name }));
                }
                Err(error) if error.is_already_there() && aim == Aim::Target => return Ok(Ok(Probe { node, name })),
                Err(error) if error.is_already_there() => number += 1,
                Err(error) if error.is_refusal() => {
                    return Ok(Err(Turn::Fails(Box::new(node), refused(&error.reason()).to_string())));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn await_probes(&self, wave: &mut Wave, probes: Vec<Probe>, began: Instant) -> anyhow::Result<()> {
        let limit = Duration::from_secs(self.settings.verification_timeout);
        let wait =
            Wait { name: "the verification pods".to_owned(), every: LOOK_EVERY, deadline: began + limit + 2 * GRACE };
        let mut open = probes;
        let mut passed = Vec::new();
        let mut seen: BTreeMap<String, String> = BTreeMap::new();
        let mut pods = self.pods_of_run().await?;
        poll(self.world, &wait, async || {
            pods.follow().await?;
            let age = began.elapsed();
            if age >= limit + GRACE {
                // No node fails because of what a watch hasn't told.
                pods.list_again().await?;
            }
            let pods = pods.objects();
            let mut ended = Vec::new();
            for probe in std::mem::take(&mut open) {
                let pod = pods.get(&probe.name);
                match verdict(pod, &[], age, limit + GRACE) {
                    Verdict::Running(what) => {
                        seen.insert(probe.node.name.to_string(), what);
                        open.push(probe);
                    }
                    end => ended.push((probe, pod, end)),
                }
            }
            let turns = each(ended, async |(probe, pod, end)| self.conclude_probe(probe, pod, end, age, limit).await);
            let (mut well, badly): (Vec<_>, Vec<_>) =
                turns.await?.into_iter().partition(|turn| matches!(turn, Turn::On(_)));
            passed.append(&mut well);
            wave.take_in(self, badly).await?;
            let going = open.iter().map(|probe| &probe.node);
            Ok(if open.is_empty() { Seen::Done(()) } else { Seen::NotYet(still(going, &seen)) })
        })
        .await?
        .or_fail()?;
        wave.take_in(self, passed).await
    }

    /// Shows how a pod ended and takes it away.
    async fn conclude_probe(
        &self,
        probe: Probe,
        pod: Option<&PodFacts>,
        end: Verdict,
        age: Duration,
        limit: Duration,
    ) -> anyhow::Result<Turn> {
        let Probe { node, name } = probe;
        let namespace = self.settings.verification_namespace.as_str();
        let log = match pod {
            Some(pod) => self.log_of(pod).await,
            None => String::new(),
        };
        let turn = match end {
            Verdict::Passed => {
                tracing::info!(node = %node.name, pod = %name, "verification passed");
                show(&log, false);
                Turn::On(Box::new(node))
            }
            Verdict::Running(_) | Verdict::Failed(_) => {
                let events = self.events_of(namespace, &name).await;
                // With the events a pod that never started tells why.
                let failure = match verdict(pod, &events, age, limit) {
                    Verdict::Failed(failure) => failure,
                    _ => Failure { cause: klm_core::verification::Cause::Timeout, seen: String::new() },
                };
                tracing::error!(node = %node.name, pod = %name, cause = failure.cause.as_str(), "verification failed: {failure}");
                // A pod that never starts is tried again and again, with another id in each message.
                let last: BTreeMap<&str, &str> =
                    events.iter().map(|event| (event.reason.as_str(), event.message.as_str())).collect();
                for (reason, message) in last {
                    tracing::error!(pod = %name, %reason, "event: {message}");
                }
                show(&log, true);
                Turn::Fails(Box::new(node), format!("{failure} (hint: {})", failure.cause.remedy()))
            }
        };
        self.world.cluster.delete::<Pod>(Some(namespace), &name, Only::Whichever, Dependents::Background).await?;
        Ok(turn)
    }

    /// This run's verification pods.
    async fn pods_of_run(&self) -> anyhow::Result<View<Pod, PodFacts>> {
        let query = Query::labels(format!("{RUN_LABEL}={}", self.id.uid));
        let namespace = Some(self.settings.verification_namespace.as_str());
        Ok(View::of_pods(&self.world.cluster, namespace, query).await?)
    }

    /// Takes away what killed steps left: every verification pod of this release, of whichever run.
    pub async fn delete_verification_pods(&self) -> anyhow::Result<()> {
        let namespace = Some(self.settings.verification_namespace.as_str());
        let query = Query::labels(verification_pods());
        let release = self.release_name();
        let ours = |pod: PodFacts, manifest: Value| {
            let of = manifest.pointer("/metadata/annotations").and_then(|annotations| annotations[RELEASE].as_str());
            (of == Some(&release)).then_some((pod.name, pod.uid))
        };
        for (name, uid) in self.world.cluster.pods(namespace, &query, ours).await? {
            self.world.cluster.delete::<Pod>(namespace, &name, Only::Uid(&uid), Dependents::Background).await?;
        }
        Ok(())
    }

    /// The end of the log of the container that matters: the one that failed, else the first.
    async fn log_of(&self, pod: &PodFacts) -> String {
        use klm_core::pod::State;
        let failed = pod.containers.iter().find(|it| matches!(it.state, State::Terminated { code, .. } if code != 0));
        let started = |it: &&klm_core::pod::Container| !matches!(it.state, State::Unknown | State::Waiting { .. });
        match failed.or_else(|| pod.containers.iter().rev().find(started)) {
            Some(container) => self.world.cluster.log_tail(&pod.namespace, &pod.name, &container.name, LOG_LINES).await,
            None => String::new(),
        }
    }

    /// Warnings about a pod. They explain a verdict and never are one, so a failure to read them is left out.
    async fn events_of(&self, namespace: &str, pod: &str) -> Vec<EventFacts> {
        let query = Query::fields(format!("involvedObject.name={pod}"));
        let warning = |event: Event| {
            (event.type_.as_deref() == Some("Warning")).then(|| EventFacts {
                reason: event.reason.unwrap_or_default(),
                message: event.message.unwrap_or_default(),
            })
        };
        self.world.cluster.list(Some(namespace), &query, warning).await.unwrap_or_default()
    }
}

fn show(log: &str, failed: bool) {
    for line in log.lines() {
        if failed {
            tracing::error!("| {line}");
        } else {
            tracing::info!("| {line}");
        }
    }
}
