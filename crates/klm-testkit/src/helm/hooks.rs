//! Hooks: deleted, created and awaited one after the other, each up to the timeout.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::apply::{apply_as_is, delete, list, path_of};
use super::engine::{Engine, Stop};
use super::release::Release;
use crate::api::object;

const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Runs the hooks of an event, by weight and name.
pub(super) async fn run(engine: &Engine, release: &Release, event: &str, timeout: Duration) -> Result<(), Stop> {
    let Some(client) = &engine.client else { return Ok(()) };
    let listed = |hook: &Value, key: &str, word: &str| {
        object::annotation(hook, key).is_some_and(|text| text.split(',').any(|it| it.trim() == word))
    };
    let mut hooks: Vec<&Value> = release.hooks.iter().filter(|hook| listed(hook, "helm.sh/hook", event)).collect();
    let weight =
        |hook: &Value| object::annotation(hook, "helm.sh/hook-weight").and_then(|text| text.parse::<i64>().ok());
    hooks.sort_by_key(|hook| (weight(hook).unwrap_or(0), object::name(hook).to_owned()));
    for hook in hooks {
        let path = path_of(hook, &release.namespace)?;
        let collection = path.rsplit_once('/').map_or("", |(collection, _)| collection).to_owned();
        // Background, and nobody waits for what the old hook owned: its Jobs may still be there.
        if listed(hook, "helm.sh/hook-delete-policy", "before-hook-creation") {
            delete(client, &path, "Background").await?;
        }
        // Helm records that the hook has begun, and creates it by applying it: the account needs `patch` on it, too.
        engine.storage.update(release).await?;
        apply_as_is(client, &release.namespace, hook, false).await?;
        if hook["kind"] == "Job" {
            await_job(engine, hook, &collection, timeout).await.map_err(|stop| match stop {
                Stop::Failed(error) => Stop::Failed(format!("{event} hooks failed: {error}")),
                Stop::Died => Stop::Died,
            })?;
        }
        if listed(hook, "helm.sh/hook-delete-policy", "hook-succeeded") {
            delete(client, &path, "Background").await?;
        }
    }
    Ok(())
}

async fn await_job(engine: &Engine, hook: &Value, collection: &str, timeout: Duration) -> Result<(), Stop> {
    let Some(client) = &engine.client else { return Ok(()) };
    let deadline = Instant::now() + timeout;
    let name = object::name(hook);
    let path = format!("{collection}?fieldSelector=metadata.name%3D{name}");
    // Helm lists and then watches: the account needs both.
    list(client, &format!("{path}&watch=true")).await?;
    loop {
        let found = list(client, &path).await?;
        let condition = |kind: &str| found.first().and_then(|job| object::condition(job, kind)) == Some("True");
        if condition("Complete") {
            return Ok(());
        }
        let resource = format!("resource Job/{}/{name} not ready", collection.split('/').nth(5).unwrap_or_default());
        if condition("Failed") {
            return Err(Stop::Failed(format!("{resource}. status: Failed, message: Job Failed. failed: 1/1")));
        }
        if Instant::now() >= deadline {
            // A Job that has disappeared is waited for as well, as helm does.
            let state = if found.is_empty() {
                "NotFound, message: Resource not found"
            } else {
                "InProgress, message: Job in progress"
            };
            return Err(Stop::Failed(format!("{resource}. status: {state}\ncontext deadline exceeded")));
        }
        engine.interruptible(sleep(LOOK_EVERY)).await?;
    }
}
