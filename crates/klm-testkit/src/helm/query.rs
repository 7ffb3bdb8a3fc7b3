//! Commands that change nothing in the cluster: history, status, get, list, show, pull, template, version.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::argv::Argv;
use super::chart::{self, archive_metadata};
use super::engine::{Engine, RenderRequest};
use super::{apply, manifest, values};
use crate::api::object;

/// `helm version`, with or without a template.
pub(super) fn version(engine: &Engine, argv: &Argv) -> String {
    let version = &engine.helm_version;
    match argv.flag("template") {
        Some(template) => template.replace("{{.Version}}", version).replace("{{ .Version }}", version),
        None if argv.has("short") => format!("{version}+gfake\n"),
        None => format!(
            "version.BuildInfo{{Version:\"{version}\", GitCommit:\"\", GitTreeState:\"clean\", GoVersion:\"go1.26\"}}\n"
        ),
    }
}

/// `helm history`.
pub(super) async fn history(engine: &Engine, argv: &Argv) -> Result<String, String> {
    let mut history = engine.storage.history(argv.namespace(), argv.word(1)?).await?;
    if history.is_empty() {
        return Err("release: not found".to_owned());
    }
    let max = usize::try_from(argv.number("max")?.unwrap_or(256)).unwrap_or(usize::MAX);
    history.drain(..history.len().saturating_sub(max));
    let entries: Vec<Value> = history.iter().map(super::Release::history_json).collect();
    Ok(print(argv, &json!(entries)))
}

/// `helm status`.
pub(super) async fn status(engine: &Engine, argv: &Argv) -> Result<String, String> {
    let release = engine.storage.revision(argv.namespace(), argv.word(1)?, argv.number("revision")?).await?;
    let mut status = release.status_json();
    status["info"]["resources"] = resources(engine, &release).await?;
    if release.hooks.is_empty() {
        status.as_object_mut().map(|map| map.remove("hooks"));
    }
    Ok(print(argv, &status))
}

/// Helm 4 shows the objects as they are: it needs the right to read each of them.
async fn resources(engine: &Engine, release: &super::Release) -> Result<Value, String> {
    let mut found = json!({});
    let Some(client) = &engine.client else { return Ok(found) };
    for document in manifest::split(&release.manifest)? {
        let path = apply::path_of(&document.object, &release.namespace)?;
        let kind =
            format!("{}/{}", object::text(&document.object, "/apiVersion"), object::text(&document.object, "/kind"));
        if let Some(object) = apply::get(client, &path).await? {
            let mut list = found[&kind].as_array().cloned().unwrap_or_default();
            list.push(object);
            found[kind] = json!(list);
        }
    }
    Ok(found)
}

/// `helm get …`.
pub(super) async fn get(engine: &Engine, argv: &Argv) -> Result<String, String> {
    let release = engine.storage.revision(argv.namespace(), argv.word(2)?, argv.number("revision")?).await?;
    match argv.word(1)? {
        "metadata" => Ok(print(argv, &release.metadata_json())),
        "values" if argv.has("all") => {
            let all = values::effective(&chart::defaults(&release.chart_version()), &release.config);
            Ok(print(argv, &Value::Object(all)))
        }
        "values" if release.config.is_empty() => Ok(print(argv, &Value::Null)),
        "values" => Ok(print(argv, &Value::Object(release.config))),
        "manifest" => Ok(release.manifest),
        "hooks" => Ok(manifest::stream(&release.hooks)),
        other => Err(format!("unknown command {other:?} for \"helm get\"")),
    }
}

/// `helm list`.
pub(super) async fn list(engine: &Engine, argv: &Argv) -> Result<String, String> {
    let releases = engine.storage.releases(argv.namespace()).await?;
    let entry = |release: &super::Release| {
        json!({
            "name": release.name, "namespace": release.namespace, "revision": release.revision.to_string(),
            "updated": release.last_deployed, "status": release.status,
            "chart": format!("{}-{}", chart::NAME, release.chart), "app_version": release.chart,
        })
    };
    Ok(print(argv, &json!(releases.iter().map(entry).collect::<Vec<_>>())))
}

/// `helm show chart|values`.
pub(super) fn show(engine: &Engine, argv: &Argv) -> Result<String, String> {
    let version = engine.locate(argv, argv.word(2)?)?;
    match argv.word(1)? {
        "chart" => Ok(manifest::to_yaml(&archive_metadata(&version))),
        "values" => Ok(manifest::to_yaml(&Value::Object(chart::defaults(&version)))),
        other => Err(format!("unknown command {other:?} for \"helm show\"")),
    }
}

/// `helm pull`: writes the archive and tells its digest.
pub(super) fn pull(engine: &Engine, argv: &Argv) -> Result<String, String> {
    let reference = argv.word(1)?;
    let version = engine.locate(argv, reference)?;
    let bytes = chart::pack(&version, engine.edition).map_err(|error| error.to_string())?;
    let directory = std::path::Path::new(argv.flag("destination").unwrap_or("."));
    let path = directory.join(format!("{}-{}.tgz", chart::NAME, version.as_str()));
    std::fs::write(&path, &bytes).map_err(|error| format!("failed to write {}: {error}", path.display()))?;
    let digest = Sha256::digest(&bytes).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    Ok(format!("Pulled: {}:{}\nDigest: sha256:{digest}\n", reference.trim_start_matches("oci://"), version.as_str()))
}

/// `helm template`: no cluster is asked, so every `lookup` is empty.
pub(super) async fn template(engine: &Engine, argv: &Argv) -> Result<String, String> {
    let version = engine.locate(argv, argv.word(2)?)?;
    let config = values::given(argv, &engine.call.stdin)?;
    let request = RenderRequest {
        version: &version,
        release: (argv.word(1)?, argv.namespace()),
        is_upgrade: argv.has("is-upgrade"),
        defaults: &chart::defaults(&version),
        config: &config,
        live: argv.flag("dry-run") == Some("server"),
    };
    Ok(manifest::join(&engine.render(argv, &request).await?))
}

fn print(argv: &Argv, value: &Value) -> String {
    if argv.wants_json() { format!("{value}\n") } else { manifest::to_yaml(value) }
}
