//! `docs/operations.md` against the program: every message has its entry there, and every entry its message.

use std::collections::BTreeSet;
use std::fs;

use klm_bed::paths::workspace;
use klm_core::phase::NodePhase;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::messages::{Sayer, said};
use super::{files, none};

const PAGE: &str = "docs/operations.md";

fn page() -> String {
    fs::read_to_string(workspace().join(PAGE)).unwrap()
}

/// What the first cells of the tables below a heading hold as code, up to the next heading of its level.
fn entries(heading: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let (mut in_title, mut inside, mut cells) = (false, false, 0);
    let mut title = String::new();
    for event in Parser::new_ext(&page(), Options::all()) {
        match event {
            Event::Start(Tag::Heading { level, .. }) if level as usize <= 2 => {
                title.clear();
                in_title = true;
            }
            Event::Text(text) | Event::Code(text) if in_title => title.push_str(&text),
            Event::End(TagEnd::Heading(_)) if in_title => {
                inside = title == heading;
                in_title = false;
            }
            Event::Start(Tag::TableRow) | Event::End(TagEnd::Table) => cells = 0,
            Event::Start(Tag::TableCell) => cells += 1,
            Event::Code(text) if inside && cells == 1 => _ = found.insert(text.to_string()),
            _ => {}
        }
    }
    found
}

/// Everything that one of these says anywhere in the two crates that speak to people, tests left out.
fn said_by(sayers: &[Sayer], only: Option<&str>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut unreadable = Vec::new();
    for folder in ["crates/klm-core/src", "crates/klm-step/src"] {
        for file in files(&workspace().join(folder), "rs") {
            let path = format!("{folder}/{}", file.display());
            let is_test = path.ends_with("/tests.rs") || path.contains("/tests/") || path.ends_with("/testing.rs");
            if is_test || only.is_some_and(|only| path != only) {
                continue;
            }
            let (texts, complaints) = said(&fs::read_to_string(workspace().join(&path)).unwrap(), sayers);
            found.extend(texts);
            unreadable.extend(complaints.into_iter().map(|call| format!("{path}: can't tell what `{call}` says")));
        }
    }
    none(&unreadable);
    assert!(!found.is_empty(), "nothing found: the search for messages is broken");
    found
}

fn compare(heading: &str, said: &BTreeSet<String>) {
    let entries = entries(heading);
    let missing = said.difference(&entries).map(|text| format!("`{text}` has no entry under \"{heading}\" of {PAGE}"));
    let stale =
        entries.difference(said).map(|text| format!("nothing says `{text}`, an entry under \"{heading}\" of {PAGE}"));
    none(&missing.chain(stale).collect::<Vec<_>>());
}

#[test]
fn every_refusal_is_explained() {
    let mut said = said_by(&[Sayer::new("Refusal::new", 0)], None);
    // One function says what is wrong with a verification pod; each of its callers is an entry.
    assert!(said.remove("the verification pod …"));
    let of_pods = Sayer { prefix: "the verification pod ", ..Sayer::new("refuse", 0) };
    said.extend(said_by(&[of_pods], Some("crates/klm-core/src/verification/manifest.rs")));
    compare("Every refusal, and what to do", &said);
}

#[test]
fn every_reason_why_a_node_fails_is_explained() {
    let mut said = said_by(
        &[
            Sayer::handing_on("NodeFailure::new", 2),
            Sayer::handing_on("Proof::Again", 0),
            Sayer::handing_on("Proof::Failed", 0),
            Sayer::handing_on("Turn::Fails", 1),
            Sayer::handing_on("Turn::Untouched", 1),
            Sayer::handing_on("Unmoved", 0),
            Sayer::handing_on("adopt", 1),
            Sayer::handing_on("take_back", 1),
            Sayer::handing_on("settle", 1),
        ],
        None,
    );
    said.extend(said_by(&[Sayer::handing_on("error", 0)], Some("crates/klm-step/src/engine/record.rs")));
    let verdicts = [Sayer::handing_on("write_str", 0), Sayer::handing_on("write!", 1)];
    said.extend(said_by(&verdicts, Some("crates/klm-core/src/verification/verdict.rs")));
    said.extend(said_by(&[Sayer::handing_on("error", 0)], Some("crates/klm-core/src/phase.rs")));
    // What is put around the other texts, and what reads a status word from its text.
    for frame in [": …", "… (hint: …)", "`…` is not a status word"] {
        assert!(said.remove(frame), "{frame}");
    }
    compare("Why a node failed", &said);
}

