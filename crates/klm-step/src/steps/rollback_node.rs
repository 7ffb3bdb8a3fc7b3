//! rollback-node: takes one node back on request, in both modes, to the origin or to a version that was asked for.

use klm_core::helm_command::ReleaseRef;
use klm_core::journal::RunId;
use klm_core::mode;
use klm_core::name::{InvalidName, NodeName};
use klm_core::origin::{Origin, RunInputs, given_back};
use klm_core::plan::Mode;
use klm_core::refusal::Refusal;
use klm_core::release::{Release, Revision};
use klm_core::settings::{Settings, text};
use klm_core::standing::Purpose;
use klm_core::values::Values;
use klm_core::version::{self, reaches};
use semver::Version;

use crate::cli;
use crate::engine::context::release_of;
use crate::engine::{Aim, Run, begin_alone};
use crate::exit::StepError;
use crate::front::{Live, Outputs, Recorded, change_since, is_of};
use crate::origin_store::StoredOrigin;
use crate::world::World;
use crate::{lock, manifest, origin_store, plan_store};

/// The reason on the node.
const ASKED: &str = "its rollback was asked for";

/// The step.
pub async fn run(args: &cli::RollbackNode, world: &World) -> Result<(), StepError> {
    let id = args.run.id();
    let given = args.parameters.resolve()?;
    let settings = Settings::parse(&given)?;
    let node = NodeName::try_from(args.node_name.as_str())
        .map_err(|InvalidName(text)| Refusal::new(format!("parameter `node-name` is `{text}`, which no node has")))?;
    let release = release_of(&settings);
    plan_store::begin(&world.cluster, &id, &settings).await?;
    lock::hold(world, &release, &id).await?;
    let request = Request { node: &node, version: &args.rollback_version, pod: text(&given, "verification-pod") };
    let taken = Box::pin(take_back(world, &id, &settings, &request)).await;
    if let Ok(left_behind) = &taken {
        Outputs(&args.outputs.outputs).write("left-behind", &left_behind.to_string())?;
    }
    let taken = taken.map(drop);
    // Else the exit handler goes on under it.
    if matches!(taken, Ok(()) | Err(StepError::Refused(_))) {
        lock::release(world, &release, &id).await?;
    }
    taken
}

/// What was asked for.
struct Request<'a> {
    node: &'a NodeName,
    version: &'a str,
    pod: &'a str,
}

/// Returns how many other nodes of the release are in the middle of something: this run holds its lock, so nobody is at
/// work on them.
async fn take_back(world: &World, id: &RunId, settings: &Settings, request: &Request<'_>) -> Result<usize, StepError> {
    let release = release_of(settings);
    begin_alone(world, &release, settings).await?;
    // What a killed helm left pending has a wave's values, and no word of whose they are.
    let Some(Live { base: live, .. }) = Live::read(world, &release).await? else {
        return Err(no_release(&release).into());
    };
    // A step that is started again goes on with what it had begun.
    let begun = Run::of_asked(world, id, settings).await?.filter(|run| run.inputs.run == *id);
    let mut run = if let Some(run) = begun {
        run
    } else {
        let stored = origin_store::read(&world.cluster, &release).await?;
        let stored = stored.filter(|stored| is_of(&stored.origin, &live));
        aimed(world, id, settings, &live, stored, request).await?
    };
    let (node, version) = (request.node, run.origin.chart_version.clone());
    let Some(facts) = world.cluster.node(node).await? else {
        return Err(Refusal::new(format!("there is no node `{node}`")).hint("kubectl get nodes").into());
    };
    if facts.version.as_deref() == Some(&*version) && facts.journal.is_none() {
        let what = format!("node `{node}` is at {version} already, as far as is recorded");
        return Err(Refusal::new(what).hint("another version is taken with `-p rollback-version=…`").into());
    }
    tracing::info!(%node, to = %version, mode = %run.mode, "taking the node back");
    run.record_asked().await?;
    if run.mode == Mode::Job {
        run.chart(Aim::Origin).await?;
    } else if live.metadata.version == version && !live.is_on_delete() {
        run.arm().await?;
    }
    let nodes = run.adopt(vec![facts], ASKED).await?;
    let taken = run.settle(nodes, ASKED).await?;
    if !taken.stuck.is_empty() {
        return Err(StepError::Stuck(taken.stuck));
    }
    tracing::warn!(
        release = %run.release_name(), %version,
        "the release is at this version now: other nodes stay as they are until their kata-deploy pod is deleted"
    );
    let left = run.left_by_others().await?;
    Ok(left.nodes.len() + left.unreadable.len())
}

