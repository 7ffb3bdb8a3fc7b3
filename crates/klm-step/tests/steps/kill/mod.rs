//! Killed at every write, before the server sees it and after: whatever comes next, every node ends whole, at the one
//! version or the other, given back as it was found.

mod check;
mod scenario;
mod script;
mod sweep;

pub use scenario::{ALL, Scenario};
pub use script::Kill;

/// Each kill is followed by another of the ways on.
async fn in_turn(scenario: &Scenario) {
    let ways = scenario.ways_on();
    scenario.sweep(|kill| ways[kill % ways.len()]).await;
}

macro_rules! sweeps {
    ($($test:ident: $number:literal;)*) => {$(
        #[tokio::test(start_paused = true)]
        async fn $test() {
            in_turn(&ALL[$number]).await;
        }
    )*};
}

sweeps! {
    a_killed_rollout_converges: 0;
    a_killed_rollback_converges: 1;
    a_killed_rollout_in_job_mode_converges: 2;
    a_killed_rollback_in_job_mode_converges: 3;
    a_killed_recover_converges: 4;
    a_killed_recover_in_job_mode_converges: 5;
    a_killed_rollback_node_converges: 6;
    a_killed_rollback_node_in_job_mode_converges: 7;
    a_killed_rollback_node_further_back_converges: 8;
    a_killed_rollback_node_further_back_in_job_mode_converges: 9;
    a_killed_wave_that_is_the_only_one_in_job_mode_converges: 10;
    a_killed_step_of_two_waves_in_job_mode_converges: 11;
}

#[tokio::test(start_paused = true)]
#[ignore = "three times as many runs as in turn; run it when what a step writes has changed"]
async fn every_kill_is_survived_in_every_way() {
    for scenario in &ALL {
        for next in scenario.ways_on() {
            let points = scenario.sweep(|_| *next).await;
            eprintln!("{}, then {next:?}: {} kills, all converged", scenario.name, points.values().sum::<u64>());
        }
    }
}