#[test]
fn everything_that_the_chart_refuses_is_explained() {
    let read = |file: &str| fs::read_to_string(workspace().join("chart/templates").join(file)).unwrap();
    let general = |text: &str| ["%v", "%s", "%d"].iter().fold(text.to_owned(), |text, verb| text.replace(verb, "…"));
    let text_in = |rest: &str| rest.split('"').nth(1).unwrap().to_owned();
    let pod = read("_verification_pod.tpl");
    let wrong = pod.split("$wrong = ").skip(1).map(text_in).filter(|text| !text.is_empty());
    let mut said: BTreeSet<String> = wrong.map(|text| general(&format!("defaults.verificationPod {text}"))).collect();
    assert!(said.len() > 3, "the search for refusals of the chart is broken");
    said.extend(read("rbac.yaml").split("fail ").skip(1).map(text_in).map(|text| text.replace("\\n", "")));
    let elsewhere = files(&workspace().join("chart/templates"), "yaml")
        .into_iter()
        .filter(|file| file.to_string_lossy() != "rbac.yaml" && read(&file.to_string_lossy()).contains("{{- fail "));
    assert_eq!(elsewhere.collect::<Vec<_>>(), Vec::<std::path::PathBuf>::new(), "looked through in no test");
    compare("Refused by helm install", &said);
}

#[test]
fn every_other_error_is_explained() {
    let attributes = [Sayer::handing_on("error", 0)];
    let mut said: BTreeSet<String> = BTreeSet::new();
    for file in [
        "crates/klm-core/src/post_render.rs",
        "crates/klm-core/src/release.rs",
        "crates/klm-step/src/cluster/error.rs",
        "crates/klm-step/src/helm/error.rs",
        "crates/klm-step/src/wait.rs",
    ] {
        said.extend(said_by(&attributes, Some(file)));
    }
    said.extend(said_by(&[Sayer::new("anyhow::bail!", 0), Sayer::new("anyhow::ensure!", 1)], None));
    said.extend(said_by(&[Sayer::new("anyhow::anyhow!", 0)], Some("crates/klm-step/src/engine/each.rs")));
    // The server's own words.
    assert!(said.remove("…"));
    compare("Other errors", &said);
}

#[test]
fn every_reason_why_a_node_is_left_out_is_explained() {
    let sayers = [Sayer::new("write_str", 0), Sayer::new("write!", 1)];
    let mut said = said_by(&sayers, Some("crates/klm-core/src/selection/skip.rs"));
    // The sentence that all of them end.
    assert!(said.remove("node `…` …"));
    compare("Why a node is left out", &said);
}

#[test]
fn every_status_word_has_its_advice() {
    let words = NodePhase::ALL.map(|phase| phase.as_str().to_owned()).into();
    compare("What each status word asks of you", &words);
}

#[test]
fn every_event_on_a_node_is_named() {
    let source = fs::read_to_string(workspace().join("crates/klm-step/src/cluster/events.rs")).unwrap();
    let reasons: Vec<&str> = source.split('"').filter(|text| text.starts_with("Kata")).collect();
    assert!(reasons.len() > 2, "{reasons:?}: the search for them is broken");
    let unnamed = reasons.iter().filter(|reason| !page().contains(**reason));
    none(&unnamed.map(|reason| format!("{PAGE} doesn't name the Event {reason}")).collect::<Vec<_>>());
}

#[test]
fn the_report_on_the_page_is_one_that_the_program_prints() {
    let folder = workspace().join("crates/klm-core/src/snapshots");
    let snapshot = files(&folder, "snap").into_iter().find(|file| file.to_string_lossy().contains("report")).unwrap();
    let snapshot = fs::read_to_string(folder.join(snapshot)).unwrap();
    let printed = snapshot.splitn(3, "---\n").nth(2).unwrap().trim();
    assert!(page().contains(printed), "{PAGE} doesn't show this report:\n{printed}");
}
