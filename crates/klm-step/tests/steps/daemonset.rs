//! Waves in daemonset mode.

use klm_testkit::fixtures::Fleet;
use klm_testkit::{Injection, PodFate};

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
