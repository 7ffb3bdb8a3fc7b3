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