/// A run whose origin is where the node is to go.
async fn aimed<'a>(
    world: &'a World,
    id: &RunId,
    settings: &Settings,
    live: &Release,
    stored: Option<StoredOrigin>,
    request: &Request<'_>,
) -> Result<Run<'a>, StepError> {
    let mode = mode::detect(live)?.mode;
    let recorded = || stored.as_ref().map(|stored| stored.origin.chart_version.clone());
    let asked = Some(request.version.to_owned()).filter(|text| !text.is_empty());
    let Some(to) = asked.or_else(recorded).or_else(|| previous(live)) else {
        let what = "which version the node had before isn't recorded";
        return Err(Refusal::new(what).hint("say it with `-p rollback-version=…`").into());
    };
    let version = version::parse("parameter `rollback-version`", &to)?;
    let minimum = version::minimum(mode);
    if !reaches(&version, &minimum) {
        let what =
            format!("a node can't go back to {version}: in {mode} mode the oldest chart that works is {minimum}");
        return Err(Refusal::new(what).hint("choose a later version with `-p rollback-version=…`").into());
    }
    manifest::verification_pod_of(request.pod, settings, &id.namespace)?;
    let asked = origin_store::asked(&world.cluster, &release_of(settings)).await?;
    let recorded =
        Recorded { origin: stored.as_ref().map(|stored| &stored.origin), asked: asked.as_ref(), change: None };
    let users = recorded.users_values(live);
    let origin = match stored.map(|stored| stored.origin).filter(|origin| origin.chart_version == to) {
        Some(origin) => match change_since(world, &release_of(settings), &origin, live).await? {
            Some(change) => origin.with(&change, live),
            None => origin,
        },
        None => Origin {
            v: 1,
            target: live.metadata.version.clone(),
            chart_version: to.clone(),
            values: values_of(world, live, &to, mode, users).await?,
            revision: live.metadata.revision,
            armed: None,
            image: String::new(),
            marked: Vec::new(),
            outdated: None,
        },
    };
    Ok(Run {
        world,
        id: id.clone(),
        release: release_of(settings),
        settings: settings.clone(),
        mode,
        target: Version::parse(&origin.target).unwrap_or(version),
        origin,
        inputs: RunInputs {
            run: id.clone(),
            set_values: Values::new(),
            verification_pod: request.pod.to_owned(),
            chart_digest: None,
        },
        base_revision: live.history.last().map_or(0, |revision| revision.revision),
        asked: true,
        settled: false,
    })
}

/// The version before, by Helm's history alone: the newest one that isn't the current one.
fn previous(live: &Release) -> Option<String> {
    let good = live.history.iter().rev().filter(|revision| revision.is_good());
    good.map(Revision::chart_version).find(|found| *found != live.metadata.version).map(str::to_owned)
}

/// The user's values of the newest revision of that version, or those of today. What a run lends is as it is today: the
/// revision may be a wave's.
async fn values_of(
    world: &World,
    live: &Release,
    version: &str,
    mode: Mode,
    users: Values,
) -> Result<Values, StepError> {
    let of_version = |revision: &&Revision| revision.chart_version() == version && revision.is_good();
    // One on the way back has no more than another one's values, with the wave's own among them.
    let is_first_hand = |revision: &&Revision| Purpose::of(revision) != Some(Purpose::TakeBack);
    let mut known = live.history.iter().rev().filter(of_version);
    let newest = known.clone().next();
    let Some(revision) = known.find(is_first_hand).or(newest) else { return Ok(users) };
    let release = ReleaseRef { name: live.name.clone(), namespace: live.namespace.clone() };
    Ok(given_back(mode, &world.helm.user_values(&release, Some(revision.revision)).await?, &users))
}

fn no_release(release: &ReleaseRef) -> Refusal {
    Refusal::new(format!("there is no Helm release `{}/{}`", release.namespace, release.name))
        .hint("set `helm-release` and `helm-namespace` to those of kata-deploy")
}
