//! Helm values as data: reading a dotted key, laying one set over another as Helm does.

use serde_json::{Map, Value};

/// Helm values: a map.
pub type Values = Map<String, Value>;

/// The value at a dotted key such as `env.multiInstallSuffix`.
pub fn get<'a>(values: &'a Values, key: &str) -> Option<&'a Value> {
    let mut parts = key.split('.');
    let first = values.get(parts.next()?)?;
    parts.try_fold(first, |value, part| value.get(part))
}

/// Takes a dotted key away, and leaves the maps above it.
pub fn remove(values: &mut Values, key: &str) {
    match key.split_once('.') {
        None => _ = values.remove(key),
        Some((first, rest)) => {
            if let Some(Value::Object(inner)) = values.get_mut(first) {
                remove(inner, rest);
            }
        }
    }
}

/// Makes a dotted key what it is in `from`, absent where it is absent there.
pub fn copy(values: &mut Values, from: &Values, key: &str) {
    let Some((first, rest)) = key.split_once('.') else {
        match from.get(key) {
            Some(value) => _ = values.insert(key.to_owned(), value.clone()),
            None => _ = values.remove(key),
        }
        return;
    };
    let inside = |values: &Values| map(values.get(first)).unwrap_or_default();
    let mut inner = inside(values);
    copy(&mut inner, &inside(from), rest);
    if inner.is_empty() && !from.contains_key(first) {
        values.remove(first);
    } else {
        values.insert(first.to_owned(), Value::Object(inner));
    }
}

/// The text at a dotted key; nothing when it is absent, empty or no text.
pub fn text<'a>(values: &'a Values, key: &str) -> Option<&'a str> {
    get(values, key)?.as_str().filter(|text| !text.is_empty())
}

/// Whether these values say anything about a dotted key: the key itself, something below it, or a value that takes the
/// place of one of its parents.
pub fn touches(values: &Values, key: &str) -> bool {
    let mut map = values;
    for part in key.split('.') {
        match map.get(part) {
            None => return false,
            Some(Value::Object(inner)) => map = inner,
            Some(_) => return true,
        }
    }
    true
}

/// Lays `over` on `base` as Helm does: maps are merged, everything else is replaced, `null` takes a key away.
pub fn overlay(base: &mut Values, over: &Values) {
    for (key, value) in over {
        match (base.get_mut(key), value) {
            (_, Value::Null) => {
                base.remove(key);
            }
            (Some(Value::Object(inner)), Value::Object(over)) => overlay(inner, over),
            (_, Value::Object(over)) => {
                let mut inner = Values::new();
                overlay(&mut inner, over);
                base.insert(key.clone(), Value::Object(inner));
            }
            _ => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

/// Does to `onto` what changed from `before` to `after`: maps are followed key by key, everything else is one value.
pub fn carry(onto: &mut Values, before: &Values, after: &Values) {
    for key in before.keys().chain(after.keys().filter(|key| !before.contains_key(*key))) {
        let (was, is) = (before.get(key), after.get(key));
        if was == is {
            continue;
        }
        match (map(was), map(is), map(onto.get(key))) {
            (Some(was), Some(inside), Some(mut inner)) => {
                carry(&mut inner, &was, &inside);
                if is.is_none() && inner.is_empty() {
                    onto.remove(key);
                } else {
                    onto.insert(key.clone(), Value::Object(inner));
                }
            }
            _ => match is {
                Some(value) => _ = onto.insert(key.clone(), value.clone()),
                None => _ = onto.remove(key),
            },
        }
    }
}

/// A map, or none where nothing is; nothing for a value of another kind.
fn map(value: Option<&Value>) -> Option<Values> {
    match value {
        None => Some(Values::new()),
        Some(Value::Object(map)) => Some(map.clone()),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn values(value: Value) -> Values {
        serde_json::from_value(value).unwrap()
    }

    #[rstest]
    #[case::maps_are_merged(json!({"a": {"b": 1, "c": 2}}), json!({"a": {"c": 3}}), json!({"a": {"b": 1, "c": 3}}))]
    #[case::lists_are_replaced(json!({"a": [1, 2]}), json!({"a": [3]}), json!({"a": [3]}))]
    #[case::null_takes_away(json!({"a": 1, "b": {"c": 1}}), json!({"a": null, "b": {"c": null}}), json!({"b": {}}))]
    #[case::a_map_replaces_a_text(json!({"a": "x"}), json!({"a": {"b": null, "c": 1}}), json!({"a": {"c": 1}}))]
    #[case::a_text_replaces_a_map(json!({"a": {"b": 1}}), json!({"a": ""}), json!({"a": ""}))]
    fn values_are_laid_over_as_helm_does(#[case] base: Value, #[case] over: Value, #[case] expected: Value) {
        let mut base = values(base);
        overlay(&mut base, &values(over));
        assert_eq!(Value::Object(base), expected);
    }

    #[rstest]
    #[case::added(json!({"x": 1}), json!({"a": 1}), json!({"a": 1, "b": {"c": 2}}), json!({"x": 1, "b": {"c": 2}}))]
    #[case::changed(json!({"a": 9, "x": 1}), json!({"a": 1}), json!({"a": 2}), json!({"a": 2, "x": 1}))]
    #[case::left_alone(json!({"a": 9}), json!({"a": 1}), json!({"a": 1}), json!({"a": 9}))]
    #[case::taken_away(json!({"a": 9, "b": {"c": 1, "x": 1}}), json!({"a": 1, "b": {"c": 1}}), json!({}), json!({"b": {"x": 1}}))]
    #[case::whole_map_taken_away(json!({"b": {"c": 1}}), json!({"b": {"c": 1}}), json!({}), json!({}))]
    #[case::never_there(json!({}), json!({"b": {"c": 1}, "a": 1}), json!({}), json!({}))]
    #[case::lists_are_one_value(json!({"a": [1]}), json!({"a": [1]}), json!({"a": [1, 2]}), json!({"a": [1, 2]}))]
    #[case::a_null_is_a_value(json!({"a": 1}), json!({}), json!({"a": null}), json!({"a": null}))]
    #[case::another_kind(json!({"a": "x"}), json!({"a": {"b": 1}}), json!({"a": {"b": 2}}), json!({"a": {"b": 2}}))]
    fn what_somebody_changed_is_changed_elsewhere_too(
        #[case] onto: Value,
        #[case] before: Value,
        #[case] after: Value,
        #[case] expected: Value,
    ) {
        let mut onto = values(onto);
        carry(&mut onto, &values(before), &values(after));
        assert_eq!(Value::Object(onto), expected);
    }

    #[rstest]
    #[case(json!({}), false)]
    #[case(json!({"job": {"parallelism": 2}}), false)]
    #[case(json!({"job": {}}), false)]
    #[case(json!({"job.nodes": 1}), false)]
    #[case(json!({"job": {"nodes": []}}), true)]
    #[case(json!({"job": null}), true)]
    #[case(json!({"job": "none"}), true)]
    fn a_key_is_touched_by_itself_and_by_its_parents(#[case] given: Value, #[case] touched: bool) {
        assert_eq!(touches(&values(given), "job.nodes"), touched);
    }

    #[test]
    fn an_empty_text_is_as_good_as_none() {
        let values = values(json!({"image": {"tag": "", "reference": "r"}, "n": 3}));
        assert_eq!(
            (text(&values, "image.tag"), text(&values, "image.reference"), text(&values, "n")),
            (None, Some("r"), None)
        );
    }
}
