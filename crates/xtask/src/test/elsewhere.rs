//! The suites on a cluster that somebody else made: whether it fits, and which of them can't run there.

use std::path::Path;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Node;
use klm_bed::{Cluster, Options};
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};

use super::Test;
use super::cluster::{chosen, run_program};
use super::suite::{self, Suite};
use super::tally::Tally;
use crate::furnish::furnish;

/// Runs the suites that the filter allows and that can use this cluster, one after another.
pub fn run(test: &Test, kubeconfig: &Path) -> Result<Tally> {
    let cluster = Cluster::existing(kubeconfig, test.registry.clone());
    // Before anything is compiled or pushed: what is asked for would be gone.
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(fits(&cluster))?;
    let (suites, only) = chosen(test, suite::all()?)?;
    let (suites, impossible) = possible(suites)?;
    furnish(&cluster)?;
    let tallies = suites.iter().map(|suite| run_program(suite, &cluster, only.as_deref()).of(&suite.name));
    Ok(tallies.chain(impossible.iter().map(|suite| Tally::left_out(&suite.name))).sum())
}

/// Whether it may be wiped, and has the nodes that the suites name.
async fn fits(cluster: &Cluster) -> Result<()> {
    cluster.may_be_wiped().await?;
    let nodes: Api<Node> = Api::all(cluster.client().await?);
    let listed = nodes.list(&ListParams::default()).await.context("cannot list the cluster's nodes")?;
    let mut found: Vec<String> = listed.iter().map(Node::name_any).collect();
    found.sort();
    let expected = Options::default().node_names();
    if found != expected {
        bail!(
            "the suites need the nodes {} and no others, but the cluster has {}\nhint: .github/kind.yaml makes a kind \
             cluster with these",
            expected.join(", "),
            found.join(", ")
        );
    }
    Ok(())
}

/// Those that can use such a cluster, and those that need one which is started here.
fn possible(suites: Vec<Suite>) -> Result<(Vec<Suite>, Vec<Suite>)> {
    let (impossible, suites): (Vec<_>, Vec<_>) = suites.into_iter().partition(|suite| suite.needs.here);
    let names = impossible.iter().map(|suite| suite.name.as_str()).collect::<Vec<_>>().join(", ");
    if suites.is_empty() {
        bail!("only a cluster that is started here can run {names}\nhint: leave out --kubeconfig");
    }
    Ok((suites, impossible))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use klm_bed::consent::{ASKED, MAY_BE_WIPED};
    use klm_testkit::FakeCluster;
    use serde_json::json;

    use super::super::suite::Needs;
    use super::*;

    /// What `--kubeconfig` says of a cluster, and how often it was written to.
    fn asked(marked: bool, nodes: &[&str]) -> (String, String, u64) {
        let fake = FakeCluster::new();
        for node in nodes {
            fake.add(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}}));
        }
        if marked {
            fake.edit("namespaces", "", ASKED, |namespace| {
                namespace["metadata"]["annotations"] = json!({MAY_BE_WIPED: "true"});
            });
        }
        let before = fake.writes();
        let folder = tempfile::tempdir().unwrap();
        let (sender, listens) = std::sync::mpsc::channel();
        let (there, directory) = (fake.clone(), folder.path().to_owned());
        // On a thread of its own: it answers while this one waits.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let server = there.listen().await.unwrap();
                sender.send((server.url().to_owned(), server.write_kubeconfig(&directory).unwrap())).unwrap();
                std::future::pending::<()>().await;
            });
        });
        let (address, file) = listens.recv().unwrap();
        let test = Test::asked(&["cluster", "--kubeconfig", &file.display().to_string()]);
        let refused = run(&test, &file).unwrap_err().to_string();
        (refused, address, fake.writes() - before)
    }

    #[test]
    fn a_cluster_that_does_not_say_that_it_may_be_wiped_gets_nothing() {
        let (refused, address, writes) = asked(false, &["worker-1", "worker-2", "worker-3"]);
        assert!(refused.starts_with(&format!("the cluster at {address} doesn't say")), "{refused}");
        assert_eq!(writes, 0);
    }

    #[test]
    fn a_cluster_without_the_nodes_that_the_suites_name_is_refused() {
        let (refused, _, writes) = asked(true, &["klm-control-plane", "klm-worker"]);
        assert!(refused.contains("worker-1, worker-2, worker-3 and no others"), "{refused}");
        assert!(refused.contains("has klm-control-plane, klm-worker\nhint: .github/kind.yaml"), "{refused}");
        assert_eq!(writes, 0);
    }

    #[test]
    fn what_cannot_run_elsewhere_is_counted_and_never_alone_a_success() {
        let suite = |name: &str, here| Suite {
            name: name.into(),
            program: PathBuf::new(),
            needs: Needs { here, ..Needs::default() },
        };
        let (run, left) = possible(vec![suite("bed", true), suite("job", false), suite("machine", true)]).unwrap();
        assert_eq!((run[0].name.as_str(), run.len(), left.len()), ("job", 1, 2));
        let sum: Tally = left.iter().map(|suite| Tally::left_out(&suite.name)).sum();
        assert!(!sum.is_good(), "nothing was shown");
        let sum: Tally = [Tally::success(), sum].into_iter().sum();
        assert_eq!(sum.to_string(), "1 passed, 0 failed; 2 suites need a cluster that is started here: bed, machine");
        let error = possible(vec![suite("bed", true)]).unwrap_err().to_string();
        assert!(error.contains("can run bed\nhint: leave out --kubeconfig"), "{error}");
    }
}
