//! kata-deploy's `DaemonSet`s in the cluster, whoever they belong to, and what their pods say about nodes.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Pod;
use klm_core::helm_command::ReleaseRef;
use klm_core::name::NodeName;

use crate::cluster::{ApiError, Query};
use crate::observe;
use crate::world::World;

/// What the `DaemonSet`s of a cluster tell.
#[derive(Clone, Debug, Default)]
pub struct Installs {
    /// UIDs of all `DaemonSet`s, for drains.
    pub daemonsets: BTreeSet<String>,
    /// Releases that installed kata-deploy as a `DaemonSet`, as `namespace/name`.
    pub releases: BTreeSet<String>,
}

/// The container that only kata-deploy has.
const INSTALLER: &str = "kube-kata";

impl Installs {
    /// Lists all of them. Without the right to, nothing is known, and the gate for rights says so.
    pub async fn read(world: &World) -> Result<Self, ApiError> {
        let mut installs = Self::default();
        let listed = world
            .cluster
            .list::<DaemonSet, ()>(None, &Query::all(), |daemonset| {
                installs.add(&daemonset);
                None
            })
            .await;
        match listed {
            Err(error) if !error.is_forbidden() => Err(error),
            _ => Ok(installs),
        }
    }

    fn add(&mut self, daemonset: &DaemonSet) {
        let metadata = &daemonset.metadata;
        self.daemonsets.extend(metadata.uid.clone());
        let template = daemonset.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
        let installs = template.is_some_and(|spec| spec.containers.iter().any(|container| container.name == INSTALLER));
        let annotation = |key: &str| metadata.annotations.as_ref()?.get(key).cloned();
        if let (true, Some(name)) = (installs, annotation("meta.helm.sh/release-name")) {
            let namespace = annotation("meta.helm.sh/release-namespace").or_else(|| metadata.namespace.clone());
            self.releases.insert(format!("{}/{name}", namespace.unwrap_or_default()));
        }
    }

    /// Those that aren't this release.
    pub fn others(&self, release: &ReleaseRef) -> Vec<String> {
        let ours = format!("{}/{}", release.namespace, release.name);
        self.releases.iter().filter(|found| **found != ours).cloned().collect()
    }
}

/// The version that each node's kata-deploy pod runs, where its image says one.
pub async fn versions(
    world: &World,
    release: &ReleaseRef,
    suffix: Option<&str>,
) -> Result<BTreeMap<NodeName, String>, ApiError> {
    let name = suffix.map_or_else(|| "kata-deploy".to_owned(), |suffix| format!("kata-deploy-{suffix}"));
    let query = Query::labels(format!("name={name}"));
    let installed = world
        .cluster
        .list::<Pod, _>(Some(&release.namespace), &query, |pod| {
            let pod = observe::kata_pod(&pod).filter(|pod| !pod.terminating)?;
            Some((NodeName::try_from(pod.node).ok()?, tag(&pod.image)?.to_owned()))
        })
        .await;
    match installed {
        Err(error) if !error.is_forbidden() => Err(error),
        other => Ok(other.unwrap_or_default().into_iter().collect()),
    }
}

/// The version in an image's tag. A tag of somebody's own says nothing.
fn tag(image: &str) -> Option<&str> {
    let tag = image.split('@').next()?.rsplit_once('/').map_or(image, |(_, name)| name).split_once(':')?.1;
    semver::Version::parse(tag).is_ok().then_some(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_tag_that_is_a_version_tells_one() {
        for (image, version) in [
            ("quay.io/kata-containers/kata-deploy:4.0.0", Some("4.0.0")),
            ("mirror:5000/kata-deploy:4.1.0-rc0", Some("4.1.0-rc0")),
            ("mirror:5000/kata-deploy", None),
            ("q/k:mine", None),
            ("q/k@sha256:0", None),
        ] {
            assert_eq!(tag(image), version, "{image}");
        }
    }
}
