//! `docs/architecture.md` against the workspace: every crate, what it may use, and every step.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use clap::CommandFactory as _;
use klm_bed::paths::workspace;

use super::none;

fn page() -> String {
    fs::read_to_string(workspace().join("docs/architecture.md")).unwrap()
}

/// Each crate with those of ours that its program, not only its tests, is made of.
fn crates() -> BTreeMap<String, BTreeSet<String>> {
    let inside = ["crates", "tests"].into_iter().flat_map(|folder| fs::read_dir(workspace().join(folder)).unwrap());
    let manifests = inside.filter_map(|entry| fs::read_to_string(entry.unwrap().path().join("Cargo.toml")).ok());
    let read = |manifest: String| {
        let name = manifest.split("name = \"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        let dependencies = manifest.split("\n[dependencies]\n").nth(1).unwrap_or_default();
        let lines = dependencies.lines().take_while(|line| !line.starts_with('['));
        let ours = lines.filter(|line| line.starts_with("klm-"));
        (name, ours.map(|line| line.split(['.', ' ']).next().unwrap().to_owned()).collect())
    };
    manifests.map(read).collect()
}

/// The table's rows: a crate, and what it may use.
fn rows() -> BTreeMap<String, String> {
    let page = page();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let crates = rows.filter(|(name, _)| name.starts_with("klm-") || *name == "xtask");
    crates.map(|(name, rest)| (name.to_owned(), rest.rsplit('|').nth(1).unwrap().to_owned())).collect()
}

#[test]
fn every_crate_is_there_and_uses_no_more_than_it_may() {
    let rows = rows();
    let mut complaints: Vec<String> = Vec::new();
    for (name, uses) in crates() {
        let Some(may) = rows.get(&name) else {
            complaints.push(format!("docs/architecture.md has no row for crate `{name}`"));
            continue;
        };
        let not_said = uses.iter().filter(|other| !may.contains(&format!("`{other}`")));
        complaints.extend(not_said.map(|other| format!("by docs/architecture.md `{name}` may not use `{other}`")));
    }
    let known = crates();
    complaints.extend(
        rows.keys().filter(|name| !known.contains_key(*name)).map(|name| format!("there is no crate `{name}`")),
    );
    none(&complaints);
}

#[test]
fn every_step_that_the_picture_shows_is_one_of_the_programs() {
    let page = page();
    let picture = page.split("```").nth(1).unwrap();
    let shown: BTreeSet<&str> =
        picture.split("klm-step ").skip(1).filter_map(|rest| rest.split_whitespace().next()).collect();
    let command = klm_step::cli::Cli::command();
    let known: BTreeSet<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
    assert!(shown.len() >= 6 && shown.is_subset(&known), "{shown:?} of {known:?}");
}
