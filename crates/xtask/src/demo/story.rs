//! What a demo shows, act by act, and what must be true at its end: a demo that shows something else has failed.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use klm_core::phase::NodePhase;
use klm_core::report::Report;
use kube::api::DynamicObject;

use super::fleet::Fleet;
use super::painter::{Beat, wrapped};
use super::pods;
use super::screen::Screen;
use super::stage::{ARGO, COLUMNS, KUBE_SYSTEM, LIFECYCLE, RELEASE, Stage};

/// Versions before and after: one minor apart, as most upgrades are.
const BEFORE: &str = "3.31.0";
/// See [`BEFORE`].
const AFTER: &str = "3.32.0";

/// Nodes in a wave.
const BATCH: usize = 2;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Story {
    /// An upgrade that goes well.
    Sunny,
    /// A verification that fails.
    Rainy,
}

impl Story {
    /// The word for it in file names.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sunny => "sunny",
            Self::Rainy => "rainy",
        }
    }

    /// The title of its recording.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Sunny => "An upgrade in waves",
            Self::Rainy => "A verification that fails, the rollback, the stop",
        }
    }

    /// All of it.
    pub async fn play(self, stage: &mut Stage, screen: &mut Screen) -> Result<()> {
        let client = stage.cluster.client().await?;
        klm_standin::setup::prepare(&client, KUBE_SYSTEM).await?;
        screen.show(Beat::Say(format!("kata-deploy {BEFORE} goes onto every node of a cluster.")));
        install_kata(stage, screen)?;
        let mut fleet = Fleet::serving(client, BEFORE).await?;
        let names = fleet.names();
        let victim = names.get(1).or(names.first()).context("the cluster has no node for Kata")?.clone();
        self.install_lifecycle(stage, screen, &names, &victim)?;
        screen.show(Beat::Say(format!("{} nodes go to {AFTER}, in waves of {BATCH}.", names.len())));
        let workflow = submit(stage, screen)?;
        screen.show(Beat::Fleet(fleet.rows()));
        let ended = fleet.follow(screen, &workflow).await?;
        let shown = report(&ended).map(|report| wrapped(&report.to_string(), COLUMNS));
        if let Some(report) = &shown {
            screen.show(Beat::Said(report.clone()));
        }
        if let Err(error) = self.judge(&ended, screen, &victim) {
            let logs =
                stage.silently(&["argo", "logs", "-n", ARGO, &workflow]).unwrap_or_else(|error| format!("{error:#}"));
            return Err(error.context(format!("what the steps said:\n{logs}")));
        }
        screen.show(Beat::Say(self.moral(&victim, names.len())));
        Ok(())
    }

    fn install_lifecycle(self, stage: &mut Stage, screen: &mut Screen, names: &[String], victim: &str) -> Result<()> {
        let pod = match self {
            Self::Sunny => {
                screen.show(Beat::Say(
                    "The chart, with the pod that has to succeed on a node before it counts as upgraded.".to_owned(),
                ));
                pods::documented()?
            }
            Self::Rainy => {
                screen.show(Beat::Say(format!(
                    "The chart, with a verification pod that fails once on {victim}, as if {AFTER} was bad there."
                )));
                pods::failing_first_on(victim, &std::process::id().to_string())?
            }
        };
        let pod = format!("defaults.verificationPod={}", pod.display());
        let charts = format!("defaults.kataDeployChart={}", stage.kata_chart()?);
        let mut words = vec!["helm", "install", LIFECYCLE, "./chart", "--namespace", ARGO, "--set-file", &pod];
        words.extend(["--set", &charts, "--set", "registry.plainHTTP=true"]);
        // The node of the first step goes last: fixed, so that the failing node is in the first wave, and so that every
        // recording has the same waves.
        let place =
            format!("stepPods.nodeSelector.kubernetes\\.io/hostname={}", names.last().map_or("", String::as_str));
        if stage.recorded || self == Self::Rainy {
            words.extend(["--set", &place]);
        }
        stage.run(screen, &words)?;
        stage.undo_with(&["helm", "uninstall", LIFECYCLE, "--namespace", ARGO]);
        Ok(())
    }

    /// Whether the run ended as it should.
    fn judge(self, ended: &DynamicObject, screen: &Screen, victim: &str) -> Result<()> {
        let status = &ended.data["status"];
        let phase = status["phase"].as_str().unwrap_or_default();
        let wanted = if self == Self::Sunny { "Succeeded" } else { "Failed" };
        ensure!(phase == wanted, "the workflow {phase}, and should have {wanted}: {}", status["message"]);
        let rows = screen.rows();
        let mut seen: BTreeMap<Option<NodePhase>, usize> = BTreeMap::new();
        for row in &rows {
            *seen.entry(row.status).or_default() += 1;
            let version = if row.status == Some(NodePhase::Completed) { AFTER } else { BEFORE };
            ensure!(
                row.version.as_deref() == Some(version),
                "node `{}` is {:?} at {:?}",
                row.node,
                row.status,
                row.version
            );
            ensure!(!row.cordoned, "node `{}` was left cordoned", row.node);
        }
        let completed = seen.get(&Some(NodePhase::Completed)).copied().unwrap_or_default();
        let well = match self {
            Self::Sunny => completed == rows.len(),
            Self::Rainy => {
                let taken_back = rows.iter().filter(|row| row.status == Some(NodePhase::RolledBack));
                taken_back.map(|row| row.node.as_str()).eq([victim]) && completed == BATCH.min(rows.len()) - 1
            }
        };
        if !well {
            bail!("the nodes ended elsewhere: {rows:?}");
        }
        Ok(())
    }

    fn moral(self, victim: &str, nodes: usize) -> String {
        match self {
            Self::Sunny => {
                format!("All {nodes} nodes run {AFTER}, each verified by its pod before the next wave began.")
            }
            Self::Rainy => format!(
                "{victim} runs {BEFORE} again, verified and back in service; nodes of later waves were never touched.\n\
                 Next: read what failed, mend it, and submit again.\n  argo get -n {ARGO} @latest\n  \
                 argo submit -n {ARGO} --from workflowtemplate/{LIFECYCLE} -p target-version={AFTER}"
            ),
        }
    }

    /// What to look at next.
    pub fn next(self, kept: bool) -> Vec<String> {
        let (again, other, what) = match self {
            Self::Sunny => ("--keep", "--rainy", "a verification that fails, the rollback, the stop"),
            Self::Rainy => ("--rainy --keep", "", "an upgrade that goes well"),
        };
        let pair = |command: &str, what: &str| format!("  {command:<33}  {what}");
        let mut lines = vec!["What to look at next:".to_owned(), pair(&format!("cargo xtask demo {other}"), what)];
        if !kept {
            lines.push(pair(&format!("cargo xtask demo {again}"), "the same, and the cluster stays for a look"));
        }
        lines.push(pair("README.md", "how to run it on a cluster of your own"));
        lines
    }
}

