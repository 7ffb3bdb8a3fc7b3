//! kata-deploy's stand-in as a test uses it: one release, what goes wrong on its nodes, and the truth about them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Node, Pod};
use klm_bed::wait::{Seen, Wait};
use klm_e2e::Scene;
use klm_standin::injection::{Injection, Pace};
use klm_standin::names::RUNTIME_LABEL;
use klm_standin::setup;
use klm_standin::truth::{self, Mode, Truth};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

/// Nothing that the stand-in does on a healthy node takes longer, even on a busy machine.
const SOON: Duration = Duration::from_secs(300);

/// Makes a release's pods wait until somebody deletes them.
pub const ON_DELETE: [&str; 3] = ["--reset-then-reuse-values", "--set", "updateStrategy.type=OnDelete"];

/// The cluster, and the release on a clean slate.
pub async fn open() -> (Scene, Kata) {
    let scene = Scene::open().await.unwrap();
    let kata = Kata::clean(&scene).await.unwrap();
    (scene, kata)
}

/// A release of kata-deploy's stand-in.
#[derive(Clone)]
pub struct Kata {
    scene: Scene,
    /// The release's namespace.
    pub namespace: String,
    /// The release's name.
    pub release: String,
}

impl Kata {
    /// The release `kata-deploy` in `kube-system`, as the documentation names it, on a clean slate: whatever releases
    /// earlier tests left are gone, and so is what they did to nodes.
    pub async fn clean(scene: &Scene) -> Result<Self> {
        let kata =
            Self { scene: scene.clone(), namespace: "kube-system".to_owned(), release: "kata-deploy".to_owned() };
        kata.remove_releases().await?;
        for node in kata.nodes().await? {
            let fresh = json!({"spec": {"unschedulable": null, "taints": null}});
            kata.node_api().patch(&node, &PatchParams::default(), &Patch::Merge(fresh)).await?;
        }
        setup::forget(&scene.client).await?;
        setup::heal(&scene.client, &kata.namespace).await?;
        setup::prepare(&scene.client, &kata.namespace).await?;
        let quick = Pace { install: Duration::from_millis(200), ..Pace::default() };
        setup::set_pace(&scene.client, &kata.namespace, quick).await?;
        Ok(kata)
    }

    async fn remove_releases(&self) -> Result<()> {
        let listed = self.scene.helm(&["list", "--all-namespaces", "--output", "json"])?;
        let listed: Vec<Value> = serde_json::from_str(&listed).context("cannot understand `helm list`")?;
        for release in listed.iter().filter(|one| one["chart"].as_str().unwrap_or_default().starts_with("kata-deploy-"))
        {
            let text = |key: &str| release[key].as_str().unwrap_or_default().to_owned();
            // Without its hooks: a dispatcher may be just what the last test broke.
            self.scene.helm(&["uninstall", &text("name"), "--namespace", &text("namespace"), "--no-hooks"])?;
        }
        let ours = "app.kubernetes.io/name=kata-deploy";
        self.scene.kubectl(&["delete", "jobs", "--all-namespaces", "--selector", ours, "--ignore-not-found"])?;
        // What no selector finds: kept by the chart's own wish, or left by hooks that failed.
        let left = ["clusterrole/kata-deploy-role", "clusterrolebinding/kata-deploy-rb"];
        self.scene.kubectl(&[&["delete", "--ignore-not-found"], left.as_slice()].concat())?;
        let left = ["job/kata-deploy-verify", "job/kata-deploy-rb-cleanup", "serviceaccount/kata-deploy-sa"];
        self.scene
            .kubectl(&[&["delete", "--ignore-not-found", "--namespace", &self.namespace], left.as_slice()].concat())?;
        self.remove_pods().await
    }

    /// Waits until no pod of a release is left. The garbage collector has been seen to leave one for minutes that the
    /// `DaemonSet` had made at the very moment of its own end, so whatever isn't on its way out is deleted here.
    async fn remove_pods(&self) -> Result<()> {
        let all: Api<Pod> = Api::all(self.scene.client.clone());
        Wait::new("kata-deploy's pods to go", SOON)
            .until(async || {
                let mut left = Vec::new();
                for pod in all.list(&ListParams::default()).await? {
                    let (name, namespace) = (pod.name_any(), pod.namespace().unwrap_or_default());
                    if !name.starts_with("kata-deploy-") && !name.starts_with("kata-monitor-") {
                        continue;
                    }
                    let leaving = pod.metadata.deletion_timestamp.is_some();
                    left.push(if leaving { format!("{name}, which is ending") } else { name.clone() });
                    if !leaving {
                        let pods: Api<Pod> = Api::namespaced(self.scene.client.clone(), &namespace);
                        pods.delete(&name, &DeleteParams::default()).await?;
                    }
                }
                Ok(if left.is_empty() { Seen::Done(()) } else { Seen::NotYet(left.join(", ")) })
            })
            .await
    }

