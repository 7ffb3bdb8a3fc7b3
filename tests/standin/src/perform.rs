//! Plays a pod's acts against the API server, for a real pod or in the name of a simulated one.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::api::{Api, DeleteParams};
use tracing::info;

use crate::injection::Pace;
use crate::node;
use crate::profile::{LabelWrite, Profile};
use crate::script::Act;
use crate::truth::{self, Mode};

/// How often a label has to be seen before upstream believes that it stays.
pub const STABLE_READS: u32 = 6;

/// In whose name acts are played.
#[derive(Clone)]
pub struct Actor {
    /// The way to the API server.
    pub client: Client,
    /// The pod's node.
    pub node: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's UID.
    pub uid: String,
    /// The suffix of its installation.
    pub suffix: String,
    /// What tests read as its version.
    pub version: String,
    /// What its version does.
    pub profile: Profile,
    /// How fast it is.
    pub pace: Pace,
    /// Its Job, if it has one.
    pub job: Option<String>,
    /// The handlers of which the runtime has to serve one.
    pub handlers: Vec<String>,
}

/// How a list of acts ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The container ended with this code.
    Exited(i32),
    /// The container runs on.
    Running,
}

/// Plays `acts`; `ready` is called when the pod becomes ready.
pub async fn perform(actor: &Actor, acts: &[Act], ready: impl Fn()) -> Result<Outcome> {
    for act in acts {
        info!(node = %actor.node, ?act, "act");
        match act {
            Act::Wait(time) => tokio::time::sleep(*time).await,
            Act::Claim => node::claim(&actor.client, &actor.node, &actor.suffix).await?,
            Act::Record(event) => {
                let mode = if actor.job.is_some() { Mode::Job } else { Mode::Daemonset };
                truth::change(&actor.client, &actor.node, |truth| {
                    truth.after(*event, &actor.version, &actor.uid, mode)
                })
                .await?;
            }
            Act::ConfirmHandlers => {
                if !confirm_handlers(actor).await? {
                    return Ok(Outcome::Exited(1));
                }
            }
            Act::Label(how) => label(actor, *how).await?,
            Act::LoseLabel => node::set_labels(&actor.client, &actor.node, &[node::runtime("false")]).await?,
            Act::RemoveLabels => {
                node::remove_labels(&actor.client, &actor.node, &actor.suffix, actor.profile.marker).await?;
            }
            Act::Ready => ready(),
            Act::CrashOnce => {
                if node::first_time(&actor.client, &actor.node, "crashed-once-at", &actor.version).await? {
                    return Ok(Outcome::Exited(1));
                }
            }
            Act::DeleteOwnJob => {
                let job = actor.job.as_deref().context("a pod without a Job can't delete it")?;
                let jobs: Api<Job> = Api::namespaced(actor.client.clone(), &actor.namespace);
                jobs.delete(job, &DeleteParams::background()).await?;
            }
            Act::Exit(code) => return Ok(Outcome::Exited(*code)),
            Act::Block => return Ok(Outcome::Running),
        }
    }
    Ok(Outcome::Exited(0))
}

/// Waits until the runtime serves one of our handlers, or can't tell.
async fn confirm_handlers(actor: &Actor) -> Result<bool> {
    let nodes: Api<Node> = Api::all(actor.client.clone());
    let looks = (actor.pace.handlers.as_millis() / 500).max(1);
    for _ in 0..looks {
        if node::serves(&nodes.get(&actor.node).await?, &actor.handlers) {
            return Ok(true);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    info!(node = %actor.node, handlers = ?actor.handlers, "the runtime serves none of these");
    Ok(false)
}

/// Labels the node as upstream's installer does it.
async fn label(actor: &Actor, how: LabelWrite) -> Result<()> {
    let mut wanted = vec![node::runtime("true")];
    if actor.profile.marker {
        wanted.push(node::marker(&actor.suffix, "true"));
    }
    if how == LabelWrite::Always {
        return node::set_labels(&actor.client, &actor.node, &wanted).await;
    }
    let nodes: Api<Node> = Api::all(actor.client.clone());
    if node::has_labels(&nodes.get(&actor.node).await?, &wanted) {
        return Ok(());
    }
    let mut seen = 0;
    for _ in 0..10 * STABLE_READS {
        if node::has_labels(&nodes.get(&actor.node).await?, &wanted) {
            seen += 1;
        } else {
            seen = 0;
            node::set_labels(&actor.client, &actor.node, &wanted).await?;
        }
        if seen == STABLE_READS {
            return Ok(());
        }
        tokio::time::sleep(actor.pace.stable).await;
    }
    bail!("node `{}` didn't keep its labels", actor.node)
}
