//! The whole check of a run before it begins: what is wrong, as far as it can be found without changing anything.

use std::time::Duration;

use klm_core::gate::{self, Right, Scope};
use klm_core::helm_command;
use klm_core::journal::RunId;
use klm_core::mode;
use klm_core::plan::Mode;
use klm_core::refusal::Refusal;
use klm_core::release::Release;
use klm_core::settings::Settings;
use klm_core::verification::{Placement, guarded, pod_name};

use super::budgets::{Obstacle, obstacles};
use super::calls::upgrade;
use super::judge::{Outcome, judge, of_release};
use super::live::Live;
use super::look::{Seen, look, release_of};
use super::request::{Draft, Request};
use super::rights::missing_rights;
use crate::exit::StepError;
use crate::world::World;

/// What came of it.
#[derive(Clone, Debug)]
pub struct Findings {
    /// What was asked for, what is there, and what that means; nothing when it was asked for wrongly.
    pub known: Option<Known>,
    /// Every reason to refuse.
    pub refusals: Vec<Refusal>,
}

/// A check that came to its end.
#[derive(Clone, Debug)]
pub struct Known {
    /// What was asked for.
    pub request: Request,
    /// What is there.
    pub seen: Seen,
    /// What that means.
    pub outcome: Outcome,
    /// Pods that a drain can't simply evict.
    pub obstacles: Vec<Obstacle>,
}

impl Findings {
    fn only(refusals: Vec<Refusal>) -> Self {
        Self { known: None, refusals }
    }
}

/// Said where the API server would tell of a person's rights.
const NOT_OURS: &str = "from here you ask with your own rights: the steps' aren't checked, and what you may not try out isn't tried out; `helm test` and each run check the steps'";

/// Whether we have the steps' service account. A person with a kubeconfig has rights of their own, which say nothing
/// about a run.
pub(super) fn is_step(world: &World, run: Option<&RunId>) -> bool {
    run.is_some() || !world.here.pod.is_empty()
}

/// Checks. `run` is us, when we are a run.
pub async fn check(
    draft: Draft,
    world: &World,
    run: Option<&RunId>,
    workflow_namespace: &str,
) -> Result<Findings, StepError> {
    let mut refusals = tools(world).await?;
    let Some(settings) = draft.settings.clone() else {
        refusals.extend(draft.complete().err().unwrap_or_default());
        return Ok(Findings::only(refusals));
    };
    let is_step = is_step(world, run);
    let rights_of_steps = async |base: Option<&Release>| {
        if is_step { rights(world, &settings, base, workflow_namespace).await } else { Ok(Vec::new()) }
    };
    let live = match Live::read(world, &release_of(&settings)).await {
        Ok(live) => live,
        Err(error) => {
            // Without rights nothing can be read, and that is the better message.
            refusals.extend(rights_of_steps(None).await?);
            return if refusals.is_empty() { Err(error.into()) } else { Ok(Findings::only(refusals)) };
        }
    };
    let missing = rights_of_steps(live.as_ref().map(|live| &live.base)).await?;
    let is_missing = !missing.is_empty();
    refusals.extend(missing);
    let known = [&refusals[..], draft.refusals()].concat();
    match examine(draft, world, run, &settings, workflow_namespace, live, refusals).await {
        // It can't be read for want of a right, and the right is named already.
        Err(error) if is_missing => {
            tracing::warn!("the check ends early: {error}");
            Ok(Findings::only(known))
        }
        findings => findings,
    }
}

/// The rest of the check, after what only needs the release. `refusals` are those so far.
async fn examine(
    draft: Draft,
    world: &World,
    run: Option<&RunId>,
    settings: &Settings,
    workflow_namespace: &str,
    live: Option<Live>,
    mut refusals: Vec<Refusal>,
) -> Result<Findings, StepError> {
    let seen = look(world, settings, live, run).await?;
    let request = match draft.complete() {
        Ok(request) => request,
        Err(wrong) => {
            refusals.extend(wrong.into_iter().chain(of_release(settings, &seen)));
            return Ok(Findings::only(refusals));
        }
    };
    let mut outcome = judge(&request, &seen);
    if !is_step(world, run) {
        outcome.hazards.push(NOT_OURS.to_owned());
    }
    refusals.extend(outcome.refusals.iter().cloned());
    refusals.extend(charts(world, &request, &outcome, &seen).await);
    let obstacles = obstacles(world, &request, &seen, &outcome.selection.nodes, run).await?;
    refusals.extend(gate::drain(&obstacles.iter().filter_map(Obstacle::blocked).collect::<Vec<_>>()));
    refusals.extend(guarded(&request.verification, settings, workflow_namespace));
    refusals.extend(verification_pod(world, &request, &outcome, &seen, run).await?);
    if refusals.is_empty() {
        refusals.extend(render(world, &request, &outcome, &seen).await);
    }
    Ok(Findings { known: Some(Known { request, seen, outcome, obstacles }), refusals })
}

