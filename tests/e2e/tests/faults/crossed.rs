//! People and other runs that cross a run: a second submission, a Helm revision made by hand, cordons, a retry.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use klm_bed::wait::{Seen, Wait};
use klm_e2e::fleet::Kata;
use klm_standin::injection::Injection;
use klm_standin::setup;

use super::{HOST, PAIRS, slow_fleet, until_probed};

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_living_run_keeps_its_lock_and_people_keep_their_say() -> Result<()> {
    let kata = Kata::daemonset("3.31.0");
    let (fleet, before) = slow_fleet(&kata, "4.0.0").await?;
    let mut run = fleet.begin("4.0.0", &[PAIRS]).await?;
    run.until_status(&fleet, "worker-1", "upgrading").await?;
    let refused = fleet.begin("4.0.0", &[]).await?;

    // Not yet worked on, and in the middle of it.
    fleet.cordon(HOST).await?;
    until_probed(&mut run, &fleet, "worker-1").await?;
    fleet.uncordon("worker-1").await?;
    fleet.helm_kata("upgrade", &Kata::daemonset("4.0.0").set("updateStrategy.type=OnDelete").set("debug=true"))?;

    let refused = refused.ended(&fleet).await?.badly()?;
    let said = refused.messages().join("\n");
    ensure!(said.contains(&run.name), "the holder is named: {said}");

    let run = run.ended(&fleet).await?.badly()?;
    let said = run.messages().join("\n");
    ensure!(said.contains("somebody else made revision"), "{said}\n{}", run.log());
    ensure!(run.log().contains("somebody uncordoned"), "{}", run.log());
    assert_eq!(fleet.statuses().await?, ["completed", "completed", "rolled-back"]);
    assert_eq!(fleet.versions().await?, ["4.0.0", "4.0.0", "3.31.0"]);
    assert_eq!(fleet.installs().await?, [2, 2, 1]);
    assert_eq!(fleet.user_values()?["debug"], true, "that revision stays");
    ensure!(fleet.node(HOST).await?.cordoned, "whoever cordoned it uncordons it");
    let opened = run.history.moments.iter().skip_while(|moment| {
        moment.node.name != "worker-1" || moment.node.status() != "verifying" || moment.node.cordoned
    });
    ensure!(opened.clone().count() > 0, "{:?}", run.history.statuses("worker-1"));
    for moment in opened.filter(|moment| moment.node.name == "worker-1") {
        ensure!(!moment.node.cordoned, "worker-1 was cordoned again: {:?}", moment.node);
    }

    fleet.scene.argo(&["retry", "--namespace", "argo", &run.name])?;
    let retried = fleet.scene.ended_workflow("argo", &run.name, Duration::from_secs(120)).await?;
    let said: Vec<&str> = retried.steps.values().map(|step| step.message.as_str()).collect();
    ensure!(retried.phase == "Failed" && said.join("\n").contains("submit again"), "{}: {said:?}", retried.phase);
    assert_eq!(fleet.installs().await?, [2, 2, 1], "the retry touched nothing");

    // What people did is undone by people.
    fleet.uncordon(HOST).await?;
    fleet.helm_kata("upgrade", &Kata::daemonset("4.0.0").set("updateStrategy.type=OnDelete"))?;
    fleet.nothing_left(&before, &run).await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn a_helm_that_somebody_runs_is_not_taken_for_a_dead_one() -> Result<()> {
    let kata = Kata::job("4.0.0").set("job.parallelism=3");
    let (fleet, _) = slow_fleet(&kata, "4.0.0").await?;
    let slower = [Injection::Slow(Duration::from_secs(45))];
    setup::inject(&fleet.client(), "kube-system", None, Some("4.0.0"), &slower).await?;
    let fleet = Arc::new(fleet);
    let began = Instant::now();
    let theirs = tokio::task::spawn_blocking({
        let fleet = Arc::clone(&fleet);
        move || fleet.helm_kata("upgrade", &kata.set("debug=true"))
    });
    Wait::new("helm to wait for its dispatcher", Duration::from_secs(60))
        .until(async || {
            let at_work = fleet.is_helm_at_work().await?;
            Ok(if at_work { Seen::Done(()) } else { Seen::NotYet("no pending revision".to_owned()) })
        })
        .await?;
    let refused = fleet.enter("recover", &["helm-timeout=5m"]).await?.badly()?;
    let said = refused.messages().join("\n");
    ensure!(said.contains("another helm is at work"), "{said}");
    let left = said.split("submit again after ").nth(1).unwrap_or_default();
    let left = left.split(|letter: char| !letter.is_ascii_alphanumeric()).next().unwrap_or_default();
    let left = klm_core::duration::parse(left).with_context(|| said.clone())?;
    let (may_live, second) = (Duration::from_secs(300), Duration::from_secs(1));
    let is_known = left < may_live && left + began.elapsed() + second >= may_live;
    ensure!(is_known, "its age is known, and how long it may live: {said}");
    theirs.await??;
    let revisions = fleet.revisions()?;
    ensure!(revisions.iter().all(|revision| revision.status != "failed"), "{revisions:?}");
    let last = revisions.last().map(|last| (last.number, last.status.as_str(), last.description.as_str()));
    assert_eq!(last, Some((2, "deployed", "Upgrade complete")));
    Ok(())
}
