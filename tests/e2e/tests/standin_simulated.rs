//! The stand-in on simulated nodes: its player does there what the stub does on real ones.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use klm_e2e::{Scene, Seen, Wait};
use klm_standin::injection::Injection;
use klm_standin::play::{self, Options};
use klm_standin::setup;
use klm_standin::truth::{self, Truth};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt};
use tokio::task::JoinHandle;

const MINUTE: Duration = Duration::from_secs(60);

/// A release, and the player of its pods.
struct Played {
    scene: Scene,
    namespace: String,
    player: JoinHandle<anyhow::Result<()>>,
}

impl Drop for Played {
    fn drop(&mut self) {
        self.player.abort();
    }
}

impl Played {
    async fn open() -> Self {
        let scene = Scene::open().await.unwrap();
        // What the test before left: tests of a suite run one after another.
        let _ = scene.helm(&["uninstall", "kata-deploy", "--namespace", "kube-system", "--no-hooks"]);
        scene
            .kubectl(&[
                "delete",
                "jobs",
                "--namespace",
                "kube-system",
                "--selector",
                "app.kubernetes.io/name=kata-deploy",
            ])
            .unwrap();
        let namespace = "kube-system".to_owned();
        setup::heal(&scene.client, &namespace).await.unwrap();
        setup::prepare(&scene.client, &namespace).await.unwrap();
        let options = Options {
            namespace: namespace.clone(),
            install_time: Some(Duration::from_millis(300)),
            simulated: ("kwok.x-k8s.io/node".to_owned(), "fake".to_owned()),
        };
        let player = tokio::spawn(play::play(scene.client.clone(), options));
        let stage = Self { scene, namespace, player };
        Wait::new("kata-deploy's pods to go", 2 * MINUTE)
            .until(async || {
                let pods = stage.pods().await?;
                Ok(if pods.is_empty() { Seen::Done(()) } else { Seen::NotYet(format!("{} are left", pods.len())) })
            })
            .await
            .unwrap();
        setup::forget(&stage.scene.client).await.unwrap();
        stage
    }

    async fn helm(&self, verb: &str, version: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let charts = self.scene.cluster.kata_charts().unwrap();
        let first =
            [verb, "kata-deploy", &charts, "--version", version, "--namespace", &self.namespace, "--plain-http"];
        let all: Vec<String> = first.iter().chain(arguments).map(|one| (*one).to_owned()).collect();
        let scene = self.scene.clone();
        // Helm waits for Jobs whose pods are played on this very thread.
        tokio::task::spawn_blocking(move || scene.helm(&all)).await.unwrap()
    }

    async fn install(&self, version: &str, arguments: &[&str]) {
        let settings = [
            "--set",
            "imagePullPolicy=IfNotPresent,standin.playedBy=klm-standin,tolerations[0].operator=Exists",
            "--set",
            "updateStrategy.type=OnDelete,job.nodeSettleSeconds=1",
        ];
        self.helm("install", version, &[&settings, arguments].concat()).await.unwrap();
    }

    async fn pods(&self) -> anyhow::Result<BTreeMap<String, Pod>> {
        let pods: Api<Pod> = Api::namespaced(self.scene.client.clone(), &self.namespace);
        let ours = pods.list(&ListParams::default().labels("bed.local/played-by=klm-standin")).await?;
        Ok(ours.into_iter().filter_map(|pod| Some((pod.spec.as_ref()?.node_name.clone()?, pod))).collect())
    }

    async fn delete_pod(&self, node: &str) {
        let pods: Api<Pod> = Api::namespaced(self.scene.client.clone(), &self.namespace);
        pods.delete(&self.pods().await.unwrap()[node].name_any(), &DeleteParams::default()).await.unwrap();
    }

    async fn until_truth(
        &self,
        what: &str,
        good: impl Fn(&BTreeMap<String, Truth>) -> bool,
    ) -> BTreeMap<String, Truth> {
        Wait::new(what, 3 * MINUTE)
            .until(async || {
                let truth = truth::read_all(&self.scene.client).await?;
                Ok(if good(&truth) { Seen::Done(truth) } else { Seen::NotYet(format!("{truth:?}")) })
            })
            .await
            .unwrap()
    }