/// Whether helm and Argo are new enough.
pub async fn tools(world: &World) -> Result<Vec<Refusal>, StepError> {
    let helm = gate::helm(&world.helm.version().await?);
    let executor = executor_image(world).await;
    Ok(helm.into_iter().chain(executor.as_deref().and_then(gate::argo)).collect())
}

/// The image of Argo's executor in our own pod.
async fn executor_image(world: &World) -> Option<String> {
    let here = &world.here;
    if here.pod.is_empty() {
        return None;
    }
    // It only tells Argo's version: not being allowed to look is no reason to stop.
    let pod = world.cluster.pod(&here.namespace, &here.pod).await.ok()??;
    Some(pod.container("wait")?.image.clone())
}

/// The rights for this release, or for any while it is unknown.
pub async fn rights(
    world: &World,
    settings: &Settings,
    release: Option<&Release>,
    workflow_namespace: &str,
) -> Result<Vec<Refusal>, StepError> {
    let mode = release.and_then(|release| mode::detect(release).ok()).map(|detected| detected.mode);
    Ok(missing_rights(world, gate::needed(settings, mode, release, workflow_namespace)).await?)
}

/// The target's chart, and the one that a rollback needs.
async fn charts(world: &World, request: &Request, outcome: &Outcome, seen: &Seen) -> Vec<Refusal> {
    let reference = &request.settings.kata_deploy_chart;
    let mode = outcome.detected.as_ref().map(|detected| detected.mode);
    // A release that restarts nothing by itself is its own way back: Helm keeps its manifests.
    let needed = |base: &&Release| mode == Some(Mode::Job) || !base.is_on_delete();
    let base = seen.live.as_ref().map(|live| &live.base);
    let origin = base.filter(needed).map(|base| base.metadata.version.clone());
    let mut refusals = Vec::new();
    for (version, what) in [(Some(request.target_text.clone()), "the target"), (origin, "what a rollback goes back to")]
    {
        let Some(version) = version else { continue };
        if let Err(error) = world.helm.chart(reference, &version).await {
            refusals.push(
                Refusal::new(format!(
                    "chart version {version}, {what}, can't be had from `{reference}`: {}",
                    error.said
                ))
                .hint("check the version, the way to the registry, and parameter `kata-deploy-chart`"),
            );
        }
    }
    refusals
}

/// Whether the API server would take the verification pod: validation, quota, pod security, webhooks.
async fn verification_pod(
    world: &World,
    request: &Request,
    outcome: &Outcome,
    seen: &Seen,
    run: Option<&RunId>,
) -> Result<Option<Refusal>, StepError> {
    let chosen = outcome.selection.nodes.first();
    let Some(node) = seen.nodes.iter().find(|node| chosen.is_some_and(|chosen| chosen.0 == node.name)) else {
        return Ok(None);
    };
    // A class that comes with the target is not there yet.
    let class = request.verification.runtime_class();
    let comes_later =
        class.zip(seen.classes.as_ref()).is_some_and(|(class, known)| !known.iter().any(|it| it == class));
    if comes_later {
        return Ok(None);
    }
    let namespace = &request.settings.verification_namespace;
    let scope = Scope::Namespace(namespace.clone());
    if !is_step(world, run) && !world.cluster.may(&Right::to_create("pods", scope)).await? {
        return Ok(None);
    }
    let run = RunId { namespace: String::new(), name: String::new(), uid: "rehearsal".to_owned() };
    let name = pod_name(&run, &node.name, 0);
    let seconds = request.settings.verification_timeout;
    let pod = request.verification.fill(&Placement { node, name: &name, namespace, run: &run, seconds });
    match world.cluster.rehearse_pod(namespace, &pod).await {
        Ok(()) => Ok(None),
        Err(error) if error.cause.code().is_some_and(|code| (400..500).contains(&code)) => Ok(Some(
            Refusal::new(format!(
                "the API server wouldn't take the verification pod in namespace `{namespace}`: {}",
                error.reason()
            ))
            .hint("change the pod, or choose another namespace with `verification-namespace`"),
        )),
        Err(error) => Err(error.into()),
    }
}

/// Whether the target's chart renders with these values: what no gate of ours knows of, the chart does.
async fn render(world: &World, request: &Request, outcome: &Outcome, seen: &Seen) -> Option<Refusal> {
    let live = seen.live.as_ref()?;
    if live.last.metadata.status.is_pending() {
        // Helm refuses to look while a dead helm's revision is pending; the run mends that first.
        return None;
    }
    let chart = world.helm.chart(&request.settings.kata_deploy_chart, &request.target_text).await.ok()?;
    let rehearsal = helm_command::rehearse(upgrade(request, outcome, &live.base, chart)?);
    let limit = Duration::from_secs(request.settings.helm_timeout);
    let error = world.helm.change_scoped(&rehearsal, limit, &request.target).await.err()?;
    Some(
        Refusal::new(format!("helm can't upgrade the release to {}: {}", request.target, error.said))
            .hint("change the release's values with `helm-set-values` or `helm upgrade`"),
    )
}
