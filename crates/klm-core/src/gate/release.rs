//! Whether there is a release of kata-deploy that a run can start from.

use std::time::Duration;

use crate::contract::MIN_DAEMONSET;
use crate::helm_command::ReleaseRef;
use crate::plan::Mode;
use crate::refusal::Refusal;
use crate::release::{Release, Revision, Status, last_good};
use crate::settings::Settings;
use crate::standing::{Begun, may_work_for};
use crate::version;

/// What was found under the release's name.
#[derive(Clone, Debug)]
pub enum Found<'a> {
    /// Nothing; these releases of kata-deploy exist elsewhere, as `namespace/name`.
    Nothing {
        /// As far as they could be seen.
        elsewhere: Vec<String>,
    },
    /// A release.
    Release {
        /// Itself.
        release: &'a Release,
        /// Since when its last revision is what it is.
        age: Option<Duration>,
        /// What our lock on it says that a run began. Nobody who is alive holds it, or they are named instead.
        begun: Option<Begun>,
    },
}

/// The name of kata-deploy's chart; it is part of the names of all its objects.
const CHART: &str = "kata-deploy";

/// Reasons in the release itself.
pub fn release(found: &Found<'_>, settings: &Settings) -> Vec<Refusal> {
    match found {
        Found::Nothing { elsewhere } => vec![nothing(elsewhere, settings)],
        Found::Release { release, age, begun } => {
            let limit = Duration::from_secs(settings.helm_timeout);
            let Release { name, namespace, history, .. } = release;
            let its = ReleaseRef { name: name.clone(), namespace: namespace.clone() };
            let at_work = at_work(&its, history, *begun, *age, limit);
            [chart(release), status(release), at_work].into_iter().flatten().collect()
        }
    }
}

/// Whether the release's own version is one that this mode can start from.
pub fn origin(release: &Release, mode: Mode) -> Option<Refusal> {
    let what = format!("release `{}/{}`: its chart's version", release.namespace, release.name);
    let found = match version::parse(&what, &release.metadata.version) {
        Ok(found) => found,
        Err(refusal) => {
            return Some(
                refusal.hint("install a released version of kata-deploy first; a run must know what to go back to"),
            );
        }
    };
    let minimum = version::minimum(mode);
    (found < minimum).then(|| {
        let why = if minimum == MIN_DAEMONSET { "can restart nodes one by one" } else { "has job mode" };
        Refusal::new(format!("{what} is {found}, but {minimum} is the first that {why}")).hint(format!(
            "upgrade all nodes to {minimum} at once with `helm upgrade {} … --version {minimum} --reset-then-reuse-values`, then submit again",
            release.name
        ))
    })
}

fn nothing(elsewhere: &[String], settings: &Settings) -> Refusal {
    let Settings { helm_release, helm_namespace, .. } = settings;
    let refusal = Refusal::new(format!("there is no Helm release `{helm_namespace}/{helm_release}`"));
    match elsewhere {
        [] => refusal.hint("name it with `helm-release` and `helm-namespace`; `helm list --all-namespaces` shows all"),
        some => refusal
            .hint(format!("did you mean `{}`? name it with `helm-release` and `helm-namespace`", some.join("` or `"))),
    }
}

fn chart(release: &Release) -> Option<Refusal> {
    let Release { name, namespace, metadata, .. } = release;
    (metadata.chart != CHART).then(|| {
        Refusal::new(format!("release `{namespace}/{name}` is of chart `{}`, not `{CHART}`", metadata.chart))
            .hint("name kata-deploy's release with `helm-release` and `helm-namespace`")
    })
}

fn status(release: &Release) -> Option<Refusal> {
    let Release { name, namespace, metadata, .. } = release;
    let what = format!("release `{namespace}/{name}` is `{}` at revision {}", metadata.status, metadata.revision);
    match metadata.status {
        Status::Uninstalled | Status::Uninstalling => Some(Refusal::new(what).hint("install kata-deploy first")),
        Status::Unknown => Some(Refusal::new(what).hint(format!("see `helm status {name} --namespace {namespace}`"))),
        // A wave that failed leaves this behind; the next upgrade starts from the last good revision.
        Status::Failed | Status::PendingUpgrade | Status::PendingRollback | Status::PendingInstall
            if release.last_deployed().is_none() =>
        {
            Some(Refusal::new(format!("{what}, and no revision before it was ever deployed")).hint(format!(
                "uninstall it and install kata-deploy again; `helm history {name} --namespace {namespace}` shows what happened"
            )))
        }
        _ => None,
    }
}

/// Why nothing may be begun while the release's last revision is pending and its helm may be alive.
pub fn at_work(
    release: &ReleaseRef,
    history: &[Revision],
    begun: Option<Begun>,
    age: Option<Duration>,
    limit: Duration,
) -> Option<Refusal> {
    let ReleaseRef { name, namespace } = release;
    let pending = history.last().filter(|last| last.status.is_pending())?;
    let good = last_good(history)?;
    let left = may_work_for(pending.revision, begun, age, limit)?;
    let what = format!("release `{namespace}/{name}` is `{}` at revision {}", pending.status, pending.revision);
    Some(Refusal::new(format!("{what}: another helm is at work, or was killed at work")).hint(format!(
        "wait until it is done; if it is dead, run `helm rollback {name} {} --namespace {namespace} --no-hooks`, or submit again after {}",
        good.revision,
        crate::duration::format(left),
    )))
}
