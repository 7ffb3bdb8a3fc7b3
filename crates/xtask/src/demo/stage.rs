//! Where a demo plays: a cluster that is started for it and ended after it, or one that was there before.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use klm_bed::run::Run;
use klm_bed::{Cluster, Options, paths, preflight, process};
use klm_core::contract::{CURRENT_VERSION, RUN_LABEL, STATUS};
use klm_standin::names::TRUTH_PREFIX;

use super::Task;
use super::painter::Beat;
use super::screen::{Screen, progress};
use crate::cluster::in_ci;
use crate::furnish::furnish;

/// kata-deploy's release and its namespace.
pub const RELEASE: &str = "kata-deploy";
/// See [`RELEASE`].
pub const KUBE_SYSTEM: &str = "kube-system";
/// Our chart's release.
pub const LIFECYCLE: &str = "kata-lifecycle-manager";
/// The namespace of Argo's workflows.
pub const ARGO: &str = "argo";

/// No line of a command or of a report is longer.
pub const COLUMNS: usize = 100;

/// The cluster, and what has to be taken away at the end.
pub struct Stage {
    /// The cluster.
    pub cluster: Cluster,
    /// Whether every recording must show the same: names and places are then fixed.
    pub recorded: bool,
    own: Option<Run>,
    undo: Vec<Vec<String>>,
}

impl Stage {
    /// Starts the cluster, or takes the one that was named.
    pub fn open(task: &Task) -> Result<Self> {
        let recorded = task.record.is_some();
        if let Some(kubeconfig) = &task.kubeconfig {
            let cluster = Cluster::existing(kubeconfig, task.registry.clone());
            refuse_used(&cluster)?;
            furnish(&cluster)?;
            let mut stage = Self { cluster, recorded, own: None, undo: Vec::new() };
            stage.undo_what_runs_leave();
            return Ok(stage);
        }
        preflight::check(task.install || in_ci(), &progress)?;
        let options = Options {
            name: task.name.clone(),
            nodes: usize::from(task.nodes),
            // Argo looks again after so long; its default of 10 s is for clusters that do other things too.
            requeue: Duration::from_secs(1),
            ..Options::default()
        };
        let cluster = Cluster::up(&options, &progress)?;
        let own = Some(Run::named(&task.name)?);
        Ok(Self { cluster, recorded, own, undo: Vec::new() })
    }

