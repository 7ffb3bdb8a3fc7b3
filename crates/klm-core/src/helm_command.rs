//! Every call of helm, as data. Which flags, and why these, is decided here and nowhere else.

use std::time::Duration;

use serde_json::{Value, json};

use crate::journal::RunId;
use crate::name::NodeName;
use crate::plan::Mode;
use crate::set_values::quote_list;
use crate::values::Values;

/// One call. Whoever runs it writes each [`Arg::Values`] to a file that only this process may read.
#[derive(Clone, Debug, PartialEq)]
pub struct HelmCommand {
    /// Everything after `helm`.
    pub args: Vec<Arg>,
    /// The revision that it makes; nothing for a call that makes none.
    pub makes: Option<u64>,
}

/// One argument.
#[derive(Clone, PartialEq)]
pub enum Arg {
    /// As it is.
    Text(String),
    /// The path of a file with these values; they may be secrets, and argument lists are public.
    Values(Values),
}

impl std::fmt::Debug for Arg {
    /// Values are not printed.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Values(_) => f.write_str("<values file>"),
        }
    }
}

impl std::fmt::Display for HelmCommand {
    /// As a person would type it, with a name in the place of a values file.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("helm")?;
        for arg in &self.args {
            match arg {
                Arg::Text(text) if text.is_empty() || text.contains(|c: char| " {}'\"*$\\".contains(c)) => {
                    write!(f, " '{}'", text.replace('\'', r"'\''"))?;
                }
                Arg::Text(text) => write!(f, " {text}")?,
                Arg::Values(_) => f.write_str(" <values file>")?,
            }
        }
        Ok(())
    }
}

/// The release that a call is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseRef {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
}

/// A chart for an upgrade: the file that was pulled, or where it is when it wasn't.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chart {
    /// `oci://…`, a repository's URL with the chart's name, or a path.
    pub reference: String,
    /// Its version; not for a path.
    pub version: Option<String>,
}

/// What every call that makes a revision has in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Of which release.
    pub release: ReleaseRef,
    /// To which chart.
    pub chart: Chart,
    /// For which run; goes into the revision's description.
    pub run: RunId,
    /// What for, in a few words.
    pub purpose: String,
    /// How long one operation of helm may take.
    pub timeout: Duration,
    /// The number that the revision will have.
    pub revision: u64,
    /// Revisions that Helm keeps.
    pub history_max: usize,
}

/// Where an upgrade's values begin.
#[derive(Clone, Debug, PartialEq)]
pub enum Base {
    /// The new chart's defaults, the release's own user values on top. Not `--reuse-values`, which brings the old
    /// chart's defaults along and hardly ever renders across versions.
    Release,
    /// The new chart's defaults and exactly these.
    Exactly(Values),
}

/// The name under which the post-renderer is installed as a plugin of helm.
pub const POST_RENDERER: &str = "klm";

/// Linux takes at most 128 KiB in one argument; a longer node list travels in a file.
const LONGEST_LIST: usize = 100_000;

/// What Helm keeps unless told otherwise; never less, or a run would prune the revisions that people go back to.
const HISTORY: usize = 10;

/// How many revisions to keep: Helm's own number, or those that are there and room for the run's two.
pub const fn history_max(kept: usize) -> usize {
    if kept + 2 > HISTORY { kept + 2 } else { HISTORY }
}

/// Whether a revision's description says that this run made it. Labels can't tell: Helm hands them on to the next
/// revision, whoever makes it.
pub fn is_of_run(description: &str, run: &RunId) -> bool {
    !run.uid.is_empty() && description.ends_with(&signature(run))
}

/// The last words of every description.
fn signature(run: &RunId) -> String {
    format!("(run {run}, {})", run.uid)
}

/// `helm version`.
pub fn version() -> HelmCommand {
    command(["version", "--template", "{{.Version}}"])
}

