//! A cluster that somebody else made is wiped only when it says of itself that it may be.

use std::path::Path;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, Config, ResourceExt as _};

use crate::process::quoted;

/// Annotation of the namespace [`ASKED`]; `true` says that the suites may wipe the cluster.
pub const MAY_BE_WIPED: &str = "katacontainers.io/kata-lifecycle-manager-may-be-wiped";

/// The namespace that answers for its cluster: every cluster has it, and nobody deletes it.
pub const ASKED: &str = "kube-system";

/// What the suites take away before each test.
const WIPED: &str = "the suites delete every RuntimeClass, all Workflows in `argo`, all Deployments, pods and disruption \
                     budgets in `default`, Helm's records of every release and kata-deploy's objects in `kube-system`, and \
                     take labels, annotations, taints and cordons off every node";

/// Returns when the cluster says that it may be wiped; `kubeconfig` is where it was named.
pub(crate) async fn given(config: Config, kubeconfig: &Path) -> Result<()> {
    let address = config.cluster_url.to_string();
    let address = address.trim_end_matches('/');
    let namespaces: Api<Namespace> = Api::all(Client::try_from(config)?);
    let asked = namespaces
        .get(ASKED)
        .await
        .with_context(|| format!("cannot ask the cluster at {address} whether it may be wiped"))?;
    if asked.annotations().get(MAY_BE_WIPED).is_some_and(|said| said == "true") {
        return Ok(());
    }
    bail!(
        "the cluster at {address} doesn't say that it may be wiped, and {WIPED}\nhint: if nobody needs it: kubectl \
         --kubeconfig {} annotate namespace {ASKED} {MAY_BE_WIPED}=true",
        quoted(&kubeconfig.display().to_string())
    )
}

#[cfg(test)]
mod tests {
    use klm_testkit::FakeCluster;
    use kube::api::{Patch, PatchParams};
    use serde_json::{Value, json};

    use super::*;
    use crate::Cluster;

    async fn asked(annotations: Value) -> (Result<()>, String, String) {
        let fake = FakeCluster::new();
        let namespaces: Api<Namespace> = Api::all(fake.client());
        let mark = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
        namespaces.patch(ASKED, &PatchParams::default(), &mark).await.unwrap();
        let server = fake.listen().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = server.write_kubeconfig(folder.path()).unwrap();
        let answer = Cluster::existing(&file, None).may_be_wiped().await;
        (answer, server.url().to_owned(), file.display().to_string())
    }

    #[tokio::test]
    async fn a_cluster_without_the_mark_is_not_wiped_and_the_message_says_how_to_mark_it() {
        for annotations in [json!({}), json!({MAY_BE_WIPED: "false"})] {
            let (answer, address, file) = asked(annotations).await;
            let said = format!("{:#}", answer.unwrap_err());
            let hint = format!(
                "\nhint: if nobody needs it: kubectl --kubeconfig {file} annotate namespace kube-system \
                 katacontainers.io/kata-lifecycle-manager-may-be-wiped=true"
            );
            assert!(said.starts_with(&format!("the cluster at {address} doesn't say")), "{said}");
            assert!(said.contains("every RuntimeClass") && said.ends_with(&hint), "{said}");
        }
    }

    #[tokio::test]
    async fn a_cluster_with_the_mark_may_be_wiped() {
        asked(json!({MAY_BE_WIPED: "true"})).await.0.unwrap();
    }

    #[tokio::test]
    async fn a_cluster_that_cannot_be_asked_is_not_wiped() {
        let folder = tempfile::tempdir().unwrap();
        let server = FakeCluster::new().listen().await.unwrap();
        let file = server.write_kubeconfig(folder.path()).unwrap();
        let address = server.url().to_owned();
        drop(server);
        let said = format!("{:#}", Cluster::existing(&file, None).may_be_wiped().await.unwrap_err());
        assert!(said.contains(&format!("cannot ask the cluster at {address}")), "{said}");
    }
}
