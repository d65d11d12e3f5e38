//! Which prompt numbers are meant: `1-100`, `all`, `3,7-9`.

use std::fmt;
use std::str::FromStr;

use super::prompt::{MOST, within};

/// A set of prompt numbers, kept as sorted spans that do not touch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// Inclusive; `None` is every number.
    spans: Option<Vec<(u64, u64)>>,
}

impl Range {
    /// Every number.
    #[must_use]
    pub fn all() -> Self {
        Self { spans: None }
    }

    /// Whether this number is meant.
    #[must_use]
    pub fn contains(&self, number: u64) -> bool {
        self.spans.as_ref().is_none_or(|spans| {
            let after = spans.partition_point(|&(first, _)| first <= number);
            after > 0 && number <= spans[after - 1].1
        })
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(spans) = &self.spans else { return f.write_str("all") };
        for (index, (first, last)) in spans.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

/// A range that cannot be understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a range of prompt numbers: {why}; write `1-100`, `3,7-9` or `all`")]
pub struct RangeError {
    text: String,
    why: String,
}

impl FromStr for Range {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        let error = |why: String| RangeError { text: text.to_owned(), why };
        if text.trim() == "all" {
            return Ok(Self::all());
        }
        let mut spans = Vec::new();
        for part in text.split(',') {
            let number = |digits: &str| {
                let digits = digits.trim();
                if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(error(format!("`{digits}` is not a number")));
                }
                within(digits)
                    .ok_or_else(|| error(format!("`{digits}` is over {MOST}, the largest number of a prompt")))
            };
            let (first, last) = match part.split_once('-') {
                Some((first, last)) => (number(first)?, number(last)?),
                None => (number(part)?, number(part)?),
            };
            if first > last {
                return Err(error(format!("{first} is after {last}")));
            }
            spans.push((first, last));
        }
        spans.sort_unstable();
        let mut joined: Vec<(u64, u64)> = Vec::new();
        for (first, last) in spans {
            match joined.last_mut() {
                Some(previous) if first <= previous.1.saturating_add(1) => previous.1 = previous.1.max(last),
                _ => joined.push((first, last)),
            }
        }
        Ok(Self { spans: Some(joined) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(text: &str) -> Range {
        text.parse().expect("a good range")
    }

    #[test]
    fn numbers_and_spans_are_joined_and_sorted() {
        assert_eq!(range("7-9, 3,4,8-12").to_string(), "3-4,7-12");
        assert_eq!(range("all").to_string(), "all");
        assert!(range("all").contains(u64::MAX));
    }

    #[test]
    fn nonsense_is_named() {
        for (text, why) in [
            ("", "``"),
            ("a-3", "`a`"),
            ("9-3", "9 is after 3"),
            ("1,,2", "``"),
            ("-5", "``"),
            ("+5", "`+5`"),
            ("1-9223372036854775808", "`9223372036854775808` is over 9223372036854775807"),
            ("99999999999999999999", "is over"),
        ] {
            let error = text.parse::<Range>().expect_err(text).to_string();
            assert!(error.contains(why) && error.contains("1-100"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn contains_what_was_written(spans in prop::collection::vec((0u64..60, 0u64..6), 1..6), id in 0u64..70) {
            let text: Vec<String> = spans.iter().map(|(first, more)| format!("{first}-{}", first + more)).collect();
            let parsed = range(&text.join(","));
            let expected = spans.iter().any(|&(first, more)| (first..=first + more).contains(&id));
            prop_assert_eq!(parsed.contains(id), expected);
            prop_assert_eq!(range(&parsed.to_string()), parsed);
        }
    }
}
