//! The README's first command: it ends well, leaves nothing, and shows what the recordings in the repository show.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::fs;
use std::process::Command;

use klm_bed::Leftovers;
use klm_bed::paths::workspace;
use klm_bed::run::Run;

fn plays(story: &str, flags: &[&str]) {
    let run = Run::named("t-demo").unwrap();
    // What a run that was cut short has left.
    klm_bed::down(&run).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let result = Command::new(std::env::var_os("KLM_XTASK").unwrap())
        .args(["demo", "--name", run.name(), "--record"])
        .arg(folder.path())
        .args(flags)
        .output()
        .unwrap();
    let (shown, told) = (String::from_utf8_lossy(&result.stdout), String::from_utf8_lossy(&result.stderr));
    assert!(result.status.success(), "{shown}{told}");
    assert!(!shown.contains('\x1b'), "escape sequences where no terminal is: {shown}");
    assert!(Leftovers::of(&run).is_empty(), "the cluster is still here: {told}");
    for ending in ["cast", "svg"] {
        let file = format!("{story}.{ending}");
        let now = fs::read_to_string(folder.path().join(&file)).unwrap();
        let kept = fs::read_to_string(workspace().join("docs/demo").join(&file)).unwrap();
        let flags = flags.join(" ");
        assert_eq!(now, kept, "docs/demo/{file} shows something else; after a look: cargo xtask demo {flags} --record");
    }
}

#[test]
#[ignore = "needs root and some minutes: cargo xtask test cluster"]
fn the_sunny_demo_ends_well_and_is_the_recorded_one() {
    plays("sunny", &[]);
}

#[test]
#[ignore = "needs root and some minutes: cargo xtask test cluster"]
fn the_rainy_demo_ends_well_and_is_the_recorded_one() {
    plays("rainy", &["--rainy"]);
}
