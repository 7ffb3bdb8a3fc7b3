use super::*;
use rstest::rstest;

fn profile(version: &str) -> Profile {
    Profile::of(&version.parse().unwrap())
}

fn run(version: &str, injections: &[Injection]) -> Vec<Act> {
    daemonset(profile(version), &injections.into(), &Pace::default())
}

fn job(version: &str, stages: &[Stage], injections: &[Injection]) -> Vec<Act> {
    let acts = stages.iter().map(|one| stage(*one, profile(version), &injections.into(), &Pace::default()));
    acts.flatten().collect()
}

const INSTALL_J1: [Stage; 4] = [Stage::HostCheck, Stage::Artifacts, Stage::Cri, Stage::Label];
const INSTALL_J2: [Stage; 3] = [Stage::HostCheck, Stage::Artifacts, Stage::Cri];

#[test]
fn a_daemonset_pod_installs_labels_and_only_then_is_ready() {
    let pace = Pace::default();
    let installed = Act::Record(Event::Installed);
    let old = [Act::Wait(pace.install), installed.clone(), Act::Label(LabelWrite::Always), Act::Ready, Act::Block];
    assert_eq!(run("3.29.0", &[]), old);
    assert_eq!(run("3.31.0", &[]), old);
    let label = Act::Label(LabelWrite::UnlessTrue);
    assert_eq!(run("4.0.0", &[]), [Act::Wait(pace.install), installed.clone(), label.clone(), Act::Ready, Act::Block]);
    let marked = [Act::Claim, Act::Wait(pace.install), installed, Act::ConfirmHandlers, label, Act::Ready, Act::Block];
    assert_eq!(run("4.1.0", &[]), marked);
    assert_eq!(run("4.2.0", &[]), marked);
}

#[rstest]
#[case(Injection::Hang)]
#[case(Injection::Crash)]
#[case(Injection::BadImage)]
fn what_never_ends_records_nothing_and_labels_nothing(#[case] injection: Injection) {
    let unharmed = |acts: &[Act]| !acts.iter().any(|act| matches!(act, Act::Record(_) | Act::Label(_) | Act::Ready));
    for version in ["3.27.0", "3.31.0", "4.1.0"] {
        assert!(unharmed(&run(version, &[injection])), "{version}");
    }
    assert!(unharmed(&job("4.0.0", &[Stage::HostCheck, Stage::Artifacts], &[injection])));
}

#[test]
fn a_silent_noop_is_ready_with_nothing_installed() {
    let acts = run("3.29.0", &[Injection::SilentNoop]);
    assert_eq!(acts[1..], [Act::Ready, Act::Block]);
}

#[test]
fn a_lost_label_is_lost_after_the_pod_was_ready() {
    let acts = run("4.0.0", &[Injection::LabelLost]);
    let at = |wanted: &Act| acts.iter().position(|act| act == wanted).unwrap();
    assert!(at(&Act::Ready) < at(&Act::LoseLabel));
}

#[test]
fn a_slow_node_takes_its_time_and_succeeds() {
    let slow = Duration::from_secs(30);
    assert!(run("4.0.0", &[Injection::Slow(slow)]).contains(&Act::Wait(slow)));
    assert!(run("4.0.0", &[Injection::Slow(slow)]).contains(&Act::Ready));
    assert!(job("4.0.0", &INSTALL_J1, &[Injection::Slow(slow)]).contains(&Act::Wait(slow)));
}

#[test]
fn the_jobs_of_version_1_label_and_those_of_version_2_leave_it_to_the_dispatcher() {
    let labels = |acts: Vec<Act>| acts.iter().filter(|act| matches!(act, Act::Label(_))).count();
    assert_eq!(labels(job("3.32.0", &INSTALL_J1, &[])), 1);
    assert_eq!(labels(job("4.1.0", &INSTALL_J2, &[])), 0);
}

#[test]
fn a_job_that_vanishes_installed_nothing() {
    let acts = job("4.0.0", &[Stage::HostCheck, Stage::Artifacts], &[Injection::Vanish]);
    assert!(acts.contains(&Act::DeleteOwnJob));
    assert!(!acts.contains(&Act::Record(Event::Installed)));
}

#[test]
fn crashing_once_goes_on_the_second_time() {
    let acts = job("4.0.0", &INSTALL_J1, &[Injection::CrashOnce]);
    let at = |wanted: &Act| acts.iter().position(|act| act == wanted).unwrap();
    assert!(at(&Act::CrashOnce) < at(&Act::Record(Event::Installed)));
}

/// Section by section what a deleted pod of each version does: restart, release removed, node no longer selected.
#[rstest]
#[case("3.28.0", true, true, true)]
#[case("3.29.0", false, true, false)]
#[case("4.0.0", false, true, false)]
#[case("4.1.0", false, true, true)]
fn a_deleted_pod_uninstalls_when_its_version_would(
    #[case] version: &str,
    #[case] restart: bool,
    #[case] removed: bool,
    #[case] deselected: bool,
) {
    let uninstalls = |owner| {
        let acts = stop(profile(version), owner, &Injections::default());
        acts.contains(&Act::Record(Event::Uninstalled))
    };
    assert_eq!(uninstalls(Owner::SelectsNode), restart);
    assert_eq!(uninstalls(Owner::Gone), removed);
    assert_eq!(uninstalls(Owner::DeselectsNode), deselected);
}

#[test]
fn the_first_version_uninstalls_in_its_pre_stop_and_leaves_the_label() {
    let slow = Duration::from_secs(20);
    let first = profile("3.27.0");
    let injections = Injections::from(&[Injection::SlowStop(slow)][..]);
    let gone = [Act::Wait(slow), Act::Record(Event::Uninstalled), Act::Exit(0)];
    assert_eq!(pre_stop(first, Owner::SelectsNode, &injections), gone);
    assert!(pre_stop(first, Owner::Gone, &injections).contains(&Act::RemoveLabels));
    assert_eq!(stop(first, Owner::SelectsNode, &injections), [Act::Exit(0)], "and not once more on SIGTERM");
}

#[test]
fn cleaning_up_takes_the_label_first_in_version_1_only() {
    let old = job("4.0.0", &[Stage::Unlabel, Stage::RevertCri, Stage::RemoveArtifacts], &[]);
    assert_eq!(old.first(), Some(&Act::RemoveLabels));
    assert!(old.contains(&Act::Record(Event::Uninstalled)));
    let new = job("4.1.0", &[Stage::RevertCri, Stage::RemoveArtifacts], &[]);
    assert!(!new.contains(&Act::RemoveLabels));
    assert!(new.contains(&Act::Record(Event::Uninstalled)));
}
