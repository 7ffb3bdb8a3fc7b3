//! From flags to the values that a chart sees, with helm's precedence and its ways of keeping old values.

use std::io::Read as _;

use klm_core::set_values::{Style, parse};
use klm_core::values::{Values, overlay};
use serde_json::Value;

use super::argv::{Argv, Source};

/// The values that the flags give: later wins within a kind, and kinds have a fixed order.
pub(super) fn given(argv: &Argv, stdin: &[u8]) -> Result<Values, String> {
    let mut sources = argv.values.clone();
    sources.sort_by_key(|(source, _)| *source);
    let mut values = Values::new();
    for (source, text) in &sources {
        merge(&mut values, read(*source, text, stdin)?);
    }
    Ok(values)
}

fn read(source: Source, text: &str, stdin: &[u8]) -> Result<Values, String> {
    let failed = |flag: &str, error: &dyn std::fmt::Display| format!("failed parsing {flag} data: {error}");
    match source {
        Source::File => read_file(text, stdin),
        Source::Set => parse(text, Style::Typed).map_err(|error| failed("--set", &error)),
        Source::Text => parse(text, Style::Text).map_err(|error| failed("--set-string", &error)),
        Source::Json => {
            let (key, json) = text.split_once('=').ok_or_else(|| failed("--set-json", &"no value"))?;
            let value: Value = serde_json::from_str(json).map_err(|error| failed("--set-json", &error))?;
            Ok(nested(key, value))
        }
        Source::SetFile => {
            let (key, path) = text.split_once('=').ok_or_else(|| failed("--set-file", &"no value"))?;
            let content = std::fs::read_to_string(path).map_err(|error| failed("--set-file", &error))?;
            Ok(nested(key, Value::String(content)))
        }
        Source::Literal => {
            let (key, value) = text.split_once('=').ok_or_else(|| failed("--set-literal", &"no value"))?;
            Ok(nested(key, Value::String(value.to_owned())))
        }
    }
}

fn read_file(path: &str, stdin: &[u8]) -> Result<Values, String> {
    let mut text = String::new();
    if path == "-" {
        stdin.take(u64::MAX).read_to_string(&mut text).map_err(|error| error.to_string())?;
    } else {
        text = std::fs::read_to_string(path).map_err(|error| format!("open {path}: {error}"))?;
    }
    if text.trim().is_empty() {
        return Ok(Values::new());
    }
    serde_yaml::from_str(&text).map_err(|error| format!("failed to parse {path}: {error}"))
}

fn nested(key: &str, value: Value) -> Values {
    let mut parts: Vec<&str> = key.split('.').collect();
    let last = parts.pop().unwrap_or_default();
    let mut map = Values::new();
    map.insert(last.to_owned(), value);
    for part in parts.into_iter().rev() {
        let inner = std::mem::take(&mut map);
        map.insert(part.to_owned(), Value::Object(inner));
    }
    map
}

/// Lays values over others and keeps nulls, which still have to take a default of the chart away.
fn merge(base: &mut Values, over: Values) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Object(inner)), Value::Object(over)) => merge(inner, over),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

/// `CoalesceTables`: what is missing comes from the old values; a null takes an old value away with itself, and stays where
/// there is none.
pub(super) fn coalesce(values: &mut Values, old: &Values) {
    let was_there = |key: &str| old.get(key).is_some_and(|was| !was.is_null());
    let nulls = values.iter().filter(|(_, value)| value.is_null()).map(|(key, _)| key.clone());
    let removed: Vec<String> = nulls.filter(|key| was_there(key)).collect();
    for (key, was) in old {
        match (values.get_mut(key), was) {
            (None, _) => {
                values.insert(key.clone(), was.clone());
            }
            (Some(Value::Object(inner)), Value::Object(was)) => coalesce(inner, was),
            _ => {}
        }
    }
    for key in removed {
        values.remove(&key);
    }
}

/// What the templates see: the user's values over the chart's defaults.
pub(super) fn effective(defaults: &Values, config: &Values) -> Values {
    let mut values = defaults.clone();
    overlay(&mut values, config);
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: Value) -> Values {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn strings_win_over_typed_values_wherever_they_stand() {
        let words = ["upgrade", "--set-string", "a=1", "--set", "a=2,b=true", "--set-json", "b=[1]"];
        let argv = Argv::parse(&words.map(str::to_owned)).unwrap();
        assert_eq!(Value::Object(given(&argv, &[]).unwrap()), json!({"a": "1", "b": true}));
    }

    #[test]
    fn old_values_fill_what_is_missing_and_null_forgets() {
        let mut new = object(json!({"a": {"b": 2}, "gone": null}));
        coalesce(&mut new, &object(json!({"a": {"b": 1, "c": 1}, "gone": 1, "kept": [1]})));
        assert_eq!(Value::Object(new), json!({"a": {"b": 2, "c": 1}, "kept": [1]}));
    }
}
