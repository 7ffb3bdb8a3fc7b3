//! What `--reuse-values` does to an upgrade: the new templates get the old release's whole values, defaults included.

use crate::helm::{names, render, render_job, render_with_old_values};
use rstest::rstest;

#[rstest]
#[case("3.27.0", "3.29.0", "containerd.configFileName")]
#[case("3.27.0", "3.31.0", "containerd.configFileName")]
#[case("3.27.0", "3.32.0", "monitor.enabled")]
#[case("3.29.0", "3.32.0", "monitor.enabled")]
#[case("3.31.0", "3.32.0", "monitor.enabled")]
#[case("3.31.0", "4.0.0", "monitor.enabled")]
#[case("3.31.0", "4.1.0", "monitor.enabled")]
#[case("3.32.0", "4.0.0", "expected string")]
#[case("3.32.0", "4.1.0", "job.nodeSelector was removed in 4.1.0")]
#[case("4.0.0", "4.1.0", "job.nodeSelector was removed in 4.1.0")]
#[case("4.0.0", "4.2.0", "job.nodeSelector was removed in 4.1.0")]
fn an_upgrade_with_reused_values_fails_to_render(#[case] old: &str, #[case] new: &str, #[case] cause: &str) {
    let error = render_with_old_values(old, new, &[]).expect_err("rendered");
    assert!(error.contains(cause), "{old} to {new}: {error}");
}

#[rstest]
#[case("3.29.0", "3.31.0")]
#[case("4.1.0", "4.2.0")]
#[case("4.1.0", "4.0.0")]
#[case("4.0.0", "3.32.0")]
#[case("4.1.0", "3.32.0")]
#[case("3.32.0", "3.31.0")]
fn some_crossings_render_with_reused_values(#[case] old: &str, #[case] new: &str) {
    let objects = render_with_old_values(old, new, &[]).unwrap_or_else(|error| panic!("{old} to {new}: {error}"));
    assert_eq!(names(&objects), names(&render(new, &[])));
}

#[test]
fn downgrades_in_job_mode_render_too() {
    for (old, new) in [("4.1.0", "4.0.0"), ("4.0.0", "3.32.0"), ("4.1.0", "3.32.0")] {
        let objects = render_with_old_values(old, new, &["--set", "deploymentMode=job"]).unwrap();
        assert_eq!(names(&objects), names(&render_job(new, &[])), "{old} to {new}");
    }
}

#[test]
fn the_last_version_wants_a_dispatcher_tag_that_4_1_did_not_have() {
    let error = render_with_old_values("4.1.0", "4.2.0", &["--set", "deploymentMode=job"]).expect_err("rendered");
    assert!(error.contains("job.dispatcherImage.tag is required"), "{error}");
}
