//! Tables between markers in documents that are otherwise written by hand.

use std::fmt::Write as _;

use anyhow::{Context, Result, bail};
use klm_core::contract::{Entrypoint, PARAMETERS, RIGHTS, VALUES};
use klm_core::phase::NodePhase;

use crate::tree::{self, Leaf};
use crate::values_file::flow;

const BEGIN: &str = "<!-- begin generated: ";
const END: &str = "<!-- end generated -->";

/// The document with the text between `<!-- begin generated: NAME -->` and `<!-- end generated -->` made anew.
pub fn rewrite(document: &str) -> Result<String> {
    let mut text = String::with_capacity(document.len());
    let mut rest = document;
    while let Some(begin) = rest.find(BEGIN) {
        let name = &rest[begin + BEGIN.len()..];
        let name = &name[..name.find(" -->").context("a marker without an end")?];
        let end = rest[begin..].find(END).with_context(|| format!("`{name}` has no end marker"))? + begin;
        let _ = write!(text, "{}{BEGIN}{name} -->\n{}{END}", &rest[..begin], table(name)?);
        rest = &rest[end + END.len()..];
    }
    Ok(text + rest)
}

fn table(name: &str) -> Result<String> {
    Ok(match name {
        "contract values" => values(tree::leaves()?.iter().filter(|leaf| is_of_the_contract(leaf.path))),
        "other values" => values(tree::leaves()?.iter().filter(|leaf| !is_of_the_contract(leaf.path))),
        "parameters" => parameters(),
        "inputs" => inputs(),
        "states" => states(),
        _ => bail!("there is no table `{name}`"),
    })
}

/// What every installation looks at; the rest is for those who need it.
fn is_of_the_contract(path: &str) -> bool {
    path == VALUES[0].path || path == "images.utils" || path.starts_with("defaults.")
}

fn values<'a>(leaves: impl Iterator<Item = &'a Leaf>) -> String {
    let rows = leaves.map(|leaf| [code(leaf.path), leaf.help.to_owned(), code(&flow(&leaf.default))]);
    rows_of(["Value", "Description", "Default"], rows)
}

fn parameters() -> String {
    let rows = PARAMETERS.iter().map(|parameter| {
        let default = if parameter.default.is_empty() { "\"\"" } else { parameter.default };
        [code(parameter.name), parameter.help.to_owned(), code(default)]
    });
    rows_of(["Parameter", "Description", "Default"], rows)
}

fn inputs() -> String {
    let rows = Entrypoint::ALL.into_iter().flat_map(|entrypoint| {
        let inputs = entrypoint.inputs().iter();
        inputs.map(move |input| {
            let need = input.default.map_or("required".to_owned(), |default| code(&format!("{default:?}")));
            [code(entrypoint.as_str()), code(input.name), input.help.to_owned(), need]
        })
    });
    rows_of(["Entrypoint", "Parameter", "Description", "Default"], rows)
}

fn states() -> String {
    let rows = NodePhase::ALL.into_iter().map(|phase| [code(phase.as_str()), phase.meaning().to_owned()]);
    rows_of(["Status", "What is true"], rows)
}

/// Every right of the steps.
pub fn rights() -> String {
    let rows = RIGHTS.iter().map(|right| {
        let group = if right.group.is_empty() { String::new() } else { format!(".{}", right.group) };
        let resources: Vec<_> = right.resources.iter().map(|resource| code(&format!("{resource}{group}"))).collect();
        let names = if right.names.is_empty() { String::new() } else { format!(" named {}", right.names.join(", ")) };
        [
            right.place.describe().to_owned(),
            resources.join(", ") + &names,
            right.verbs.join(", "),
            right.user.to_owned(),
        ]
    });
    rows_of(["Where", "Resource", "Verbs", "Who uses it, what for"], rows)
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

/// A table.
pub fn rows_of<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut table = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(N));
    for row in rows {
        let _ = writeln!(table, "| {} |", row.map(|cell| cell.replace('|', "\\|")).join(" | "));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_between_markers_changes() {
        let document = format!("before\n{BEGIN}inputs -->\nold\n{END}\nafter\n");
        let text = rewrite(&document).unwrap();
        assert!(text.starts_with("before\n") && text.ends_with(&format!("{END}\nafter\n")), "{text}");
        assert!(text.contains("| `rollback-node` | `node-name` |") && !text.contains("old"), "{text}");
        assert_eq!(rewrite(&text).unwrap(), text);
    }

    #[test]
    fn an_unknown_table_or_an_open_marker_is_an_error() {
        assert!(rewrite(&format!("{BEGIN}nothing -->\n{END}")).is_err());
        assert!(rewrite(&format!("{BEGIN}inputs -->\n")).is_err());
    }
}
