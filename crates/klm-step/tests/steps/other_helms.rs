//! Somebody's own `helm upgrade` while our steps go on: it is left to end, and never taken for a dead one of ours.

use std::time::Duration;

use klm_core::contract::JOURNAL;
use klm_step::exit::StepError;
use klm_testkit::fixtures::Fleet;
use klm_testkit::helm::Stage;
use klm_testkit::{HelmFault, Invocation, Output};
use tokio::time::{Instant, sleep};

use crate::bed::{Bed, NAMESPACE, RELEASE};

const ALL: [&str; 3] = ["worker-1", "worker-2", "worker-3"];

/// Longer than any of our pauses, shorter than a helm may take.
const LONG: Duration = Duration::from_secs(600);

fn modes() -> [(Fleet, &'static str); 2] {
    [(Fleet::new(), "4.0.0"), (Fleet::new().version("4.0.0").job(), "4.1.0")]
}

/// A helm that somebody starts by hand, of values alone.
async fn by_hand(bed: &Bed, version: &str) -> Output {
    let line = format!(
        "upgrade {RELEASE} oci://x/kata-deploy -n {NAMESPACE} --version {version} --no-hooks --reset-then-reuse-values --set debug=true"
    );
    bed.helm.process().run(Invocation::of(line.split_whitespace())).await
}

/// The same, and what a step of ours does that begins while it is at work.
async fn beside_it<T>(bed: &Bed, version: &str, step: impl Future<Output = T>) -> T {
    bed.helm.inject(HelmFault::slow("upgrade", LONG).at(Stage::Stored));
    let ours = async {
        sleep(Duration::from_secs(1)).await;
        let last = bed.helm.last(NAMESPACE, RELEASE);
        assert_eq!((last.status.as_str(), last.description.as_str()), ("pending-upgrade", "Preparing upgrade"));
        step.await
    };
    let (theirs, ended) = tokio::join!(by_hand(bed, version), ours);
    assert_eq!(theirs.code, Some(0), "{theirs:?}");
    ended
}

fn assert_theirs_is_untouched(bed: &Bed) {
    let revisions = bed.helm.revisions(NAMESPACE, RELEASE);
    let theirs = revisions.iter().find(|revision| revision.description == "Upgrade complete");
    let theirs = theirs.unwrap_or_else(|| panic!("{:?}", bed.revisions())).revision;
    let unlocked = |description: &str| description == format!("Rollback to {}", theirs - 1);
    assert!(!revisions.iter().any(|revision| unlocked(&revision.description)), "{:?}", bed.revisions());
}

/// A run that is terminated after its first node.
async fn terminated(bed: &Bed, target: &str) {
    let flow = bed.flow("dead", &[]);
    bed.plan(&flow, target, &ALL).await;
    bed.step(&flow, &["apply-wave", "--item", "1"]).await.unwrap();
    bed.end(&flow, "Failed");
}

#[tokio::test(start_paused = true)]
async fn a_living_helm_of_somebody_else_is_waited_for_and_ends_the_run() {
    for (fleet, target) in modes() {
        let bed = Bed::new(fleet);
        let flow = bed.flow("up", &[]);
        bed.plan(&flow, target, &ALL).await;
        bed.item(&flow, 1).await.unwrap();
        let installs = bed.installs("worker-2");
        let outcome = beside_it(&bed, target, bed.item(&flow, 2)).await;
        let Err(StepError::Unverified(failures)) = outcome else { panic!("{target}: {outcome:?}") };
        assert!(failures[0].cause.contains("somebody else made revision"), "{target}: {failures:?}");
        bed.step(&flow, &["finish", "--workflow-status", "Failed"]).await.unwrap();
        assert_theirs_is_untouched(&bed);
        assert_eq!((bed.installs("worker-2"), bed.cluster.annotation("worker-2", JOURNAL)), (installs, None));
        assert_eq!(bed.helm.last(NAMESPACE, RELEASE).config["debug"], true);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_put_right_beside_a_living_helm_of_somebody_else() {
    for (fleet, target) in modes() {
        let bed = Bed::new(fleet);
        terminated(&bed, target).await;
        let nodes = bed.cluster.node_portrait();
        for (name, step) in [("recovery", &["recover"][..]), ("back", &["rollback-node", "--node-name", "worker-1"])] {
            let flow = bed.flow(name, &[]);
            let outcome = beside_it(&bed, target, bed.step(&flow, step)).await;
            let Err(StepError::Refused(refusals)) = outcome else { panic!("{name}: {outcome:?}") };
            assert!(refusals[0].what.contains("another helm is at work"), "{refusals:?}");
            assert_eq!(bed.cluster.node_portrait(), nodes, "{name} to {target}");
        }
        assert_theirs_is_untouched(&bed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_helm_of_somebody_else_that_died_costs_a_run_the_time_that_it_might_have_lived() {
    for (fleet, target) in modes() {
        let bed = Bed::new(fleet);
        let flow = bed.flow("up", &[("helm-timeout", "20m")]);
        bed.plan(&flow, target, &ALL).await;
        bed.item(&flow, 1).await.unwrap();
        bed.helm.inject(HelmFault::die("upgrade"));
        assert_eq!(by_hand(&bed, target).await.code, None);
        let began = Instant::now();
        for item in 2..=3 {
            bed.item(&flow, item).await.unwrap();
        }
        assert!(began.elapsed() >= Duration::from_secs(1200), "{:?}", began.elapsed());
        bed.step(&flow, &["finish", "--workflow-status", "Succeeded"]).await.unwrap();
        assert_eq!(ALL.map(|node| bed.status(node)), ["completed"; 3].map(str::to_owned));
        bed.assert_tidy();
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_helm_of_ours_is_put_right_at_once_by_whoever_comes_next() {
    for (fleet, target) in modes() {
        let bed = Bed::new(fleet);
        let flow = bed.flow("dead", &[]);
        bed.plan(&flow, target, &ALL).await;
        bed.helm.inject(HelmFault::die("upgrade"));
        bed.step(&flow, &["apply-wave", "--item", "1"]).await.unwrap_err();
        bed.end(&flow, "Failed");
        let began = Instant::now();
        bed.step(&bed.flow("recovery", &[]), &["recover"]).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(600), "{:?}", began.elapsed());
        assert_eq!(bed.helm.last(NAMESPACE, RELEASE).status, "deployed");
        bed.assert_tidy();
    }
}
