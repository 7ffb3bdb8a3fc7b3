//! Making a used cluster as good as new, in seconds.

use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Pod, Secret, ServiceAccount};
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use klm_bed::wait::{Seen, Wait};
use klm_core::contract::RUN_LABEL;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams};
use kube::core::{NamespaceResourceScope, Resource};
use serde::de::DeserializeOwned;

use super::{ARGO, Fleet, KUBE_SYSTEM};

/// Label of the namespaces that a test made.
const OURS: &str = "e2e.klm.test/made-by";

/// Pods that are told to go have this long; the slowest stand-in stops after half of it.
const GONE: Duration = Duration::from_secs(90);

impl Fleet {
    /// Removes every workflow, every release of kata-deploy and whatever runs have left anywhere.
    pub(crate) async fn reset(&self) -> Result<()> {
        self.delete_workflows().await?;
        let mut namespaces = self.made_namespaces().await?;
        namespaces.push(KUBE_SYSTEM.to_owned());
        for namespace in &namespaces {
            klm_standin::setup::heal(&self.client(), namespace).await?;
            self.delete_kata(namespace).await?;
        }
        self.delete_cluster_objects().await?;
        // Or their pods would come back.
        self.delete_named::<Deployment>("default", "").await?;
        self.delete_pods("default", &ListParams::default()).await?;
        let budgets: Api<PodDisruptionBudget> = Api::namespaced(self.client(), "default");
        budgets.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
        for namespace in namespaces.iter().filter(|namespace| *namespace != KUBE_SYSTEM) {
            let all: Api<Namespace> = Api::all(self.client());
            all.delete(namespace, &DeleteParams::default()).await?;
        }
        // Last, when nothing runs that could still write on a node.
        for node in self.nodes().await? {
            self.wipe_node(&node).await?;
        }
        // Events of nodes are there.
        let events: Api<Event> = Api::namespaced(self.client(), "default");
        events.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
        Ok(())
    }

    /// A namespace that the next test won't find.
    pub fn made_namespace(&self, prefix: &str) -> Result<String> {
        let name = self.scene.namespace(prefix)?;
        self.scene.kubectl(&["label", "namespace", &name, &format!("{OURS}=test")])?;
        Ok(name)
    }

    async fn made_namespaces(&self) -> Result<Vec<String>> {
        let all: Api<Namespace> = Api::all(self.client());
        let listed = all.list(&ListParams::default().labels(OURS)).await?;
        Ok(listed.iter().filter(|one| one.metadata.deletion_timestamp.is_none()).map(ResourceExt::name_any).collect())
    }

    async fn delete_workflows(&self) -> Result<()> {
        let workflows = self.scene.workflows(ARGO);
        for workflow in workflows.list(&ListParams::default()).await.context("listing workflows")? {
            // A workflow that still runs must not start another step while its pods are deleted.
            self.scene.argo(&["delete", "-n", ARGO, &workflow.name_any()])?;
        }
        self.delete_pods(ARGO, &ListParams::default().labels("workflows.argoproj.io/workflow")).await?;
        let pods: Api<Pod> = Api::all(self.client());
        for pod in pods.list(&ListParams::default().labels(RUN_LABEL)).await? {
            let namespace = pod.namespace().unwrap_or_default();
            self.delete_pods(&namespace, &ListParams::default().labels(RUN_LABEL)).await?;
        }
        Ok(())
    }

    async fn delete_kata(&self, namespace: &str) -> Result<()> {
        let (all, background) = (ListParams::default(), DeleteParams::background());
        let secrets: Api<Secret> = Api::namespaced(self.client(), namespace);
        let releases = ListParams::default().labels("owner=helm");
        secrets.delete_collection(&background, &releases).await?;
        self.delete_named::<Secret>(namespace, "klm-origin-").await?;
        self.delete_named::<Lease>(namespace, "klm-").await?;
        self.delete_named::<Job>(namespace, "kata-").await?;
        self.delete_named::<DaemonSet>(namespace, "kata-").await?;
        for selector in ["name", "kata-deploy/stage", "kata-deploy/dispatcher", "job-name"] {
            self.delete_pods(namespace, &ListParams::default().labels(selector)).await?;
        }
        self.delete_named::<ConfigMap>(namespace, "kata-").await?;
        self.delete_named::<ServiceAccount>(namespace, "kata-").await?;
        self.delete_named::<Role>(namespace, "kata-").await?;
        self.delete_named::<RoleBinding>(namespace, "kata-").await?;
        let states: Api<ConfigMap> = Api::namespaced(self.client(), namespace);
        for map in states.list(&all).await?.iter().filter(|map| map.name_any().ends_with("-kata-deploy-state")) {
            states.delete(&map.name_any(), &background).await?;
        }
        Ok(())
    }

    async fn delete_cluster_objects(&self) -> Result<()> {
        // Our own chart's roles begin with another word.
        delete_all(&Api::<ClusterRole>::all(self.client()), |name| name.starts_with("kata-deploy-")).await?;
        delete_all(&Api::<ClusterRoleBinding>::all(self.client()), |name| name.starts_with("kata-deploy-")).await?;
        delete_all(&Api::<RuntimeClass>::all(self.client()), |_| true).await
    }

    async fn delete_named<K>(&self, namespace: &str, prefix: &str) -> Result<()>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
    {
        // Our own release is in this namespace only if a test put it there.
        delete_all(&Api::<K>::namespaced(self.client(), namespace), |name| name.starts_with(prefix)).await
    }

    /// Deletes pods and waits until they are gone. A `DaemonSet` can make one at the moment of its own end, and the garbage
    /// collector has been seen to leave that for minutes.
    async fn delete_pods(&self, namespace: &str, which: &ListParams) -> Result<()> {
        let pods: Api<Pod> = Api::namespaced(self.client(), namespace);
        pods.delete_collection(&DeleteParams::default(), which).await?;
        Wait::new(format!("the pods in {namespace} to go"), GONE)
            .until(async || {
                let left = pods.list(which).await?.items;
                if left.iter().any(|pod| pod.metadata.deletion_timestamp.is_none()) {
                    pods.delete_collection(&DeleteParams::default(), which).await?;
                }
                let names: Vec<_> = left.iter().map(ResourceExt::name_any).collect();
                Ok(if names.is_empty() { Seen::Done(()) } else { Seen::NotYet(names.join(", ")) })
            })
            .await
    }
}

async fn delete_all<K>(objects: &Api<K>, which: impl Fn(&str) -> bool) -> Result<()>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    for object in objects.list(&ListParams::default()).await? {
        let name = object.name_any();
        if which(&name) {
            match objects.delete(&name, &DeleteParams::background()).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                done => done.map(drop).with_context(|| format!("deleting `{name}`"))?,
            }
        }
    }
    Ok(())
}
