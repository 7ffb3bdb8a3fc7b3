//! Installing the stand-in kata-deploy, as somebody did before any run.

use std::time::Duration;

use anyhow::Result;
use klm_bed::wait::{Seen, Wait};
use klm_standin::{setup, truth};
use kube::api::{Api, ListParams};

use super::{Fleet, KUBE_SYSTEM, NodeState, RELEASE};

/// A release of kata-deploy.
#[derive(Clone, Debug)]
pub struct Kata {
    /// Release name.
    pub name: String,
    /// Release namespace.
    pub namespace: String,
    /// Chart version.
    pub version: String,
    /// What a user gave with `--set`.
    pub sets: Vec<String>,
    job: bool,
}

impl Kata {
    /// A release in `DaemonSet` mode, with the chart's own update strategy.
    pub fn daemonset(version: &str) -> Self {
        Self {
            name: RELEASE.to_owned(),
            namespace: KUBE_SYSTEM.to_owned(),
            version: version.to_owned(),
            sets: Vec::new(),
            job: false,
        }
    }

    /// A release in job mode.
    pub fn job(version: &str) -> Self {
        Self { job: true, ..Self::daemonset(version) }
    }

    /// Another name and namespace.
    #[must_use]
    pub fn named(mut self, name: &str, namespace: &str) -> Self {
        name.clone_into(&mut self.name);
        namespace.clone_into(&mut self.namespace);
        self
    }

    /// One more value of the user's, as for `--set`.
    #[must_use]
    pub fn set(mut self, set: &str) -> Self {
        self.sets.push(set.to_owned());
        self
    }

    /// In job mode from 4.1.0 on: a dispatcher that wasn't told which nodes lets them settle for a second only.
    #[must_use]
    pub fn quick(self) -> Self {
        self.set("job.nodeSettleSeconds=1")
    }

    fn all_sets(&self) -> Vec<String> {
        // `Always` would ask the registry for each of many pods.
        let mut sets = vec!["imagePullPolicy=IfNotPresent".to_owned()];
        if self.job {
            sets.push("deploymentMode=job".to_owned());
        }
        sets.extend(self.sets.iter().cloned());
        sets
    }
}

impl Fleet {
    /// Installs a release and waits until every node serves Kata.
    pub async fn install(&self, kata: &Kata) -> Result<()> {
        setup::prepare(&self.client(), &kata.namespace).await?;
        self.helm_kata("install", kata)?;
        self.all_nodes_at(&kata.version).await
    }

    /// `helm install` or `helm upgrade` of a release by hand.
    pub fn helm_kata(&self, verb: &str, kata: &Kata) -> Result<String> {
        let chart = self.kata_charts()?;
        let mut arguments: Vec<String> = [verb, &kata.name, &chart, "--namespace", &kata.namespace]
            .into_iter()
            .chain(["--version", &kata.version, "--plain-http", "--wait=hookOnly", "--timeout=300s"])
            .map(str::to_owned)
            .collect();
        for set in kata.all_sets() {
            arguments.extend(["--set".to_owned(), set]);
        }
        self.scene.helm(&arguments)
    }

    /// Waits until the truth on every node is this version, and every node says that it serves Kata.
    pub async fn all_nodes_at(&self, version: &str) -> Result<()> {
        Wait::new(format!("{version} on every node"), Duration::from_secs(300))
            .until(async || {
                let nodes = self.nodes().await?;
                let behind: Vec<_> = nodes.iter().filter(|node| !serves(node, version)).collect();
                Ok(if behind.is_empty() { Seen::Done(()) } else { Seen::NotYet(format!("{behind:?}")) })
            })
            .await
    }

    /// The ground truth about each node, in the order of their names: version, installs, uninstalls.
    pub async fn truth(&self) -> Result<Vec<(String, String, u32, u32)>> {
        let all = truth::read_all(&self.client()).await?;
        Ok(all
            .into_iter()
            .map(|(node, truth)| {
                let version = truth.installed_version.unwrap_or_default();
                (node, version, truth.install_count, truth.uninstall_count)
            })
            .collect())
    }

    /// Every node's version, in the order of their names. No node may ever have been uninstalled.
    pub async fn versions(&self) -> Result<Vec<String>> {
        let truth = self.truth().await?;
        for (node, _, _, uninstalls) in &truth {
            anyhow::ensure!(*uninstalls == 0, "Kata was taken off node `{node}` {uninstalls} times: {truth:?}");
        }
        Ok(truth.into_iter().map(|(_, version, _, _)| version).collect())
    }

    /// How often something was installed on each node, in the order of their names.
    pub async fn installs(&self) -> Result<Vec<u32>> {
        Ok(self.truth().await?.into_iter().map(|(_, _, installs, _)| installs).collect())
    }

    /// UIDs of the release's `DaemonSet` pods by node name.
    pub async fn kata_pods(&self, namespace: &str) -> Result<Vec<(String, String)>> {
        let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(self.client(), namespace);
        let listed = pods.list(&ListParams::default().labels("name=kata-deploy")).await?;
        let mut found: Vec<_> = listed
            .into_iter()
            .map(|pod| {
                let node = pod.spec.and_then(|spec| spec.node_name).unwrap_or_default();
                (node, pod.metadata.uid.unwrap_or_default())
            })
            .collect();
        found.sort();
        Ok(found)
    }
}

fn serves(node: &NodeState, version: &str) -> bool {
    node.serves_kata() && node.truth.installed_version.as_deref() == Some(version)
}
