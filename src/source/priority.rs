//! Which prompts go first: `1-10=5;50=-1`.

use std::fmt;
use std::str::FromStr;

use super::prompt::within;
use super::range::Range;
use crate::model::Key;

/// Stands between two entries in text; a range has commas of its own.
pub const SEPARATOR: &str = ";";

/// Priorities of prompts by their numbers; 0 where nothing is said. Higher goes first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Priorities {
    /// A later entry wins over an earlier one.
    entries: Vec<(Range, i32)>,
}

impl Priorities {
    /// The priority of the prompt `key`.
    #[must_use]
    pub fn of(&self, key: &Key) -> i32 {
        let Some(number) = within(key.as_str()) else { return 0 };
        self.entries.iter().rev().find(|(range, _)| range.contains(number)).map_or(0, |(_, priority)| *priority)
    }

    /// Whether nothing is said of any prompt.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl fmt::Display for Priorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (range, priority)) in self.entries.iter().enumerate() {
            let separator = if index == 0 { "" } else { SEPARATOR };
            write!(f, "{separator}{range}={priority}")?;
        }
        Ok(())
    }
}

/// Priorities that cannot be understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{entry}`: {why}; write prompt numbers and a whole number, such as `1-10=5` or `7,9=-1`")]
pub struct PriorityError {
    entry: String,
    why: String,
}

impl FromStr for Priorities {
    type Err = PriorityError;

    fn from_str(text: &str) -> Result<Self, PriorityError> {
        // A separator at the end, and empty text, are no entries.
        let parts = text.split(SEPARATOR).map(str::trim).filter(|part| !part.is_empty());
        let entry = |part: &str| {
            let error = |why: String| PriorityError { entry: part.to_owned(), why };
            let (range, priority) = part.split_once('=').ok_or_else(|| error("there is no `=`".to_owned()))?;
            let range = range.trim().parse::<Range>().map_err(|wrong| error(wrong.to_string()))?;
            let priority = priority.trim();
            let priority = priority.parse().map_err(|_| error(format!("`{priority}` is not a whole number")))?;
            Ok((range, priority))
        };
        Ok(Self { entries: parts.map(entry).collect::<Result<_, _>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, ids: &[u64]) -> Vec<i32> {
        let priorities: Priorities = text.parse().expect("good priorities");
        ids.iter().map(|id| priorities.of(&Key::from(*id))).collect()
    }

    #[test]
    fn later_entries_win_and_the_others_are_0() {
        for (text, expected) in [
            ("", [0, 0, 0, 0]),
            ("1-10=5;50=-1;7,9=2", [5, 2, -1, 0]),
            ("all = 1 ; 1-7 = +3 ;", [3, 3, 1, 1]),
            ("7=1;7=4;1=2147483647", [i32::MAX, 4, 0, 0]),
            ("1-10=5;all=0", [0, 0, 0, 0]),
        ] {
            assert_eq!(of(text, &[1, 7, 50, 51]), expected, "{text}");
        }
    }

    #[test]
    fn text_is_read_back() {
        let priorities: Priorities = " 1-10=5; 9,7=-2;".parse().expect("good");
        assert_eq!(priorities.to_string(), "1-10=5;7,9=-2");
        assert_eq!(priorities.to_string().parse(), Ok(priorities));
    }

    #[test]
    fn nonsense_is_named() {
        for (text, why) in [
            ("1-10", "no `=`"),
            ("1=5,2=3", "`5,2=3` is not a whole number"),
            ("1=1.5", "`1.5` is not a whole number"),
            ("1=", "`` is not"),
            ("9-3=1", "9 is after 3"),
            ("=1", "not a range"),
            ("1=3000000000", "is not a whole number"),
        ] {
            let error = text.parse::<Priorities>().expect_err(text).to_string();
            assert!(error.contains(why) && error.contains("1-10=5"), "{error}");
        }
    }
}