    /// Installs the chart of `version`, with more arguments for helm. In job mode helm waits for the nodes; in daemonset
    /// mode see [`Self::settled`].
    pub fn install(&self, version: &str, mode: Mode, arguments: &[&str]) -> Result<String> {
        let mode = format!("deploymentMode={}", mode.as_str());
        let settings = ["--set", "imagePullPolicy=IfNotPresent", "--set", &mode];
        self.helm("install", version, &[&settings, arguments].concat())
    }

    /// Upgrades to the chart of `version` with exactly these arguments for helm.
    pub fn upgrade(&self, version: &str, arguments: &[&str]) -> Result<String> {
        self.helm("upgrade", version, arguments)
    }

    fn helm(&self, verb: &str, version: &str, arguments: &[&str]) -> Result<String> {
        let charts = self.scene.cluster.kata_charts().context("the stand-in's charts are in no registry")?;
        let first =
            [verb, &self.release, &charts, "--version", version, "--namespace", &self.namespace, "--plain-http"];
        self.scene.helm(&[&first, arguments].concat())
    }

    /// The revision that `helm history` shows last, as it shows it.
    pub fn last_revision(&self) -> Result<Value> {
        let history =
            self.scene.helm(&["history", &self.release, "--namespace", &self.namespace, "--output", "json"])?;
        let history: Vec<Value> = serde_json::from_str(&history).context("cannot understand `helm history`")?;
        history.last().cloned().context("the release has no revision")
    }

    /// The names of the nodes that Kata goes to, in order: the control plane, where it is a node, isn't one.
    pub async fn nodes(&self) -> Result<Vec<String>> {
        let workers = ListParams::default().labels("!node-role.kubernetes.io/control-plane");
        let nodes = self.node_api().list(&workers).await?;
        Ok(nodes.iter().map(ResourceExt::name_any).collect())
    }

    /// Waits until the truth about every node is this version, and in daemonset mode until each has a Ready pod of it.
    pub async fn settled(&self, version: &str) -> Result<BTreeMap<String, Truth>> {
        Wait::new(format!("every node to have {version}"), SOON)
            .until(async || {
                let truth = self.truth().await?;
                let others: Vec<_> = truth
                    .iter()
                    .filter(|(_, truth)| truth.installed_version.as_deref() != Some(version))
                    .map(|(node, truth)| format!("{node}: {truth:?}"))
                    .collect();
                if !others.is_empty() {
                    return Ok(Seen::NotYet(others.join("; ")));
                }
                for node in truth.keys() {
                    if let Some(pod) = self.pod(node).await?
                        && !is_ready(&pod)
                    {
                        return Ok(Seen::NotYet(format!("the pod on {node} isn't Ready")));
                    }
                }
                Ok(Seen::Done(truth))
            })
            .await
    }

    /// The truth about every node that Kata goes to.
    pub async fn truth(&self) -> Result<BTreeMap<String, Truth>> {
        let nodes = self.nodes().await?;
        let mut truth = truth::read_all(&self.scene.client).await?;
        truth.retain(|node, _| nodes.contains(node));
        Ok(truth)
    }

    /// The truth about one node.
    pub async fn truth_of(&self, node: &str) -> Result<Truth> {
        truth::read(&self.scene.client, node).await
    }

    /// From now on this goes wrong on `node` while `version` is at work there, or any version.
    pub async fn inject(&self, node: &str, version: Option<&str>, injections: &[Injection]) -> Result<()> {
        setup::inject(&self.scene.client, &self.namespace, Some(node), version, injections).await
    }

    /// Leaves a finished per-node Job of no living run, as a garbage collector that is late does.
    pub async fn leave_stale_job(&self, node: &str) -> Result<String> {
        let ours = "kata-deploy-job-dispatcher/owner";
        self.scene.kubectl(&[
            "delete",
            "jobs",
            "--namespace",
            &self.namespace,
            "--selector",
            ours,
            "--ignore-not-found",
        ])?;
        setup::leave_stale_job(&self.scene.client, &self.namespace, "", node).await
    }

