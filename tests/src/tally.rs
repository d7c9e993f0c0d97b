//! How many tests passed and failed, added up from what Rust's test harness prints.

use serde::{Deserialize, Serialize};

/// Tests that passed and failed. An ignored test counts as failed: nothing is skipped silently.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Passed.
    pub passed: u64,
    /// Failed or ignored.
    pub failed: u64,
}

impl Tally {
    /// Counts in `test result: ok. 3 passed; 0 failed; 0 ignored; …`; nothing in any other line.
    #[must_use]
    pub fn of_line(line: &str) -> Option<Self> {
        let counts = line.strip_prefix("test result: ")?.split_once(". ")?.1;
        let mut tally = Self::default();
        for part in counts.split("; ") {
            let mut words = part.split(' ');
            let (number, word) = (words.next()?.parse::<u64>().ok(), words.next());
            match (number, word) {
                (Some(number), Some("passed")) => tally.passed += number,
                (Some(number), Some("failed" | "ignored")) => tally.failed += number,
                _ => {}
            }
        }
        Some(tally)
    }

    /// The test in `test a_name ... ok`: what is known of a program that was ended before its result line.
    #[must_use]
    pub fn of_test(line: &str) -> Option<Self> {
        let line = line.strip_prefix("test ")?;
        match line.rsplit_once(" ... ")?.1 {
            "ok" => Some(Self { passed: 1, failed: 0 }),
            "FAILED" => Some(Self { passed: 0, failed: 1 }),
            _ => None,
        }
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn a_result_line_is_counted_and_ignored_tests_are_failures() {
        let ok = "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out; finished in 0.01s";
        assert_eq!(Tally::of_line(ok), Some(Tally { passed: 12, failed: 0 }));
        let bad = "test result: FAILED. 5 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 1.2s";
        assert_eq!(Tally::of_line(bad), Some(Tally { passed: 5, failed: 3 }));
        assert_eq!(Tally::of_line("test a_name ... ok"), None);
    }

    #[test]
    fn a_test_line_is_counted_by_its_last_word() {
        assert_eq!(Tally::of_test("test a::name ... ok"), Some(Tally { passed: 1, failed: 0 }));
        assert_eq!(Tally::of_test("test a::name ... FAILED"), Some(Tally { passed: 0, failed: 1 }));
        assert_eq!(Tally::of_test("test result: ok. 12 passed; 0 failed"), None);
        assert_eq!(Tally::of_test("test a::name ... "), None);
    }
}
