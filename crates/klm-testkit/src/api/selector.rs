//! Label and field selectors, with the server's grammar.

use serde_json::Value;

use super::kinds::Kind;
use super::object;
use super::status::{Answer, ApiStatus};

/// One requirement of a label selector.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Requirement {
    Exists(String),
    Absent(String),
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Greater(String, i64),
    Less(String, i64),
}

/// A parsed label selector; empty selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector(Vec<Requirement>);

impl LabelSelector {
    /// Parses `a=b,c!=d,e in (x,y),f notin (z),g,!h,i>1`.
    pub fn parse(text: &str) -> Answer<Self> {
        let mut requirements = Vec::new();
        for part in split_outside_parens(text)? {
            requirements.push(parse_requirement(part.trim())?);
        }
        Ok(Self(requirements))
    }

    /// From the `selector` of a PDB or `DaemonSet`: `matchLabels` and `matchExpressions`.
    pub fn of_object(selector: &Value) -> Self {
        let mut requirements = Vec::new();
        for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
            let value = value.as_str().unwrap_or_default().to_owned();
            requirements.push(Requirement::In(key.clone(), vec![value]));
        }
        for expression in object::items(selector, "/matchExpressions") {
            let key = object::text(expression, "/key").to_owned();
            let values = object::strings(expression, "/values").into_iter().map(str::to_owned).collect();
            requirements.push(match object::text(expression, "/operator") {
                "In" => Requirement::In(key, values),
                "NotIn" => Requirement::NotIn(key, values),
                "Exists" => Requirement::Exists(key),
                _ => Requirement::Absent(key),
            });
        }
        Self(requirements)
    }

    /// Whether the object's labels satisfy every requirement.
    pub fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|requirement| requirement.holds(|key| object::label(object, key)))
    }

    /// Whether nothing is required.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Requirement {
    fn holds<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        let listed = |key: &str, values: &[String]| label(key).map(|has| values.iter().any(|value| value == has));
        let number = |key: &str| label(key).and_then(|has| has.parse::<i64>().ok());
        match self {
            Self::Exists(key) => label(key).is_some(),
            Self::Absent(key) => label(key).is_none(),
            Self::In(key, values) => listed(key, values) == Some(true),
            // An absent key satisfies `!=` and `notin`: a frequent surprise, and the server's rule.
            Self::NotIn(key, values) => listed(key, values) != Some(true),
            Self::Greater(key, bound) => number(key).is_some_and(|has| has > *bound),
            Self::Less(key, bound) => number(key).is_some_and(|has| has < *bound),
        }
    }
}

fn split_outside_parens(text: &str) -> Answer<Vec<&str>> {
    let (mut depth, mut start, mut parts) = (0_i32, 0, Vec::new());
    for (at, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if depth != 0 {
        return Err(unparsable(text));
    }
    if !text.trim().is_empty() {
        parts.push(&text[start..]);
    }
    Ok(parts)
}

fn parse_requirement(text: &str) -> Answer<Requirement> {
    if let Some(key) = text.strip_prefix('!') {
        return Ok(Requirement::Absent(key_of(key)?));
    }
    for (sign, build) in [
        ("!=", Requirement::NotIn as fn(String, Vec<String>) -> Requirement),
        ("==", Requirement::In),
        ("=", Requirement::In),
    ] {
        if let Some((key, value)) = text.split_once(sign) {
            return Ok(build(key_of(key)?, vec![value_of(value)?]));
        }
    }
    for (sign, build) in [('>', Requirement::Greater as fn(String, i64) -> Requirement), ('<', Requirement::Less)] {
        if let Some((key, value)) = text.split_once(sign) {
            return Ok(build(key_of(key)?, value.trim().parse().map_err(|_| unparsable(text))?));
        }
    }
    if let Some(list) = text.strip_suffix(')') {
        let (head, list) = list.split_once('(').ok_or_else(|| unparsable(text))?;
        let values = list.split(',').map(value_of).collect::<Answer<Vec<_>>>()?;
        let mut words = head.split_whitespace();
        return match (words.next(), words.next(), words.next()) {
            (Some(key), Some("in"), None) => Ok(Requirement::In(key_of(key)?, values)),
            (Some(key), Some("notin"), None) => Ok(Requirement::NotIn(key_of(key)?, values)),
            _ => Err(unparsable(text)),
        };
    }
    Ok(Requirement::Exists(key_of(text)?))
}

fn key_of(text: &str) -> Answer<String> {
    let key = text.trim();
    let (prefix, name) = key.rsplit_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let prefix_is_fine = prefix.is_none_or(super::validate::is_subdomain);
    if prefix_is_fine && super::validate::is_label_name(name) { Ok(key.to_owned()) } else { Err(unparsable(text)) }
}

fn value_of(text: &str) -> Answer<String> {
    let value = text.trim();
    if value.is_empty() || super::validate::is_label_name(value) { Ok(value.to_owned()) } else { Err(unparsable(text)) }
}

fn unparsable(text: &str) -> ApiStatus {
    ApiStatus::new(400, format!("unable to parse requirement: {text:?}"))
}

/// A parsed field selector.
#[derive(Debug, Clone, Default)]
pub struct FieldSelector(Vec<(String, bool, String)>);

impl FieldSelector {
    /// Parses `a=b,c!=d`; a field that this kind does not support is the server's 400.
    pub fn parse(kind: &Kind, text: &str) -> Answer<Self> {
        let mut terms = Vec::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (field, wanted, value) = if let Some((field, value)) = part.split_once("!=") {
                (field, false, value)
            } else if let Some((field, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
                (field, true, value)
            } else {
                return Err(ApiStatus::new(400, format!("invalid field selector: {part:?}")));
            };
            if !supported(kind).contains(&field) {
                return Err(ApiStatus::new(400, unsupported(kind, field)));
            }
            terms.push((format!("/{}", field.replace('.', "/")), wanted, value.to_owned()));
        }
        Ok(Self(terms))
    }

    /// Whether the object satisfies every term.
    pub fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|(pointer, wanted, value)| {
            let has = object.pointer(pointer).map_or(String::new(), |found| match found {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            });
            // `spec.unschedulable=false` is how an absent boolean reads.
            let has = if has.is_empty() && pointer == "/spec/unschedulable" { "false".to_owned() } else { has };
            (has == *value) == *wanted
        })
    }
}

