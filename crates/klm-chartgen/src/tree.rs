//! All values of the chart as one tree, by path: the defaults of the parameters and the rest of the contract's table.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use klm_core::contract::{Kind, PARAMETERS, VALUES, Value as ContractValue};
use serde_json::Value;

/// One value, as the writers of values.yaml, the schema and the tables need it.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// As in `--set path=…`.
    pub path: &'static str,
    /// The default.
    pub default: Value,
    /// One line of help.
    pub help: &'static str,
    /// The schema of what is allowed.
    pub schema: Value,
}

/// Every value, the contract's own first.
pub fn leaves() -> Result<Vec<Leaf>> {
    let (first, rest) = VALUES.split_at(1); // argoNamespace leads the contract's table
    let mut leaves = first.iter().map(leaf).collect::<Result<Vec<_>>>()?;
    for parameter in PARAMETERS {
        leaves.push(Leaf {
            path: parameter.value,
            default: default_of(parameter.kind, parameter.default)?,
            help: parameter.help,
            schema: crate::schema::of_parameter(parameter.kind),
        });
    }
    leaves.extend(rest.iter().map(leaf).collect::<Result<Vec<_>>>()?);
    Ok(leaves)
}

fn leaf(value: &ContractValue) -> Result<Leaf> {
    let default = serde_yaml::from_str(value.default).with_context(|| format!("default of {}", value.path))?;
    Ok(Leaf { path: value.path, default, help: value.help, schema: crate::schema::of_value(value.kind) })
}

/// A parameter's default in the type that its chart value has.
fn default_of(kind: Kind, text: &str) -> Result<Value> {
    Ok(match kind {
        Kind::Integer { .. } => text.parse::<i64>().with_context(|| format!("`{text}` as a number"))?.into(),
        Kind::Bool => (text == "true").into(),
        _ => text.into(),
    })
}

/// The `.Values.…` in a text of Helm's that no value bears, and that lead to none.
pub fn unknown_values(text: &str) -> Vec<String> {
    let known: BTreeSet<&str> =
        PARAMETERS.iter().map(|parameter| parameter.value).chain(VALUES.iter().map(|value| value.path)).collect();
    text.split(".Values")
        .skip(1)
        .filter_map(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(rest.len());
            let path = rest[..end].trim_matches('.');
            let prefix = format!("{path}.");
            (!path.is_empty() && !known.contains(path) && !known.iter().any(|known| known.starts_with(&prefix)))
                .then(|| format!(".Values.{path}"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_stands_in_the_way_of_another() {
        let paths: Vec<_> = leaves().unwrap().iter().map(|leaf| leaf.path).collect();
        for path in &paths {
            let prefix = format!("{path}.");
            assert_eq!(paths.iter().filter(|other| *other == path || other.starts_with(&prefix)).count(), 1, "{path}");
        }
    }

    #[test]
    fn an_unknown_value_is_found_wherever_it_stands() {
        let text =
            "{{ .Values.rbac.drain }} {{ .Values.rbca.drain | quote }} {{ with .Values.rbac }} (.Values.images.util)";
        assert_eq!(unknown_values(text), [".Values.rbca.drain", ".Values.images.util"]);
    }
}
