//! How many tests passed and failed, summed over every test program.

use std::fmt;
use std::ops::AddAssign;

/// A count of results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    passed: usize,
    failed: usize,
}

impl Tally {
    /// One thing that was checked, and held.
    pub fn success() -> Self {
        Self { passed: 1, failed: 0 }
    }

    /// One thing that was checked, and didn't hold; or couldn't be checked.
    pub fn failure() -> Self {
        Self { passed: 0, failed: 1 }
    }

    /// Whether there was something, and nothing failed.
    pub fn is_good(self) -> bool {
        self.failed == 0 && self.passed > 0
    }

    /// The results in one line of a test program's output, if it is the line that has them.
    pub fn of_line(line: &str) -> Option<Self> {
        let counts = line.strip_prefix("test result: ")?;
        let count =
            |word: &str| counts.split([';', '.']).find_map(|part| part.trim().strip_suffix(word)?.trim().parse().ok());
        Some(Self { passed: count("passed")?, failed: count("failed")? })
    }

    /// Counts a program that ended badly although no test of it had failed: it crashed, was killed or didn't compile.
    #[must_use]
    pub fn ended(self, well: bool) -> Self {
        if well || self.failed > 0 {
            return self;
        }
        Self { failed: 1, ..self }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
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
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_test_program_is_understood() {
        let line = "test result: FAILED. 17 passed; 2 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.02s";
        assert_eq!(Tally::of_line(line), Some(Tally { passed: 17, failed: 2 }));
        assert_eq!(Tally::of_line("test result_is_shown ... ok"), None);
    }

    #[test]
    fn a_program_that_crashed_counts_as_a_failure_once() {
        let crashed = Tally { passed: 3, failed: 0 }.ended(false);
        assert_eq!(crashed, Tally { passed: 3, failed: 1 });
        assert_eq!(Tally { passed: 3, failed: 2 }.ended(false), Tally { passed: 3, failed: 2 });
        assert_eq!(Tally { passed: 3, failed: 0 }.ended(true), Tally { passed: 3, failed: 0 });
    }

    #[test]
    fn no_results_at_all_are_not_good() {
        assert!(!Tally::default().is_good());
        assert!(Tally::success().is_good());
        assert!(!Tally::failure().is_good());
        assert_eq!(Tally { passed: 12, failed: 3 }.to_string(), "12 passed, 3 failed");
    }
}
