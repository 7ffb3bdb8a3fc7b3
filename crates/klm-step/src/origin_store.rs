//! The origin's Secret: how the release was, and the run's inputs that nobody else may read.

use anyhow::Context as _;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use klm_core::contract::CHART_NAME;
use klm_core::helm_command::ReleaseRef;
use klm_core::journal::RunId;
use klm_core::origin::{ASKED_KEY, Asked, INPUTS_KEY, ORIGIN_KEY, Origin, RunInputs, secret_name};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::cluster::Cluster;

/// What the Secret holds.
#[derive(Clone, Debug)]
pub struct StoredOrigin {
    /// The release before the first change.
    pub origin: Origin,
    /// The inputs of the run that wrote it last.
    pub inputs: RunInputs,
    /// Whether that run came to its own end, or was brought to one.
    pub settled: bool,
}

/// Annotation on the Secret: the uid of the run that left nothing to settle.
const SETTLED: &str = "katacontainers.io/kata-lifecycle-manager-settled";

/// Reads it; nothing when no run has written one.
pub async fn read(cluster: &Cluster, release: &ReleaseRef) -> anyhow::Result<Option<StoredOrigin>> {
    let Some(secret) = secret(cluster, release).await? else { return Ok(None) };
    let (data, annotations) = (secret.data.unwrap_or_default(), secret.metadata.annotations.unwrap_or_default());
    // A rollback that was asked for before any run leaves its own record alone.
    if data.contains_key(ASKED_KEY) && !data.contains_key(ORIGIN_KEY) {
        return Ok(None);
    }
    let origin = part(data.get(ORIGIN_KEY)).with_context(|| broken(release, ORIGIN_KEY))?;
    let inputs: RunInputs = part(data.get(INPUTS_KEY)).with_context(|| broken(release, INPUTS_KEY))?;
    let settled = annotations.get(SETTLED) == Some(&inputs.run.uid);
    Ok(Some(StoredOrigin { origin, inputs, settled }))
}

/// Reads where the last rollback that was asked for goes; nothing when none ever was.
pub async fn asked(cluster: &Cluster, release: &ReleaseRef) -> anyhow::Result<Option<Asked>> {
    let data = secret(cluster, release).await?.and_then(|secret| secret.data).unwrap_or_default();
    let Some(bytes) = data.get(ASKED_KEY) else { return Ok(None) };
    Ok(Some(part(Some(bytes)).with_context(|| broken(release, ASKED_KEY))?))
}

/// Writes the origin and the inputs of a run that begins, over whatever was there.
pub async fn write(cluster: &Cluster, release: &ReleaseRef, origin: &Origin, inputs: &RunInputs) -> anyhow::Result<()> {
    let parts = [(ORIGIN_KEY, bytes(origin)?), (INPUTS_KEY, bytes(inputs)?)];
    write_parts(cluster, release, parts.into()).await
}

/// Writes where a rollback goes, over the one before.
pub async fn write_asked(cluster: &Cluster, release: &ReleaseRef, asked: &Asked) -> anyhow::Result<()> {
    write_parts(cluster, release, vec![(ASKED_KEY, bytes(asked)?)]).await
}

async fn secret(cluster: &Cluster, release: &ReleaseRef) -> anyhow::Result<Option<Secret>> {
    Ok(cluster.get::<Secret>(Some(&release.namespace), &secret_name(&release.name)).await?)
}

async fn write_parts(cluster: &Cluster, release: &ReleaseRef, parts: Vec<(&str, ByteString)>) -> anyhow::Result<()> {
    let mut secret = Secret::default();
    secret.metadata.name = Some(secret_name(&release.name));
    secret.metadata.labels = Some([("app.kubernetes.io/managed-by".to_owned(), CHART_NAME.to_owned())].into());
    secret.data = Some(parts.into_iter().map(|(key, bytes)| (key.to_owned(), bytes)).collect());
    match cluster.create(Some(&release.namespace), &secret).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_already_there() => {
            let patch = json!({ "data": secret.data });
            patch_secret(cluster, release, &patch).await
        }
        Err(error) => Err(error).context("failed to record the release's origin"),
    }
}

/// Writes the origin alone.
pub async fn write_origin(cluster: &Cluster, release: &ReleaseRef, origin: &Origin) -> anyhow::Result<()> {
    patch_secret(cluster, release, &json!({ "data": { ORIGIN_KEY: bytes(origin)? } })).await
}

/// Notes that a run has left nothing to settle, or that it goes on; if it is the one that wrote last.
pub async fn mark_settled(cluster: &Cluster, release: &ReleaseRef, run: &RunId, settled: bool) -> anyhow::Result<()> {
    match read(cluster, release).await? {
        Some(stored) if stored.inputs.run == *run && stored.settled != settled => {
            let mark = settled.then_some(&run.uid);
            patch_secret(cluster, release, &json!({ "metadata": { "annotations": { SETTLED: mark } } })).await
        }
        _ => Ok(()),
    }
}

async fn patch_secret(cluster: &Cluster, release: &ReleaseRef, patch: &serde_json::Value) -> anyhow::Result<()> {
    let name = secret_name(&release.name);
    let patched = cluster.patch::<Secret>(Some(&release.namespace), &name, patch).await;
    patched.map(drop).context("failed to record the release's origin")
}

fn bytes(part: &impl Serialize) -> anyhow::Result<ByteString> {
    Ok(ByteString(serde_json::to_vec(part)?))
}

/// The text itself never goes into a message.
fn part<T: DeserializeOwned>(bytes: Option<&ByteString>) -> anyhow::Result<T> {
    let bytes = bytes.context("it isn't there")?;
    serde_json::from_slice(&bytes.0)
        .map_err(|error| anyhow::anyhow!("line {}, column {}", error.line(), error.column()))
}

fn broken(release: &ReleaseRef, key: &str) -> String {
    format!("secret `{}/{}` has no readable `{key}`", release.namespace, secret_name(&release.name))
}