fn install_kata(stage: &mut Stage, screen: &mut Screen) -> Result<()> {
    let chart = stage.kata_chart()?;
    let words = ["helm", "install", RELEASE, &chart, "--namespace", KUBE_SYSTEM, "--version", BEFORE, "--plain-http"];
    stage.run(screen, &words)?;
    stage.undo_with(&["helm", "uninstall", RELEASE, "--namespace", KUBE_SYSTEM]);
    Ok(())
}

fn submit(stage: &mut Stage, screen: &mut Screen) -> Result<String> {
    let template = format!("workflowtemplate/{LIFECYCLE}");
    let (target, batch) = (format!("target-version={AFTER}"), format!("batch-size={BATCH}"));
    let mut words = vec!["argo", "submit", "-n", ARGO, "--from", &template, "-o", "name"];
    if stage.recorded {
        words.extend(["--name", "upgrade"]);
    }
    words.extend(["-p", &target, "-p", &batch]);
    let said = stage.run(screen, &words)?;
    let workflow = said.lines().last().unwrap_or_default().trim().to_owned();
    ensure!(!workflow.is_empty() && !workflow.contains(' '), "`argo submit` named no workflow: {said}");
    stage.undo_with(&["argo", "delete", "-n", ARGO, &workflow]);
    Ok(workflow)
}

/// The report that the run's last step left.
fn report(workflow: &DynamicObject) -> Option<Report> {
    let nodes = workflow.data["status"]["nodes"].as_object()?;
    let outputs = nodes.values().flat_map(|node| node["outputs"]["parameters"].as_array().into_iter().flatten());
    let report = outputs.filter(|output| output["name"] == "report").find_map(|output| output["value"].as_str())?;
    serde_json::from_str(report).ok()
}
