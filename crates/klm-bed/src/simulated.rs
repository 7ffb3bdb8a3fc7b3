//! Simulated nodes: kwok plays their kubelets, so that thousands fit on one machine.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Node;
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::task::JoinSet;

use crate::address::SERVICE;
use crate::control_plane::program;
use crate::parts::Parts;
use crate::run::Run;
use crate::up::is_ready;
use crate::wait::{Seen, Wait};
use crate::world::{After, Program};

/// The taint of simulated nodes, with the effect `NoSchedule`: pods that do real work stay on real nodes.
pub const TAINT: &str = "bed.local/simulated";

/// What plays them.
pub const PROGRAM: &str = "kwok";

/// How many nodes are created at the same time.
const AT_ONCE: usize = 16;

/// The process that plays them.
pub fn kwok(run: &Run, parts: &Parts) -> Result<Program> {
    let config = run.path("kwok.yaml");
    fs::write(&config, include_str!("simulated/kwok.yaml"))?;
    let after = After::Listening(std::net::SocketAddr::from(([127, 0, 0, 1], 443)));
    program(
        run,
        parts,
        PROGRAM,
        after,
        [
            format!("--kubeconfig={}", run.path("pki/kwok.conf").display()),
            format!("--config={}", config.display()),
            format!("--node-ip={SERVICE}"),
            // It would log each of its patches.
            "--v=WARN".to_owned(),
        ],
    )
}

/// The names of this many simulated nodes.
pub fn names(count: usize) -> impl Iterator<Item = String> {
    (1..=count).map(|number| format!("sim-{number:04}"))
}

/// Creates the nodes and waits until they are Ready.
pub async fn create(client: &Client, count: usize) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    let mut tasks = JoinSet::new();
    for first in 0..AT_ONCE.min(count) {
        let nodes = nodes.clone();
        // Each task takes every sixteenth name.
        let mine: Vec<String> = names(count).skip(first).step_by(AT_ONCE).collect();
        tasks.spawn(async move {
            for name in mine {
                let node: Node = serde_json::from_value(manifest(&name))?;
                nodes
                    .create(&PostParams::default(), &node)
                    .await
                    .with_context(|| format!("cannot create the simulated node {name}"))?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(created) = tasks.join_next().await {
        created??;
    }
    // From the server's memory, and seldom: five thousand nodes are 20 MB of JSON.
    let list = ListParams::default().labels(TAINT).match_any();
    Wait::new(format!("{count} simulated nodes to be Ready"), Duration::from_secs(600))
        .every(Duration::from_secs(2))
        .until(async || {
            let ready = nodes.list(&list).await?.iter().filter(|node| is_ready(node)).count();
            Ok(if ready >= count { Seen::Done(()) } else { Seen::NotYet(format!("{ready} are")) })
        })
        .await
}

fn manifest(name: &str) -> serde_json::Value {
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/arch": "amd64",
                "kubernetes.io/os": "linux",
                TAINT: "true",
            },
        },
        "spec": {"taints": [{"key": TAINT, "value": "true", "effect": "NoSchedule"}]},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_by_number() {
        let names: Vec<_> = names(1000).collect();
        assert_eq!((names[0].as_str(), names[999].as_str()), ("sim-0001", "sim-1000"));
        assert!(names.is_sorted());
    }
}
