//! Whether the target's chart takes the release's values, and whether they let it install the target at all.

use semver::Version;
use serde_json::Value;

use crate::contract::{KATA_RUNTIME, MARKER_PREFIX};
use crate::plan::Mode;
use crate::refusal::Refusal;
use crate::release::Release;
use crate::values::{Values, get, overlay, remove, text};
use crate::version::{marks_nodes, reaches};

/// Keys that charts from 4.1.0 on refuse to render with, in either mode, and what took their place.
const REMOVED: &[(&str, &str)] = &[
    ("job.nodeSelector", "`nodeSelector`"),
    ("job.nodeSelectorExpressions", "`affinity`"),
    ("job.nodeAffinity", "`affinity`"),
    ("job.cleanup.nodeSelectorExpressions", "`job.cleanup.nodeAffinity`"),
];

/// Keys for which our hints say `=null`: of these it means what the chart itself says, and never nothing.
const CHARTS_OWN: &[&str] =
    &["image.reference", "image.tag", "job.dispatcherImage.reference", "job.dispatcherImage.tag"];

/// `set` for an upgrade of a release that has these values, without what it has taken already. Helm takes a value away for
/// a `null`, but where there is none it hands the `null` to the chart: in the second wave of a run, or in a run that is
/// submitted again. Charts refuse some keys even as `null`, and need others.
pub fn not_taken(release: &Values, set: &Values) -> Values {
    let mut left = set.clone();
    for key in REMOVED.iter().map(|(key, _)| key).chain(CHARTS_OWN) {
        let is_there = get(release, key).is_some_and(|there| !there.is_null());
        if !is_there && get(set, key) == Some(&Value::Null) {
            remove(&mut left, key);
        }
    }
    left
}

/// Reasons in the values: `set` is the run's own `helm-set-values`.
pub fn values(release: &Release, set: &Values, target: &Version, mode: Mode) -> Vec<Refusal> {
    let mut user = release.user.clone();
    overlay(&mut user, set);
    let mut refusals = Vec::new();
    if marks_nodes(target) {
        refusals.extend(removed(&user));
        refusals.extend(too_short_a_life(&user));
    }
    refusals.extend(pins(&user, set, target, mode));
    refusals.extend(default_class(release, set, target));
    refusals.extend(selects_what_we_take_down(release, set));
    refusals
}

fn removed(user: &Values) -> impl Iterator<Item = Refusal> {
    REMOVED.iter().filter(|(key, _)| get(user, key).is_some()).map(|(key, instead)| {
        Refusal::new(format!("the release's values set `{key}`, which charts from 4.1.0 on refuse"))
            .hint(format!("add `{key}=null` to `helm-set-values`, and use {instead} for what it did"))
    })
}

fn too_short_a_life(user: &Values) -> Option<Refusal> {
    let seconds = get(user, "job.ttlSecondsAfterFinished")?.as_f64()?;
    (seconds < 60.0).then(|| {
        Refusal::new(format!("`job.ttlSecondsAfterFinished` is {seconds}, but charts from 4.1.0 on need 60 or more"))
            .hint("add `job.ttlSecondsAfterFinished=600` to `helm-set-values`")
    })
}

/// Values that would install something other than the target and that this run didn't ask for.
fn pins(user: &Values, set: &Values, target: &Version, mode: Mode) -> Vec<Refusal> {
    let old = |key: &str| text(user, key).filter(|_| get(set, key).is_none());
    let mut refusals = Vec::new();
    let reference = old("image.reference").filter(|reference| reference.contains('@'));
    if let Some(reference) = reference {
        refusals.push(
            Refusal::new(format!(
                "the release's values pin `image.reference` to a digest, `{reference}`: the upgrade would install the old version again"
            ))
            .hint("add `image.reference=<image>` of the target to `helm-set-values`, or `image.reference=null` for the chart's own"),
        );
    }
    let other_tag = |tag: &&str| *tag != target.to_string();
    // With a digest the tag is never looked at.
    if let Some(tag) = old("image.tag").filter(other_tag).filter(|_| reference.is_none()) {
        refusals.push(
            Refusal::new(format!(
                "the release's values pin `image.tag` to `{tag}`: the chart of {target} would install that instead"
            ))
            .hint("add `image.tag=null` to `helm-set-values` for the chart's own, or the tag that you want"),
        );
    }
    if mode == Mode::Job {
        let tag = old("job.dispatcherImage.tag").filter(other_tag);
        let digest = old("job.dispatcherImage.reference").filter(|reference| reference.contains('@'));
        for (key, found) in [("job.dispatcherImage.tag", tag), ("job.dispatcherImage.reference", digest)] {
            let Some(found) = found else { continue };
            refusals.push(
                Refusal::new(format!(
                    "the release's values pin `{key}` to `{found}`: an old dispatcher doesn't know a new chart's flags"
                ))
                .hint(format!("add `{key}=null` to `helm-set-values`")),
            );
        }
    }
    refusals
}

/// The `RuntimeClass` `kata` gets another handler at 4.0.0, which Kubernetes doesn't allow.
fn default_class(release: &Release, set: &Values, target: &Version) -> Option<Refusal> {
    let four = Version::new(4, 0, 0);
    let crosses = reaches(&release.version()?, &four) != reaches(target, &four);
    let mut all = release.all.clone();
    overlay(&mut all, set);
    let mut user = release.user.clone();
    overlay(&mut user, set);
    let created = get(&all, "runtimeClasses.createDefault") == Some(&Value::Bool(true)) && release.suffix().is_none();
    (crosses && created && text(&user, "defaultShim.amd64").is_none()).then(|| {
        let class = text(&all, "runtimeClasses.defaultName").unwrap_or("kata");
        let shim = text(&all, "defaultShim.amd64").unwrap_or("qemu");
        Refusal::new(format!(
            "RuntimeClass `{class}` would get another handler between 3.x and 4.x, which Kubernetes doesn't allow: the upgrade would fail"
        ))
        .hint(format!(
            "keep its handler with `defaultShim.amd64={shim}` in `helm-set-values` (and the same for your other architectures), or delete RuntimeClass `{class}` first"
        ))
    })
}

/// A node leaves such a release's scope the moment that its label is taken down for the upgrade.
fn selects_what_we_take_down(release: &Release, set: &Values) -> Option<Refusal> {
    let mut all = release.all.clone();
    overlay(&mut all, set);
    let key = ["nodeSelector", "affinity"].into_iter().find(|key| {
        all.get(*key).is_some_and(|value| {
            let text = value.to_string();
            text.contains(KATA_RUNTIME) || text.contains(MARKER_PREFIX)
        })
    })?;
    Some(
        Refusal::new(format!(
            "the release's `{key}` selects nodes by a label of kata-deploy's own, which a run takes down while it works on a node"
        ))
        .hint(format!("select the nodes by a label of yours: change `{key}` of the release with `helm upgrade`")),
    )
}