    /// Waits until the node's label `katacontainers.io/kata-runtime` has this value.
    pub async fn label_becomes(&self, node: &str, value: &str) -> Result<()> {
        Wait::new(format!("the label of {node} to become {value}"), SOON)
            .until(async || {
                let label = self.runtime_label(node).await?;
                Ok(if label.as_deref() == Some(value) { Seen::Done(()) } else { Seen::NotYet(format!("{label:?}")) })
            })
            .await
    }

    /// The value of the runtime label.
    pub async fn runtime_label(&self, node: &str) -> Result<Option<String>> {
        Ok(self.node_api().get(node).await?.labels().get(RUNTIME_LABEL).cloned())
    }

    /// Sets the runtime label.
    pub async fn set_runtime_label(&self, node: &str, value: &str) -> Result<()> {
        let patch = json!({"metadata": {"labels": {RUNTIME_LABEL: value}}});
        self.node_api().patch(node, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// The `DaemonSet`'s pod on a node that isn't on its way out.
    pub async fn pod(&self, node: &str) -> Result<Option<Pod>> {
        let here = ListParams::default().labels("name=kata-deploy").fields(&format!("spec.nodeName={node}"));
        let pods = self.pod_api().list(&here).await?;
        Ok(pods.into_iter().find(|pod| pod.metadata.deletion_timestamp.is_none()))
    }

    /// Deletes the `DaemonSet`'s pod on a node and returns its UID.
    pub async fn delete_pod(&self, node: &str) -> Result<String> {
        let pod = self.pod(node).await?.with_context(|| format!("no pod of kata-deploy is on {node}"))?;
        self.pod_api().delete(&pod.name_any(), &kube::api::DeleteParams::default()).await?;
        pod.uid().context("a pod without a UID")
    }

    /// Waits until another pod than `old` is on the node, and looks well to `good`.
    pub async fn new_pod(&self, node: &str, old: &str, what: &str, good: impl Fn(&Pod) -> bool) -> Result<Pod> {
        Wait::new(format!("a new pod on {node}: {what}"), SOON)
            .until(async || {
                let pod = self.pod(node).await?.filter(|pod| pod.uid().as_deref() != Some(old));
                Ok(match pod {
                    Some(pod) if good(&pod) => Seen::Done(pod),
                    Some(pod) => Seen::NotYet(serde_json::to_string(&pod.status)?),
                    None => Seen::NotYet("no new pod".to_owned()),
                })
            })
            .await
    }

    /// Deletes the pod on a node and waits for the next one to be Ready.
    pub async fn restart_pod(&self, node: &str) -> Result<Pod> {
        let old = self.delete_pod(node).await?;
        self.new_pod(node, &old, "Ready", is_ready).await
    }

    /// The install Job of a node, if there is one.
    pub async fn node_job(&self, node: &str) -> Result<Option<Job>> {
        let jobs: Api<Job> = Api::namespaced(self.scene.client.clone(), &self.namespace);
        Ok(jobs.get_opt(&format!("kata-deploy-install-{node}")).await?)
    }

    /// What a dispatcher said.
    pub fn dispatcher_log(&self) -> Result<String> {
        self.scene.logs(&self.namespace, "job/kata-deploy-install-dispatcher")
    }

    /// Fails unless every node still has what it had, and nothing was done there.
    pub async fn unchanged_but(&self, nodes: &[&str], before: &BTreeMap<String, Truth>) -> Result<()> {
        let now = self.truth().await?;
        for (node, truth) in before.iter().filter(|(node, _)| !nodes.contains(&node.as_str())) {
            ensure!(now.get(node) == Some(truth), "{node} was touched: {truth:?} became {:?}", now.get(node));
        }
        Ok(())
    }

    fn node_api(&self) -> Api<Node> {
        Api::all(self.scene.client.clone())
    }

    fn pod_api(&self) -> Api<Pod> {
        Api::namespaced(self.scene.client.clone(), &self.namespace)
    }
}

/// Whether a pod is Ready.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
}

/// How often a pod's container started again.
pub fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    statuses.and_then(|all| all.first()).map_or(0, |one| one.restart_count)
}
