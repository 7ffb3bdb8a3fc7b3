//! The fake helm against helm's own behaviour: what it stores, prints, refuses and leaves behind.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::time::Duration;

use klm_testkit::helm::Stage;
use klm_testkit::{FakeCluster, FakeHelm, HelmFault, Invocation, Output, When, run_until_killed};
use serde_json::{Value, json};

const CHART: &str = "oci://ghcr.io/kata-containers/kata-deploy-charts/kata-deploy";

async fn helm(helm: &FakeHelm, line: &str) -> Output {
    helm.process().run(Invocation::of(line.split(' '))).await
}

async fn ok(fake: &FakeHelm, line: &str) -> String {
    let output = helm(fake, line).await;
    assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{line}");
    output.stdout
}

async fn json_of(fake: &FakeHelm, line: &str) -> Value {
    serde_json::from_str(&ok(fake, line).await).unwrap()
}

async fn error(fake: &FakeHelm, line: &str) -> String {
    let output = helm(fake, line).await;
    assert_eq!(output.code, Some(1), "{line}");
    output.stderr
}

async fn installed(version: &str, more: &str) -> (FakeCluster, FakeHelm) {
    let cluster = FakeCluster::new();
    cluster.world(|world| world.ensure_namespace("kata-ns"));
    let fake = FakeHelm::new(&cluster);
    ok(&fake, &format!("install kata {CHART} -n kata-ns --version {version}{more}")).await;
    (cluster, fake)
}

#[tokio::test(start_paused = true)]
async fn an_install_stores_a_release_and_applies_its_objects() {
    let cluster = FakeCluster::new();
    cluster.world(|world| world.ensure_namespace("kata-ns"));
    let fake = FakeHelm::new(&cluster);
    ok(&fake, &format!("install kata {CHART} -n kata-ns --version 3.31.0 --set debug=true")).await;
    let daemonset = cluster.get("daemonsets", "kata-ns", "kata-deploy").unwrap();
    assert_eq!(
        daemonset["spec"]["template"]["spec"]["containers"][0]["image"],
        "quay.io/kata-containers/kata-deploy:3.31.0"
    );
    assert_eq!(daemonset["metadata"]["annotations"]["meta.helm.sh/release-name"], "kata");
    let status = json_of(&fake, "status kata -n kata-ns -o json").await;
    assert_eq!(
        (&status["version"], &status["info"]["status"], &status["config"]),
        (&json!(1), &json!("deployed"), &json!({"debug": true}))
    );
    let metadata = json_of(&fake, "get metadata kata -n kata-ns -o json").await;
    assert_eq!((&metadata["version"], &metadata["revision"]), (&json!("3.31.0"), &json!(1)));
    assert_eq!(ok(&fake, "version --template {{.Version}}").await, "v4.2.4");
}

#[tokio::test(start_paused = true)]
async fn values_are_kept_or_dropped_by_the_flags() {
    for (flags, expected) in [
        ("--reset-then-reuse-values --set logLevel=debug", json!({"debug": true, "logLevel": "debug"})),
        ("--reset-values", json!({})),
        ("--set logLevel=debug", json!({"logLevel": "debug"})),
        ("--history-max 5", json!({"debug": true})),
    ] {
        let (_cluster, fake) = installed("3.32.0", " --set debug=true").await;
        ok(&fake, &format!("upgrade kata {CHART} -n kata-ns --version 4.0.0 {flags}")).await;
        let stored = json_of(&fake, "get values kata -n kata-ns -o json").await;
        assert_eq!(if stored.is_null() { json!({}) } else { stored }, expected, "{flags}");
    }
}