/// All revisions, oldest first.
pub fn history(release: &ReleaseRef) -> HelmCommand {
    read(["history"], release).and(["--max", "256"])
}

/// Chart, version and status of a revision, or of the last one.
pub fn metadata(release: &ReleaseRef, revision: Option<u64>) -> HelmCommand {
    read(["get", "metadata"], release).and(revision_flag(revision))
}

/// The values that users gave to a revision, or to the last one.
pub fn user_values(release: &ReleaseRef, revision: Option<u64>) -> HelmCommand {
    read(["get", "values"], release).and(revision_flag(revision))
}

/// Those, laid over the chart's defaults.
pub fn all_values(release: &ReleaseRef, revision: Option<u64>) -> HelmCommand {
    read(["get", "values"], release).and(["--all"]).and(revision_flag(revision))
}

/// Fetches a chart into a folder; nothing for a path, which is there already.
pub fn pull(chart: &Chart, folder: &str, plain_http: bool) -> Option<HelmCommand> {
    let location: Vec<&str> = match chart.reference.rsplit_once('/') {
        _ if chart.reference.starts_with("oci://") => vec![&chart.reference],
        Some((repository, name)) if repository.contains("://") => vec![name, "--repo", repository],
        _ => return None,
    };
    let version = chart.version.iter().flat_map(|version| ["--version", version]);
    let plain_http = plain_http.then_some("--plain-http");
    Some(command(["pull"]).and(location).and(version).and(["--destination", folder]).and(plain_http))
}

/// The arming revision: the same chart, the same values, nothing restarts by itself any more. What a rollback returns
/// to; with the chart's own `RollingUpdate` in it, that rollback would take back every verified node. The user's
/// verification pod stays in it for the same reason, and without hooks nothing runs it.
pub fn arm(change: &Change) -> HelmCommand {
    upgrade(change, &Base::Release, &Values::new(), None).and(["--no-hooks", "--set", "updateStrategy.type=OnDelete"])
}

/// The one upgrade of a run in daemonset mode: changes templates, restarts nothing.
pub fn upgrade_daemonset(change: &Change, user: &Values, chart_has_modes: bool) -> HelmCommand {
    upgrade(change, &Base::Release, user, chart_has_modes.then_some(Mode::Daemonset))
        .and(VERIFIED_BY_US)
        .and(["--set", "updateStrategy.type=OnDelete"])
}

/// The origin made anew in daemonset mode, when Helm has forgotten the revision that a rollback would return to.
pub fn origin_again(change: &Change, exactly: Values, chart_has_modes: bool) -> HelmCommand {
    upgrade(change, &Base::Exactly(exactly), &Values::new(), chart_has_modes.then_some(Mode::Daemonset)).and([
        "--no-hooks",
        "--set",
        "updateStrategy.type=OnDelete",
    ])
}

/// A wave in job mode. `None` for a wave without nodes: the chart would take the empty list for "no node".
pub fn upgrade_wave(change: &Change, base: &Base, user: &Values, nodes: &[NodeName]) -> Option<HelmCommand> {
    let list = quote_list(nodes)?;
    let scope = if list.len() > LONGEST_LIST {
        vec![Arg::Text("-f".into()), Arg::Values(nodes_as_values(nodes))]
    } else {
        // Texts, or an all-digit name would arrive as a number.
        vec![Arg::Text("--set-string".into()), Arg::Text(format!("job.nodes={list}"))]
    };
    let mut upgrade = upgrade(change, base, user, Some(Mode::Job)).and(VERIFIED_BY_US).and([
        "--set",
        &format!("job.parallelism={}", nodes.len()),
        "--post-renderer",
        POST_RENDERER,
    ]);
    upgrade.args.extend(scope);
    Some(upgrade)
}

/// After the last wave: the release gets exactly these values, and no hook runs.
pub fn restore_values(change: &Change, exactly: Values) -> HelmCommand {
    let base = Base::Exactly(exactly);
    let mut command = start(["upgrade"], change).and(["--no-hooks"]);
    command.args.extend(base_args(&base));
    command
}

