//! Rollouts in daemonset mode, under the chart's own rights: what moves, what stays, and what a run leaves behind.

use std::time::Duration;

use anyhow::Result;
use klm_bed::images::SHELL_IMAGE;
use klm_e2e::fleet::{Fleet, Kata, Lifecycle, VerificationPod};
use klm_e2e::show;
use klm_standin::injection::Injection;
use klm_standin::setup;
use serde_json::{Value, json};

const ALL: [&str; 3] = ["worker-1", "worker-2", "worker-3"];
const GOOD: [&str; 5] = ["preparing", "cordoned", "upgrading", "verifying", "completed"];

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn one_node_at_a_time_moves_and_a_second_run_finds_nothing_to_do() -> Result<()> {
    let fleet = Fleet::bare().await?;
    fleet.install_lifecycle(&Lifecycle::default().with_step_pods_anywhere())?;
    let kata = Kata::daemonset("3.31.0").set("debug=true").set("job.parallelism=7").set("shims.qemu.enabled=true");
    fleet.install(&kata).await?;
    let before = fleet.before().await?;
    let old_pods = fleet.kata_pods("kube-system").await?;

    let run = fleet.deploy("4.0.0", &[]).await?.well()?;

    assert_eq!(fleet.versions().await?, ["4.0.0"; 3]);
    assert_eq!(fleet.installs().await?, [2, 2, 2], "one new install on each node, no more");
    run.history.check_waves(1)?;
    // Zone by zone and name by name, but the node that chose them goes last.
    let host = run.pods_of("select-nodes")[0].node.as_str();
    let (last, first): (Vec<_>, Vec<_>) = ALL.into_iter().partition(|node| *node == host);
    assert_eq!(run.history.order_of("completed"), [first, last].concat());
    for node in ALL {
        assert_eq!(run.history.statuses(node), GOOD, "{node}");
    }
    for node in fleet.nodes().await? {
        assert_eq!((node.status(), node.version()), ("completed", "4.0.0"), "{}", node.name);
    }
    let new_pods = fleet.kata_pods("kube-system").await?;
    assert!(old_pods.iter().all(|old| !new_pods.contains(old)), "{old_pods:?} {new_pods:?}");

    // Check, select, two for each of three waves, finish.
    assert_eq!(run.pod_count(), 9, "two pods a wave: {}", run.log());
    assert_eq!(run.output("select-nodes", "wave-count"), "3");
    let check = run.log_of("check-prerequisites")?;
    assert!(
        check.contains("daemonset") && check.contains("3.31.0"),
        "the log names the mode and how it was found: {check}"
    );

    // The old version with OnDelete, then the target; never more.
    let revisions = fleet.revisions()?;
    let versions: Vec<_> = revisions.iter().map(|revision| revision.version.as_str()).collect();
    assert_eq!(versions, ["3.31.0", "3.31.0", "4.0.0"], "{revisions:?}");
    assert_eq!(fleet.user_values()?["updateStrategy"]["type"], "OnDelete");

    show(format!("requests of a run over three nodes, daemonset mode:\n{}", run.requests));
    show(format!("per node, apart from waiting: {}", run.requests.per_node(3)));
    assert!(run.requests.per_node(3) <= 13, "{}", run.requests);
    fleet.nothing_left(&before, &run).await?;

    let again = fleet.deploy("4.0.0", &[]).await?.well()?;
    assert_eq!(fleet.installs().await?, [2, 2, 2]);
    assert_eq!(fleet.revisions()?, revisions, "no revision without a node to move");
    assert_eq!(fleet.kata_pods("kube-system").await?, new_pods);
    assert!(again.history.order_of("preparing").is_empty());
    let said = again.log();
    for node in ALL {
        assert!(said.contains(&format!("node `{node}` is proven at 4.0.0 already")), "{said}");
    }
    fleet.nothing_left(&before, &again).await?;

    let nobody = fleet.deploy("4.1.0", &["node-selector=pool=none"]).await?.well()?;
    assert_eq!(fleet.revisions()?, revisions, "no revision when no node matches");
    assert_eq!(nobody.output("select-nodes", "node-count"), "0");
    assert!(nobody.log().contains("no node"), "{}", nobody.log());
    fleet.nothing_left(&before, &nobody).await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn from_3_27_a_run_wants_a_drain_or_consent_because_old_pods_uninstall() -> Result<()> {
    let fleet = Fleet::open().await?;
    fleet.install(&Kata::daemonset("3.27.0")).await?;
    let before = fleet.before().await?;

    let said = fleet.refused_by_hand("3.29.0", &["batch-size=2"])?;
    assert!(said.contains("accept-uninstall-window=true") && said.contains("drain-enabled=true"), "{said}");
    assert_eq!(fleet.installs().await?, [1, 1, 1]);
    assert_eq!(fleet.release_at()?, ("3.27.0".to_owned(), 1));
    assert_eq!(fleet.statuses().await?, ["", "", ""]);

    setup::inject(
        &fleet.client(),
        "kube-system",
        Some("worker-2"),
        Some("3.27.0"),
        &[Injection::SlowStop(Duration::from_secs(6))],
    )
    .await?;
    let run = fleet.deploy("3.29.0", &["batch-size=2", "accept-uninstall-window=true"]).await?.well()?;
    let truth = fleet.truth().await?;
    for (node, version, installs, uninstalls) in &truth {
        // 3.27 takes Kata off a node whenever its pod is deleted; nothing else may.
        assert_eq!((version.as_str(), *installs, *uninstalls), ("3.29.0", 2, 1), "{node}: {truth:?}");
    }
    assert_eq!(run.history.order_of("completed").len(), 3);
    assert_eq!(run.output("select-nodes", "wave-count"), "2");
    fleet.nothing_left(&before, &run).await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_whole_fleet_in_one_wave_waits_for_slow_and_stumbling_installs() -> Result<()> {
    let fleet = Fleet::open().await?;
    // kata-deploy's own verification can't follow what a run does, and is the user's again afterwards.
    fleet.install(&Kata::daemonset("3.29.0").set("verification.pod=kind: Pod")).await?;
    let before = fleet.before().await?;
    let client = fleet.client();
    setup::inject(
        &client,
        "kube-system",
        Some("worker-1"),
        Some("3.31.0"),
        &[Injection::Slow(Duration::from_secs(12))],
    )
    .await?;
    setup::inject(&client, "kube-system", Some("worker-2"), Some("3.31.0"), &[Injection::CrashOnce]).await?;
    // The documented example for GPUs has no toleration and no node selector; it runs on its cordoned node all the same.
    let mut pod = VerificationPod::documented();
    let spec = pod.spec();
    for field in ["tolerations", "nodeSelector"] {
        spec.as_object_mut().map(|spec| spec.remove(field));
    }

    let parameters = ["batch-size=3", &format!("verification-pod={}", pod.base64())];
    let run = fleet.deploy("3.31.0", &parameters).await?.well()?;

    assert_eq!(fleet.versions().await?, ["3.31.0"; 3]);
    assert_eq!(fleet.installs().await?, [2, 2, 2]);
    run.history.check_waves(3)?;
    assert_eq!(run.pod_count(), 5, "check, select, apply, verify, finish: {}", run.log());
    for node in ALL {
        assert!(run.log().contains(&format!("Node: {node}")), "the pod's log is shown: {}", run.log());
    }
    fleet.nothing_left(&before, &run).await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn going_to_4_1_nodes_that_wait_for_their_turn_go_on_taking_kata_pods() -> Result<()> {
    let fleet = Fleet::open().await?;
    fleet.install(&Kata::daemonset("4.0.0")).await?;
    let before = fleet.before().await?;

    let mut run = fleet.begin("4.1.0", &[]).await?;
    run.until_status(&fleet, "worker-1", "verifying").await?;
    // The RuntimeClass selects 4.1's label by now, and worker-3 still runs 4.0.
    let class =
        fleet.scene.kubectl(&["get", "runtimeclass", "kata-qemu", "-o", "jsonpath={.scheduling.nodeSelector}"])?;
    assert!(class.contains("kata-deploy.katacontainers.io/default"), "{class}");
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "workload", "namespace": "default"},
        "spec": {
            "runtimeClassName": "kata-qemu",
            "restartPolicy": "Never",
            "nodeSelector": {"kubernetes.io/hostname": "worker-3"},
            "containers": [{"name": "work", "image": SHELL_IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["true"]}],
        },
    });
    fleet.scene.apply(&pod.to_string())?;
    let ended = fleet.scene.ended_pod("default", "workload", Duration::from_secs(120)).await?;
    assert_eq!(ended.status.and_then(|status| status.phase).as_deref(), Some("Succeeded"));

    let run = run.ended(&fleet).await?.well()?;
    assert_eq!(fleet.versions().await?, ["4.1.0"; 3]);
    run.history.check_waves(1)?;
    fleet.nothing_left(&before, &run).await
}

