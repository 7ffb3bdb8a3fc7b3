use std::time::Duration;

use klm_core::name::NodeName;
use klm_testkit::fixtures::{Fleet, node, workflow};
use klm_testkit::helm::Stage;
use klm_testkit::{FakeCluster, FakeHelm, HelmFault, Invocation};
use serde_json::{Value, json};

use super::*;
use crate::cli::Command;
use crate::origin_store::StoredOrigin;
use crate::testing::{POD, RUN, command, refusals, world};

struct Bench {
    cluster: FakeCluster,
    helm: FakeHelm,
    outputs: tempfile::TempDir,
}

impl Bench {
    fn of(fleet: Fleet) -> Self {
        let (cluster, helm) = fleet.build();
        cluster.world(|world| world.ensure_namespace("flows"));
        Self { cluster, helm, outputs: tempfile::tempdir().unwrap() }
    }

    async fn select(&self, target: &str, more: &[&str]) -> Result<(), StepError> {
        let outputs = self.outputs.path().to_str().unwrap();
        let line: Vec<&str> =
            ["select-nodes", "--target-version", target, "--verification-pod", POD, "--outputs", outputs]
                .into_iter()
                .chain(RUN)
                .chain(more.iter().copied())
                .collect();
        let Command::SelectNodes(args) = command(&line) else { panic!("{line:?}") };
        run(&args, &world(&self.cluster, &self.helm)).await
    }

    fn output(&self, name: &str) -> String {
        std::fs::read_to_string(self.outputs.path().join(name)).unwrap()
    }

    fn plan(&self) -> Plan {
        let map = self.cluster.get("configmaps", "flows", "up-1-plan").unwrap();
        serde_json::from_str(map["data"]["plan.json"].as_str().unwrap()).unwrap()
    }

    async fn origin(&self) -> Option<StoredOrigin> {
        let cluster = crate::cluster::Cluster::new(self.cluster.admin());
        let release =
            klm_core::helm_command::ReleaseRef { name: "kata-deploy".into(), namespace: "kube-system".into() };
        origin_store::read(&cluster, &release).await.unwrap()
    }

    fn lease(&self) -> Option<Value> {
        self.cluster.get("leases", "kube-system", "klm-kata-deploy")
    }

    async fn helm(&self, args: &[&str]) {
        let output = self.helm.process().run(Invocation::of(args)).await;
        assert_eq!(output.code, Some(0), "{}", output.stderr);
    }
}

