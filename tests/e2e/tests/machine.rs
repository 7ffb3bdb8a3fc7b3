//! What starting and ending a cluster does to the machine: asked of `cargo xtask cluster` itself, with clusters of its own.

#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use klm_bed::Leftovers;
use klm_bed::process::output;
use klm_bed::run::{Run, Started};
use klm_bed::turn::OWNER_VARIABLE;
use klm_bed::wait::{Seen, Wait};

fn xtask() -> Command {
    Command::new(PathBuf::from(std::env::var_os("KLM_XTASK").unwrap()))
}

fn cluster(arguments: &[&str]) -> String {
    let result = xtask().arg("cluster").args(arguments).output().unwrap();
    let said = text(&result);
    assert!(result.status.success(), "cluster {arguments:?}: {said}");
    said
}

fn text(result: &Output) -> String {
    String::from_utf8_lossy(&result.stderr).into_owned()
}

/// Everything that a cluster could leave on the machine: mounts, interfaces, namespaces, control groups.
#[derive(Debug, PartialEq)]
struct Machine {
    mounts: BTreeSet<String>,
    interfaces: String,
    namespaces: String,
    leftovers: Leftovers,
}

impl Machine {
    fn look(run: &Run) -> Self {
        // Other clusters may come and go while we look, and the first of all makes `ip` mount its folder for ever.
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let own = |line: &&str| !line.contains("/run/netns") || line.contains(run.netns().name());
        let namespaces = output(Command::new("ip").arg("netns")).unwrap();
        Self {
            mounts: mounts.lines().filter(own).map(str::to_owned).collect(),
            interfaces: output(Command::new("ip").args(["-o", "-brief", "link"])).unwrap(),
            namespaces: namespaces.lines().filter(|line| line.contains(run.netns().name())).collect(),
            leftovers: Leftovers::of(run),
        }
    }
}

#[test]
#[ignore = "needs root and a few minutes: cargo xtask test cluster"]
fn down_leaves_nothing_and_can_be_repeated() {
    let run = Run::named("t-down").unwrap();
    cluster(&["down", "--name", run.name()]);
    let before = Machine::look(&run);
    for _ in 0..2 {
        cluster(&["up", "--name", run.name(), "--nodes", "1"]);
        let there = Leftovers::of(&run);
        assert!(there.processes.len() > 5 && !there.namespaces.is_empty(), "{there}");
        let said = cluster(&["down", "--name", run.name()]);
        assert!(said.contains("removed the cluster"), "{said}");
        assert_eq!(Machine::look(&run), before);
        let again = cluster(&["down", "--name", run.name()]);
        assert!(again.contains("nothing of a cluster"), "{again}");
        assert_eq!(Machine::look(&run), before);
    }
}

#[test]
#[ignore = "needs root and a few minutes: cargo xtask test cluster"]
fn down_leaves_nothing_after_everything_was_killed() {
    let run = Run::named("t-killed").unwrap();
    cluster(&["down", "--name", run.name()]);
    let before = Machine::look(&run);
    cluster(&["up", "--name", run.name(), "--nodes", "1"]);
    // A pod, so that there are mounts, a network namespace and control groups of containers too.
    let pod = ["run", "pod", "--image", klm_bed::images::VERIFY_IMAGE, "--restart=Never", "--", "sleep=600"];
    let shell = ["shell", "--name", run.name(), "kubectl"];
    cluster(&[shell.as_slice(), &["wait", "--for=create", "serviceaccount/default"]].concat());
    cluster(&[shell.as_slice(), pod.as_slice()].concat());
    cluster(&[shell.as_slice(), &["wait", "--for=condition=Ready", "pod/pod", "--timeout=180s"]].concat());
    for pid in Leftovers::of(&run).processes {
        // Some end with others that were killed before them.
        let _ = Command::new("kill").args(["-9", &pid.to_string()]).output().unwrap();
    }
    let said = cluster(&["down", "--name", run.name()]);
    assert!(said.contains("removed the cluster"), "{said}");
    assert_eq!(Machine::look(&run), before);
}

#[test]
#[ignore = "needs root and a few minutes: cargo xtask test cluster"]
fn a_cluster_that_runs_is_not_started_again_and_not_ended_under_another_name() {
    let run = Run::named("t-twice").unwrap();
    cluster(&["down", "--name", run.name()]);
    cluster(&["up", "--name", run.name(), "--nodes", "1"]);
    let second = xtask().args(["cluster", "up", "--name", run.name()]).output().unwrap();
    assert!(!second.status.success());
    assert!(text(&second).contains("is there already"), "{}", text(&second));
    // `t` is the beginning of this cluster's name and of its namespaces' names.
    cluster(&["down", "--name", "t"]);
    cluster(&["shell", "--name", run.name(), "kubectl", "get", "--raw", "/readyz"]);
    cluster(&["down", "--name", run.name()]);
}

