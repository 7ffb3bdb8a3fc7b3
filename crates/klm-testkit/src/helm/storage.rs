//! Where revisions live: in Secrets, as helm keeps them, or in a directory when there is no cluster.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::Client;
use serde_json::{Value, json};

use super::apply::{delete, get, list, post, put};
use super::release::Release;
use crate::api::object;

/// The place.
#[derive(Clone)]
pub(super) enum Storage {
    /// Secrets of a cluster.
    Cluster(Client),
    /// Files of a directory.
    Directory(PathBuf),
}

fn secret_name(release: &str, revision: u64) -> String {
    format!("sh.helm.release.v1.{release}.v{revision}")
}

impl Storage {
    /// All revisions, oldest first.
    pub(super) async fn history(&self, namespace: &str, name: &str) -> Result<Vec<Release>, String> {
        let mut releases = match self {
            Self::Cluster(client) => {
                let path = format!("/api/v1/namespaces/{namespace}/secrets?labelSelector=name%3D{name}%2Cowner%3Dhelm");
                let secrets = list(client, &path)
                    .await
                    .map_err(|error| format!("query: failed to query with labels: {error}"))?;
                secrets.iter().map(decode).collect::<Result<Vec<_>, _>>()?
            }
            Self::Directory(directory) => read_all(directory)?
                .into_iter()
                .filter(|release| release.namespace == namespace && release.name == name)
                .collect(),
        };
        releases.sort_by_key(|release| release.revision);
        Ok(releases)
    }

    /// The last revision, or helm's error.
    pub(super) async fn last(&self, namespace: &str, name: &str) -> Result<Release, String> {
        self.history(namespace, name).await?.pop().ok_or_else(|| "release: not found".to_owned())
    }

    /// One revision; the last one without a number.
    pub(super) async fn revision(&self, namespace: &str, name: &str, revision: Option<u64>) -> Result<Release, String> {
        let Some(revision) = revision.filter(|revision| *revision > 0) else { return self.last(namespace, name).await };
        match self {
            Self::Cluster(client) => {
                let path = format!("/api/v1/namespaces/{namespace}/secrets/{}", secret_name(name, revision));
                let secret = get(client, &path).await?.ok_or_else(|| "release: not found".to_owned())?;
                decode(&secret)
            }
            Self::Directory(_) => {
                let all = self.history(namespace, name).await?;
                all.into_iter().find(|it| it.revision == revision).ok_or_else(|| "release: not found".to_owned())
            }
        }
    }

    /// Every release's last revision in a namespace.
    pub(super) async fn releases(&self, namespace: &str) -> Result<Vec<Release>, String> {
        let mut all = match self {
            Self::Cluster(client) => {
                let secrets =
                    list(client, &format!("/api/v1/namespaces/{namespace}/secrets?labelSelector=owner%3Dhelm")).await?;
                secrets.iter().map(decode).collect::<Result<Vec<_>, _>>()?
            }
            Self::Directory(directory) => {
                read_all(directory)?.into_iter().filter(|release| release.namespace == namespace).collect()
            }
        };
        all.sort_by(|a, b| (&a.name, b.revision).cmp(&(&b.name, a.revision)));
        all.dedup_by(|later, first| later.name == first.name);
        Ok(all)
    }

    /// Stores a new revision; refuses one that is there.
    pub(super) async fn create(&self, release: &Release) -> Result<(), String> {
        match self {
            Self::Cluster(client) => {
                let path = format!("/api/v1/namespaces/{}/secrets", release.namespace);
                post(client, &path, &encode(release)).await.map(drop).map_err(|error| {
                    if error.ends_with("already exists") {
                        return "release: already exists".to_owned();
                    }
                    format!("create: failed to create: {error}")
                })
            }
            Self::Directory(directory) => write(directory, release),
        }
    }

    /// Writes a revision over.
    pub(super) async fn update(&self, release: &Release) -> Result<(), String> {
        match self {
            Self::Cluster(client) => {
                let name = secret_name(&release.name, release.revision);
                let path = format!("/api/v1/namespaces/{}/secrets/{name}", release.namespace);
                put(client, &path, &encode(release))
                    .await
                    .map(drop)
                    .map_err(|error| format!("update: failed to update: {error}"))
            }
            Self::Directory(directory) => write(directory, release),
        }
    }

