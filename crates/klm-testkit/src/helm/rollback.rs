//! `helm rollback`: a stored manifest is applied again; no install hooks run, and a pending revision is no obstacle.

use super::argv::Argv;
use super::engine::{Engine, Stop};
use super::manifest;
use super::release::Release;
use super::script::Stage;
use super::upgrade::roll_out;

/// Goes back to a revision; without a number to the one before the last.
pub(super) async fn rollback(engine: &Engine, argv: &Argv) -> Result<String, Stop> {
    let (name, namespace) = (argv.word(1)?, argv.namespace());
    let history = engine.storage.history(namespace, name).await?;
    let Some(last) = history.last() else { return Err(Stop::Failed("release: not found".to_owned())) };
    let wanted = match argv.words.get(2) {
        Some(text) => text.parse::<u64>().map_err(|_| format!("could not convert revision to a number: {text:?}"))?,
        None => 0,
    };
    let wanted = if wanted == 0 { last.revision.saturating_sub(1) } else { wanted };
    let Some(target) = history.iter().find(|release| release.revision == wanted) else {
        return Err(Stop::Failed(format!("release has no {wanted} version")));
    };
    let now = engine.now();
    let mut release = Release {
        revision: last.revision + 1,
        status: "pending-rollback".to_owned(),
        description: format!("Rollback to {wanted}"),
        first_deployed: last.first_deployed.clone(),
        last_deployed: now,
        ..target.clone()
    };
    engine.strike("rollback", Stage::Rendered).await?;
    engine.storage.create(&release).await?;
    let objects = manifest::split(&target.manifest)?.into_iter().map(|document| document.object).collect::<Vec<_>>();
    let done = async {
        engine.strike("rollback", Stage::Stored).await?;
        roll_out(engine, &release, &objects, &last.manifest, argv.has("force-conflicts")).await?;
        engine.strike("rollback", Stage::Applied).await
    };
    match done.await {
        Ok(()) => {}
        Err(Stop::Died) => return Err(Stop::Died),
        Err(Stop::Failed(error)) => {
            let mut old = last.clone();
            "superseded".clone_into(&mut old.status);
            "failed".clone_into(&mut release.status);
            release.description = format!("Rollback {name:?} failed: {error}");
            engine.storage.update(&old).await?;
            engine.storage.update(&release).await?;
            return Err(Stop::Failed(error));
        }
    }
    for old in history.iter().filter(|release| release.status == "deployed") {
        let superseded = Release { status: "superseded".to_owned(), ..old.clone() };
        engine.storage.update(&superseded).await?;
    }
    "deployed".clone_into(&mut release.status);
    engine.storage.update(&release).await?;
    Ok("Rollback was a success! Happy Helming!\n".to_owned())
}
