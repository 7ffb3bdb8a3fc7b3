//! Whether helm and Argo are new enough.

use semver::Version;

use crate::contract::{MIN_ARGO, MIN_HELM};
use crate::refusal::Refusal;

/// The helm that the image carries; `text` is what it prints of itself.
pub fn helm(text: &str) -> Option<Refusal> {
    match version(text) {
        Some(found) if found >= MIN_HELM => None,
        Some(found) => Some(
            Refusal::new(format!("helm is {found}, but {MIN_HELM} or newer is needed"))
                .hint("use the chart's own image, or build yours with a newer helm"),
        ),
        None => Some(Refusal::new("helm doesn't say which version it is").hint("use the chart's own image")),
    }
}

/// The Argo that runs this step, by the image of its executor. An image without a version in its tag says nothing, and
/// is not held against anyone.
pub fn argo(executor_image: &str) -> Option<Refusal> {
    let tag =
        executor_image.split('@').next()?.rsplit_once('/').map_or(executor_image, |(_, name)| name).rsplit_once(':')?.1;
    let found = version(tag)?;
    (found < MIN_ARGO).then(|| {
        Refusal::new(format!("Argo Workflows is {found}, but {MIN_ARGO} or newer is needed"))
            .hint("upgrade Argo Workflows")
    })
}

/// A version with or without its `v`, pre-release and build aside.
fn version(text: &str) -> Option<Version> {
    let version = Version::parse(text.trim().trim_start_matches('v')).ok()?;
    Some(Version::new(version.major, version.minor, version.patch))
}
