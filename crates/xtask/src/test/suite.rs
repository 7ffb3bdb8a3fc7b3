//! The suites in `tests/e2e/tests/`: which there are, what each needs, and how one is run.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use klm_bed::{cargo, tree};
use serde_json::Value;

use super::tally::Tally;

/// No suite takes longer; one that does hangs.
const DEADLINE: Duration = Duration::from_secs(45 * 60);

/// One test program and the cluster that it wants.
#[derive(Clone, Debug, PartialEq)]
pub struct Suite {
    /// The file's name.
    pub name: String,
    /// The compiled program.
    pub program: PathBuf,
    /// What it says it needs, in `tests/e2e/Cargo.toml`.
    pub needs: Needs,
}

/// What a suite needs. The defaults suit most.
#[derive(Clone, Debug, PartialEq)]
pub struct Needs {
    /// Whether it needs a cluster to be started for it.
    pub cluster: bool,
    /// Whether it can't use a cluster that somebody else made.
    pub here: bool,
    /// Real nodes.
    pub nodes: usize,
    /// Simulated nodes beside them.
    pub simulated: usize,
    /// Argo's re-queue time in seconds.
    pub requeue: f64,
    /// Argo's full definitions.
    pub full_crds: bool,
    /// About how long it takes: long ones begin first, so that no cluster works alone at the end.
    pub minutes: usize,
}

impl Default for Needs {
    fn default() -> Self {
        // Argo's default is 10 s. Below 1 s it often finds a pod whose own container has ended and Argo's hasn't, and starts
        // a program in there to end it: for the processor that is a fifth of a whole step.
        Self { cluster: true, here: false, nodes: 3, simulated: 0, requeue: 1.0, full_crds: false, minutes: 1 }
    }
}

/// Compiles every suite and reads what each needs.
pub fn all() -> Result<Vec<Suite>> {
    let package = package()?;
    let needs = needs(&package)?;
    let mut suites: Vec<Suite> = programs(&package)?
        .into_iter()
        .map(|(name, program)| {
            let needs = needs.get(&name).cloned().unwrap_or_default();
            Suite { name, program, needs }
        })
        .collect();
    let unknown: Vec<_> = needs.keys().filter(|name| suites.iter().all(|suite| suite.name != **name)).collect();
    if !unknown.is_empty() {
        bail!("tests/e2e/Cargo.toml says what these suites need, but there are none: {unknown:?}");
    }
    suites.sort_by(|a, b| b.needs.minutes.cmp(&a.needs.minutes).then(a.name.cmp(&b.name)));
    Ok(suites)
}

/// What cargo knows of the suites' crate.
fn package() -> Result<Value> {
    let told = klm_bed::process::output(cargo().args(["metadata", "--no-deps", "--format-version", "1", "--locked"]))?;
    let told: Value = serde_json::from_str(&told)?;
    let packages = told["packages"].as_array().context("cargo names no packages")?;
    packages.iter().find(|package| package["name"] == "klm-e2e").cloned().context("there is no klm-e2e")
}

fn needs(package: &Value) -> Result<BTreeMap<String, Needs>> {
    let suites = package["metadata"]["suites"].as_object().cloned().unwrap_or_default();
    suites.iter().map(|(name, said)| Ok((name.clone(), parse(name, said)?))).collect()
}

fn parse(suite: &str, said: &Value) -> Result<Needs> {
    let mut needs = Needs::default();
    for (key, value) in said.as_object().into_iter().flatten() {
        let understood = match key.as_str() {
            "cluster" => value.as_bool().map(|value| needs.cluster = value),
            "here" => value.as_bool().map(|value| needs.here = value),
            "full-crds" => value.as_bool().map(|value| needs.full_crds = value),
            "requeue" => value.as_f64().map(|value| needs.requeue = value),
            "nodes" => count(value).map(|value| needs.nodes = value),
            "simulated" => count(value).map(|value| needs.simulated = value),
            "minutes" => count(value).map(|value| needs.minutes = value),
            _ => None,
        };
        understood.with_context(|| format!("tests/e2e/Cargo.toml: the suite {suite} can't need `{key} = {value}`"))?;
    }
    Ok(needs)
}

fn count(value: &Value) -> Option<usize> {
    usize::try_from(value.as_u64()?).ok()
}

fn programs(package: &Value) -> Result<Vec<(String, PathBuf)>> {
    let targets = package["targets"].as_array().into_iter().flatten();
    let tests =
        targets.filter(|target| target["kind"].as_array().is_some_and(|kind| kind.iter().any(|it| it == "test")));
    let told = klm_bed::process::output(
        cargo()
            // With the features of the whole workspace: what the unit tests have compiled is not compiled again.
            .args(["test", "--workspace", "--locked", "--no-run", "--message-format=json-render-diagnostics"])
            .args(tests.filter_map(|test| test["name"].as_str()).flat_map(|name| ["--test", name])),
    )
    .context("cannot compile the suites")?;
    Ok(told.lines().filter_map(|line| program(&serde_json::from_str(line).ok()?)).collect())
}

