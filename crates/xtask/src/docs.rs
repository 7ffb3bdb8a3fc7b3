//! Checks on what people read: links and anchors lead somewhere, and every command of ours is one that the program takes.

mod architecture;
mod blocks;
mod commands;
mod links;
mod messages;
mod operations;
mod proofs;
mod takes;

use std::fs;
use std::path::{Path, PathBuf};

use klm_bed::paths::workspace;

/// A Markdown file of this repository.
struct Page {
    /// Relative to the repository.
    path: PathBuf,
    text: String,
}

fn pages() -> Vec<Page> {
    let root = workspace();
    files(&root, "md")
        .into_iter()
        .map(|path| Page { text: fs::read_to_string(root.join(&path)).unwrap(), path })
        .collect()
}

/// Every file of this kind, relative to the repository; nothing that git ignores by name.
fn files(root: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name();
            if entry.file_type().unwrap().is_dir() {
                if name != "target" && name != ".git" {
                    folders.push(entry.path());
                }
            } else if entry.path().extension().is_some_and(|kind| kind == extension) {
                found.push(entry.path().strip_prefix(root).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// Fails with every complaint at once.
fn none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn every_link_and_anchor_leads_somewhere() {
    let root = workspace();
    none(&pages().iter().flat_map(|page| links::broken(&root, page)).collect::<Vec<_>>());
}

#[test]
fn every_page_can_be_reached_from_the_readme() {
    let readme = fs::read_to_string(workspace().join("README.md")).unwrap();
    let pages = pages().into_iter().map(|page| page.path).filter(|path| path.starts_with("docs"));
    let lost = pages.filter(|path| !readme.contains(&format!("({}", path.display())));
    none(&lost.map(|path| format!("README.md doesn't link to {}", path.display())).collect::<Vec<_>>());
}

#[test]
fn alerts_and_issue_forms_lead_to_the_place_that_explains_them() {
    let root = workspace();
    let read = |file: &str| fs::read_to_string(root.join(file)).unwrap();
    let (alerts, forms) = (read("chart/files/alerts.yaml"), read(".github/ISSUE_TEMPLATE/config.yml"));
    let text = format!("{alerts}\n{forms}");
    let page = Page { text, path: "README.md".into() };
    let links: Vec<&str> = links::to_us(&page.text).collect();
    assert_eq!(links.len(), alerts.matches("- alert: ").count() + 1, "{links:?}");
    none(
        &links
            .iter()
            .filter_map(|link| Some(format!("{link} {}", links::fault(&root, &page, link)?)))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn every_command_in_the_documentation_is_one_that_the_program_takes() {
    let mut complaints = Vec::new();
    for page in pages() {
        for command in commands::in_markdown(&page.text) {
            complaints.extend(command.complaint().map(|complaint| format!("{}: {complaint}", page.path.display())));
        }
    }
    none(&complaints);
}

#[test]
fn every_label_and_annotation_in_the_documentation_is_one_of_the_contract() {
    use klm_bed::consent::MAY_BE_WIPED;
    use klm_core::contract::{CURRENT_VERSION, HOLD, JOURNAL, KATA_RUNTIME, RUN_LABEL, STATUS, WINDOW};
    let known = [CURRENT_VERSION, HOLD, JOURNAL, KATA_RUNTIME, MAY_BE_WIPED, RUN_LABEL, STATUS, WINDOW];
    let mut complaints = Vec::new();
    for page in pages() {
        for (at, prefix) in page.text.match_indices("katacontainers.io/") {
            // Addresses, and kata-deploy's own prefix, end in the same words.
            if page.text[..at].ends_with(['.', '/']) {
                continue;
            }
            let rest = &page.text[at + prefix.len()..];
            let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-').unwrap_or(rest.len());
            // `kubectl label` takes one off that a dash follows.
            let name = format!("{prefix}{}", rest[..end].trim_end_matches('-'));
            if !known.contains(&name.as_str()) {
                complaints.push(format!("{}: nothing writes or reads `{name}`", page.path.display()));
            }
        }
    }
    none(&complaints);
}

#[test]
fn every_command_in_a_workflow_is_one_that_the_program_takes() {
    let folder = workspace().join(".github/workflows");
    let mut complaints = Vec::new();
    let mut seen = 0;
    for file in files(&folder, "yaml") {
        let text = fs::read_to_string(folder.join(&file)).unwrap();
        for command in commands::in_workflow(&text) {
            seen += 1;
            complaints.extend(command.complaint().map(|complaint| format!("{}: {complaint}", file.display())));
        }
    }
    none(&complaints);
    assert!(seen > 0, "the workflows call none of our commands: the search for them is broken");
}

#[test]
fn the_dockerfile_calls_a_command_that_there_is() {
    let text = fs::read_to_string(workspace().join("images/utils/Dockerfile")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("RUN cargo xtask")).unwrap();
    let command = commands::in_shell(&format!("cargo xtask{}", line.replace("${TARGETARCH}", "s390x")));
    assert_eq!(command.len(), 1);
    none(&command[0].complaint().into_iter().collect::<Vec<_>>());
}
