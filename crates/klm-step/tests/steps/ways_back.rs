//! Where a rollback goes when more than one run, or somebody else, had a hand in the release.

use klm_testkit::fixtures::Fleet;
use klm_testkit::{Injection, PodFate};

use crate::bed::{Bed, unverified};

const ALL: [&str; 3] = ["worker-1", "worker-2", "worker-3"];

fn fleets(version: &str) -> [Fleet; 2] {
    [Fleet::new().version(version), Fleet::new().version(version).job()]
}

async fn whole_run(bed: &Bed, name: &str, target: &str) {
    let flow = bed.flow(name, &[("batch-size", "3")]);
    bed.plan(&flow, target, &ALL).await;
    bed.rollout(&flow, 1).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_second_run_goes_back_to_where_the_first_one_went() {
    for fleet in fleets("3.32.0") {
        let bed = Bed::new(fleet);
        whole_run(&bed, "first", "4.0.0").await;
        bed.cluster.misbehave_at("worker-1", "4.1.0", Injection::Verification(PodFate::Exits(7)));
        let flow = bed.flow("second", &[]);
        bed.plan(&flow, "4.1.0", &ALL).await;
        assert_eq!(unverified(bed.rollout(&flow, 3).await).len(), 1);
        assert_eq!(bed.installed("worker-1"), "4.0.0");
        bed.assert_tidy();
    }
}
