//! A reason to stop before anything is touched: what is wrong, with which thing, and the way out.

use std::fmt;

/// One reason, in the voice of every message we print: lower case, no full stop, names in backticks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What is wrong, naming the thing and what was given.
    pub what: String,
    /// What to do; a command where there is one.
    pub hint: Option<String>,
}

impl Refusal {
    /// A reason without a remedy of its own.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), hint: None }
    }

    /// The same with its remedy.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {}", hint.replace('\n', "\n  "))?;
        }
        Ok(())
    }
}

/// The word of `known` that a person most likely meant by `given`: at most a third of it may differ.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|word| (distance(given, word), word))
        .filter(|(d, word)| *d <= word.len().max(given.len()) / 3)
        .min_by_key(|(d, _)| *d)
        .map(|(_, word)| word)
}

/// Levenshtein's distance; parameter names are short, so the plain algorithm does.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let replaced = corner + usize::from(ca != *cb);
            corner = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_word_is_matched_to_the_nearest_known_one() {
        let known = ["batch-size", "drain-timeout", "drain-enabled"];
        assert_eq!(nearest("batchsize", known), Some("batch-size"));
        assert_eq!(nearest("drain-timout", known), Some("drain-timeout"));
        assert_eq!(nearest("colour", known), None);
    }

    #[test]
    fn a_refusal_prints_its_hint_on_lines_of_its_own() {
        let refusal = Refusal::new("release `kata-deploy` is missing").hint("run:\nhelm list");
        assert_eq!(refusal.to_string(), "error: release `kata-deploy` is missing\nhint: run:\n  helm list");
    }
}
