//! The same order of changes in every recording: nodes of one wave change side by side, in an order that chance decides.

use std::collections::BTreeMap;

use klm_core::fleet_table::Row;
use klm_core::phase::NodePhase;

use crate::demo::painter::Beat;

/// The beats, with the changes of a wave sorted: first what happened to a node first, and nodes by their names. What
/// happened to one node, and the waves, stay in the order in which they happened.
pub fn settled(beats: &[Beat]) -> Vec<Beat> {
    let mut sorted = Vec::new();
    let mut wave: Vec<(usize, Row)> = Vec::new();
    let mut changes: BTreeMap<String, usize> = BTreeMap::new();
    let mut in_flight: BTreeMap<String, bool> = BTreeMap::new();
    for beat in beats {
        let Beat::Node(row) = beat else {
            close(&mut wave, &mut sorted);
            sorted.push(beat.clone());
            continue;
        };
        let change = changes.entry(row.node.clone()).or_default();
        *change += 1;
        wave.push((*change, row.clone()));
        in_flight.insert(row.node.clone(), is_in_flight(row));
        if !in_flight.values().any(|flies| *flies) {
            close(&mut wave, &mut sorted);
            changes.clear();
        }
    }
    close(&mut wave, &mut sorted);
    sorted
}

fn close(wave: &mut Vec<(usize, Row)>, sorted: &mut Vec<Beat>) {
    wave.sort_by(|(one, first), (other, second)| one.cmp(other).then_with(|| first.node.cmp(&second.node)));
    sorted.extend(wave.drain(..).map(|(_, row)| Beat::Node(row)));
}

fn is_in_flight(row: &Row) -> bool {
    !matches!(row.status, None | Some(NodePhase::Completed | NodePhase::RolledBack))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, status: NodePhase) -> Beat {
        Beat::Node(Row::new(name, Some(status), None))
    }

    #[test]
    fn two_runs_of_one_wave_become_the_same_recording() {
        use NodePhase::{Completed, Cordoned, Preparing};
        let one = [
            node("a", Preparing),
            node("a", Cordoned),
            node("b", Preparing),
            node("b", Cordoned),
            node("b", Completed),
            node("a", Completed),
        ];
        let other = [
            node("b", Preparing),
            node("a", Preparing),
            node("b", Cordoned),
            node("a", Cordoned),
            node("a", Completed),
            node("b", Completed),
        ];
        assert_eq!(settled(&one), settled(&other));
        assert_eq!(settled(&one)[..2], [node("a", Preparing), node("b", Preparing)]);
    }

    #[test]
    fn what_happened_to_one_node_and_the_waves_keep_their_order() {
        use NodePhase::{Completed, Preparing, RolledBack, RollingBack};
        let story = [
            node("z", Preparing),
            node("z", Completed),
            node("a", Preparing),
            node("a", RollingBack),
            node("a", RolledBack),
        ];
        assert_eq!(settled(&story), story);
    }

    #[test]
    fn what_is_said_stays_where_it_was_said() {
        let story = [node("b", NodePhase::Preparing), Beat::Say("now".into()), node("a", NodePhase::Preparing)];
        assert_eq!(settled(&story), story);
    }
}