    /// Keeps only the newest revisions, and the last deployed one.
    pub(super) async fn prune(&self, history: &[Release], keep: usize) -> Result<(), String> {
        let deployed =
            history.iter().rev().find(|release| release.status == "deployed").map(|release| release.revision);
        let surplus = history.len().saturating_sub(keep.saturating_sub(1));
        let old = history.iter().filter(|release| Some(release.revision) != deployed).take(surplus);
        for release in old {
            let name = secret_name(&release.name, release.revision);
            match self {
                Self::Cluster(client) => {
                    delete(client, &format!("/api/v1/namespaces/{}/secrets/{name}", release.namespace), "Background")
                        .await?;
                }
                Self::Directory(directory) => {
                    std::fs::remove_file(file(directory, release)).map_err(|error| error.to_string())?;
                }
            }
        }
        Ok(())
    }
}

/// A release as the Secret that helm would keep: JSON, gzip, base64, and base64 once more.
pub(crate) fn encode(release: &Release) -> Value {
    let stored = json!({
        "name": release.name, "namespace": release.namespace, "version": release.revision, "config": release.config,
        "manifest": release.manifest, "hooks": release.hooks, "apply_method": release.apply_method, "labels": release.labels,
        "info": {
            "status": release.status, "description": release.description,
            "first_deployed": release.first_deployed, "last_deployed": release.last_deployed,
        },
        "chart": {"metadata": {"name": super::chart::NAME, "version": release.chart, "appVersion": release.chart}},
    });
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let bytes = encoder.write_all(stored.to_string().as_bytes()).and_then(|()| encoder.finish());
    let once = STANDARD.encode(bytes.expect("writing to memory does not fail"));
    let mut labels = json!({
        "owner": "helm", "name": release.name, "version": release.revision.to_string(), "status": release.status,
    });
    for (key, value) in &release.labels {
        labels[key] = json!(value);
    }
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "helm.sh/release.v1", "data": {"release": STANDARD.encode(once)},
        "metadata": {
            "name": secret_name(&release.name, release.revision), "namespace": release.namespace, "labels": labels,
        },
    })
}

/// The release in a Secret. Helm trusts this, and not the status label.
pub(super) fn decode(secret: &Value) -> Result<Release, String> {
    let broken = |error: &dyn std::fmt::Display| format!("failed to decode release {}: {error}", object::name(secret));
    let once = STANDARD.decode(object::text(secret, "/data/release")).map_err(|error| broken(&error))?;
    let zipped = STANDARD.decode(once).map_err(|error| broken(&error))?;
    let mut text = String::new();
    flate2::read::GzDecoder::new(zipped.as_slice()).read_to_string(&mut text).map_err(|error| broken(&error))?;
    let stored: Value = serde_json::from_str(&text).map_err(|error| broken(&error))?;
    let text = |pointer: &str| object::text(&stored, pointer).to_owned();
    Ok(Release {
        name: text("/name"),
        namespace: text("/namespace"),
        revision: stored["version"].as_u64().unwrap_or(0),
        status: text("/info/status"),
        chart: text("/chart/metadata/version"),
        config: stored["config"].as_object().cloned().unwrap_or_default(),
        manifest: text("/manifest"),
        hooks: object::items(&stored, "/hooks").to_vec(),
        description: text("/info/description"),
        first_deployed: text("/info/first_deployed"),
        last_deployed: text("/info/last_deployed"),
        labels: serde_json::from_value(stored["labels"].clone()).unwrap_or_default(),
        apply_method: text("/apply_method"),
    })
}

fn file(directory: &std::path::Path, release: &Release) -> PathBuf {
    directory.join("releases").join(format!("{}.{}.v{}.json", release.namespace, release.name, release.revision))
}

fn write(directory: &std::path::Path, release: &Release) -> Result<(), String> {
    let path = file(directory, release);
    let text = serde_json::to_string(release).map_err(|error| error.to_string())?;
    std::fs::create_dir_all(directory.join("releases"))
        .and_then(|()| std::fs::write(path, text))
        .map_err(|error| error.to_string())
}

fn read_all(directory: &std::path::Path) -> Result<Vec<Release>, String> {
    let Ok(entries) = std::fs::read_dir(directory.join("releases")) else { return Ok(Vec::new()) };
    let mut releases: Vec<Release> = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| error.to_string())?.path();
        let text = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
        releases.push(serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?);
    }
    Ok(releases)
}
