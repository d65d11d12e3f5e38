//! The face of the ledger: the six lines of `usage.md`, as text and as numbers.

use std::fmt;

use chrono::NaiveDate;

use super::ledger::{Amount, Used};
use crate::model::Limits;

/// What `usage.md` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Face {
    /// Tokens and requests of the window.
    pub minute: Amount,
    /// Tokens of the day.
    pub day_tokens: u64,
    /// Whether the tokens of the window have reached their limit.
    pub minute_token_limit_reached: bool,
    /// Whether those of the day have.
    pub day_token_limit_reached: bool,
    pub date: NaiveDate,
}

/// The largest number that is read again.
const MOST: u64 = i64::MAX as u64;

impl Face {
    /// The face of `used` under `limits`. A limit is reached when its counter is at it or over it: nothing more fits.
    #[must_use]
    pub fn of(used: Used, limits: &Limits) -> Self {
        Self {
            minute: Amount { tokens: used.minute.tokens.min(MOST), ..used.minute },
            day_tokens: used.day.tokens.min(MOST),
            minute_token_limit_reached: limits.tokens_per_minute.is_some_and(|most| used.minute.tokens >= most),
            day_token_limit_reached: limits.tokens_per_day.is_some_and(|most| used.day.tokens >= most),
            date: used.date,
        }
    }

    /// Reads the six lines. Their order does not matter, nor do blank lines and spaces; each must be there once.
    pub fn parse(text: &str) -> Result<Self, FaceError> {
        let mut values: [Option<&str>; 6] = [None; 6];
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let line_number = index + 1;
            let (key, value) = line.split_once('=').ok_or(FaceError::NoValue { line_number })?;
            let place = KEYS.iter().position(|known| *known == key.trim());
            let place = place.ok_or_else(|| FaceError::UnknownKey { line_number, key: short(key) })?;
            if values[place].replace(value.trim()).is_some() {
                return Err(FaceError::Twice { line_number, key: KEYS[place] });
            }
        }
        let value = |place: usize| values[place].ok_or(FaceError::Missing { key: KEYS[place] });
        let number = |place: usize| {
            let text = value(place)?;
            let wrong = || FaceError::NotANumber { key: KEYS[place], value: short(text) };
            // What fits the store's signed numbers; a token count that does not is a mistake.
            text.parse::<i64>().ok().and_then(|number| u64::try_from(number).ok()).ok_or_else(wrong)
        };
        let flag = |place: usize| match value(place)? {
            "0" => Ok(false),
            "1" => Ok(true),
            other => Err(FaceError::NotAFlag { key: KEYS[place], value: short(other) }),
        };
        let date = value(5)?;
        Ok(Self {
            minute: Amount { tokens: number(0)?, requests: number(1)? },
            day_tokens: number(2)?,
            minute_token_limit_reached: flag(3)?,
            day_token_limit_reached: flag(4)?,
            date: date.parse().map_err(|_| FaceError::NotADate { value: short(date) })?,
        })
    }
}

const KEYS: [&str; 6] = [
    "tokens_within_min",
    "requests_within_min",
    "tokens_within_day",
    "minute_token_limit_reached",
    "day_token_limit_reached",
    "Date",
];

impl fmt::Display for Face {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "tokens_within_min = {}", self.minute.tokens)?;
        writeln!(f, "requests_within_min = {}", self.minute.requests)?;
        writeln!(f, "tokens_within_day = {}", self.day_tokens)?;
        writeln!(f, "minute_token_limit_reached = {}", u8::from(self.minute_token_limit_reached))?;
        writeln!(f, "day_token_limit_reached = {}", u8::from(self.day_token_limit_reached))?;
        writeln!(f, "Date = {}", self.date)
    }
}

/// Enough of a damaged line to recognise it.
fn short(text: &str) -> String {
    text.trim().chars().filter(|c| !c.is_control()).take(40).collect()
}