/// One wave of three nodes, each with a failure: all of them go back, and each is named with its phase.
async fn every_failure_is_taken_back(origin: &str, target: &str, failures: [Injection; 3]) -> Result<Vec<u32>> {
    let fleet = Fleet::open().await?;
    fleet.install(&Kata::daemonset(origin)).await?;
    let before = fleet.before().await?;
    for (node, injection) in ALL.into_iter().zip(failures) {
        setup::inject(&fleet.client(), "kube-system", Some(node), Some(target), &[injection]).await?;
    }

    let parameters = ["batch-size=3", "install-timeout=25s", "accept-uninstall-window=true"];
    let run = fleet.deploy(target, &parameters).await?.badly()?;

    let truth = fleet.truth().await?;
    assert!(truth.iter().all(|(_, version, _, _)| version == origin), "{truth:?}\n{}", run.log());
    assert_eq!(fleet.statuses().await?, ["rolled-back"; 3]);
    let said = run.messages().join("\n");
    for node in ALL {
        assert!(said.contains(&format!("node `{node}`")), "{node} isn't in:\n{said}");
    }
    fleet.nothing_left(&before, &run).await?;
    Ok(truth.into_iter().map(|(_, _, _, uninstalls)| uninstalls).collect())
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn before_probes_a_ready_pod_proves_nothing_and_its_failures_are_taken_back() -> Result<()> {
    // 3.29 pods are Ready as soon as they run, whatever they do; 3.27 pods uninstall when they are deleted.
    let failures = [Injection::Hang, Injection::Crash, Injection::SilentNoop];
    assert_eq!(every_failure_is_taken_back("3.27.0", "3.29.0", failures).await?, [1, 1, 1]);
    Ok(())
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn an_install_that_hangs_crashes_or_loses_its_label_is_taken_back() -> Result<()> {
    let failures = [Injection::Hang, Injection::Crash, Injection::LabelLost];
    assert_eq!(every_failure_is_taken_back("3.31.0", "4.0.0", failures).await?, [0, 0, 0]);
    Ok(())
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn an_image_that_can_not_be_pulled_stops_the_run_at_the_first_node() -> Result<()> {
    let fleet = Fleet::open().await?;
    fleet.install(&Kata::daemonset("3.31.0")).await?;
    let before = fleet.before().await?;

    let parameters = ["helm-set-values=image.reference=quay.io/kata-containers/no-such-image", "install-timeout=40s"];
    let run = fleet.deploy("4.0.0", &parameters).await?.badly()?;

    assert_eq!(fleet.versions().await?, ["3.31.0"; 3]);
    assert_eq!(fleet.statuses().await?, ["rolled-back", "", ""], "{}", run.log());
    let installs = fleet.installs().await?;
    assert_eq!(installs[1..], [1, 1], "nodes of later waves aren't touched");
    let said = run.messages().join("\n");
    assert!(said.contains("no-such-image") || said.contains("ImagePull") || said.contains("pull"), "{said}");
    fleet.nothing_left(&before, &run).await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_taint_that_would_keep_the_new_pod_away_is_found_before_anything_is_touched() -> Result<()> {
    let fleet = Fleet::open().await?;
    fleet.install(&Kata::daemonset("3.31.0")).await?;
    fleet.taint("worker-2", "gpu=yes:NoSchedule")?;
    let before = fleet.before().await?;

    let said = fleet.refused_by_hand("4.0.0", &[])?;
    assert!(said.contains("gpu=yes:NoSchedule") && said.contains("worker-2"), "{said}");
    assert_eq!(fleet.release_at()?, ("3.31.0".to_owned(), 1));
    assert_eq!(fleet.installs().await?, [1, 1, 1]);
    fleet.nodes_as_before(&before).await?;

    let tolerated = fleet
        .deploy("4.0.0", &["batch-size=3", "helm-set-values=tolerations[0].key=gpu,tolerations[0].operator=Exists"])
        .await?
        .well()?;
    assert_eq!(fleet.versions().await?, ["4.0.0"; 3]);
    assert_eq!(fleet.user_values()?["tolerations"][0]["key"], "gpu");
    assert_eq!(fleet.node("worker-2").await?.taints, ["gpu=yes:NoSchedule"]);
    tolerated.history.check_waves(3)?;

    // The old version tolerates it no more than before: the taint is lifted until the node is back.
    let back = fleet.enter("rollback-node", &["node-name=worker-2"]).await?.well()?;
    assert_eq!(fleet.versions().await?, ["4.0.0", "3.31.0", "4.0.0"], "{}", back.log());
    assert_eq!(fleet.user_values()?["tolerations"], Value::Null);
    fleet.nothing_left(&before, &back).await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_step_that_is_killed_in_mid_upgrade_is_started_again_and_goes_on() -> Result<()> {
    let fleet = Fleet::open().await?;
    fleet.install(&Kata::daemonset("3.31.0")).await?;
    let before = fleet.before().await?;
    setup::inject(
        &fleet.client(),
        "kube-system",
        Some("worker-1"),
        Some("4.0.0"),
        &[Injection::Slow(Duration::from_secs(10))],
    )
    .await?;

    let mut run = fleet.begin("4.0.0", &["batch-size=2"]).await?;
    run.until_status(&fleet, "worker-1", "upgrading").await?;
    run.delete_running_pods(&fleet)?;
    let run = run.ended(&fleet).await?.well()?;

    assert_eq!(fleet.versions().await?, ["4.0.0"; 3]);
    assert_eq!(fleet.installs().await?, [2, 2, 2], "no node was done twice: {}", run.log());
    run.history.check_waves(2)?;
    fleet.nothing_left(&before, &run).await
}
