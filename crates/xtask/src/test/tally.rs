//! How many tests passed and failed, summed over every test program, and which failed.

use std::fmt;
use std::ops::AddAssign;

/// A count of results.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    passed: usize,
    failed: usize,
    /// What failed, for the end of a log that nobody reads from its beginning.
    named: Vec<String>,
    /// Suites that couldn't run on somebody else's cluster.
    left_out: Vec<String>,
}

impl Tally {
    /// One thing that was checked, and held.
    pub fn success() -> Self {
        Self { passed: 1, ..Self::default() }
    }

    /// One thing that was checked, and didn't hold; or couldn't be checked.
    pub fn failure(what: impl Into<String>) -> Self {
        Self { failed: 1, named: vec![what.into()], ..Self::default() }
    }

    /// A suite that can't run on somebody else's cluster.
    pub fn left_out(suite: &str) -> Self {
        Self { left_out: vec![suite.to_owned()], ..Self::default() }
    }

    /// What failed.
    pub fn named(&self) -> &[String] {
        &self.named
    }

    /// Whether there was something, and nothing failed.
    pub const fn is_good(&self) -> bool {
        self.failed == 0 && self.passed > 0
    }

    /// The results in one line of a test program's output, if it is the line that has them, or the name of a test that
    /// failed.
    pub fn of_line(line: &str) -> Option<Self> {
        if let Some(failed) = line.strip_prefix("---- ").and_then(|line| line.strip_suffix(" stdout ----")) {
            return Some(Self { named: vec![failed.to_owned()], ..Self::default() });
        }
        let counts = line.strip_prefix("test result: ")?;
        let count =
            |word: &str| counts.split([';', '.']).find_map(|part| part.trim().strip_suffix(word)?.trim().parse().ok());
        Some(Self { passed: count("passed")?, failed: count("failed")?, ..Self::default() })
    }

    /// Counts a program that ended badly although no test of it had failed: it crashed, was killed or didn't compile.
    #[must_use]
    pub fn ended(mut self, how: Result<(), String>) -> Self {
        if let Err(why) = how
            && self.failed == 0
        {
            self += Self::failure(why);
        }
        self
    }

    /// The same with this in front of every name.
    #[must_use]
    pub fn of(mut self, whose: &str) -> Self {
        for name in &mut self.named {
            *name = format!("{whose}: {name}");
        }
        self
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.named.extend(other.named);
        self.left_out.extend(other.left_out);
    }
}

impl std::iter::Sum for Tally {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |mut sum, each| {
            sum += each;
            sum
        })
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if !self.left_out.is_empty() {
            let (count, names) = (self.left_out.len(), self.left_out.join(", "));
            write!(f, "; {count} suites need a cluster that is started here: {names}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_a_test_program_are_understood() {
        let line = "test result: FAILED. 17 passed; 2 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.02s";
        assert_eq!(Tally::of_line(line).unwrap().to_string(), "17 passed, 2 failed");
        assert_eq!(Tally::of_line("---- waves::none_is_left stdout ----").unwrap().named(), ["waves::none_is_left"]);
        assert_eq!(Tally::of_line("test result_is_shown ... ok"), None);
    }

    #[test]
    fn a_program_that_crashed_counts_as_a_failure_once() {
        let ended = |failed, how| Tally { passed: 3, failed, ..Tally::default() }.ended(how);
        let crashed = || Err("it crashed".to_owned());
        assert_eq!(ended(0, crashed()).to_string(), "3 passed, 1 failed");
        assert_eq!(ended(0, crashed()).named(), ["it crashed"]);
        assert_eq!(ended(2, crashed()).to_string(), "3 passed, 2 failed");
        assert_eq!(ended(0, Ok(())).to_string(), "3 passed, 0 failed");
    }

    #[test]
    fn what_failed_is_known_with_its_suite() {
        let sum: Tally =
            [Tally::success(), Tally::failure("no cluster").of("job"), Tally::failure("lints")].into_iter().sum();
        assert_eq!(sum.named(), ["job: no cluster", "lints"]);
    }

    #[test]
    fn no_results_at_all_are_not_good() {
        assert!(!Tally::default().is_good());
        assert!(Tally::success().is_good());
        assert!(!Tally::failure("lints").is_good());
    }
}