/// What is wrong with a `usage.md`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaceError {
    /// A line without `=`.
    #[error("line {line_number} is not of the form `key = value`")]
    NoValue {
        /// From 1.
        line_number: usize,
    },
    /// A key that is none of the six.
    #[error("line {line_number}: `{key}` is none of its six keys")]
    UnknownKey {
        /// From 1.
        line_number: usize,
        /// As it stands there.
        key: String,
    },
    /// A key that stands there twice.
    #[error("line {line_number}: `{key}` stands there twice")]
    Twice {
        /// From 1.
        line_number: usize,
        key: &'static str,
    },
    /// A key that is not there.
    #[error("`{key}` is missing")]
    Missing { key: &'static str },
    /// A count that is not a whole number from 0.
    #[error("`{key} = {value}`: not a whole number from 0")]
    NotANumber {
        key: &'static str,
        /// As it stands there.
        value: String,
    },
    /// A flag that is neither 0 nor 1.
    #[error("`{key} = {value}`: neither 0 nor 1")]
    NotAFlag {
        key: &'static str,
        /// As it stands there.
        value: String,
    },
    /// A date that is none.
    #[error("`Date = {value}`: not a date like 2026-11-22")]
    NotADate {
        /// As it stands there.
        value: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FRESH: &str = "tokens_within_min = 0\nrequests_within_min = 0\ntokens_within_day = 0\nminute_token_limit_reached = 0\n\
        day_token_limit_reached = 0\nDate = 2026-11-22\n";

    #[test]
    fn the_form_is_exact() {
        assert_eq!(Face::parse(FRESH).expect("it is good").to_string(), FRESH);
    }

    #[test]
    fn an_editors_marks_do_no_harm() {
        let edited = FRESH.replace(" = ", "=").replace('\n', "\r\n\r\n");
        assert_eq!(Face::parse(&edited), Face::parse(FRESH));
    }

    #[test]
    fn a_limit_is_reached_at_it_and_not_below() {
        let limits = Limits { tokens_per_minute: Some(10), tokens_per_day: Some(20), ..Limits::default() };
        let date = Face::parse(FRESH).expect("it is good").date;
        let used = |minute, day| Used { minute: Amount::request(minute), day: Amount::request(day), date };
        let flags = |used| {
            (Face::of(used, &limits).minute_token_limit_reached, Face::of(used, &limits).day_token_limit_reached)
        };
        assert_eq!(flags(used(9, 19)), (false, false));
        assert_eq!(flags(used(10, 20)), (true, true));
    }

    #[test]
    fn damage_is_named() {
        let table = [
            ("", "`Date` is missing"),
            ("hello", "line 1 is not of the form"),
            (&FRESH.replace("requests_within_min", "requests"), "line 2: `requests` is none of its six keys"),
            (&FRESH.replace("within_day = 0", "within_day = -3"), "`tokens_within_day = -3`: not a whole number"),
            (&FRESH.replace("within_day = 0", "within_day = 99999999999999999999"), "not a whole number"),
            (&FRESH.replace("day_token_limit_reached = 0", "day_token_limit_reached = yes"), "neither 0 nor 1"),
            (&FRESH.replace("2026-11-22", "22.11.2026"), "`Date = 22.11.2026`: not a date"),
            (&format!("{FRESH}Date = 2026-11-22"), "line 7: `Date` stands there twice"),
            (&FRESH[..68], "is missing"),
        ];
        for (text, expected) in table {
            let error = Face::parse(text).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error} / {expected}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,200}") {
            let _ = Face::parse(&text);
        }

        #[test]
        fn what_is_written_is_read_back(tokens in 0..=i64::MAX as u64, requests in 0u64..1_000_000, day in 0..=i64::MAX as u64, flag: bool, days in 0u64..90_000) {
            let date = NaiveDate::default() + chrono::Days::new(days);
            let face = Face {
                minute: Amount { tokens, requests }, day_tokens: day, minute_token_limit_reached: flag, day_token_limit_reached: !flag, date,
            };
            prop_assert_eq!(Face::parse(&face.to_string()), Ok(face));
        }
    }
}
