//! Argo Workflows in the cluster: its published definitions and rights; the controller is a program of the control plane.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::control_plane::ARGO_INSTALLED;
use crate::netns::within;
use crate::options::Options;
use crate::parts::Parts;
use crate::process::{run as execute, words};
use crate::run::Run;
use crate::wait::{Seen, Wait};
use crate::world::COLLECT_LESS;

const GROUP: &str = "argoproj.io";

// The pieces of Argo's cluster installation, without the Deployments of its controller and its web server.
const PIECES: &[&str] = &[
    "cluster-install-no-crds/workflow-controller-rbac",
    "base/workflow-controller/workflow-controller-configmap.yaml",
    "base/workflow-controller/workflow-controller-sa.yaml",
    "base/workflow-controller/workflow-controller-priorityclass.yaml",
];

/// Applies the published manifests; the controller starts when this has succeeded.
pub fn install(run: &Run, parts: &Parts, options: &Options) -> Result<()> {
    let folder = run.path("argo");
    fs::create_dir_all(&folder)?;
    let manifests = parts.argo_manifests();
    let crds = if options.full_crds { "full" } else { "minimal" };
    fs::write(
        folder.join("namespace.json"),
        serde_json::to_vec(&json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "argo"},
        }))?,
    )?;
    let mut resources = vec!["namespace.json".to_owned()];
    for piece in PIECES.iter().copied().chain([&*format!("base/crds/{crds}")]) {
        // kustomize takes relative paths only, and files only from below its own folder; folders may be anywhere.
        let name = piece.replace('/', "-");
        let from = manifests.join(piece);
        if from.is_dir() {
            let link = folder.join(&name);
            std::os::unix::fs::symlink(&from, &link).with_context(|| format!("cannot link {}", link.display()))?;
        } else {
            fs::copy(&from, folder.join(&name))?;
        }
        resources.push(name);
    }
    fs::write(
        folder.join("kustomization.yaml"),
        serde_json::to_vec(&json!({
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": "argo",
            "resources": resources,
            "patches": [{"patch": collect_less().to_string()}],
        }))?,
    )?;
    // Server-side: the full definitions are too large for the annotation that a client-side apply keeps.
    execute(
        words(run.netns().enter_command())
            .arg(parts.path("kubectl")?)
            .args(["apply", "--server-side", "--force-conflicts", "--kustomize"])
            .arg(&folder)
            .arg("--kubeconfig")
            .arg(run.path("kubeconfig")),
    )
    .context("cannot install Argo's definitions and rights")?;
    fs::write(run.path(ARGO_INSTALLED), "")?;
    Ok(())
}

/// Waits until every client can find Argo's kinds. The API server takes definitions at once, and lists them for discovery
/// when it comes to it: on a busy machine, after the controller is ready.
pub fn offered(cluster: &Cluster) -> Result<()> {
    within(&cluster.run_netns()?, async || {
        let client = cluster.client().await?;
        let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
        Wait::new("Argo's kinds to be found by clients", Duration::from_secs(120))
            .until(async || {
                let defined = definitions.list(&ListParams::default()).await?.items;
                let groups = client.list_api_groups_aggregated().await?.items;
                let offered: Vec<_> = groups
                    .iter()
                    .filter(|group| group.metadata.as_ref().and_then(|it| it.name.as_deref()) == Some(GROUP))
                    .flat_map(|group| group.versions.iter().flat_map(|version| &version.resources))
                    .filter_map(|resource| resource.resource.as_deref())
                    .collect();
                let names = defined.iter().filter(|it| it.spec.group == GROUP).map(|it| it.spec.names.plural.as_str());
                let missing: Vec<_> = names.filter(|name| !offered.contains(name)).collect();
                Ok(if missing.is_empty() && !offered.is_empty() {
                    Seen::Done(())
                } else {
                    Seen::NotYet(format!("{} not offered", missing.join(", ")))
                })
            })
            .await
    })
}

/// What runs in step pods, Argo's own containers and helm, like every other Go program of the cluster.
fn collect_less() -> Value {
    let (name, value) = COLLECT_LESS;
    let container = json!({"env": [{"name": name, "value": value}]}).to_string();
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "workflow-controller-configmap"},
        "data": {"executor": container, "mainContainer": container},
    })
}
