//! Waves in daemonset mode.

use std::time::Duration;

use klm_core::contract::JOURNAL;
use klm_step::exit::StepError;
use klm_testkit::fixtures::{Fleet, node};
use klm_testkit::{HelmFault, Injection, Invocation, PodFate};
use serde_json::json;

use crate::bed::{Bed, unverified};

const ALL: [&str; 3] = ["worker-1", "worker-2", "worker-3"];

#[tokio::test(start_paused = true)]
async fn a_fleet_is_moved_node_by_node_and_is_as_it_was_but_for_the_version() {
    let bed = Bed::new(Fleet::new());
    let flow = bed.flow("up", &[]);
    bed.plan(&flow, "4.0.0", &ALL).await;
    bed.rollout(&flow, 3).await.unwrap();
    for node in ALL {
        assert_eq!((bed.installed(node), bed.installs(node)), ("4.0.0".to_owned(), 2), "{node}");
        assert_eq!((bed.status(node), bed.version(node)), ("completed".to_owned(), "4.0.0".to_owned()));
    }
    bed.assert_nothing_uninstalled();
    bed.assert_tidy();
    assert_eq!(bed.revisions(), ["3.31.0 superseded", "3.31.0 superseded", "4.0.0 deployed"]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_fails_its_verification_goes_back_and_verified_waves_stay() {
    let bed = Bed::new(Fleet::new());
    bed.cluster.misbehave_at("worker-2", "4.0.0", Injection::Verification(PodFate::Exits(7)));
    let flow = bed.flow("up", &[]);
    bed.plan(&flow, "4.0.0", &ALL).await;
    let failed = unverified(bed.rollout(&flow, 3).await);
    assert_eq!(failed, [("worker-2".to_owned(), "verifying".to_owned())]);
    assert_eq!((bed.installed("worker-1"), bed.installs("worker-1")), ("4.0.0".to_owned(), 2), "verified: untouched");
    assert_eq!((bed.installed("worker-2"), bed.installs("worker-2")), ("3.31.0".to_owned(), 3));
    assert_eq!((bed.installed("worker-3"), bed.installs("worker-3")), ("3.31.0".to_owned(), 1), "never begun");
    assert_eq!((bed.status("worker-2"), bed.version("worker-2")), ("rolled-back".to_owned(), "3.31.0".to_owned()));
    assert_eq!(bed.status("worker-3"), "");
    bed.assert_nothing_uninstalled();
    bed.assert_tidy();
    assert_eq!(bed.revisions().last().unwrap(), "3.31.0 deployed", "nothing is layered over the rollback");
}

#[tokio::test(start_paused = true)]
async fn a_later_run_goes_back_to_what_an_earlier_one_had_upgraded_to() {
    // By its own rollback, by a node's that is asked for, and by `recover`.
    for way in ["rollback", "rollback-node", "recover"] {
        let bed = Bed::new(Fleet::new());
        let first = bed.flow("first", &[]);
        bed.plan(&first, "4.0.0", &ALL).await;
        bed.rollout(&first, 3).await.unwrap();
        let second = bed.flow("second", &[]);
        bed.plan(&second, "4.1.0", &ALL).await;
        let third = bed.flow("third", &[]);
        match way {
            "rollback" => {
                bed.cluster.misbehave_at("worker-1", "4.1.0", Injection::Verification(PodFate::Exits(7)));
                assert_eq!(
                    unverified(bed.rollout(&second, 3).await),
                    [("worker-1".to_owned(), "verifying".to_owned())]
                );
            }
            "rollback-node" => {
                bed.rollout(&second, 3).await.unwrap();
                bed.step(&third, &["rollback-node", "--node-name", "worker-1"]).await.unwrap();
            }
            _ => {
                bed.step(&second, &["apply-wave", "--item", "1"]).await.unwrap();
                bed.end(&second, "Failed");
                bed.step(&third, &["recover"]).await.unwrap();
            }
        }
        assert_eq!((bed.installed("worker-1"), bed.installs("worker-1")), ("4.0.0".to_owned(), 4), "{way}");
        assert_eq!(bed.status("worker-1"), "rolled-back", "{way}");
        assert_eq!(bed.revisions().last().unwrap(), "4.0.0 deployed", "{way}");
        bed.assert_nothing_uninstalled();
        bed.assert_tidy();
    }
}

/// What becomes of three nodes in one wave when the middle one misbehaves at the target.
async fn wave_with(from: &str, bad: Injection) -> (Bed, Vec<(String, String)>) {
    let bed = Bed::new(Fleet::new().version(from));
    bed.cluster.misbehave_at("worker-2", "4.0.0", bad);
    let flow = bed.flow("up", &[("batch-size", "3")]);
    bed.plan(&flow, "4.0.0", &ALL).await;
    let failed = unverified(bed.rollout(&flow, 1).await);
    (bed, failed)
}

#[tokio::test(start_paused = true)]
async fn an_install_that_fails_is_taken_back_and_its_neighbours_in_the_wave_stay() {
    for bad in [Injection::Crash, Injection::Hang, Injection::BadImage, Injection::SilentNoop, Injection::LabelLost] {
        let (bed, failed) = wave_with("3.31.0", bad).await;
        assert_eq!(failed.iter().map(|(node, _)| node.as_str()).collect::<Vec<_>>(), ["worker-2"], "{bad:?}");
        for (node, version) in [("worker-1", "4.0.0"), ("worker-2", "3.31.0"), ("worker-3", "4.0.0")] {
            assert_eq!(bed.installed(node), version, "{bad:?}, {node}");
        }
        bed.assert_nothing_uninstalled();
        bed.assert_tidy();
    }
}

#[tokio::test(start_paused = true)]
async fn ready_without_the_label_proves_nothing_before_3_31() {
    let bed = Bed::new(Fleet::new().version("3.27.0"));
    bed.cluster.misbehave_at("worker-1", "3.29.0", Injection::Hang);
    let flow = bed.flow("up", &[("accept-uninstall-window", "true")]);
    bed.plan(&flow, "3.29.0", &ALL).await;
    assert_eq!(unverified(bed.rollout(&flow, 3).await), [("worker-1".to_owned(), "upgrading".to_owned())]);
    assert_eq!((bed.installed("worker-1"), bed.version("worker-1")), ("3.27.0".to_owned(), "3.27.0".to_owned()));
    bed.assert_tidy();
}

#[tokio::test(start_paused = true)]
async fn a_slow_or_once_failing_install_is_waited_for() {
    let bed = Bed::new(Fleet::new());
    bed.cluster.misbehave("worker-1", Injection::Slow(Duration::from_secs(900)));
    bed.cluster.misbehave("worker-2", Injection::CrashOnce);
    bed.cluster.misbehave("worker-3", Injection::SlowStop(Duration::from_secs(300)));
    let flow = bed.flow("up", &[("batch-size", "3")]);
    bed.plan(&flow, "4.0.0", &ALL).await;
    bed.rollout(&flow, 1).await.unwrap();
    assert_eq!(ALL.map(|node| bed.installed(node)), ["4.0.0", "4.0.0", "4.0.0"]);
    bed.assert_tidy();
}

#[tokio::test(start_paused = true)]
async fn with_rollback_scope_wave_the_whole_wave_goes_back() {
    let bed = Bed::new(Fleet::new().workers(4));
    bed.cluster.misbehave_at("worker-4", "4.0.0", Injection::Verification(PodFate::Exits(7)));
    let flow = bed.flow("up", &[("batch-size", "2"), ("rollback-scope", "wave")]);
    bed.plan(&flow, "4.0.0", &["worker-1", "worker-2", "worker-3", "worker-4"]).await;
    unverified(bed.rollout(&flow, 2).await);
    let installed = ["worker-1", "worker-2", "worker-3", "worker-4"].map(|node| bed.installed(node));
    assert_eq!(installed, ["4.0.0", "4.0.0", "3.31.0", "3.31.0"]);
    assert_eq!(bed.status("worker-3"), "rolled-back");
    bed.assert_tidy();
}

#[tokio::test(start_paused = true)]
async fn several_waves_in_one_step_are_verified_one_after_the_other() {
    let bed = Bed::new(Fleet::new());
    bed.cluster.misbehave_at("worker-2", "4.0.0", Injection::Verification(PodFate::SandboxFails));
    let flow = bed.flow("up", &[("waves-per-step", "3"), ("verification-timeout", "60s")]);
    bed.plan(&flow, "4.0.0", &ALL).await;
    assert_eq!(unverified(bed.rollout(&flow, 1).await), [("worker-2".to_owned(), "verifying".to_owned())]);
    assert_eq!(ALL.map(|node| bed.installed(node)), ["4.0.0", "3.31.0", "3.31.0"]);
    assert_eq!(bed.installs("worker-3"), 1, "the third wave never began");
    bed.assert_tidy();
}

#[tokio::test(start_paused = true)]
async fn a_helm_that_fails_leaves_the_nodes_untouched() {
    let bed = Bed::new(Fleet::new());
    let flow = bed.flow("up", &[]);
    bed.plan(&flow, "4.0.0", &ALL).await;
    // The first upgrade arms; the second is the one to the target.
    bed.helm.inject(HelmFault::fail("upgrade", "UPGRADE FAILED: no matches for kind X").after(1));
    assert_eq!(unverified(bed.rollout(&flow, 3).await), [("worker-1".to_owned(), "cordoned".to_owned())]);
    assert_eq!(ALL.map(|node| (bed.installed(node), bed.installs(node))), ALL.map(|_| ("3.31.0".to_owned(), 1)));
    assert_eq!(bed.status("worker-1"), "rolled-back");
    bed.assert_tidy();
}

#[tokio::test(start_paused = true)]
async fn somebody_elses_helm_upgrade_stops_the_run_before_its_next_wave() {
    let bed = Bed::new(Fleet::new());
    let flow = bed.flow("up", &[]);
    bed.plan(&flow, "4.0.0", &ALL).await;
    bed.item(&flow, 1).await.unwrap();
    let by_hand = "upgrade kata-deploy oci://x/kata-deploy -n kube-system --version 4.1.0 --reset-then-reuse-values";
    assert_eq!(bed.helm.process().run(Invocation::of(by_hand.split_whitespace())).await.code, Some(0));
    let outcome = bed.step(&flow, &["apply-wave", "--item", "2"]).await;
    let Err(StepError::Unverified(failures)) = outcome else { panic!("{outcome:?}") };
    assert!(failures[0].cause.contains("somebody else made revision 4"), "{failures:?}");
    bed.step(&flow, &["rollback", "--item", "2"]).await.unwrap();
    bed.step(&flow, &["finish", "--workflow-status", "Failed"]).await.unwrap();
    assert_eq!((bed.installs("worker-2"), bed.status("worker-2")), (1, "rolled-back".to_owned()));
    assert_eq!(bed.revisions().last().unwrap(), "4.1.0 deployed", "it stays as that somebody left it");
    bed.assert_tidy();
}

#[tokio::test(start_paused = true)]
async fn a_second_run_at_the_same_target_touches_nothing() {
    let bed = Bed::new(Fleet::new());
    let flow = bed.flow("up", &[]);
    bed.plan(&flow, "4.0.0", &ALL).await;
    bed.rollout(&flow, 3).await.unwrap();
    let (nodes, revisions) = (bed.cluster.node_portrait(), bed.revisions());
    let again = bed.flow("again", &[]);
    bed.plan(&again, "4.0.0", &[]).await;
    bed.step(&again, &["finish", "--workflow-status", "Succeeded"]).await.unwrap();
    assert_eq!((bed.cluster.node_portrait(), bed.revisions()), (nodes, revisions));
    bed.assert_tidy();
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_cordoned_and_tainted_is_so_again_afterwards() {
    let fleet = Fleet::new()
        .node(node("worker-1").tainted("spot", "yes", "PreferNoSchedule").tainted("window", "open", "NoSchedule"))
        .node(node("worker-2").tainted("window", "open", "NoSchedule").cordoned());
    let bed = Bed::new(fleet.values(json!({"tolerations": []})));
    // kata-deploy came before the taints did.
    for name in ["worker-1", "worker-2"] {
        assert_eq!(bed.installed(name), "3.31.0");
    }
    let before: Vec<_> = ["worker-1", "worker-2"].map(|name| bed.cluster.node(name)["spec"].clone()).to_vec();
    let given = [("node-taint-key", "window"), ("cordoned-nodes", "include"), ("batch-size", "2")];
    let flow = bed.flow("up", &given);
    bed.plan(&flow, "4.0.0", &["worker-1", "worker-2"]).await;
    bed.rollout(&flow, 1).await.unwrap();
    let after: Vec<_> = ["worker-1", "worker-2"].map(|name| bed.cluster.node(name)["spec"].clone()).to_vec();
    assert_eq!(after, before);
    assert_eq!(["worker-1", "worker-2"].map(|name| bed.installed(name)), ["4.0.0", "4.0.0"]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_vanishes_is_left_out_and_fails_nothing() {
    let bed = Bed::new(Fleet::new());
    let flow = bed.flow("up", &[("batch-size", "3")]);
    bed.plan(&flow, "4.0.0", &ALL).await;
    bed.cluster.after(Duration::from_secs(15), |world| {
        world.remove("nodes", "", "worker-2");
    });
    bed.rollout(&flow, 1).await.unwrap();
    assert_eq!(["worker-1", "worker-3"].map(|node| bed.status(node)), ["completed", "completed"]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_comes_back_as_another_one_is_not_touched() {
    let bed = Bed::new(Fleet::new());
    let flow = bed.flow("up", &[]);
    bed.plan(&flow, "4.0.0", &ALL).await;
    bed.cluster.remove("nodes", "", "worker-1");
    let mut another: serde_json::Value = node("worker-1").into();
    another["metadata"]["uid"] = json!("11111111-0000-4000-8000-000000000000");
    bed.cluster.add(another);
    bed.rollout(&flow, 3).await.unwrap();
    assert_eq!(bed.status("worker-1"), "");
    // kata-deploy serves it as any new node; the run has written nothing on it.
    for line in bed.cluster.write_transcript() {
        assert!(!line.starts_with("PATCH /api/v1/nodes/worker-1 ") || line.contains("kata-runtime"), "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stopped_step_ends_at_once_and_the_exit_handler_gives_its_nodes_back() {
    let bed = Bed::new(Fleet::new());
    bed.cluster.misbehave_at("worker-1", "4.0.0", Injection::Hang);
    let flow = bed.flow("up", &[]);
    bed.plan(&flow, "4.0.0", &ALL).await;
    let (world, switch) = bed.world();
    let began = tokio::time::Instant::now();
    let stopper = async {
        tokio::time::sleep(Duration::from_secs(100)).await;
        switch.stop();
    };
    let (outcome, ()) = tokio::join!(bed.step_in(&world, &flow, &["apply-wave", "--item", "1"]), stopper);
    assert!(matches!(outcome, Err(StepError::Stopped)), "{outcome:?}");
    assert!(began.elapsed() < Duration::from_secs(110));
    assert_eq!(bed.status("worker-1"), "upgrading", "what is needed to go on is on the node");
    bed.step(&flow, &["finish", "--workflow-status", "Failed"]).await.unwrap();
    assert_eq!((bed.status("worker-1"), bed.installed("worker-1")), ("rolled-back".to_owned(), "3.31.0".to_owned()));
    bed.assert_tidy();
}

#[tokio::test(start_paused = true)]
async fn a_rollback_that_fails_leaves_the_node_cordoned_and_says_why() {
    let bed = Bed::new(Fleet::new());
    bed.cluster.misbehave("worker-1", Injection::Verification(PodFate::Exits(7)));
    let flow = bed.flow("up", &[]);
    bed.plan(&flow, "4.0.0", &ALL).await;
    unverified(
        bed.step(&flow, &["apply-wave", "--item", "1"])
            .await
            .and(Ok(()))
            .and(bed.step(&flow, &["verify", "--item", "1"]).await),
    );
    let outcome = bed.step(&flow, &["rollback", "--item", "1"]).await;
    assert!(matches!(&outcome, Err(StepError::Stuck(failures)) if failures[0].node == "worker-1"), "{outcome:?}");
    assert!(bed.cluster.is_cordoned("worker-1"));
    let journal = bed.cluster.annotation("worker-1", JOURNAL).unwrap();
    assert!(journal.contains("exit code 7") && journal.contains("the rollback failed"), "{journal}");
    let outcome = bed.step(&flow, &["finish", "--workflow-status", "Failed"]).await;
    assert!(matches!(outcome, Err(StepError::Stuck(_))), "{outcome:?}");
    bed.end(&flow, "Failed");
    // A person puts the node right, and recover does the rest.
    bed.cluster.world(|world| world.kata.heal("worker-1"));
    let recovery = bed.flow("recovery", &[]);
    bed.step(&recovery, &["recover"]).await.unwrap();
    assert_eq!((bed.status("worker-1"), bed.installed("worker-1")), ("rolled-back".to_owned(), "3.31.0".to_owned()));
    bed.assert_tidy();
}

#[tokio::test(start_paused = true)]
async fn argo_retry_after_a_rollback_is_refused() {
    let bed = Bed::new(Fleet::new());
    bed.cluster.misbehave_at("worker-1", "4.0.0", Injection::Verification(PodFate::Exits(7)));
    let flow = bed.flow("up", &[]);
    bed.plan(&flow, "4.0.0", &ALL).await;
    unverified(bed.item(&flow, 1).await);
    for step in ["verify", "apply-wave"] {
        let outcome = bed.step(&flow, &[step, "--item", "1"]).await;
        assert!(matches!(&outcome, Err(StepError::Refused(why)) if why[0].what.contains("has failed in item 1")));
    }
    assert_eq!(bed.status("worker-1"), "rolled-back");
}

#[tokio::test(start_paused = true)]
async fn a_rollback_that_a_dead_run_began_is_finished_before_the_next_run_begins() {
    let bed = Bed::new(Fleet::new());
    bed.cluster.misbehave_at("worker-1", "4.0.0", Injection::Verification(PodFate::Exits(7)));
    let flow = bed.flow("up", &[]);
    bed.plan(&flow, "4.0.0", &ALL).await;
    bed.step(&flow, &["apply-wave", "--item", "1"]).await.unwrap();
    unverified(bed.step(&flow, &["verify", "--item", "1"]).await);
    assert_eq!(bed.status("worker-1"), "rolling-back");
    bed.end(&flow, "Failed");
    bed.cluster.world(|world| world.kata.heal("worker-1"));
    let again = bed.flow("again", &[]);
    bed.plan(&again, "4.0.0", &ALL).await;
    bed.rollout(&again, 3).await.unwrap();
    assert_eq!(ALL.map(|node| bed.installed(node)), ["4.0.0", "4.0.0", "4.0.0"]);
    // Up, back, and up again.
    assert_eq!(bed.installs("worker-1"), 4);
    bed.assert_tidy();
}

#[tokio::test(start_paused = true)]
async fn a_wave_of_twenty_takes_about_as_long_as_a_wave_of_one() {
    let mut took = Vec::new();
    for size in [1, 20] {
        let bed = Bed::new(Fleet::new().workers(size));
        let names: Vec<String> = (1..=size).map(|number| format!("worker-{number}")).collect();
        let flow = bed.flow("up", &[("batch-size", "20")]);
        bed.plan(&flow, "4.0.0", &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let began = tokio::time::Instant::now();
        bed.rollout(&flow, 1).await.unwrap();
        took.push(began.elapsed());
    }
    assert!(took[1] < took[0] + took[0] / 5, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_node_costs_at_most_fifteen_requests_apart_from_waiting() {
    for (size, batch) in [(20, "20"), (6, "1")] {
        let bed = Bed::new(Fleet::new().workers(size));
        let names: Vec<String> = (1..=size).map(|number| format!("worker-{number}")).collect();
        let flow = bed.flow("up", &[("batch-size", batch)]);
        bed.plan(&flow, "4.0.0", &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let items = if batch == "1" { size } else { 1 };
        for item in 1..=items {
            bed.item(&flow, item).await.unwrap();
        }
        // What grows with nodes: helm's own requests are about the release.
        let about_nodes = |line: &&String| ["/nodes/", "/pods", "/events"].iter().any(|part| line.contains(part));
        let of_node = |line: &&String| {
            let waits = line.starts_with("GET") && line.contains('?') && !line.contains("/log?");
            !waits && about_nodes(line)
        };
        let requests = bed.cluster.transcript();
        let counted: Vec<&String> = requests.iter().filter(of_node).collect();
        let words = |line: &&String| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
        let told: Vec<String> = counted.iter().map(words).filter(|line| line.contains("worker-1")).collect();
        assert!(counted.len() <= 15 * size, "{} for {size} nodes:\n{told:#?}", counted.len());
        // One list per look, whatever the wave's size.
        let lists = requests.iter().filter(|line| line.starts_with("GET") && line.contains("limit=")).count();
        assert!(lists < 40 * items, "{lists} lists in {items} items");
    }
}

#[tokio::test(start_paused = true)]
async fn secrets_stay_in_secrets() {
    let bed = Bed::new(Fleet::new());
    bed.cluster.misbehave_at("worker-2", "4.0.0", Injection::Verification(PodFate::Exits(7)));
    let flow = bed.flow("up", &[("helm-set-values", "registry.password=hunter2-of-helm")]);
    bed.plan(&flow, "4.0.0", &ALL).await;
    unverified(bed.rollout(&flow, 3).await);
    for line in bed.cluster.write_transcript() {
        let is_pod = line.starts_with("POST /api/v1/namespaces/default/pods ");
        assert!(!line.contains("hunter2") || is_pod, "{line}");
    }
    for plural in ["configmaps", "nodes", "events", "leases"] {
        for object in bed.cluster.objects(plural) {
            assert!(!object.to_string().contains("hunter2"), "{plural}: {object}");
        }
    }
    for call in bed.helm.calls() {
        assert!(!call.arguments.join(" ").contains("hunter2"), "{:?}", call.arguments);
    }
    let values = bed.helm.revisions("kube-system", "kata-deploy")[2].config.clone();
    assert_eq!(values["registry"]["password"], "hunter2-of-helm", "and the release did get it");
}
