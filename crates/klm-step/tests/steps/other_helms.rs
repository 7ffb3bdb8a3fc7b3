//! Somebody's own `helm upgrade` while our steps go on: it is left to end, and never taken for a dead one of ours.

use std::time::Duration;

use http::Method;
use klm_core::contract::JOURNAL;
use klm_step::exit::StepError;
use klm_testkit::fixtures::Fleet;
use klm_testkit::helm::Stage;
use klm_testkit::{HelmFault, Injection, Invocation, Output, PodFate};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::bed::{Bed, Flow, NAMESPACE, RELEASE};

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

/// Waits until our step has made as many upgrades as this, or begun the last of them.
async fn at_upgrade(bed: &Bed, number: usize) {
    while bed.helm.calls_of("upgrade").len() < number {
        sleep(Duration::from_secs(1)).await;
    }
    sleep(Duration::from_secs(1)).await;
}

/// A run in job mode whose first wave is done, and how many upgrades helm has made.
async fn after_one_wave() -> (Bed, Flow, usize) {
    let bed = Bed::new(Fleet::new().version("4.0.0").job());
    let flow = bed.flow("up", &[]);
    bed.plan(&flow, "4.1.0", &ALL).await;
    bed.item(&flow, 1).await.unwrap();
    let upgrades = bed.helm.calls_of("upgrade").len();
    (bed, flow, upgrades)
}

/// The node was on its way already, so it waits for a person or a new run.
fn assert_stopped_by_it(bed: &Bed, outcome: Result<(), StepError>) {
    let Err(StepError::Stuck(failures)) = outcome else { panic!("{outcome:?}") };
    assert!(failures[0].cause.contains("somebody else made revision"), "{failures:?}");
    assert_eq!(bed.helm.last(NAMESPACE, RELEASE).description, "Upgrade complete", "{:?}", bed.revisions());
}

/// Both have looked before either has made its revision.
#[tokio::test(start_paused = true)]
async fn a_helm_that_makes_the_revision_that_ours_was_to_make_is_left_to_end() {
    let (bed, flow, upgrades) = after_one_wave().await;
    bed.helm.inject(HelmFault::slow("upgrade", Duration::from_secs(20)).at(Stage::Rendered));
    bed.helm.inject(HelmFault::slow("upgrade", LONG).at(Stage::Stored));
    let theirs = async {
        at_upgrade(&bed, upgrades + 1).await;
        by_hand(&bed, "4.1.0").await
    };
    let (theirs, ours) = tokio::join!(theirs, bed.item(&flow, 2));
    assert_eq!(theirs.code, Some(0), "{theirs:?}");
    assert_stopped_by_it(&bed, ours);
    assert_theirs_is_untouched(&bed);
}

/// A helm of ours that ends before it makes a revision leaves the number to the next one that comes.
#[tokio::test(start_paused = true)]
async fn a_helm_that_comes_after_one_of_ours_has_failed_is_not_taken_for_it() {
    let (bed, flow, _) = after_one_wave().await;
    bed.helm.inject(HelmFault::fail(
        "upgrade",
        "UPGRADE FAILED: execution error at (kata-deploy/templates/x.yaml:1:3): no",
    ));
    bed.step(&flow, &["apply-wave", "--item", "2"]).await.unwrap_err();
    let _ = beside_it(&bed, "4.1.0", bed.step(&flow, &["rollback", "--item", "2"])).await;
    assert_theirs_is_untouched(&bed);
}

