//! kata-deploy's own verification is switched off while a run goes on, and the user's pod for it is there afterwards.

use std::time::Duration;

use klm_step::exit::StepError;
use klm_testkit::fixtures::Fleet;
use klm_testkit::{HelmFault, Injection, PodFate};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::bed::{Bed, Flow, NAMESPACE, RELEASE, unverified};

const ALL: [&str; 3] = ["worker-1", "worker-2", "worker-3"];

const USERS: &str = "kind: Pod\nmetadata: {name: users-own}\n";

/// Both modes, and each when it was the user's choice that nothing restarts by itself.
fn fleets() -> [(Fleet, &'static str, &'static str); 3] {
    let pod = json!({"verification": {"pod": USERS, "timeout": 90}});
    let armed = json!({"verification": {"pod": USERS, "timeout": 90}, "updateStrategy": {"type": "OnDelete"}});
    [
        (Fleet::new().values(pod.clone()), "4.0.0", "4.1.0"),
        (Fleet::new().values(armed), "4.0.0", "4.1.0"),
        (Fleet::new().version("4.0.0").job().values(pod), "4.1.0", "4.2.0"),
    ]
}

/// The pod is the user's again, kata-deploy never ran it, and nothing is layered over a rollback.
fn assert_given_back(bed: &Bed, what: &str) {
    let revisions = bed.helm.revisions(NAMESPACE, RELEASE);
    let told: Vec<String> = revisions.iter().map(|it| format!("{} {}", it.revision, it.description)).collect();
    let last = revisions.last().unwrap();
    assert_eq!(json!(last.config)["verification"], json!({"pod": USERS, "timeout": 90}), "{what}: {told:#?}");
    assert_eq!(last.status, "deployed", "{what}");
    let ran = |line: &String| line.contains("/jobs") && line.contains("kata-deploy-verify");
    assert_eq!(bed.cluster.transcript().into_iter().find(ran), None, "{what}");
    bed.assert_tidy();
}

/// A run whose Workflow is terminated after its first node is done.
async fn terminated(bed: &Bed, target: &str) -> Flow {
    let flow = bed.flow("dead", &[]);
    bed.plan(&flow, target, &ALL).await;
    bed.item(&flow, 1).await.unwrap();
    bed.end(&flow, "Failed");
    let lent: Value = json!(bed.helm.last(NAMESPACE, RELEASE).config);
    assert_eq!(lent["verification"]["pod"], "", "switched off meanwhile");
    flow
}

#[tokio::test(start_paused = true)]
async fn the_users_pod_is_there_after_a_run() {
    for (fleet, target, _) in fleets() {
        let bed = Bed::new(fleet);
        let flow = bed.flow("up", &[("batch-size", "3")]);
        bed.plan(&flow, target, &ALL).await;
        bed.rollout(&flow, 1).await.unwrap();
        assert_given_back(&bed, target);
        // The exit handler may be started again: once is enough.
        let revisions = bed.revisions();
        bed.step(&flow, &["finish", "--workflow-status", "Succeeded"]).await.unwrap();
        assert_eq!(bed.revisions(), revisions);
    }
}