/// Back to a revision, in daemonset mode. Always by number: helm's own choice may be a failed revision.
pub fn rollback(change: &Change, revision: u64) -> HelmCommand {
    let Change { release, timeout, history_max, .. } = change;
    command(["rollback", &release.name, &revision.to_string(), "--namespace", &release.namespace, "--no-hooks"])
        .and(waiting(*timeout, *history_max))
        .making(change.revision)
}

/// The same call, rendered against the cluster and thrown away. Not `client`: kata-deploy's chart looks things up.
pub fn rehearse(command: HelmCommand) -> HelmCommand {
    HelmCommand { makes: None, ..command }.and(["--dry-run=server", "--hide-secret"])
}

/// The chart's own verification waits for all nodes and fails under `OnDelete`.
const VERIFIED_BY_US: [&str; 2] = ["--set", "verification.pod="];

fn upgrade(change: &Change, base: &Base, user: &Values, mode: Option<Mode>) -> HelmCommand {
    let mut command = start(["upgrade", "--install"], change);
    command.args.extend(base_args(base));
    if !user.is_empty() {
        command.args.extend([Arg::Text("-f".into()), Arg::Values(user.clone())]);
    }
    // Always said: a release that relied on an older chart's default would flip when that default changes.
    if let Some(mode) = mode {
        command = command.and(["--set", &format!("deploymentMode={mode}")]);
    }
    command
}

fn base_args(base: &Base) -> Vec<Arg> {
    match base {
        Base::Release => vec![Arg::Text("--reset-then-reuse-values".into())],
        Base::Exactly(values) => {
            vec![Arg::Text("--reset-values".into()), Arg::Text("-f".into()), Arg::Values(values.clone())]
        }
    }
}

fn start<const N: usize>(verb: [&str; N], change: &Change) -> HelmCommand {
    let Change { release, chart, run, purpose, timeout, revision, history_max } = change;
    command(verb)
        .and([release.name.as_str(), &chart.reference])
        .and(chart.version.iter().flat_map(|version| ["--version", version]))
        .and(["--namespace", &release.namespace])
        .and(waiting(*timeout, *history_max))
        .and(["--description", &format!("{}: {purpose} {}", crate::contract::CHART_NAME, signature(run))])
        .making(*revision)
}

/// `hookOnly`: any other wait hangs on a `DaemonSet` that is `OnDelete`.
fn waiting(timeout: Duration, history_max: usize) -> Vec<String> {
    ["--wait=hookOnly".into(), "--timeout".into(), format!("{}s", timeout.as_secs())]
        .into_iter()
        .chain(["--history-max".into(), history_max.to_string()])
        .collect()
}

fn nodes_as_values(nodes: &[NodeName]) -> Values {
    let names: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
    match json!({"job": {"nodes": names}}) {
        Value::Object(values) => values,
        _ => Values::new(),
    }
}

fn revision_flag(revision: Option<u64>) -> Vec<String> {
    revision.map_or_else(Vec::new, |revision| vec!["--revision".to_owned(), revision.to_string()])
}

fn read<const N: usize>(verb: [&str; N], release: &ReleaseRef) -> HelmCommand {
    command(verb).and([release.name.as_str(), "--namespace", &release.namespace, "--output", "json"])
}

fn command<const N: usize>(args: [&str; N]) -> HelmCommand {
    HelmCommand { args: Vec::new(), makes: None }.and(args)
}

impl HelmCommand {
    fn and<T: AsRef<str>>(mut self, args: impl IntoIterator<Item = T>) -> Self {
        self.args.extend(args.into_iter().map(|arg| Arg::Text(arg.as_ref().to_owned())));
        self
    }

    const fn making(mut self, revision: u64) -> Self {
        self.makes = Some(revision);
        self
    }
}

#[cfg(test)]
mod tests;