/// Between our look at the release and our helm, nodes are written and old Jobs waited for.
#[tokio::test(start_paused = true)]
async fn a_change_that_somebody_made_since_we_looked_stops_the_run_before_its_own() {
    let (bed, flow, upgrades) = after_one_wave().await;
    bed.cluster.slow(Method::PATCH, "*/leases/*", Duration::from_secs(60));
    let theirs = async {
        while bed.status("worker-2") != "upgrading" {
            sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(bed.helm.calls_of("upgrade").len(), upgrades, "ours has looked, and not begun");
        by_hand(&bed, "4.1.0").await
    };
    let (theirs, ours) = tokio::join!(theirs, bed.item(&flow, 2));
    assert_eq!(theirs.code, Some(0), "{theirs:?}");
    assert_stopped_by_it(&bed, ours);
    assert_eq!(bed.helm.calls_of("upgrade").len(), upgrades + 1, "theirs only");
}

/// A step of ours was killed right before its helm, and nobody came by since.
#[tokio::test(start_paused = true)]
async fn an_old_number_in_the_lock_is_no_word_of_todays_helm() {
    let (bed, flow, _) = after_one_wave().await;
    let next = bed.helm.last(NAMESPACE, RELEASE).revision + 1;
    let number = format!("{next} {}", bed.cluster.now());
    bed.cluster.edit("leases", NAMESPACE, "klm-kata-deploy", |lease| {
        lease["metadata"]["annotations"]["katacontainers.io/kata-lifecycle-manager-revision"] = json!(number);
    });
    bed.end(&flow, "Failed");
    sleep(Duration::from_secs(3600)).await;
    let recovery = bed.flow("recovery", &[]);
    let outcome = beside_it(&bed, "4.1.0", bed.step(&recovery, &["recover"])).await;
    assert!(matches!(outcome, Err(StepError::Refused(_))), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn a_new_run_goes_on_from_what_somebody_has_made_while_nodes_were_left_behind() {
    for (fleet, target) in modes() {
        let bed = Bed::new(fleet);
        terminated(&bed, target).await;
        assert_eq!(by_hand(&bed, target).await.code, Some(0));
        let recovery = bed.flow("recovery", &[]);
        let outcome = bed.step(&recovery, &["recover"]).await;
        let Err(StepError::Stuck(failures)) = outcome else { panic!("{target}: {outcome:?}") };
        assert!(failures[0].cause.contains("a new run or `rollback-node` starts from it"), "{failures:?}");
        bed.end(&recovery, "Failed");
        let flow = bed.flow("again", &[("batch-size", "3")]);
        bed.plan(&flow, target, &ALL).await;
        bed.rollout(&flow, 1).await.unwrap();
        assert_eq!(ALL.map(|node| bed.status(node)), ["completed"; 3].map(str::to_owned), "{target}");
        bed.assert_tidy();
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
            let refused = async {
                let outcome = bed.step(&flow, step).await;
                let began = Instant::now();
                bed.step(&flow, &["finish", "--workflow-status", "Failed"]).await.unwrap();
                assert_eq!(began.elapsed(), Duration::ZERO, "{name}: nothing to settle");
                outcome
            };
            let outcome = beside_it(&bed, target, refused).await;
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

/// Nothing on any node tells of it: the nodes of the run before are done, and those of this one untouched.
#[tokio::test(start_paused = true)]
async fn a_release_that_a_dead_helm_of_ours_left_pending_is_unlocked_although_no_node_needs_it() {
    let bed = Bed::new(Fleet::new());
    let flow = bed.flow("first", &[]);
    bed.plan(&flow, "4.0.0", &ALL).await;
    bed.cluster.misbehave_at("worker-2", "4.0.0", Injection::Verification(PodFate::Exits(7)));
    bed.rollout(&flow, 3).await.unwrap_err();
    assert_eq!(bed.helm.last(NAMESPACE, RELEASE).chart, "3.31.0");
    let flow = bed.flow("dead", &[]);
    bed.plan(&flow, "4.0.0", &["worker-2", "worker-3"]).await;
    bed.helm.inject(HelmFault::die("upgrade"));
    bed.step(&flow, &["apply-wave", "--item", "1"]).await.unwrap_err();
    bed.end(&flow, "Failed");
    assert_eq!(bed.helm.last(NAMESPACE, RELEASE).status, "pending-upgrade");
    bed.step(&bed.flow("recovery", &[]), &["recover"]).await.unwrap();
    assert_eq!(bed.helm.last(NAMESPACE, RELEASE).status, "deployed");
    bed.assert_tidy();
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
