//! Relative links and anchors of Markdown pages, resolved as GitHub shows them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::Page;

/// Every link of the page that leads nowhere, one line each. Addresses elsewhere aren't looked at: tests have no network.
pub fn broken(root: &Path, page: &Page) -> Vec<String> {
    let mut complaints = Vec::new();
    for link in links(&page.text) {
        if let Some(why) = fault(root, page, &link) {
            complaints.push(format!("{}: `{link}` {why}", page.path.display()));
        }
    }
    complaints
}

/// Where GitHub shows this repository's files; what a running cluster links to.
const HERE: &str = "https://github.com/kata-containers/lifecycle-manager/blob/main";

/// Every address of a file of ours in a text that is no page.
pub fn to_us(text: &str) -> impl Iterator<Item = &str> {
    text.split_whitespace().map(|word| word.trim_matches(['"', ',', '(', ')'])).filter(|word| word.starts_with(HERE))
}

pub fn fault(root: &Path, page: &Page, link: &str) -> Option<String> {
    let link = link.strip_prefix(HERE).unwrap_or(link);
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) = link.split_once('#').map_or((link, None), |(path, anchor)| (path, Some(anchor)));
    let target = if path.is_empty() {
        page.path.clone()
    } else {
        let Some(target) = inside(&page.path, path) else {
            return Some("leaves the repository".to_owned());
        };
        target
    };
    let Ok(kind) = fs::metadata(root.join(&target)) else {
        return Some("leads to no file".to_owned());
    };
    let anchor = anchor?;
    if kind.is_dir() || target.extension().is_none_or(|kind| kind != "md") {
        return Some("has an anchor into something that isn't a page".to_owned());
    }
    let text = if path.is_empty() { page.text.clone() } else { fs::read_to_string(root.join(&target)).ok()? };
    (!anchors(&text).contains(anchor)).then(|| format!("names no heading of {}", target.display()))
}

/// The path that a link on this page means, or nothing when it leads out of the repository.
fn inside(page: &Path, link: &str) -> Option<PathBuf> {
    let mut path = if link.starts_with('/') { PathBuf::new() } else { page.parent()?.to_owned() };
    for part in Path::new(link).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => {
                if !path.pop() {
                    return None;
                }
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    Some(path)
}

/// Every address that the page links to or shows, in Markdown or in HTML.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for event in Parser::new_ext(text, Options::all()) {
        match event {
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => found.push(dest_url.to_string()),
            Event::Html(html) | Event::InlineHtml(html) => {
                for attribute in ["href=\"", "src=\"", "srcset=\""] {
                    found.extend(
                        html.split(attribute).skip(1).filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())),
                    );
                }
            }
            _ => {}
        }
    }
    found
}

/// Every anchor that GitHub gives the page: one for each heading, and those written in HTML.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    let mut heading: Option<String> = None;
    for event in Parser::new_ext(text, Options::all()) {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::Text(words) | Event::Code(words) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&words);
                }
            }
            Event::End(TagEnd::Heading(_)) => {
                let slug = slug(&heading.take().unwrap_or_default());
                let before = times.entry(slug.clone()).or_insert(0);
                found.insert(if *before == 0 { slug } else { format!("{slug}-{before}") });
                *before += 1;
            }
            Event::Html(html) | Event::InlineHtml(html) => {
                for attribute in ["id=\"", "name=\""] {
                    found.extend(
                        html.split(attribute).skip(1).filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())),
                    );
                }
            }
            _ => {}
        }
    }
    found
}

fn slug(heading: &str) -> String {
    heading
        .trim()
        .to_lowercase()
        .chars()
        .filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'))
        .map(|letter| if letter == ' ' { '-' } else { letter })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(text: &str) -> Vec<String> {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("docs")).unwrap();
        fs::write(root.path().join("docs/other.md"), "# One heading\n## Twice\n## Twice\n<a id=\"own\"></a>\n")
            .unwrap();
        fs::write(root.path().join("LICENSE"), "").unwrap();
        fs::write(root.path().join("docs/page.md"), text).unwrap();
        broken(root.path(), &Page { path: "docs/page.md".into(), text: text.to_owned() })
    }

    #[test]
    fn links_that_lead_somewhere_are_left_alone() {
        let text = "# `klm-step`, here & now\n[a](other.md) [b](other.md#one-heading) [c](other.md#twice-1) [d](other.md#own)\n\
            [e](../LICENSE) [f](/LICENSE) [g](#klm-step-here--now) [h](https://example.com/x#y) [i][ref] \
            [j](https://github.com/kata-containers/lifecycle-manager/blob/main/docs/other.md#own) <img src=\"other.md\">\n\n\
            [ref]: ../docs/other.md\n";
        assert_eq!(complaints(text), Vec::<String>::new());
    }

    #[test]
    fn links_that_lead_nowhere_are_named_with_the_page() {
        let text = "[a](gone.md) [b](other.md#gone) [x](https://github.com/kata-containers/lifecycle-manager/blob/main/docs/x.md) [c](#gone) [d](../../x) [e](../LICENSE#x) ![f](gone.svg)\n\n<img src=\"gone.png\">\n";
        assert_eq!(
            complaints(text),
            [
                "docs/page.md: `gone.md` leads to no file",
                "docs/page.md: `other.md#gone` names no heading of docs/other.md",
                "docs/page.md: `https://github.com/kata-containers/lifecycle-manager/blob/main/docs/x.md` leads to no file",
                "docs/page.md: `#gone` names no heading of docs/page.md",
                "docs/page.md: `../../x` leaves the repository",
                "docs/page.md: `../LICENSE#x` has an anchor into something that isn't a page",
                "docs/page.md: `gone.svg` leads to no file",
                "docs/page.md: `gone.png` leads to no file",
            ]
        );
    }
}