/// Kinds with field labels of their own refuse in other words than the rest.
fn unsupported(kind: &Kind, field: &str) -> String {
    if matches!(kind.plural, "pods" | "nodes" | "events" | "secrets" | "namespaces" | "jobs") {
        return format!("field label not supported: {field}");
    }
    format!("{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
}

fn supported(kind: &Kind) -> &'static [&'static str] {
    match kind.plural {
        "pods" => &[
            "metadata.name",
            "metadata.namespace",
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        "nodes" => &["metadata.name", "spec.unschedulable"],
        "events" => &[
            "metadata.name",
            "metadata.namespace",
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "reason",
            "reportingComponent",
            "type",
        ],
        "secrets" => &["metadata.name", "metadata.namespace", "type"],
        "namespaces" => &["metadata.name", "status.phase"],
        "jobs" => &["metadata.name", "metadata.namespace", "status.successful"],
        _ => &["metadata.name", "metadata.namespace"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn matches(selector: &str, labels: &Value) -> bool {
        LabelSelector::parse(selector).unwrap().matches(&json!({"metadata": {"labels": labels}}))
    }

    #[test]
    fn the_whole_grammar_selects_as_the_server_does() {
        let labels = json!({"pool": "kata", "size": "7", "katacontainers.io/kata-runtime": "true"});
        for (selector, expected) in [
            ("", true),
            ("pool=kata", true),
            ("pool == kata , size=7", true),
            ("pool!=kata", false),
            ("absent!=kata", true),
            ("pool in (a, kata)", true),
            ("pool notin (a, kata)", false),
            ("absent notin (a)", true),
            ("pool", true),
            ("!pool", false),
            ("!absent", true),
            ("size>6", true),
            ("size<7", false),
            ("pool>6", false),
            ("katacontainers.io/kata-runtime=true,pool in (kata),size", true),
        ] {
            assert_eq!(matches(selector, &labels), expected, "{selector}");
        }
    }

    #[test]
    fn a_malformed_selector_is_refused() {
        for selector in ["pool=a b", "pool in (a", "pool has (a)", "a=b,,c", "-a", "size>x", "a/b/c=d"] {
            assert!(LabelSelector::parse(selector).is_err(), "{selector}");
        }
    }

    #[test]
    fn an_unsupported_field_is_refused() {
        let pods = crate::api::kinds::by_plural("pods").unwrap();
        assert!(FieldSelector::parse(pods, "spec.nodeName=worker-1,status.phase!=Failed").is_ok());
        assert_eq!(FieldSelector::parse(pods, "spec.runtimeClassName=kata").unwrap_err().code, 400);
    }
}
