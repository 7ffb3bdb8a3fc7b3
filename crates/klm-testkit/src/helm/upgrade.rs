//! `helm upgrade` and `helm install`.

use klm_core::values::Values;
use serde_json::Value;

use super::argv::Argv;
use super::engine::{Engine, RenderRequest, Stop};
use super::release::Release;
use super::script::Stage;
use super::{apply, chart, hooks, manifest, values};
use crate::api::object;
use crate::world::profile::Version;

const DEFAULT_HISTORY: u64 = 10;

/// What is about to become a revision.
struct Planned {
    release: Release,
    objects: Vec<Value>,
    /// Objects of the revision before, to be deleted when they are gone.
    old_manifest: String,
    /// The revision that is superseded.
    current: Option<Release>,
}

/// `helm install`.
pub(super) async fn install(engine: &Engine, argv: &Argv) -> Result<String, Stop> {
    let (name, namespace) = (argv.word(1)?, argv.namespace());
    let taken = !engine.storage.history(namespace, name).await?.is_empty();
    if taken {
        return Err(Stop::Failed("INSTALLATION FAILED: cannot reuse a name that is still in use".to_owned()));
    }
    first(engine, argv, 1).await
}

/// `helm upgrade`.
pub(super) async fn upgrade(engine: &Engine, argv: &Argv) -> Result<String, Stop> {
    let fail = |error: &str| Stop::Failed(format!("UPGRADE FAILED: {error}"));
    let (name, namespace) = (argv.word(1)?, argv.namespace());
    let history = engine.storage.history(namespace, name).await.map_err(|error| fail(&error))?;
    let Some(last) = history.last().filter(|last| last.status != "uninstalled") else {
        if argv.has("install") {
            return first(engine, argv, history.last().map_or(1, |last| last.revision + 1)).await;
        }
        return Err(fail(&format!("{name:?} has no deployed releases")));
    };
    if last.is_pending() {
        return Err(fail("another operation (install/upgrade/rollback) is in progress"));
    }
    let deployed = history.iter().rev().find(|release| release.status == "deployed");
    let current = match deployed {
        Some(deployed) => deployed,
        None if matches!(last.status.as_str(), "failed" | "superseded") => last,
        None => return Err(fail(&format!("{name:?} has no deployed releases"))),
    };
    let version = engine.locate(argv, argv.word(2)?).map_err(Stop::Failed)?;
    let given = values::given(argv, &engine.call.stdin)?;
    let (defaults, config) = old_and_new(argv, &version, current, given);
    let request = RenderRequest {
        version: &version,
        release: (name, namespace),
        is_upgrade: true,
        defaults: &defaults,
        config: &config,
        live: argv.flag("dry-run") != Some("client"),
    };
    let documents = engine.render(argv, &request).await.map_err(|error| fail(&error))?;
    let planned = plan(engine, argv, &request, documents, (last.revision + 1, Some(current)))?;
    if matches!(argv.flag("dry-run"), Some("client" | "server")) {
        return Ok(dry_run(argv, &planned.release));
    }
    let keep = argv.number("history-max")?.unwrap_or(DEFAULT_HISTORY);
    if keep > 0 {
        let keep = usize::try_from(keep).unwrap_or(usize::MAX);
        engine.storage.prune(&history, keep).await.map_err(|error| fail(&error))?;
    }
    perform(engine, argv, planned, "upgrade").await
}

async fn first(engine: &Engine, argv: &Argv, revision: u64) -> Result<String, Stop> {
    let fail = |error: String| Stop::Failed(format!("INSTALLATION FAILED: {error}"));
    let version = engine.locate(argv, argv.word(2)?).map_err(Stop::Failed)?;
    let config = values::given(argv, &engine.call.stdin)?;
    let request = RenderRequest {
        version: &version,
        release: (argv.word(1)?, argv.namespace()),
        is_upgrade: false,
        defaults: &chart::defaults(&version),
        config: &config,
        live: argv.flag("dry-run") != Some("client"),
    };
    let documents = engine.render(argv, &request).await.map_err(fail)?;
    let planned = plan(engine, argv, &request, documents, (revision, None))?;
    if matches!(argv.flag("dry-run"), Some("client" | "server")) {
        return Ok(dry_run(argv, &planned.release));
    }
    perform(engine, argv, planned, "install").await
}

/// The defaults and user values of the new revision, by the flags that say what becomes of the old ones.
fn old_and_new(argv: &Argv, version: &Version, current: &Release, given: Values) -> (Values, Values) {
    let defaults = chart::defaults(version);
    let mut config = given;
    if argv.has("reset-values") {
        return (defaults, config);
    }
    if argv.has("reuse-values") {
        values::coalesce(&mut config, &current.config);
        // The old chart's defaults take the place of the new one's: keys that came later are missing.
        return (chart::defaults(&current.chart_version()), config);
    }
    if argv.has("reset-then-reuse-values") || config.is_empty() {
        values::coalesce(&mut config, &current.config);
    }
    (defaults, config)
}

