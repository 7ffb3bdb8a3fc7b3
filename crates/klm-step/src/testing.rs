//! The fakes as a `World`, for the tests of steps.

use std::sync::Arc;

use clap::Parser as _;
use futures::FutureExt as _;
use klm_core::refusal::Refusal;
use klm_testkit::{FakeCluster, FakeHelm};

use crate::cli::{Cli, Command};
use crate::cluster::Cluster;
use crate::exit::StepError;
use crate::helm::{Helm, InProcess, Output};
use crate::world::{Clock, Here, Stop, World};

/// What the chart's roles give, as its default installation renders them, in namespace `flows`.
pub fn chart_rules() -> Vec<serde_json::Value> {
    let rendered = include_str!("../../klm-chartgen/tests/rendered/defaults.yaml");
    crate::manifest::documents(&rendered.replace("namespace: argo", "namespace: flows")).unwrap()
}

/// A step's process on these fakes, under the chart's own rights.
pub fn world(cluster: &FakeCluster, helm: &FakeHelm) -> World {
    let cluster = cluster.clone().with_rules(&chart_rules(), "flows", klm_core::contract::CHART_NAME);
    bare_world(&cluster, helm)
}

/// A step's process on these fakes: its own connection, its own helm, whatever rights the cluster was given.
pub fn bare_world(cluster: &FakeCluster, helm: &FakeHelm) -> World {
    let (stop, _switch) = Stop::new();
    let process = helm.process();
    let run: InProcess = Arc::new(move |call: crate::helm::Invocation| {
        let process = process.clone();
        async move {
            let env = call.env.into_iter().collect();
            let output = process.run(klm_testkit::Invocation { arguments: call.args, env, stdin: Vec::new() }).await;
            Output { code: output.code, stdout: output.stdout, stderr: output.stderr }
        }
        .boxed()
    });
    World {
        cluster: Cluster::new(cluster.client()),
        helm: Helm::in_process(run, stop.clone()).unwrap(),
        clock: Clock::starting_at(cluster.now()),
        stop,
        here: Here { pod: String::new(), namespace: "flows".to_owned(), node: String::new() },
        print: |_| Ok(()),
    }
}

/// Gives a fake helm our post-renderer, for a chart that cleans up.
pub fn post_render(helm: &FakeHelm) {
    helm.set_post_render(|stream, _| {
        klm_core::post_render::scope(stream, true, crate::manifest::document).map_err(|error| error.to_string())
    });
}

/// A verification pod that is right.
pub const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: \"${TEST_POD}\"}\nspec:\n  runtimeClassName: kata-qemu\n  containers:\n  - {name: probe, image: probe, env: [{name: TOKEN, value: hunter2}]}\n";

/// The subcommand of a command line.
pub fn command(args: &[&str]) -> Command {
    Cli::try_parse_from(["klm-step"].iter().chain(args)).unwrap().command
}

/// The flags of run `flows/up-1`.
pub const RUN: [&str; 6] = ["--workflow-namespace", "flows", "--workflow-name", "up-1", "--workflow-uid", "u-1"];

/// The reasons of a refused step, as one text; anything else stops the test.
pub fn refusals(result: Result<(), StepError>) -> String {
    match result {
        Err(StepError::Refused(refusals)) => refusals.iter().map(Refusal::to_string).collect::<Vec<_>>().join("\n"),
        other => panic!("not refused: {other:?}"),
    }
}
