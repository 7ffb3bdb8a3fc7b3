//! What a run would do, as `plan` prints it: for people as text, for programs as JSON.

use std::fmt;

use serde::Serialize;

use crate::name::NodeName;
use crate::plan::{Mode, PlannedNode};
use crate::refusal::Refusal;
use crate::selection::Skipped;

/// Everything that can be said before a run. Holds no secret.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Forecast {
    /// `namespace/name` of the Helm release.
    pub release: String,
    /// How kata-deploy installs; nothing when that couldn't be found out.
    pub mode: Option<Mode>,
    /// How the mode was found.
    pub mode_found: String,
    /// Chart version that a rollback goes back to.
    pub origin: String,
    /// Version to move to.
    pub target: String,
    /// Which nodes were asked for.
    pub choice: String,
    /// Nodes per wave.
    pub batch_size: usize,
    /// Workflow steps, each of one wave or several.
    pub steps: usize,
    /// The waves.
    pub waves: Vec<Vec<ForecastNode>>,
    /// Nodes that were asked for and are left out.
    pub skipped: Vec<SkippedNode>,
    /// Calls of helm that the run makes.
    pub commands: Vec<String>,
    /// What somebody may not expect.
    pub hazards: Vec<String>,
    /// Pods that a drain can't simply evict.
    pub obstacles: Vec<String>,
    /// Why the run would be refused; empty when it would not.
    pub refusals: Vec<String>,
}

/// A node of a wave.
#[derive(Clone, Debug, Serialize)]
pub struct ForecastNode {
    /// Its name.
    pub node: NodeName,
    /// Its version now, as far as that is known.
    pub source: Option<String>,
}

/// A node that is left out.
#[derive(Clone, Debug, Serialize)]
pub struct SkippedNode {
    /// Its name.
    pub node: NodeName,
    /// Why, in words.
    pub why: String,
}

impl Forecast {
    /// Nodes in all.
    pub fn node_count(&self) -> usize {
        self.waves.iter().map(Vec::len).sum()
    }
}

/// Cuts a selection into waves.
pub fn waves(nodes: &[PlannedNode], batch_size: usize) -> Vec<Vec<ForecastNode>> {
    let node = |planned: &PlannedNode| ForecastNode { node: planned.0.clone(), source: planned.2.clone() };
    nodes.chunks(batch_size.max(1)).map(|wave| wave.iter().map(node).collect()).collect()
}

/// The nodes left out, in words.
pub fn skipped(skipped: &[Skipped]) -> Vec<SkippedNode> {
    skipped.iter().map(|it| SkippedNode { node: it.node.clone(), why: it.why.to_string() }).collect()
}

/// Refusals as text.
pub fn refusals(refusals: &[Refusal]) -> Vec<String> {
    refusals.iter().map(ToString::to_string).collect()
}

impl fmt::Display for Forecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { release, mode, mode_found, origin, target, choice, batch_size, steps, waves, skipped, .. } = self;
        writeln!(f, "release  {release}, chart {origin}")?;
        match mode {
            Some(mode) => writeln!(f, "mode     {mode}: {mode_found}")?,
            None => writeln!(f, "mode     unknown")?,
        }
        writeln!(f, "target   {target}")?;
        let nodes = self.node_count();
        writeln!(f, "nodes    {nodes} of {choice}")?;
        writeln!(f, "waves    {} of up to {batch_size}, in {steps} workflow steps", waves.len())?;
        let width = waves.len().to_string().len();
        for (number, wave) in waves.iter().enumerate() {
            let names: Vec<String> = wave
                .iter()
                .map(|node| match &node.source {
                    Some(source) if source != origin => format!("{} (now {source})", node.node),
                    _ => node.node.to_string(),
                })
                .collect();
            writeln!(f, "  {:>width$}  {}", number + 1, names.join(" "))?;
        }
        if nodes == 0 {
            writeln!(f, "nothing to do: no node is left to move, and no Helm revision will be made")?;
        }
        let skipped: Vec<String> = skipped.iter().map(|it| format!("node `{}` {}", it.node, it.why)).collect();
        section(f, "left out", &skipped)?;
        section(f, "helm calls", &self.commands)?;
        section(f, "know before", &self.hazards)?;
        section(f, "in the way of a drain", &self.obstacles)?;
        section(f, "refused", &self.refusals)
    }
}

fn section(f: &mut fmt::Formatter<'_>, title: &str, lines: &[String]) -> fmt::Result {
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(f, "\n{title}:")?;
    lines.iter().try_for_each(|line| writeln!(f, "  - {}", line.replace('\n', "\n    ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selection::Skip;

    fn node(name: &str, source: &str) -> PlannedNode {
        PlannedNode(name.try_into().unwrap(), "u".into(), Some(source.into()))
    }

    fn forecast(nodes: &[PlannedNode]) -> Forecast {
        Forecast {
            release: "apps/kata".into(),
            mode: Some(Mode::Job),
            mode_found: "the release's values have `deploymentMode=job`".into(),
            origin: "4.0.0".into(),
            target: "4.1.0".into(),
            choice: "nodes that match `pool=kata`".into(),
            batch_size: 2,
            steps: 1,
            waves: waves(nodes, 2),
            skipped: skipped(&[Skipped { node: "w-9".try_into().unwrap(), why: Skip::NotReady }]),
            commands: vec!["helm upgrade --install kata …".into()],
            hazards: vec!["a thing".into(), "another".into()],
            obstacles: Vec::new(),
            refusals: refusals(&[Refusal::new("no").hint("do\nthis")]),
        }
    }

    #[test]
    fn the_text_for_people() {
        let nodes = [node("w-1", "4.0.0"), node("w-2", "3.32.0"), node("w-3", "4.0.0")];
        insta::assert_snapshot!(forecast(&nodes).to_string());
    }

    #[test]
    fn the_json_for_programs() {
        let nodes = [node("w-1", "4.0.0")];
        insta::assert_snapshot!(serde_json::to_string_pretty(&forecast(&nodes)).unwrap());
    }

    #[test]
    fn a_run_without_nodes_says_that_it_does_nothing() {
        assert!(forecast(&[]).to_string().contains("nothing to do"));
    }
}
