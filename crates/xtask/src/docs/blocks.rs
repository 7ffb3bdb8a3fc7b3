//! Tables and blocks of data in the pages: whole, readable, and what they say they are.

use klm_core::verification::{Template, readable};
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};
use serde_json::Value;

use super::{Page, none, pages, takes};

/// Blocks of this language.
fn blocks(text: &str, of: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut block: Option<String> = None;
    for event in Parser::new_ext(text, Options::all()) {
        match event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(language))) if &*language == of => {
                block = Some(String::new());
            }
            Event::Text(line) => _ = block.as_mut().map(|block| block.push_str(&line)),
            Event::End(TagEnd::CodeBlock) => found.extend(block.take()),
            _ => {}
        }
    }
    found
}

/// Rows with another number of cells than their table's head: GitHub cuts or fills them without a word.
fn crooked_rows(page: &Page) -> Vec<String> {
    let cells = |line: &str| line.replace("\\|", "").matches('|').count();
    let (mut complaints, mut head, mut in_block) = (Vec::new(), None, false);
    for line in page.text.lines().map(str::trim) {
        in_block ^= line.starts_with("```");
        if in_block || !line.starts_with('|') {
            head = None;
            continue;
        }
        let expected = *head.get_or_insert_with(|| cells(line));
        if cells(line) != expected {
            complaints.push(format!("{}: {} bars instead of {expected}: {line}", page.path.display(), cells(line)));
        }
    }
    complaints
}

/// What is wrong with a block of YAML.
fn misfit(block: &str) -> Option<String> {
    let value: Value = match serde_yaml::from_str(&readable(block)) {
        Ok(value) => value,
        Err(error) => return Some(error.to_string()),
    };
    if block.starts_with("# values.yaml\n") {
        return takes::misfit(&value);
    }
    if value["kind"] == "Pod" {
        return Template::check(vec![value], "default").err().map(|refusals| refusals[0].to_string());
    }
    Some("nobody knows what it is: begin it with `# values.yaml`, or give it a kind".to_owned())
}

#[test]
fn every_row_of_a_table_has_as_many_cells_as_its_head() {
    none(&pages().iter().flat_map(crooked_rows).collect::<Vec<_>>());
    let page = Page { path: "p".into(), text: "| a | b |\n|---|---|\n| 1 | x \\| y |\n| 1 | 2 | 3 |\n".to_owned() };
    assert_eq!(crooked_rows(&page), ["p: 4 bars instead of 3: | 1 | 2 | 3 |"]);
}

#[test]
fn every_block_of_yaml_is_what_the_chart_or_a_run_takes() {
    let mut seen = 0;
    for page in pages() {
        for block in blocks(&page.text, "yaml") {
            seen += 1;
            let misfit = misfit(&block);
            assert_eq!(misfit, None, "{}:\n{block}", page.path.display());
        }
    }
    assert!(seen > 1, "the search for blocks is broken");
    assert!(misfit("# values.yaml\ndefaults: {batchsize: 3}\n").is_some());
    assert!(misfit("kind: Pod\napiVersion: v1\nspec: {}\n").is_some());
}