fn names(plan: &Plan) -> Vec<&str> {
    plan.nodes.iter().map(|node| node.0.as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn the_plan_the_origin_the_lock_and_the_outputs_are_written() {
    let bench = Bench::of(Fleet::new().workers(5).version("4.0.0").job().values(json!({"debug": true})));
    bench.select("4.1.0", &["--batch-size", "2", "--helm-set-values", "logLevel=hunter2"]).await.unwrap();
    let plan = bench.plan();
    assert_eq!(names(&plan), ["worker-1", "worker-2", "worker-3", "worker-4", "worker-5"]);
    assert_eq!(
        (plan.target.as_str(), plan.origin.as_str(), plan.mode.as_str(), plan.base_revision),
        ("4.1.0", "4.0.0", "job", 1)
    );
    let outputs = ["node-count", "wave-count", "item-count", "plan"].map(|name| bench.output(name));
    assert_eq!(outputs, ["5", "3", "3", "up-1-plan"]);
    let StoredOrigin { origin, inputs, settled: _ } = bench.origin().await.unwrap();
    assert_eq!(
        (origin.chart_version.as_str(), origin.values["debug"].as_bool(), origin.armed),
        ("4.0.0", Some(true), None)
    );
    assert_eq!((inputs.set_values["logLevel"].as_str(), inputs.verification_pod.as_str()), (Some("hunter2"), POD));
    assert_eq!(bench.lease().unwrap()["spec"]["holderIdentity"], "flows/up-1/u-1");
    let map = bench.cluster.get("configmaps", "flows", "up-1-plan").unwrap();
    assert!(!map.to_string().contains("hunter2"), "no secret in a ConfigMap");
    assert_eq!(bench.helm.revisions("kube-system", "kata-deploy").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn no_node_means_no_lock_no_origin_and_no_revision() {
    let bench = Bench::of(Fleet::new());
    bench.select("4.0.0", &["--node-selector", "pool=none"]).await.unwrap();
    assert_eq!(["node-count", "wave-count", "item-count"].map(|name| bench.output(name)), ["0", "0", "0"]);
    assert_eq!((bench.lease(), bench.origin().await.is_none()), (None, true));
    assert_eq!(bench.helm.calls_of("upgrade"), Vec::<Vec<String>>::new());
    assert!(names(&bench.plan()).is_empty());
}

#[tokio::test(start_paused = true)]
async fn nodes_are_chosen_by_taint_and_the_left_out_have_reasons() {
    let window = |name: &str| node(name).tainted("window", "pending", "NoSchedule");
    let bench = Bench::of(
        Fleet::new()
            .node(window("worker-2"))
            .node(window("worker-3").not_ready())
            .values(json!({"tolerations": [{"operator": "Exists"}]})),
    );
    bench.select("4.0.0", &["--node-taint-key", "window", "--node-taint-value", "pending"]).await.unwrap();
    assert_eq!(names(&bench.plan()), ["worker-2"]);
    let map = bench.cluster.get("configmaps", "flows", "up-1-plan").unwrap();
    assert_eq!(map["data"]["skipped.json"], json!(r#"{"is not Ready":["worker-3"]}"#));
}

#[tokio::test(start_paused = true)]
async fn the_nodes_own_pods_tell_the_source() {
    let bench = Bench::of(Fleet::new());
    bench.select("4.0.0", &[]).await.unwrap();
    assert!(bench.plan().nodes.iter().all(|node| node.2.as_deref() == Some("3.31.0")));
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_on_its_way_out_tells_nothing() {
    let bench = Bench::of(Fleet::new());
    let on_worker_1 = |pod: &&Value| pod["spec"]["nodeName"] == "worker-1";
    let pods = bench.cluster.objects("pods");
    let name = pods.iter().find(on_worker_1).unwrap()["metadata"]["name"].as_str().unwrap();
    bench.cluster.edit("pods", "kube-system", name, |pod| {
        pod["metadata"]["finalizers"] = json!(["x/y"]);
        pod["metadata"]["deletionTimestamp"] = json!("2026-03-02T08:00:00Z");
        pod["spec"]["containers"][0]["image"] = json!("q/k:3.30.0");
    });
    bench.select("4.0.0", &[]).await.unwrap();
    assert_eq!(bench.plan().nodes[0].2.as_deref(), Some("3.31.0"));
}

#[tokio::test(start_paused = true)]
async fn after_a_failed_revision_the_last_good_one_is_the_origin() {
    let bench = Bench::of(Fleet::new().values(json!({"debug": true})));
    bench.helm.inject(HelmFault::fail("upgrade", "no").at(Stage::Applied));
    let failing = [
        "upgrade",
        "kata-deploy",
        "oci://x/kata-deploy",
        "--version",
        "4.0.0",
        "--namespace",
        "kube-system",
        "--set",
        "a=b",
    ];
    assert_eq!(bench.helm.process().run(Invocation::of(failing)).await.code, Some(1));
    bench.select("4.0.0", &[]).await.unwrap();
    let origin = bench.origin().await.unwrap().origin;
    assert_eq!((origin.chart_version.as_str(), origin.revision, origin.values.get("a")), ("3.31.0", 1, None));
    assert_eq!((origin.values["debug"].as_bool(), bench.plan().base_revision), (Some(true), 2));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_leaves_no_lock_and_no_plan_behind() {
    let bench = Bench::of(Fleet::new().values(json!({"image": {"tag": "3.31.0"}})));
    let said = refusals(bench.select("4.0.0", &[]).await);
    assert!(said.contains("`image.tag`"), "{said}");
    // What stays goes with the Workflow, and tells its exit handler which lock to look for.
    let kept = bench.cluster.get("configmaps", "flows", "up-1-plan").unwrap();
    assert_eq!((bench.lease(), kept["data"].get("plan.json")), (None, None));
    assert_eq!(kept["metadata"]["ownerReferences"][0]["kind"], "Workflow");
}

#[tokio::test(start_paused = true)]
async fn a_living_run_keeps_its_release() {
    let bench = Bench::of(Fleet::new());
    bench.select("4.0.0", &[]).await.unwrap();
    bench.cluster.add(workflow("flows", "up-1", "Running"));
    bench.cluster.edit("workflows", "flows", "up-1", |workflow| workflow["metadata"]["uid"] = json!("u-1"));
    let before = bench.lease();
    let line = ["select-nodes", "--target-version", "4.0.0", "--verification-pod", POD];
    let other = ["--workflow-namespace", "flows", "--workflow-name", "up-2", "--workflow-uid", "u-2"];
    let Command::SelectNodes(args) = command(&[&line[..], &other[..]].concat()) else { panic!() };
    let said = refusals(run(&args, &world(&bench.cluster, &bench.helm)).await);
    assert!(said.contains("`flows/up-1`"), "{said}");
    assert_eq!(bench.lease(), before);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_may_wait_gets_the_release_when_the_other_is_over() {
    let bench = Bench::of(Fleet::new());
    bench.cluster.add(json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"namespace": "kube-system", "name": "klm-kata-deploy"}, "spec": {"holderIdentity": "flows/up-0/u-0"},
    }));
    bench.cluster.add(workflow("flows", "up-0", "Running"));
    bench.cluster.edit("workflows", "flows", "up-0", |workflow| workflow["metadata"]["uid"] = json!("u-0"));
    bench.cluster.after(Duration::from_secs(3_600), |world| {
        world.edit("workflows", "flows", "up-0", |workflow| workflow["status"]["phase"] = json!("Succeeded"));
    });
    bench.select("4.0.0", &["--when-locked", "wait"]).await.unwrap();
    assert_eq!(bench.lease().unwrap()["spec"]["holderIdentity"], "flows/up-1/u-1");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_resumes_keeps_the_first_origin() {
    let bench = Bench::of(Fleet::new());
    bench.select("4.0.0", &[]).await.unwrap();
    // The first run upgrades the release and dies.
    bench
        .helm(&[
            "upgrade",
            "kata-deploy",
            "oci://x/kata-deploy",
            "--version",
            "4.0.0",
            "--namespace",
            "kube-system",
            "--reset-then-reuse-values",
            "--set",
            "updateStrategy.type=OnDelete",
            "--set",
            "verification.pod=",
            "--description",
            "kata-lifecycle-manager: upgrade to 4.0.0 (run flows/up-0, u-0)",
        ])
        .await;
    bench.select("4.0.0", &[]).await.unwrap();
    let origin = bench.origin().await.unwrap().origin;
    assert_eq!((origin.chart_version.as_str(), origin.revision), ("3.31.0", 1));
    assert_eq!((bench.plan().origin.as_str(), bench.plan().base_revision), ("3.31.0", 2));
    bench.select("4.1.0", &[]).await.unwrap();
    let origin = bench.origin().await.unwrap().origin;
    assert_eq!(
        (origin.chart_version.as_str(), origin.armed),
        ("4.0.0", Some(2)),
        "another target starts from what is there"
    );
}

#[tokio::test(start_paused = true)]
async fn a_node_at_the_target_is_left_alone() {
    let bench = Bench::of(Fleet::new().version("4.0.0").job());
    bench.cluster.edit("nodes", "", "worker-2", |node| {
        node["metadata"]["annotations"] = json!({
            "katacontainers.io/kata-lifecycle-manager-status": "completed", "katacontainers.io/kata-current-version": "4.0.0",
        });
    });
    bench.select("4.0.0", &[]).await.unwrap();
    assert_eq!(names(&bench.plan()), ["worker-1", "worker-3"]);
    bench.select("4.0.0", &["--force", "true"]).await.unwrap();
    assert_eq!(bench.plan().nodes.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_great_fleet_fits_its_plan_and_its_steps() {
    let bench = Bench::of(Fleet::new().workers(1_200).version("4.0.0").job());
    bench.select("4.1.0", &[]).await.unwrap();
    let plan = bench.plan();
    assert_eq!((plan.nodes.len(), plan.wave_count(), plan.item_count()), (1_200, 1_200, 25));
    let size = bench.cluster.get("configmaps", "flows", "up-1-plan").unwrap().to_string().len();
    assert!(size * 5_000 / 1_200 < 1_000_000, "{size} bytes for 1,200 nodes");
    assert_eq!(plan.nodes[9].0, NodeName::try_from("worker-10").unwrap());
}