    async fn until_waiting(&self, node: &str, reason: &str) {
        Wait::new(format!("{node}: {reason}"), MINUTE)
            .until(async || {
                let pods = self.pods().await?;
                let status = pods.get(node).and_then(|pod| pod.status.clone()).unwrap_or_default();
                let waiting = status.container_statuses.iter().flatten().find_map(|one| one.state.clone()?.waiting);
                Ok(match waiting.and_then(|waiting| waiting.reason) {
                    Some(seen) if seen == reason => Seen::Done(()),
                    other => Seen::NotYet(format!("{other:?}")),
                })
            })
            .await
            .unwrap();
    }
}

fn version(truth: &BTreeMap<String, Truth>, node: &str) -> Option<String> {
    truth[node].installed_version.clone()
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_simulated_daemonset_pod_installs_and_fails_as_a_real_one() {
    let played = Played::open().await;
    played.install("3.31.0", &[]).await;
    let all = |wanted: &str| {
        let wanted = wanted.to_owned();
        move |truth: &BTreeMap<String, Truth>| truth.values().all(|one| one.installed_version.as_ref() == Some(&wanted))
    };
    let before = played.until_truth("3.31.0 everywhere", all("3.31.0")).await;
    assert!(before.len() > 50, "{} nodes", before.len());
    played.helm("upgrade", "4.0.0", &["--reset-then-reuse-values"]).await.unwrap();
    let inject = async |node: &str, injection: Injection| {
        setup::inject(&played.scene.client, &played.namespace, Some(node), Some("4.0.0"), &[injection]).await.unwrap();
    };
    inject("sim-0002", Injection::Crash).await;
    inject("sim-0003", Injection::BadImage).await;
    for node in ["sim-0001", "sim-0002", "sim-0003"] {
        played.delete_pod(node).await;
    }
    let after =
        played.until_truth("4.0.0 on sim-0001", |truth| version(truth, "sim-0001").as_deref() == Some("4.0.0")).await;
    played.until_waiting("sim-0002", "CrashLoopBackOff").await;
    played.until_waiting("sim-0003", "ImagePullBackOff").await;
    for (node, truth) in after.iter().filter(|(node, _)| node.as_str() != "sim-0001") {
        assert_eq!(Some(truth), before.get(node), "{node}");
    }
    assert_eq!(after["sim-0001"].uninstall_count, 0, "a restart uninstalls nothing");
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_careless_wave_uninstalls_simulated_nodes_too() {
    let played = Played::open().await;
    played.install("4.0.0", &["--set", "deploymentMode=job,job.nodes={sim-0001,sim-0002,sim-0003}"]).await;
    let reuse = "--reset-then-reuse-values";
    played.helm("upgrade", "4.1.0", &[reuse, "--set", "job.nodes={sim-0001,sim-0002}"]).await.unwrap();
    let truth = truth::read_all(&played.scene.client).await.unwrap();
    let versions = ["sim-0001", "sim-0002", "sim-0003", "sim-0004"].map(|node| version(&truth, node));
    assert_eq!(versions.each_ref().map(Option::as_deref), [Some("4.1.0"), Some("4.1.0"), Some("4.0.0"), None]);
    played.helm("upgrade", "4.1.0", &[reuse, "--set", "job.nodes={sim-0003}"]).await.unwrap();
    let truth = truth::read_all(&played.scene.client).await.unwrap();
    let removed = ["sim-0001", "sim-0002", "sim-0003"].map(|node| truth[node].uninstall_count);
    assert_eq!(removed, [1, 1, 0]);
    setup::inject(&played.scene.client, &played.namespace, Some("sim-0004"), None, &[Injection::Crash]).await.unwrap();
    let failing = [reuse, "--set", "job.nodes={sim-0003,sim-0004}", "--set", "job.backoffLimit=0"];
    played.helm("upgrade", "4.2.0", &failing).await.unwrap_err();
    let truth = truth::read_all(&played.scene.client).await.unwrap();
    assert_eq!(version(&truth, "sim-0003").as_deref(), Some("4.2.0"));
    assert_eq!(version(&truth, "sim-0004"), None);
}