    /// Runs the work where the cluster's addresses can be reached: on a thread of its own, which is in its network.
    pub fn inside<T: Send>(&mut self, work: impl AsyncFnOnce(&mut Self) -> Result<T> + Send) -> Result<T> {
        std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    self.cluster.enter()?;
                    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work(self))
                })
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Shows a command and runs it in the repository's folder. What it says is returned, not shown.
    pub fn run(&self, screen: &mut Screen, words: &[&str]) -> Result<String> {
        screen.show(Beat::Command(typed(words)));
        self.silently(words)
    }

    /// Runs a command in the repository's folder.
    pub fn silently(&self, words: &[&str]) -> Result<String> {
        let (program, arguments) = words.split_first().context("no command")?;
        process::output(self.cluster.command(program).current_dir(paths::workspace()).args(arguments))
    }

    /// Remembers how to take something away from a cluster that stays.
    pub fn undo_with(&mut self, words: &[&str]) {
        self.undo.push(words.iter().map(|word| (*word).to_owned()).collect());
    }

    /// What neither release takes along when it goes, on a cluster that stays.
    fn undo_what_runs_leave(&mut self) {
        let [status, version, run] = [STATUS, CURRENT_VERSION, RUN_LABEL].map(|name| format!("{name}-"));
        self.undo_with(&["kubectl", "label", "nodes", "--all", &status, &version, &run]);
        let truth = ["installed-version", "install-count", "uninstall-count", "last-actor", "last-mode"]
            .map(|name| format!("{TRUTH_PREFIX}/{name}-"));
        let annotations = [&status, &version].into_iter().chain(&truth).map(String::as_str);
        let words: Vec<&str> = ["kubectl", "annotate", "nodes", "--all"].into_iter().chain(annotations).collect();
        self.undo_with(&words);
        let origin = format!("klm-origin-{RELEASE}");
        self.undo_with(&["kubectl", "delete", "secret", "--namespace", KUBE_SYSTEM, &origin, "--ignore-not-found"]);
        let rights = format!("standin-{KUBE_SYSTEM}");
        self.undo_with(&["kubectl", "delete", "clusterrole,clusterrolebinding", &rights, "--ignore-not-found"]);
    }

    /// Where the stand-in's charts are.
    pub fn kata_chart(&self) -> Result<String> {
        self.cluster
            .kata_charts()
            .context("the demo needs a registry for kata-deploy's charts\nhint: --registry HOST:PORT")
    }

    /// Copies the logs of the cluster's programs to where they outlive it.
    pub fn keep_logs(&self) {
        let Some(run) = &self.own else { return };
        let folder = paths::workspace().join("target/demo/log");
        match paths::copy_tree(&run.path("log"), &folder) {
            Ok(()) => progress(&format!("logs of the cluster: {}", folder.display())),
            Err(error) => progress(&format!("cannot keep the logs: {error:#}")),
        }
    }

    /// Ends the cluster, or takes away what the demo put on it.
    pub fn close(&self) -> Result<()> {
        if let Some(run) = &self.own {
            klm_bed::down(run)?;
            progress(&format!("the cluster `{}` is gone again; --keep leaves it", run.name()));
            return Ok(());
        }
        for words in self.undo.iter().rev() {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            if let Err(error) = self.silently(&words) {
                progress(&format!("cannot take away what the demo brought: {error:#}"));
            }
        }
        progress("what the demo brought is gone from the cluster again; --keep leaves it");
        Ok(())
    }

    /// What to type on a cluster that was kept.
    pub fn how_to_look(&self) -> Vec<String> {
        let mut lines = vec!["The cluster was kept. Look at it:".to_owned()];
        let shell = match &self.own {
            Some(run) => format!("cargo xtask cluster shell --name {} ", run.name()),
            None => String::new(),
        };
        lines.push(format!("  {shell}kubectl get nodes -L {STATUS} -L {CURRENT_VERSION}"));
        lines.push(format!("  {shell}argo get -n {ARGO} @latest"));
        lines.push(format!("  {shell}helm history {RELEASE} -n {KUBE_SYSTEM}"));
        if let Some(run) = &self.own {
            lines.push("Take it down:".to_owned());
            lines.push(format!("  cargo xtask cluster down --name {}", run.name()));
        } else {
            lines.push("Take away what the demo brought:".to_owned());
            lines.extend(self.undo.iter().rev().map(|words| format!("  {}", words.join(" "))));
        }
        lines
    }
}

/// Never over somebody's own releases.
fn refuse_used(cluster: &Cluster) -> Result<()> {
    for (release, namespace) in [(RELEASE, KUBE_SYSTEM), (LIFECYCLE, ARGO)] {
        let found =
            cluster.run("helm", &["list", "--namespace", namespace, "--short", "--filter", &format!("^{release}$")])?;
        if !found.trim().is_empty() {
            bail!(
                "the release `{namespace}/{release}` is on this cluster already\nhint: the demo needs a cluster without it"
            );
        }
    }
    let argo =
        cluster.run("kubectl", &["get", "crd", "workflows.argoproj.io", "--ignore-not-found", "--output", "name"])?;
    if argo.trim().is_empty() {
        bail!(
            "Argo Workflows isn't installed on this cluster\nhint: install it first (not Argo CD), in the namespace `{ARGO}`"
        );
    }
    Ok(())
}

/// A command as a person would type it, on several lines when it is long.
fn typed(words: &[&str]) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    let mut words = words.iter().peekable();
    while let Some(word) = words.next() {
        let mut piece = process::quoted(word);
        // A flag and its value stay together.
        if word.starts_with('-')
            && !word.contains('=')
            && let Some(value) = words.next_if(|next| !next.starts_with('-'))
        {
            piece = format!("{piece} {}", process::quoted(value));
        }
        if !line.is_empty() && line.len() + piece.len() + 3 > COLUMNS {
            lines.push(format!("{line} \\"));
            line = String::from("  ");
        } else if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&piece);
    }
    lines.push(line);
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_command_is_broken_between_its_arguments() {
        let long = "a".repeat(COLUMNS - 10);
        assert_eq!(
            typed(&["helm", "install", "--version", "3.31.0", "--set", &format!("x={long}")]),
            format!("helm install --version 3.31.0 \\\n  --set x={long}")
        );
        assert_eq!(typed(&["argo", "get", "@latest"]), "argo get @latest");
    }

    #[test]
    fn what_a_shell_would_change_is_quoted() {
        assert_eq!(typed(&["helm", "--set", r"a.b\.c=d"]), r"helm --set 'a.b\.c=d'");
    }
}