#[test]
#[ignore = "needs root: cargo xtask test cluster"]
fn what_ends_with_us_does_so_with_all_that_it_has_started() {
    let time = format!("600.{}", std::process::id());
    let sleeping = || klm_bed::run::pids().filter(|pid| words(*pid).last() == Some(&time)).count();
    let ends_with_us = klm_bed::process::shown(&klm_bed::tree::ends_with_us());
    let mut parent =
        Command::new("sh").args(["-c", &format!("{ends_with_us} sh -c 'sleep {time} & wait' & wait")]).spawn().unwrap();
    let wait = |what: &str, count: usize| {
        Wait::new(what, Duration::from_secs(20)).until_blocking(|| {
            let now = sleeping();
            Ok(if now == count { Seen::Done(()) } else { Seen::NotYet(format!("{now} sleep")) })
        })
    };
    wait("it to start", 1).unwrap();
    parent.kill().unwrap();
    parent.wait().unwrap();
    wait("it to end", 0).unwrap();
}

#[test]
#[ignore = "needs root: cargo xtask test cluster"]
fn a_test_run_that_is_killed_is_cleaned_up_after_at_once_and_one_that_ended_well_is_not() {
    for (said, is_cleaned) in [("", true), ("well", false)] {
        let mut run = sleep(&[]);
        let owner = started(&run);
        let mut of_run = sleep(&[(OWNER_VARIABLE, &owner.to_string())]);
        let folder = tempfile::tempdir().unwrap();
        let mut guard = xtask()
            .args(["cluster", "guard", &owner.to_string()])
            // The turn of the test run that we are part of is another one.
            .env("KLM_BED_RUNS", folder.path())
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Whoever read is gone as well.
        drop(guard.stderr.take());
        let mut input = guard.stdin.take().unwrap();
        input.write_all(said.as_bytes()).unwrap();
        run.kill().unwrap();
        run.wait().unwrap();
        assert!(started(&of_run).lives(), "the guard cleans up before the run has ended");
        drop(input);
        assert!(guard.wait().unwrap().success());
        assert_eq!(Started::of(number(&of_run)).is_none(), is_cleaned, "a run that said {said:?}");
        of_run.kill().unwrap();
        of_run.wait().unwrap();
    }
}

fn sleep(env: &[(&str, &str)]) -> Child {
    Command::new("sleep").arg("600").env_remove(OWNER_VARIABLE).envs(env.iter().copied()).spawn().unwrap()
}

fn number(child: &Child) -> i32 {
    i32::try_from(child.id()).unwrap()
}

fn started(child: &Child) -> Started {
    Started::of(number(child)).unwrap()
}

fn words(pid: i32) -> Vec<String> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = line.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

#[test]
#[ignore = "needs root: cargo xtask test cluster"]
fn a_machine_that_lacks_everything_gets_one_message() {
    let result = xtask()
        .args(["cluster", "up", "--name", "t-lacks"])
        .env_clear()
        // No program anywhere, no built parts, and no space.
        .env("PATH", "/nonexistent")
        .env("XDG_CACHE_HOME", "/proc")
        .env("KLM_BED_RUNS", "/proc")
        .output()
        .unwrap();
    let said = text(&result);
    assert!(!result.status.success());
    for named in ["Go 1.24", "nsenter (for", "disk space", "apt-get install util-linux"] {
        assert!(said.contains(named), "{named} isn't in: {said}");
    }
    assert_eq!(said.matches("error:").count(), 1, "{said}");
}

#[test]
#[ignore = "needs root: cargo xtask test cluster"]
fn who_is_not_root_is_told_so_with_the_other_way() {
    let xtask = std::env::var_os("KLM_XTASK").unwrap();
    // A copy: the original may be where only root can read.
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let copy = folder.path().join("xtask");
    std::fs::copy(xtask, &copy).unwrap();
    output(Command::new("chmod").arg("-R").arg("a+rX").arg(folder.path())).unwrap();
    let result = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&copy)
        .args(["cluster", "up", "--name", "t-nobody"])
        .output()
        .unwrap();
    assert!(!result.status.success());
    let said = text(&result);
    assert!(said.contains("root: namespaces") && said.contains("--kubeconfig"), "{said}");
}