#[tokio::test(start_paused = true)]
async fn the_users_pod_is_there_after_a_rollback() {
    for (fleet, target, _) in fleets() {
        for bad in ["worker-1", "worker-2"] {
            let bed = Bed::new(fleet.clone());
            bed.cluster.misbehave_at(bad, target, Injection::Verification(PodFate::Exits(7)));
            let flow = bed.flow("up", &[]);
            bed.plan(&flow, target, &ALL).await;
            unverified(bed.rollout(&flow, 3).await);
            assert_given_back(&bed, bad);
            let last = bed.helm.last(NAMESPACE, RELEASE);
            let in_job_mode = last.config.get("deploymentMode") == Some(&json!("job"));
            assert!(in_job_mode || last.description.starts_with("Rollback to"), "nothing is layered over the rollback");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_users_pod_is_there_after_a_rollback_to_a_revision_that_helm_has_pruned() {
    let [(fleet, target, _), ..] = fleets();
    let bed = Bed::new(fleet);
    bed.cluster.misbehave_at("worker-2", target, Injection::Verification(PodFate::Exits(7)));
    let flow = bed.flow("up", &[]);
    bed.plan(&flow, target, &ALL).await;
    bed.item(&flow, 1).await.unwrap();
    bed.cluster.remove("secrets", NAMESPACE, "sh.helm.release.v1.kata-deploy.v2");
    unverified(bed.item(&flow, 2).await);
    bed.step(&flow, &["finish", "--workflow-status", "Failed"]).await.unwrap();
    assert_eq!(bed.installed("worker-2"), "3.31.0");
    assert_given_back(&bed, "pruned");
}

#[tokio::test(start_paused = true)]
async fn the_users_pod_is_there_after_a_stop() {
    for (fleet, target, _) in fleets() {
        for items in [0, 1] {
            let bed = Bed::new(fleet.clone());
            let flow = bed.flow("up", &[]);
            bed.plan(&flow, target, &ALL).await;
            for item in 1..=items {
                bed.item(&flow, item).await.unwrap();
            }
            // In the middle of the next one.
            bed.step(&flow, &["apply-wave", "--item", &(items + 1).to_string()]).await.unwrap();
            bed.step(&flow, &["finish", "--workflow-status", "Failed"]).await.unwrap();
            assert_given_back(&bed, &format!("{target}, stopped in item {}", items + 1));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_terminated_run_kept_is_given_back_by_whatever_follows() {
    for (fleet, target, later) in fleets() {
        let left = ["worker-2", "worker-3"];
        for (way, to, nodes) in [("recover", "", &[][..]), ("again", target, &left), ("on", later, &ALL)] {
            let bed = Bed::new(fleet.clone());
            terminated(&bed, target).await;
            let next = bed.flow("next", &[("batch-size", "3")]);
            if way == "recover" {
                bed.step(&next, &["recover"]).await.unwrap();
            } else {
                bed.plan(&next, to, nodes).await;
                bed.rollout(&next, 1).await.unwrap();
            }
            assert_given_back(&bed, &format!("{target}, {way}"));
        }
        // What the next run goes back to is what the dead one left.
        let bed = Bed::new(fleet);
        terminated(&bed, target).await;
        bed.cluster.misbehave_at("worker-1", later, Injection::Verification(PodFate::Exits(7)));
        let next = bed.flow("next", &[]);
        bed.plan(&next, later, &ALL).await;
        unverified(bed.rollout(&next, 3).await);
        assert_given_back(&bed, &format!("{target}, back from {later}"));
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_terminated_rollback_lent_is_given_back_where_no_run_ever_was() {
    let users =
        json!({"deploymentMode": "job", "debug": true, "job": {"parallelism": 7}, "verification": {"pod": USERS}});
    for next in ["run", "rollback"] {
        let bed = Bed::new(Fleet::new().version("4.0.0").job().values(users.clone()));
        bed.cluster.misbehave_at("worker-2", "3.32.0", Injection::Verification(PodFate::NeverEnds));
        let dead = bed.flow("dead", &[]);
        let (world, switch) = bed.world();
        let stopper = async {
            while bed.helm.last(NAMESPACE, RELEASE).revision < 2
                || bed.helm.last(NAMESPACE, RELEASE).status != "deployed"
            {
                sleep(Duration::from_secs(1)).await;
            }
            switch.stop();
        };
        let args = ["rollback-node", "--node-name", "worker-2", "--rollback-version", "3.32.0"];
        let (outcome, ()) = tokio::join!(bed.step_in(&world, &dead, &args), stopper);
        assert!(matches!(outcome, Err(StepError::Stopped)), "{outcome:?}");
        bed.end(&dead, "Failed");
        assert_eq!(json!(bed.helm.last(NAMESPACE, RELEASE).config)["job"]["nodes"], json!(["worker-2"]), "lent");
        bed.cluster.world(|world| world.kata.heal("worker-2"));

        let flow = bed.flow("next", &[("batch-size", "3")]);
        if next == "run" {
            bed.step(&flow, &["select-nodes", "--target-version", "4.1.0"]).await.unwrap();
            bed.rollout(&flow, 1).await.unwrap();
        } else {
            let args = ["rollback-node", "--node-name", "worker-2", "--rollback-version", "4.0.0"];
            bed.step(&flow, &args).await.unwrap();
        }
        assert_eq!(json!(bed.helm.last(NAMESPACE, RELEASE).config), users, "after a {next}");
        bed.assert_tidy();
    }
}

/// No run was ever recorded, and no node tells of the rollback any more.
#[tokio::test(start_paused = true)]
async fn recover_gives_back_what_a_rollback_lent_whose_node_is_done() {
    let users = json!({"deploymentMode": "job", "job": {"parallelism": 7}});
    let bed = Bed::new(Fleet::new().version("4.0.0").job().values(users.clone()));
    // The first upgrade takes the node back, the second would give the values back.
    bed.helm.inject(HelmFault::fail("upgrade", "UPGRADE FAILED: no").after(1));
    let dead = bed.flow("dead", &[]);
    let args = ["rollback-node", "--node-name", "worker-2", "--rollback-version", "3.32.0"];
    bed.step(&dead, &args).await.unwrap_err();
    bed.end(&dead, "Failed");
    assert_eq!(bed.status("worker-2"), "rolled-back");
    assert_eq!(json!(bed.helm.last(NAMESPACE, RELEASE).config)["job"]["nodes"], json!(["worker-2"]), "lent");

    bed.step(&bed.flow("recovery", &[]), &["recover"]).await.unwrap();
    assert_eq!(json!(bed.helm.last(NAMESPACE, RELEASE).config), users);
    bed.assert_tidy();
}

#[tokio::test(start_paused = true)]
async fn the_users_pod_is_there_after_a_node_was_taken_back_by_hand() {
    for (fleet, target, _) in fleets() {
        for version in ["", "3.32.0"] {
            let bed = Bed::new(fleet.clone());
            let flow = bed.flow("up", &[("batch-size", "3")]);
            bed.plan(&flow, target, &ALL).await;
            bed.rollout(&flow, 1).await.unwrap();
            let back = bed.flow("back", &[]);
            let to = format!("--rollback-version={version}");
            bed.step(&back, &["rollback-node", "--node-name", "worker-1", &to]).await.unwrap();
            assert_given_back(&bed, &format!("{target}, back to {version:?}"));
        }
    }
}
