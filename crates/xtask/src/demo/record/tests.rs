//! Of the recordings in the repository: that they are whole, show the story, and tell nothing of the machine.

use std::num::NonZero;

use klm_bed::paths::workspace;
use serde_json::Value;

use crate::demo::story::Story;

fn read(story: Story, ending: &str) -> String {
    let path = workspace().join(format!("docs/demo/{}.{ending}", story.name()));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

const BOTH: [Story; 2] = [Story::Sunny, Story::Rainy];

fn statuses(story: Story) -> &'static [&'static str] {
    match story {
        Story::Sunny => &["preparing", "cordoned", "upgrading", "verifying", "completed"],
        Story::Rainy => {
            &["preparing", "cordoned", "upgrading", "verifying", "completed", "rolling-back", "rolled-back"]
        }
    }
}

/// Plays a cast on a terminal of its size, and returns every screen that a viewer sees.
fn screens(cast: &str) -> Vec<String> {
    let mut lines = cast.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let header = lines.next().unwrap();
    assert_eq!(header["version"], 2);
    let size = |key: &str| NonZero::new(u16::try_from(header[key].as_u64().unwrap()).unwrap()).unwrap();
    let mut terminal = vt100::Parser::new(size("height"), size("width"), 0);
    let mut before = 0.0;
    lines
        .map(|event| {
            let at = event[0].as_f64().unwrap();
            assert!(at > before, "times go backwards at {at}");
            before = at;
            assert_eq!(event[1], "o");
            terminal.process(event[2].as_str().unwrap().as_bytes());
            terminal.screen().contents()
        })
        .collect()
}

#[test]
fn a_cast_plays_from_its_beginning_to_its_end() {
    for story in BOTH {
        let screens = screens(&read(story, "cast"));
        assert!(screens.len() > 20, "{story:?} has {} moments only", screens.len());
        let mut from = 0;
        for status in statuses(story) {
            let found = screens[from..].iter().position(|screen| screen.contains(status));
            from += found.unwrap_or_else(|| panic!("{story:?} never shows `{status}` after what comes before it"));
        }
        let first = screens.first().unwrap().lines().find(|line| !line.is_empty()).unwrap();
        assert!(screens.last().unwrap().contains(first), "{story:?}: the first line has scrolled away");
    }
}

#[test]
fn the_picture_that_stands_still_is_the_last_screen_of_the_cast() {
    for story in BOTH {
        let svg = read(story, "svg");
        let document = roxmltree::Document::parse(&svg).unwrap();
        let still: Vec<String> = document
            .descendants()
            .filter(|node| {
                node.has_tag_name("text") && !node.attribute("class").is_some_and(|class| class.starts_with("goes-"))
            })
            .map(|node| {
                node.descendants().filter_map(|node| node.text().filter(|_| node.is_text())).collect::<String>()
            })
            .map(|line| line.trim_end().to_owned())
            .collect();
        let cast = screens(&read(story, "cast"));
        let last: Vec<&str> = cast.last().unwrap().lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        assert_eq!(still, last, "{story:?}");
    }
}

#[test]
fn a_picture_moves_only_where_that_is_welcome_and_needs_nothing_from_elsewhere() {
    for story in BOTH {
        let svg = read(story, "svg");
        assert!(svg.contains("@media (prefers-reduced-motion:no-preference)"), "{story:?}");
        let before_media = svg.split("@media").next().unwrap();
        assert!(!before_media.contains("animation"), "{story:?} moves for those who asked for stillness");
        for outside in ["<script", "href", "url(", "@import"] {
            assert!(!svg.contains(outside), "{story:?} has `{outside}`, which a README's picture can't load");
        }
    }
}

#[test]
fn nothing_of_the_machine_is_in_a_recording() {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let own = [workspace().display().to_string(), std::env::var("HOME").unwrap_or_default(), host.trim().to_owned()];
    let usual = ["/root", "/home/", "/tmp", "/var/", "/work"].map(str::to_owned);
    for story in BOTH {
        for ending in ["cast", "svg"] {
            let text = read(story, ending);
            // A short name may be a word of the text.
            for word in own.iter().filter(|word| word.len() > 4).chain(&usual) {
                assert!(!text.contains(word.as_str()), "{}.{ending} has `{word}`", story.name());
            }
        }
    }
}