#[tokio::test(start_paused = true)]
async fn reuse_values_fails_across_versions_as_upstream_does() {
    let (_cluster, fake) = installed("3.31.0", "").await;
    let text =
        error(&fake, &format!("upgrade kata {CHART} -n kata-ns --version 3.32.0 --reuse-values --set debug=true"))
            .await;
    assert!(text.starts_with("Error: UPGRADE FAILED: template: ") && text.contains("nil pointer"), "{text}");
    assert_eq!(fake.revisions("kata-ns", "kata").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_release_version_or_revision_is_said_so() {
    let (_cluster, fake) = installed("3.31.0", "").await;
    assert_eq!(error(&fake, "status other -n kata-ns -o json").await, "Error: release: not found\n");
    assert_eq!(
        error(&fake, &format!("upgrade other {CHART} -n kata-ns")).await,
        "Error: UPGRADE FAILED: \"other\" has no deployed releases\n"
    );
    assert_eq!(error(&fake, "rollback kata 7 -n kata-ns").await, "Error: release has no 7 version\n");
    assert!(error(&fake, &format!("pull {CHART} --version 9.9.9")).await.contains("not found"));
}

#[tokio::test(start_paused = true)]
async fn a_killed_upgrade_stays_pending_and_locks_until_a_rollback() {
    let (_cluster, fake) = installed("3.31.0", "").await;
    fake.inject(HelmFault::die("upgrade"));
    let output = helm(&fake, &format!("upgrade kata {CHART} -n kata-ns --version 3.32.0")).await;
    assert_eq!(output.code, None);
    assert_eq!(fake.last("kata-ns", "kata").status, "pending-upgrade");
    let text = error(&fake, &format!("upgrade kata {CHART} -n kata-ns --version 3.32.0")).await;
    assert!(text.contains("another operation (install/upgrade/rollback) is in progress"), "{text}");
    ok(&fake, "rollback kata 1 -n kata-ns").await;
    let words: Vec<String> =
        fake.revisions("kata-ns", "kata").into_iter().map(|it| format!("{} {}", it.status, it.chart)).collect();
    assert_eq!(words, ["superseded 3.31.0", "pending-upgrade 3.32.0", "deployed 3.31.0"]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_after_storing_leaves_a_failed_revision_and_the_old_one_deployed() {
    let (cluster, fake) = installed("3.31.0", "").await;
    fake.inject(HelmFault::fail("upgrade", "post-upgrade hooks failed").at(Stage::Applied));
    let text = error(&fake, &format!("upgrade kata {CHART} -n kata-ns --version 3.32.0")).await;
    let warning = "level=WARN msg=\"upgrade failed\" name=kata error=\"post-upgrade hooks failed\"\n";
    assert_eq!(text, format!("{warning}Error: UPGRADE FAILED: post-upgrade hooks failed\n"));
    let history = json_of(&fake, "history kata -n kata-ns -o json").await;
    let words: Vec<&str> = history.as_array().unwrap().iter().map(|it| it["status"].as_str().unwrap()).collect();
    assert_eq!(words, ["deployed", "failed"]);
    let image = &cluster.get("daemonsets", "kata-ns", "kata-deploy").unwrap()["spec"]["template"]["spec"]["containers"]
        [0]["image"];
    assert_eq!(image, "quay.io/kata-containers/kata-deploy:3.32.0", "the objects were applied already");
}

#[tokio::test(start_paused = true)]
async fn every_write_of_an_upgrade_is_a_place_to_be_killed() {
    let (cluster, fake) = installed("3.31.0", "").await;
    let before = cluster.writes();
    ok(&fake, &format!("upgrade kata {CHART} -n kata-ns --version 3.32.0")).await;
    let writes = cluster.writes() - before;
    assert!(writes >= 8, "{writes}");
    let mut seen = std::collections::BTreeSet::new();
    for k in 1..=writes {
        let (cluster, fake) = installed("3.31.0", "").await;
        cluster.kill_at(k, When::Before);
        let process = fake.process();
        let call = Invocation::of(format!("upgrade kata {CHART} -n kata-ns --version 3.32.0").split(' '));
        assert!(run_until_killed(&cluster, process.run(call)).await.was_killed());
        seen.insert(fake.last("kata-ns", "kata").status);
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["deployed", "pending-upgrade"]);
}

#[tokio::test(start_paused = true)]
async fn history_is_pruned_but_never_the_deployed_revision() {
    let (_cluster, fake) = installed("3.31.0", "").await;
    for _ in 0..3 {
        ok(&fake, &format!("upgrade kata {CHART} -n kata-ns --version 3.32.0 --history-max 2")).await;
    }
    let numbers: Vec<u64> = fake.revisions("kata-ns", "kata").iter().map(|it| it.revision).collect();
    assert_eq!(numbers, [3, 4]);
}

#[tokio::test(start_paused = true)]
async fn the_mode_can_not_change_from_4_1_on_and_removed_keys_fail() {
    let (_cluster, fake) = installed("4.0.0", "").await;
    let upgrade =
        |more: &str| format!("upgrade kata {CHART} -n kata-ns --version 4.1.0 --reset-then-reuse-values --set {more}");
    assert!(error(&fake, &upgrade("deploymentMode=job")).await.contains("can't change from \"daemonset\" to \"job\""));
    assert!(error(&fake, &upgrade("job.nodeSelector.a=b")).await.contains("was removed in 4.1.0"));
    ok(&fake, &upgrade("debug=false")).await;
}

#[tokio::test(start_paused = true)]
async fn waiting_for_an_on_delete_daemonset_times_out() {
    let (cluster, fake) = installed("3.31.0", "").await;
    let before = cluster.now();
    let line = format!(
        "upgrade kata {CHART} -n kata-ns --version 3.32.0 --set updateStrategy.type=OnDelete --wait --timeout 600s"
    );
    assert!(error(&fake, &line).await.contains("context deadline exceeded"));
    assert_eq!(cluster.now().duration_since(before).as_secs(), 600);
}

#[tokio::test(start_paused = true)]
async fn a_post_renderer_sees_hooks_and_its_answer_is_what_runs() {
    let (_cluster, fake) = installed("4.1.0", " --set deploymentMode=job --no-hooks").await;
    fake.set_post_render(|text, _| {
        assert!(text.contains("--cleanup-job-template=/etc/kata-job/cleanup-job.yaml"));
        let kept = text.lines().filter(|line| !line.contains("--cleanup-job-template"));
        Ok(kept.fold(String::new(), |text, line| text + line + "\n"))
    });
    let line = format!(
        "upgrade kata {CHART} -n kata-ns --version 4.1.0 --reset-then-reuse-values --no-hooks --post-renderer drop-cleanup"
    );
    ok(&fake, &line).await;
    let hooks = ok(&fake, "get hooks kata -n kata-ns").await;
    assert!(hooks.contains("--job-template=") && !hooks.contains("--cleanup-job-template"), "{hooks}");
}

#[tokio::test(start_paused = true)]
async fn a_pulled_chart_can_be_used_and_shown() {
    let directory = tempfile::tempdir().unwrap();
    let (_cluster, fake) = installed("3.31.0", "").await;
    let told = ok(&fake, &format!("pull {CHART} --version 4.0.0 -d {}", directory.path().display())).await;
    assert!(told.contains("Digest: sha256:"), "{told}");
    let file = directory.path().join("kata-deploy-4.0.0.tgz");
    let shown = ok(&fake, &format!("show chart {}", file.display())).await;
    assert!(shown.contains("version: 4.0.0"), "{shown}");
    ok(&fake, &format!("upgrade kata {} -n kata-ns --reset-then-reuse-values", file.display())).await;
    assert_eq!(fake.last("kata-ns", "kata").chart, "4.0.0");
}

#[tokio::test(start_paused = true)]
async fn a_terminated_upgrade_records_failed() {
    let (_cluster, fake) = installed("3.31.0", "").await;
    fake.inject(HelmFault::slow("upgrade", Duration::from_secs(60)).at(Stage::Stored));
    let process = fake.process();
    let call = Invocation::of(format!("upgrade kata {CHART} -n kata-ns --version 3.32.0").split(' '));
    let (output, ()) = tokio::join!(process.run(call), async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        process.terminate();
    });
    assert!(output.stderr.ends_with("\nError: UPGRADE FAILED: context canceled\n"), "{}", output.stderr);
    assert_eq!(fake.last("kata-ns", "kata").status, "failed");
}