fn plan(
    engine: &Engine,
    argv: &Argv,
    request: &RenderRequest<'_>,
    documents: Vec<chart::Document>,
    (revision, current): (u64, Option<&Release>),
) -> Result<Planned, Stop> {
    let (documents, hooks) = manifest::partition(documents);
    let now = engine.now();
    let (name, namespace) = request.release;
    let labels = argv.flag("labels").unwrap_or_default();
    let labels = labels.split(',').filter_map(|pair| pair.split_once('='));
    let operation = if request.is_upgrade { "upgrade" } else { "install" };
    let release = Release {
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        revision,
        status: format!("pending-{operation}"),
        chart: request.version.as_str().to_owned(),
        config: request.config.clone(),
        manifest: manifest::join(&documents),
        hooks,
        description: if request.is_upgrade { "Preparing upgrade" } else { "Initial install underway" }.to_owned(),
        first_deployed: current.map_or_else(|| now.clone(), |current| current.first_deployed.clone()),
        last_deployed: now,
        labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        apply_method: "ssa".to_owned(),
    };
    if release
        .labels
        .keys()
        .any(|key| ["name", "owner", "status", "version", "createdAt", "modifiedAt"].contains(&key.as_str()))
    {
        return Err(Stop::Failed(
            "UPGRADE FAILED: user supplied labels contains system reserved label name".to_owned(),
        ));
    }
    let old_manifest = current.map(|current| current.manifest.clone()).unwrap_or_default();
    let objects = documents.into_iter().map(|document| document.object).collect();
    Ok(Planned { release, objects, old_manifest, current: current.cloned() })
}

fn dry_run(argv: &Argv, release: &Release) -> String {
    if argv.wants_json() {
        return release.status_json().to_string();
    }
    format!("{}HOOKS:\n{}MANIFEST:\n{}\n", summary(release), manifest::stream(&release.hooks), release.manifest)
}

fn summary(release: &Release) -> String {
    let Release { name, namespace, revision, status, last_deployed, description, .. } = release;
    format!(
        "NAME: {name}\nLAST DEPLOYED: {last_deployed}\nNAMESPACE: {namespace}\nSTATUS: {status}\nREVISION: {revision}\nDESCRIPTION: {description}\nTEST SUITE: None\n"
    )
}

/// Stores, applies, runs hooks and marks; a failure after storing leaves a `failed` revision.
async fn perform(engine: &Engine, argv: &Argv, planned: Planned, operation: &str) -> Result<String, Stop> {
    let Planned { mut release, objects, old_manifest, current } = planned;
    let (word, prefix) =
        if operation == "upgrade" { ("Upgrade", "UPGRADE FAILED") } else { ("Release", "INSTALLATION FAILED") };
    engine.strike(operation, Stage::Rendered).await?;
    engine.storage.create(&release).await.map_err(|error| Stop::Failed(format!("{prefix}: {error}")))?;
    let done = async {
        engine.strike(operation, Stage::Stored).await?;
        roll_out(engine, &release, &objects, &old_manifest, argv.has("force-conflicts")).await?;
        engine.strike(operation, Stage::Applied).await?;
        await_daemonsets(engine, argv, &objects).await?;
        if !argv.has("no-hooks") {
            hooks::run(engine, &release, &format!("post-{operation}"), argv.timeout()?).await?;
        }
        Ok(())
    };
    match done.await {
        Ok(()) => {}
        Err(Stop::Died) => return Err(Stop::Died),
        Err(Stop::Failed(error)) => {
            "failed".clone_into(&mut release.status);
            release.description = format!("{word} {:?} failed: {error}", release.name);
            // Helm only warns when it can't record that; the revision then stays pending.
            let _ = engine.storage.update(&release).await;
            engine.warn(&format!("level=WARN msg=\"{operation} failed\" name={} error={error:?}", release.name));
            return Err(Stop::Failed(format!("{prefix}: {error}")));
        }
    }
    if let Some(mut old) = current {
        "superseded".clone_into(&mut old.status);
        engine.storage.update(&old).await?;
    }
    "deployed".clone_into(&mut release.status);
    let told = argv.flag("description").map(str::to_owned);
    release.description =
        told.unwrap_or_else(|| if operation == "upgrade" { "Upgrade complete" } else { "Install complete" }.to_owned());
    engine.storage.update(&release).await?;
    let happy = format!("Release {:?} has been upgraded. Happy Helming!\n", release.name);
    Ok(if operation == "upgrade" { happy + &summary(&release) } else { summary(&release) })
}

/// Applies what is new and deletes what is gone; objects with the `keep` policy stay.
pub(super) async fn roll_out(
    engine: &Engine,
    release: &Release,
    objects: &[Value],
    old: &str,
    force: bool,
) -> Result<(), Stop> {
    let Some(client) = &engine.client else { return Ok(()) };
    for object in objects {
        apply::apply(client, (&release.name, &release.namespace), object, force).await?;
    }
    let now: Vec<String> =
        objects.iter().map(|object| apply::path_of(object, &release.namespace)).collect::<Result<_, _>>()?;
    for document in manifest::split(old)? {
        let path = apply::path_of(&document.object, &release.namespace)?;
        let kept = object::annotation(&document.object, "helm.sh/resource-policy") == Some("keep");
        if !kept && !now.contains(&path) {
            apply::delete(client, &path, "Background").await?;
        }
    }
    Ok(())
}

/// `--wait` waits for every DaemonSet to be updated, which one with `OnDelete` never is.
async fn await_daemonsets(engine: &Engine, argv: &Argv, objects: &[Value]) -> Result<(), Stop> {
    let waits = matches!(argv.flag("wait"), Some("watcher" | "true")) || argv.has("rollback-on-failure");
    let stuck =
        objects.iter().find(|it| it["kind"] == "DaemonSet" && it["spec"]["updateStrategy"]["type"] == "OnDelete");
    let Some(stuck) = stuck.filter(|_| waits && engine.client.is_some()) else { return Ok(()) };
    engine.interruptible(tokio::time::sleep(argv.timeout()?)).await?;
    let (namespace, name) = (object::namespace(stuck), object::name(stuck));
    Err(Stop::Failed(format!(
        "resource DaemonSet/{namespace}/{name} not ready. status: InProgress, message: Updated: 0/1\ncontext deadline exceeded"
    )))
}
