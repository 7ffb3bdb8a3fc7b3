//! Everything that needs no cluster: formatting, lints, and the tests of every crate.

use std::process::{Command, Stdio};
use std::time::Instant;

use super::own_program;
use super::suite::listen;
use super::tally::Tally;

/// Runs all of it, also when a part fails: one run tells everything.
pub fn run() -> Tally {
    [checks(), tests(klm_bed::cargo(), "")].into_iter().sum()
}

/// Formatting and lints.
pub fn checks() -> Tally {
    let mut tally = Tally::default();
    tally += check("formatting", cargo(&["fmt", "--all", "--check"]));
    tally += check(
        "lints",
        cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--quiet", "--", "--deny", "warnings"]),
    );
    tally += check("workflows, Dockerfile and chart", own(&["lint"]));
    tally
}

/// Compiles the tests of every crate, the suites' as well.
pub fn compile() -> Tally {
    check("compilation", cargo(&["test", "--workspace", "--locked", "--quiet", "--no-run"]))
}

/// The tests of every crate, while suites run: those measure how long they wait, and these only take what is left.
pub fn tests_beside_suites() -> Tally {
    tests(klm_bed::patient_cargo(), "  no cluster | ")
}

fn check(what: &str, mut command: Command) -> Tally {
    let started = Instant::now();
    let well = command.status().is_ok_and(|status| status.success());
    let word = if well { "passed" } else { "FAILED" };
    eprintln!("{what}: {word} in {:.1} s", started.elapsed().as_secs_f32());
    if well { Tally::success() } else { Tally::failure(what) }
}

fn tests(mut cargo: Command, prefix: &str) -> Tally {
    let started = Instant::now();
    cargo.args(["test", "--workspace", "--locked", "--quiet", "--no-fail-fast"]);
    let tally = listen(cargo.stdout(Stdio::piped()), prefix);
    eprintln!("tests without a cluster: {tally} in {:.1} s", started.elapsed().as_secs_f32());
    tally
}

fn cargo(arguments: &[&str]) -> Command {
    let mut command = klm_bed::cargo();
    command.args(arguments);
    command
}

/// Ourselves, so that one failing task doesn't end the others.
fn own(arguments: &[&str]) -> Command {
    let mut command = Command::new(own_program());
    command.args(arguments);
    command
}
