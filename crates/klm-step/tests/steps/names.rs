//! Names that users choose: what Helm and Kubernetes take, a run takes.

use klm_testkit::fixtures::Fleet;

use crate::bed::{Bed, NAMESPACE};

#[tokio::test(start_paused = true)]
async fn a_release_may_have_dots_in_its_name() {
    let release = "kata.prod";
    for (fleet, target) in [(Fleet::new(), "4.0.0"), (Fleet::new().version("4.0.0").job(), "4.1.0")] {
        let bed = Bed::new(fleet.release(release));
        let flow = bed.flow("up", &[("helm-release", release), ("batch-size", "3")]);
        bed.plan(&flow, target, &["worker-1", "worker-2", "worker-3"]).await;
        let lock = || bed.cluster.get("leases", NAMESPACE, "klm-kata.prod");
        assert!(lock().is_some());
        assert!(bed.cluster.get("secrets", NAMESPACE, "klm-origin-kata.prod").is_some());
        bed.rollout(&flow, 1).await.unwrap();
        assert_eq!((bed.helm.last(NAMESPACE, release).chart.as_str(), lock()), (target, None));
        assert_eq!(bed.installed("worker-1"), target);
    }
}
