//! What waiting for a wave costs, and what may become of the watches that it is done with.

use std::time::Duration;

use klm_testkit::fixtures::Fleet;
use klm_testkit::{FakeCluster, Fault, Injection};

use crate::bed::Bed;

const MODES: [&str; 2] = ["daemonset", "job"];

fn fleet(mode: &str, workers: usize) -> Fleet {
    let fleet = Fleet::new().workers(workers);
    if mode == "job" { fleet.version("3.32.0").job() } else { fleet }
}

fn names(workers: usize) -> Vec<String> {
    (1..=workers).map(|number| format!("worker-{number}")).collect()
}

/// A rollout in waves of three whose installs take so long, and what is done to the API server meanwhile.
async fn rollout(mode: &str, workers: usize, install: u64, meanwhile: impl AsyncFnOnce(&FakeCluster)) -> Bed {
    let bed = Bed::new(fleet(mode, workers));
    bed.cluster.misbehave("*", Injection::Slow(Duration::from_secs(install)));
    let flow = bed.flow("up", &[("batch-size", "3"), ("install-timeout", "1800s")]);
    let names = names(workers);
    bed.plan(&flow, "4.0.0", &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let (outcome, ()) = tokio::join!(bed.rollout(&flow, workers / 3), meanwhile(&bed.cluster));
    outcome.unwrap();
    for node in &names {
        assert_eq!((bed.installed(node), bed.installs(node)), ("4.0.0".to_owned(), 2), "{mode}, {node}");
    }
    bed.assert_nothing_uninstalled();
    bed.assert_tidy();
    bed
}

/// The step's own lists and watches; helm's requests are about single objects and its hooks.
fn looks(bed: &Bed, word: &str) -> Vec<String> {
    let asked = bed.cluster.transcript().into_iter().filter(|line| line.starts_with("GET") && line.contains(word));
    asked.filter(|line| ["/nodes?", "/pods?", "/jobs?"].iter().any(|kind| line.contains(kind))).collect()
}

#[tokio::test(start_paused = true)]
async fn a_wave_is_listed_as_often_however_long_it_takes() {
    for mode in MODES {
        let [short, long] =
            [rollout(mode, 6, 30, async |_| {}).await, rollout(mode, 6, 1200, async |_| {}).await].map(|bed| {
                let lists = looks(&bed, "limit=");
                // A watch that says nothing is looked after every minute and a half.
                assert!(looks(&bed, "watch=").len() < 2 * 60, "{:#?}", looks(&bed, "watch="));
                lists
            });
        assert_eq!(short.len(), long.len(), "{mode}: {long:#?}");
        let whole_fleet =
            |line: &&String| line.contains("labelSelector=name%3Dkata-deploy") || line.contains("name=kata-deploy&");
        let fleet: Vec<&String> = long.iter().filter(whole_fleet).collect();
        assert!(fleet.len() <= 2, "once for each of two waves: {fleet:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wave_survives_whatever_becomes_of_its_watches() {
    for mode in MODES {
        for forgets in [false, true] {
            let bed = rollout(mode, 3, 200, async |cluster| {
                for _ in 0..6 {
                    tokio::time::sleep(Duration::from_secs(30)).await;
                    if forgets {
                        cluster.edit("nodes", "", "worker-1", |node| node["metadata"]["annotations"]["a"] = "b".into());
                        cluster.compact();
                    }
                    cluster.break_watches();
                }
            })
            .await;
            assert!(looks(&bed, "watch=").len() >= 6, "{mode}: they were begun again");
        }
        // Refused as expired by the status of the answer, and not by an event.
        rollout(mode, 3, 60, async |cluster| cluster.inject(Fault::status(None, "*", 410).of_watches().times(3))).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_wave_survives_an_api_server_that_restarts() {
    rollout("daemonset", 3, 200, async |cluster| {
        tokio::time::sleep(Duration::from_secs(60)).await;
        cluster.inject(Fault::disconnect(None, "*").always());
        cluster.break_watches();
        tokio::time::sleep(Duration::from_secs(60)).await;
        cluster.clear_faults();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn no_node_fails_because_a_watch_fell_silent() {
    for mode in MODES {
        rollout(mode, 3, 30, async |cluster| cluster.mute_watches()).await;
    }
}
