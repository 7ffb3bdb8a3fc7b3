//! What is measured: fleets, and what happens to each, one thing after the other.

use std::time::Duration;

use klm_core::plan::Mode;
use klm_core::wave::waves_per_step;

/// A cluster with this many simulated nodes, and what happens on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Fleet {
    /// Simulated nodes.
    pub nodes: usize,
    /// How kata-deploy installs there.
    pub mode: Mode,
    /// One after the other.
    pub measures: Vec<Measure>,
}

/// Something that is measured.
#[derive(Clone, Debug, PartialEq)]
pub enum Measure {
    /// kata-deploy moves the first `part` nodes alone, `at_once` at the same time.
    Alone {
        /// How many nodes.
        part: usize,
        /// How many at the same time.
        at_once: usize,
        /// What an install takes.
        install: Duration,
    },
    /// We move nodes.
    Rollout(Rollout),
}

/// A run of ours.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollout {
    /// Nodes per wave.
    pub batch: usize,
    /// Only the first so many nodes of the fleet; none: all that aren't at the target yet.
    pub part: Option<usize>,
    /// Waves per workflow step; none: as the product decides.
    pub waves_per_step: Option<usize>,
    /// What an install takes.
    pub install: Duration,
    /// What a verification takes.
    pub verification: Duration,
    /// Positions of nodes in the plan, from 0, whose install fails.
    pub failing: &'static [usize],
    /// Stopped after so much of its rollout.
    pub limit: Option<Duration>,
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A run over all that is left, with installs and verifications that take no time to speak of.
const SHORT: Rollout = Rollout {
    batch: 1,
    part: None,
    waves_per_step: None,
    install: seconds(1),
    verification: seconds(0),
    failing: &[],
    limit: None,
};

/// What kata-deploy and we take for the same nodes: installs of 30 s and verifications of 10 s.
const LONG: Rollout = Rollout { install: seconds(30), verification: seconds(10), ..SHORT };

/// In the first wave of 50 all is well; in the second three fail.
const THREE: &[usize] = &[53, 71, 98];

/// A few minutes, most of them Argo's: one run in each mode, one of them with failures, and one that can be compared with
/// kata-deploy alone.
pub fn quick() -> Vec<Fleet> {
    let fleet = |mode, measures| Fleet { nodes: 20, mode, measures };
    let install = seconds(3);
    vec![
        fleet(Mode::Daemonset, vec![Measure::Rollout(Rollout { batch: 10, install, failing: &[12, 15, 19], ..SHORT })]),
        fleet(
            Mode::Job,
            vec![
                Measure::Alone { part: 20, at_once: 20, install },
                Measure::Rollout(Rollout { batch: 20, install, verification: seconds(1), ..SHORT }),
            ],
        ),
    ]
}

/// Meant for an hour: what would take longer is stopped.
pub fn full() -> Vec<Fleet> {
    let after = |time: u64| Some(seconds(time));
    // One workflow step, as it is in a run over the whole fleet.
    let step = waves_per_step(1000 / 50, 0).unwrap_or(1);
    let thousand = |mode| {
        let mut measures = vec![
            Measure::Alone { part: 50 * step, at_once: 50, install: LONG.install },
            Measure::Rollout(Rollout { batch: 50, part: Some(50 * step), waves_per_step: Some(step), ..LONG }),
            // Two nodes more.
            Measure::Rollout(Rollout { batch: 1, part: Some(50 * step + 2), waves_per_step: Some(step), ..LONG }),
            // Ten waves or more, for what a wave costs.
            Measure::Rollout(Rollout { batch: 1, limit: after(if mode == Mode::Job { 100 } else { 45 }), ..SHORT }),
        ];
        if mode == Mode::Job {
            // An upgrade, a dispatcher and a Job for each node take their time, whoever starts them.
            measures.insert(0, Measure::Alone { part: 10, at_once: 1, install: SHORT.install });
        }
        Fleet { nodes: 1000, mode, measures }
    };
    let five_thousand = |mode| {
        let mut measures = vec![
            Measure::Rollout(Rollout { batch: 50, failing: THREE, ..SHORT }),
            Measure::Rollout(Rollout { batch: 1, limit: after(45), ..SHORT }),
            // Ten waves in daemonset mode.
            Measure::Rollout(Rollout { batch: 50, limit: after(if mode == Mode::Job { 60 } else { 120 }), ..SHORT }),
        ];
        if mode == Mode::Daemonset {
            // How much memory it takes doesn't depend on the mode.
            measures.push(Measure::Rollout(Rollout { batch: 500, limit: after(60), ..SHORT }));
        }
        Fleet { nodes: 5000, mode, measures }
    };
    vec![thousand(Mode::Daemonset), thousand(Mode::Job), five_thousand(Mode::Daemonset), five_thousand(Mode::Job)]
}

/// Five thousand nodes to the last one in each mode: in waves of 50, and the last of them one at a time. All one at a time
/// would be hours; with its beginning, in [`full`], and its end both are seen.
pub fn whole() -> Vec<Fleet> {
    let fleet = |mode| Fleet {
        nodes: 5000,
        mode,
        measures: vec![
            Measure::Rollout(Rollout { batch: 50, part: Some(5000 - LAST), ..SHORT }),
            Measure::Rollout(Rollout { batch: 1, ..SHORT }),
        ],
    };
    vec![fleet(Mode::Daemonset), fleet(Mode::Job)]
}

/// So many are left for waves of one.
const LAST: usize = 30;

#[cfg(test)]
mod tests {
    use super::*;

    fn rollouts(fleets: &[Fleet]) -> Vec<(usize, Mode, &Rollout)> {
        let of = |fleet: &Fleet| (fleet.nodes, fleet.mode);
        fleets
            .iter()
            .flat_map(|fleet| {
                fleet.measures.iter().filter_map(move |measure| match measure {
                    Measure::Rollout(rollout) => Some((of(fleet).0, of(fleet).1, rollout)),
                    Measure::Alone { .. } => None,
                })
            })
            .collect()
    }

    #[test]
    fn both_modes_see_both_fleets_at_batches_of_1_and_50_and_three_failing_nodes() {
        for mode in [Mode::Daemonset, Mode::Job] {
            let fleets = full();
            let all = rollouts(&fleets);
            for nodes in [1000, 5000] {
                for batch in [1, 50] {
                    assert!(
                        all.iter().any(|(fleet, of, run)| (*fleet, *of, run.batch) == (nodes, mode, batch)),
                        "{nodes} nodes at {batch} in {mode:?}"
                    );
                }
            }
            assert!(all.iter().any(|(fleet, of, run)| *fleet == 5000 && *of == mode && run.failing.len() == 3));
        }
    }

    #[test]
    fn the_whole_stops_nothing() {
        assert!(rollouts(&whole()).iter().all(|(_, _, run)| run.limit.is_none()));
    }

    #[test]
    fn failing_nodes_share_a_wave_and_one_before_it_is_well() {
        for fleets in [quick(), full()] {
            for (_, _, run) in rollouts(&fleets) {
                let waves: Vec<usize> = run.failing.iter().map(|position| position / run.batch).collect();
                assert!(waves.iter().all(|wave| *wave == 1), "{run:?}");
            }
        }
    }
}