fn program(message: &Value) -> Option<(String, PathBuf)> {
    let target = &message["target"];
    let is_suite = target["kind"].as_array()?.iter().any(|kind| kind == "test")
        && target["src_path"].as_str()?.contains("/tests/e2e/tests/");
    let name = target["name"].as_str()?;
    let program = message["executable"].as_str()?;
    is_suite.then(|| (name.to_owned(), PathBuf::from(program)))
}

/// Runs a test program, passes its lines on, and counts its results. Ends it when it takes too long.
pub fn listen(command: &mut Command, prefix: &str) -> Tally {
    listen_for(DEADLINE, command, prefix)
}

fn listen_for(deadline: Duration, command: &mut Command, prefix: &str) -> Tally {
    let mut child = match command.stdin(Stdio::null()).spawn() {
        Ok(child) => child,
        Err(error) => {
            return Tally::failure(format!("cannot start `{}`: {error}", klm_bed::process::shown(command)));
        }
    };
    let output = child.stdout.take();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut tally = Tally::default();
            let mut since = Instant::now();
            let lines = output.into_iter().flat_map(|pipe| BufReader::new(pipe).lines());
            for line in lines.map_while(Result::ok) {
                if is_verdict(&line) {
                    eprintln!("{prefix}{line} ({:.0} s)", since.elapsed().as_secs_f32());
                    since = Instant::now();
                } else {
                    eprintln!("{prefix}{line}");
                }
                if let Some(found) = Tally::of_line(&line) {
                    tally += found;
                }
            }
            tally
        });
        let ended = wait(&mut child, deadline);
        reader.join().unwrap_or_default().ended(ended)
    })
}

/// Whether the line says how one test went. Tests run one after another, so the time since the last such line is its own.
fn is_verdict(line: &str) -> bool {
    line.starts_with("test ") && ["... ok", "... FAILED"].iter().any(|verdict| line.ends_with(verdict))
}

/// How it didn't end well, if it didn't.
fn wait(child: &mut Child, deadline: Duration) -> Result<(), String> {
    let started = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(format!("a test program ended with {status}")),
            Ok(None) if started.elapsed() < deadline => std::thread::sleep(Duration::from_millis(200)),
            Ok(None) => {
                // With all that it has started: cargo's tests, the clusters of a suite.
                tree::end(child);
                return Err(format!("ended after {:.0} minutes: it hangs", deadline.as_secs_f32() / 60.0));
            }
            Err(error) => return Err(format!("cannot wait for the test program: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use klm_bed::run::Started;
    use klm_bed::wait::{Seen, Wait};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_suite_says_only_what_differs_from_the_default() {
        let needs = parse("x", &json!({"nodes": 1, "here": true})).unwrap();
        assert_eq!(needs, Needs { nodes: 1, here: true, ..Needs::default() });
    }

    #[test]
    fn a_need_that_nobody_can_meet_is_named() {
        let error = format!("{:#}", parse("x", &json!({"noddes": 1})).unwrap_err());
        assert!(error.contains("suite x") && error.contains("noddes"), "{error}");
        assert!(parse("x", &json!({"nodes": "three"})).is_err());
    }

    #[test]
    fn only_the_line_with_a_tests_verdict_gets_a_duration() {
        assert!(is_verdict("test jobs::a_dispatcher_that_dies ... ok"));
        assert!(is_verdict("test jobs::a_dispatcher_that_dies ... FAILED"));
        for other in ["test result: ok. 2 passed; 0 failed", "running 2 tests", "the fake is ... ok"] {
            assert!(!is_verdict(other), "{other}");
        }
    }

    #[test]
    fn a_test_that_hangs_is_ended_with_cargo_which_started_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let mut cargo = Command::new("sh");
        // Both hold the pipe that is read to its end.
        cargo.args(["-c", "sleep 600 & echo $! > $0; wait"]).arg(&file).stdout(Stdio::piped());
        let tally = listen_for(Duration::from_secs(10), &mut cargo, "");
        assert!(tally.named()[0].ends_with("it hangs"), "{tally:?}");
        let test = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
        // A process that is killed closes its pipes a moment before it has ended.
        let gone = Wait::new("the test to be gone", Duration::from_secs(10));
        gone.until_blocking(|| Ok(Started::of(test).map_or(Seen::Done(()), |it| Seen::NotYet(it.to_string()))))
            .unwrap();
    }

    #[test]
    fn a_program_that_is_killed_counts_as_failed() {
        let mut command = Command::new("sh");
        command
            .args(["-c", "echo 'test result: ok. 2 passed; 0 failed; 0 ignored'; kill -9 $$"])
            .stdout(Stdio::piped());
        let tally = listen(&mut command, "");
        assert_eq!(tally.to_string(), "2 passed, 1 failed");
        assert!(tally.named()[0].contains("signal: 9"), "{tally:?}");
    }
}
