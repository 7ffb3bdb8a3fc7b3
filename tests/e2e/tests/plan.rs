//! The entrypoint `plan`, and every reason to refuse: nothing is touched, and each reason comes with its remedy.

use anyhow::{Context as _, Result};
use klm_e2e::fleet::{Before, Finished, Fleet, Kata};

/// Nothing at all has changed: not the nodes, not the release, no pod of kata-deploy.
async fn untouched(fleet: &Fleet, before: &Before, run: &Finished, revision: u64) -> Result<()> {
    assert_eq!(fleet.release_at()?.1, revision, "{}", run.log());
    assert_eq!(fleet.statuses().await?, ["", "", ""], "{}", run.log());
    assert!(run.history.moments.len() == 3, "no node changed: {:?}", run.history.moments);
    let writes: Vec<_> = run
        .requests
        .own
        .iter()
        .chain(&run.requests.helm)
        .filter(|request| !matches!(request.verb.as_str(), "get" | "list" | "watch"))
        .filter(|request| !request.uri.contains("dryRun=All") && !request.resource.starts_with("selfsubject"))
        // The lock, and what a step says about itself.
        .filter(|request| !matches!(request.resource.as_str(), "leases" | "workflowtaskresults"))
        .map(|request| format!("{} {}", request.verb, request.uri))
        .collect();
    assert!(writes.is_empty(), "{writes:#?}");
    fleet.nothing_left(before, run).await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn plan_prints_what_a_run_would_do_and_changes_nothing() -> Result<()> {
    let fleet = Fleet::open().await?;
    fleet.install(&Kata::daemonset("3.31.0")).await?;
    fleet.label("worker-2", "katacontainers.io/kata-lifecycle-manager-hold", Some("true")).await?;
    let before = fleet.before().await?;

    let run = fleet.enter("plan", &["target-version=4.1.0", "batch-size=2"]).await?.well()?;

    let said = run.log_of("plan")?;
    for part in [
        "kube-system/kata-deploy",
        "chart 3.31.0",
        "daemonset",
        "target   4.1.0",
        "worker-1 worker-3",
        "node `worker-2` is held back",
        "helm upgrade",
        "updateStrategy.type=OnDelete",
        "kata-deploy.katacontainers.io/default",
        "`kata-qemu` reserves 320Mi",
    ] {
        assert!(said.contains(part), "{part} isn't in:\n{said}");
    }
    untouched(&fleet, &before, &run, 1).await
}

async fn refused(fleet: &Fleet, target: &str, parameters: &[&str], expected: &[&str]) -> Result<()> {
    let before = fleet.before().await?;
    let run = fleet.deploy(target, parameters).await?.badly()?;
    let said = run.log();
    for part in expected {
        assert!(said.contains(part), "{part} isn't in:\n{said}");
    }
    let pod = run.pods_of("check-prerequisites").first().copied().context("no check")?.clone();
    assert_eq!(pod.code, 3, "{said}");
    assert_eq!(run.pods_of("check-prerequisites").len(), 1, "a refusal isn't tried again");
    assert!(run.messages().iter().any(|message| !message.is_empty()), "argo get shows the reason");
    untouched(fleet, &before, &run, 1).await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn every_reason_to_refuse_is_found_before_anything_is_touched() -> Result<()> {
    let fleet = Fleet::open().await?;
    fleet.install(&Kata::daemonset("4.0.0").set("image.tag=4.0.0").set("runtimeClasses.createDefault=true")).await?;

    let before = fleet.before().await?;
    refused(&fleet, "4.1.0", &["batch-sise=2"], &["`batch-sise`", "did you mean `batch-size`"]).await?;
    // The same checks from outside, as a person asks before a rollout.
    by_hand(&fleet, "4.1.0", &["batch-sise=2"], &["`batch-sise`", "did you mean `batch-size`"])?;
    by_hand(&fleet, "3.26.0", &[], &["`target-version` is `3.26.0`", "3.27.0"])?;
    // What is wrong in the parameters comes all at once, and so does what is wrong in the release.
    let wrong = ["helm-set-values=job.nodes={worker-1}", "verification-pod=bm90IGEgcG9k"];
    by_hand(&fleet, "4.1.0", &wrong, &["job.nodes", "the verification pod is not a Pod"])?;
    by_hand(
        &fleet,
        "4.1.0",
        &["deployment-mode=job"],
        &[
            "runs in daemonset mode",
            "helm upgrade kata-deploy",
            "--set deploymentMode=job",
            "pin `image.tag` to `4.0.0`",
        ],
    )?;
    by_hand(&fleet, "4.9.9", &["helm-set-values=image.tag="], &["4.9.9"])?;
    by_hand(&fleet, "4.1.0", &["helm-release=kata-deply"], &["kata-deply", "kube-system/kata-deploy"])?;
    refused(&fleet, "3.31.0", &["helm-set-values=image.tag="], &["RuntimeClass `kata`"]).await?;
    fleet.nodes_as_before(&before).await
}

fn by_hand(fleet: &Fleet, target: &str, parameters: &[&str], expected: &[&str]) -> Result<()> {
    let said = fleet.refused_by_hand(target, parameters)?;
    for part in expected {
        assert!(said.contains(part), "{part} isn't in:\n{said}");
    }
    assert_eq!(fleet.release_at()?.1, 1, "{said}");
    Ok(())
}

/// The commands that a mismatch prints are run as they stand, but for where the chart is.
async fn the_printed_commands_switch(kata: &Kata, mode: &str, version: &str) -> Result<()> {
    let fleet = Fleet::open().await?;
    fleet.install(kata).await?;
    let wanted = format!("deployment-mode={mode}");
    let said = fleet.refused_by_hand("4.1.0", &[&wanted])?;
    let folder = tempfile::tempdir()?;
    let commands: Vec<&str> = said.lines().map(str::trim).filter(|line| line.starts_with("helm ")).collect();
    assert!(!commands.is_empty(), "no command in:\n{said}");
    for command in commands {
        // The registry of the test speaks plain HTTP; `helm get` and `helm uninstall` don't take the flag.
        let plain = if command.contains("oci://") { " --plain-http" } else { "" };
        let line = format!("cd {} && {command}{plain}", folder.path().display());
        fleet.scene.cluster.run("sh", &["-c", &line]).with_context(|| format!("`{command}` doesn't work"))?;
    }
    fleet.all_nodes_at(version).await?;
    assert_eq!(fleet.user_values()?["deploymentMode"], mode);
    assert_eq!(fleet.user_values()?["debug"], true, "the user's values are kept");
    // And a run is possible now.
    let planned = fleet.plan_by_hand("4.2.0", &[&wanted])?;
    assert_eq!(planned.code, Some(0), "{}", planned.said);
    Ok(())
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn the_printed_migration_works_from_daemonset_to_job_before_3_32() -> Result<()> {
    the_printed_commands_switch(&Kata::daemonset("3.31.0").set("debug=true"), "job", "3.32.0").await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn the_printed_migration_works_from_job_to_daemonset() -> Result<()> {
    the_printed_commands_switch(&Kata::job("4.0.0").set("debug=true"), "daemonset", "4.0.0").await
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask test cluster"]
async fn the_printed_migration_works_where_the_mode_is_fixed() -> Result<()> {
    the_printed_commands_switch(&Kata::daemonset("4.1.0").set("debug=true"), "job", "4.1.0").await
}
