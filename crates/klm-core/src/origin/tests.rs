use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::release::fixtures;

#[rstest]
#[case::never_had_them(
    json!({"deploymentMode": "job", "job": {"nodes": ["a"], "parallelism": 1}, "verification": {"pod": ""}}),
    json!({"deploymentMode": "job"}),
    json!({"deploymentMode": "job"})
)]
#[case::had_them(
    json!({"job": {"nodes": ["a"], "parallelism": 1, "backoffLimit": 5}, "verification": {"pod": ""}}),
    json!({"job": {"parallelism": 7, "backoffLimit": 5}, "verification": {"pod": "x"}}),
    json!({"job": {"parallelism": 7, "backoffLimit": 5}, "verification": {"pod": "x"}})
)]
#[case::what_the_run_was_told_to_set_stays(
    json!({"image": {"tag": "new"}, "job": {"nodes": ["a"], "parallelism": 1}}),
    json!({"image": {"tag": "old"}}),
    json!({"image": {"tag": "new"}})
)]
fn the_user_finds_the_values_as_they_were(#[case] current: Value, #[case] origin: Value, #[case] wanted: Value) {
    assert_eq!(Value::Object(given_back(Mode::Job, &map(&current), &map(&origin))), wanted);
}

#[rstest]
#[case::never_had_it(json!({}), json!({"job": {"nodes": ["a"]}, "verification": {"pod": ""}}))]
#[case::had_it(
    json!({"verification": {"pod": "x", "timeout": 9}}),
    json!({"job": {"nodes": ["a"]}, "verification": {"pod": "x"}})
)]
fn in_daemonset_mode_nothing_is_given_back_but_the_verification_pod(#[case] origin: Value, #[case] wanted: Value) {
    let current = json!({"job": {"nodes": ["a"]}, "verification": {"pod": ""}});
    assert_eq!(Value::Object(given_back(Mode::Daemonset, &map(&current), &map(&origin))), wanted);
}

fn map(value: &Value) -> Values {
    value.as_object().cloned().unwrap()
}

fn origin(values: &Value) -> Origin {
    Origin {
        v: 1,
        target: "4.0.0".into(),
        chart_version: "3.32.0".into(),
        values: map(values),
        revision: 3,
        armed: Some(4),
        image: "q/k:3.32.0".into(),
        marked: Vec::new(),
        outdated: None,
    }
}

fn at_seven(user: &Value) -> Release {
    Release { user: map(user), ..fixtures::at("4.0.0", 7) }
}

#[rstest]
#[case::what_the_run_set_stays_behind(
    json!({"debug": false}),
    json!({"debug": false, "logLevel": "trace", "job": {"nodes": ["a"]}, "verification": {"pod": ""}}),
    json!({"debug": true, "logLevel": "trace", "job": {"nodes": ["a"]}, "verification": {"pod": ""}}),
    json!({"debug": true})
)]
#[case::an_image_is_the_versions(
    json!({"image": {"reference": "q/k"}, "job": {"parallelism": 3}}),
    json!({"image": {"reference": "q/k"}, "job": {"parallelism": 3}}),
    json!({"image": {"reference": "q/k", "tag": "4.0.0-x"}, "job": {"parallelism": 9, "dispatcherImage": {"tag": "4"}}}),
    json!({"image": {"reference": "q/k"}, "job": {"parallelism": 9}})
)]
#[case::the_mode_is_never_left_to_a_chart(
    json!({"deploymentMode": "job"}),
    json!({"deploymentMode": "job"}),
    json!({"debug": true}),
    json!({"deploymentMode": "job", "debug": true})
)]
fn the_way_back_takes_along_what_somebody_changed(
    #[case] stored: Value,
    #[case] known: Value,
    #[case] now: Value,
    #[case] wanted: Value,
) {
    let stored = origin(&stored);
    let change = Change { before: map(&known), after: map(&now) };
    let found = stored.with(&change, &at_seven(&now));
    assert_eq!(Value::Object(found.values.clone()), wanted);
    assert_eq!((found.revision, found.outdated.as_ref()), (7, Some(&stored.values)));
    let later = Change { before: map(&now), after: map(&json!({"debug": 3})) };
    let again = found.with(&later, &at_seven(&json!({"debug": 3})));
    assert_eq!(again.outdated, found.outdated, "what that chart is known to take");
    assert_eq!((found.chart_version, found.image, found.armed), (stored.chart_version, stored.image, stored.armed));
}

#[test]
fn a_change_of_nothing_leaves_the_way_back_as_it_was() {
    let stored = origin(&json!({"debug": true}));
    let nothing = Change { before: map(&json!({"a": 1})), after: map(&json!({"a": 1})) };
    assert_eq!(stored.with(&nothing, &at_seven(&json!({"a": 1}))), stored);
}
