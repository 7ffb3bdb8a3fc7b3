//! Our own records, which others may have edited: what is written reads back, what was cut short is noticed.

use std::str::FromStr as _;

use klm_core::journal::{Journal, LiftedTaint, RunId};
use klm_core::name::NodeName;
use klm_core::node::Taint;
use klm_core::origin::{Origin, RunInputs};
use klm_core::phase::NodePhase;
use klm_core::plan::{Mode, Plan, PlannedNode};
use klm_core::settings::{Given, Settings};
use proptest::prelude::*;
use serde_json::Value;

use crate::{config, json, text};

fn run() -> impl Strategy<Value = RunId> {
    (text(), text(), text()).prop_map(|(namespace, name, uid)| RunId { namespace, name, uid })
}

fn lifted() -> impl Strategy<Value = LiftedTaint> {
    (any::<usize>(), text(), prop::option::of(text()), text(), prop::option::of(text())).prop_map(
        |(at, key, value, effect, time_added)| LiftedTaint { at, taint: Taint { key, value, effect, time_added } },
    )
}

prop_compose! {
    fn journal()(
        run in run(), release in text(), target in text(), source in prop::option::of(text()),
        prior_unschedulable in any::<Option<bool>>(), lifted_taints in prop::collection::vec(lifted(), 0..3),
        drain_started in prop::option::of(text()), changed in any::<bool>(),
        old_pod in prop::option::of(text()), back_to in prop::option::of(text()), reason in prop::option::of(text()),
    ) -> Journal {
        Journal { v: 1, run, release, source, target, prior_unschedulable, lifted_taints, drain_started, changed, old_pod, back_to, reason }
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_journal_reads_back_also_by_an_older_step(journal in journal(), newer in text()) {
        let mut written = serde_json::to_value(&journal).unwrap();
        written["aFieldOfTheNextVersion"] = newer.into();
        assert_eq!(serde_json::from_str::<Journal>(&written.to_string()).unwrap(), journal);
    }

    #[test]
    fn a_journal_that_was_cut_short_is_no_journal(journal in journal(), at in any::<prop::sample::Index>()) {
        let written = serde_json::to_string(&journal).unwrap();
        let cut: String = written.chars().take(at.index(written.chars().count())).collect();
        assert!(serde_json::from_str::<Journal>(&cut).is_err());
    }

    #[test]
    fn a_plan_reads_back_and_every_item_is_within_it(
        names in prop::collection::vec(("[a-z0-9]{1,12}", "[0-9a-f]{8}", prop::option::of(text())), 0..20),
        run in run(), batch_size in 1usize..7, waves_per_item in any::<usize>(), item in any::<usize>(), base_revision in any::<u64>(),
    ) {
        let settings = Settings { batch_size, ..Settings::parse(&Given::new()).unwrap() };
        let nodes = names.into_iter().map(|(name, uid, was)| PlannedNode(NodeName::try_from(name).unwrap(), uid, was)).collect();
        let plan = Plan {
            v: 1, run, target: "4.1.0".into(), mode: Mode::Job, origin: "4.0.0".into(), settings, nodes, waves_per_item, base_revision,
        };
        assert_eq!(serde_json::from_str::<Plan>(&serde_json::to_string(&plan).unwrap()).unwrap(), plan.clone());
        for wave in plan.waves_of_item(item) {
            assert!((1..=plan.wave_count()).contains(&wave) && !plan.wave(wave).is_empty());
        }
    }

    #[test]
    fn an_origin_and_its_inputs_read_back(
        values in json(&["job", "nodes", "image", "reference"]), revision in any::<u64>(), armed in any::<Option<u64>>(), run in run(), pod in text(), changed in any::<bool>(),
    ) {
        let Value::Object(values) = values else { return Ok(()) };
        // A number that JSON can't hold exactly isn't there when it is written: compare what was written.
        let origin = Origin {
            v: 1, target: "4.1.0".into(), chart_version: "4.0.0".into(), values: values.clone(), revision, armed, image: String::new(), marked: Vec::new(),
            outdated: changed.then(|| values.clone()),
        };
        let written = serde_json::to_string(&origin).unwrap();
        assert_eq!(serde_json::to_string(&serde_json::from_str::<Origin>(&written).unwrap()).unwrap(), written);
        let inputs = RunInputs { run, set_values: values, verification_pod: pod, chart_digest: None };
        let written = serde_json::to_string(&inputs).unwrap();
        assert_eq!(serde_json::to_string(&serde_json::from_str::<RunInputs>(&written).unwrap()).unwrap(), written);
    }

    #[test]
    fn records_of_others_are_refused_and_never_guessed(text in text()) {
        assert!(serde_json::from_str::<Journal>(&text).is_err());
        assert!(serde_json::from_str::<Plan>(&text).is_err());
        assert!(serde_json::from_str::<Origin>(&text).is_err());
        assert_eq!(NodePhase::from_str(&text).is_ok(), NodePhase::ALL.iter().any(|phase| phase.as_str() == text));
    }
}
