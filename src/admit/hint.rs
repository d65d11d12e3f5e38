//! What a server tells of its own limits: one form for every header and message, and what is kept of it between runs.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::model::seconds;

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    Requests,
    /// Tokens, as the server counts them: most estimate the input and add the most output that the request names.
    Tokens,
    /// Requests at a time: what is in flight, whatever the rate. Its window is how long a refusal takes to come back.
    InFlight,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
            Self::InFlight => "requests at a time",
        })
    }
}

/// How a limit was learned, from the surest to the least sure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Headers, which come with every answer.
    Headers,
    /// The text of a 429.
    Refusal,
    /// Worked out from 429s that say nothing.
    Estimate,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Headers => "from its headers",
            Self::Refusal => "from a 429",
            Self::Estimate => "estimated from 429s",
        })
    }
}

/// A length of time that is known within bounds, both included: a reset of `6ms` was cut to whole milliseconds, one of `1` to whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// It is at least this.
    pub least: Duration,
    /// It is at most this.
    pub most: Duration,
}

impl Span {
    /// A length that is known exactly.
    #[must_use]
    pub fn exactly(length: Duration) -> Self {
        Self { least: length, most: length }
    }

    /// Whether `length` lies within the bounds.
    #[must_use]
    pub fn holds(&self, length: Duration) -> bool {
        self.least <= length && length <= self.most
    }
}

/// What one response says of one limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerHint {
    /// What the limit counts.
    pub unit: Unit,
    /// The group that the limit is of, where it is not the model's plain one: `project`, or what a message names (`gpt-4.1-long-context`).
    pub group: Option<String>,
    /// Its size: the most that fits into its window.
    pub size: Option<u64>,
    /// What is left of it: after this request where it was admitted, before it where it was refused.
    pub left: Option<u64>,
    /// The time until it is full again. It is no wait: something may fit long before.
    pub full_in: Option<Duration>,
    /// The length of its window, as arithmetic or its name tells it; `None` where neither does, and then it is most likely a minute.
    pub window: Option<Span>,
    /// What the server counts for this request.
    pub charged: Option<u64>,
    /// Whether this limit refused the request.
    pub refused: bool,
    /// Where it stands; never [`Source::Estimate`].
    pub source: Source,
}

impl ServerHint {
    /// One of which nothing more is known; from a refusal's text it is of the limit that refused.
    #[must_use]
    pub fn unknown(unit: Unit, group: Option<String>, source: Source) -> Self {
        Self {
            unit,
            group,
            size: None,
            left: None,
            full_in: None,
            window: None,
            charged: None,
            refused: source == Source::Refusal,
            source,
        }
    }
}

impl fmt::Display for ServerHint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.unit.fmt(f)?;
        let number = |number: Option<u64>| number.map_or("?".to_owned(), |number| number.to_string());
        if let Some(group) = &self.group {
            write!(f, " ({group})")?;
        }
        write!(f, " {}/{}", number(self.left), number(self.size))?;
        f.write_str(if self.refused { " refused" } else { "" })
    }
}

/// What a response says of its server's limits, in short: `requests 499/500; tokens 0/150000 refused`. `None` where it says nothing.
#[must_use]
pub fn in_short(hints: &[ServerHint]) -> Option<String> {
    let hints: Vec<_> = hints.iter().map(ServerHint::to_string).collect();
    (!hints.is_empty()).then(|| hints.join("; "))
}

/// Whether a limit of this window is one of a day, or of hours, and not one that a run waits out and forgets.
#[must_use]
pub fn is_daily(window: Duration) -> bool {
    window >= Duration::from_secs(3_600)
}

/// A limit of the server as it is kept between runs, for one address, key and model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LearnedLimit {
    pub unit: Unit,
    /// The group it is of; `None` for the model's plain limit.
    pub group: Option<String>,
    /// The most that fits into a window, over 0.
    pub size: f64,
    /// The window: the time in which an empty bucket fills; over zero.
    #[serde(rename = "window_seconds", with = "seconds")]
    pub window: Duration,
    /// How much may come at once, as the time in which it refills: the window where all of it may, a second where the server enforces its
    /// limit in slices of one.
    #[serde(rename = "burst_seconds", with = "seconds")]
    pub burst: Duration,
    /// How it was learned.
    pub source: Source,
    /// When it was last learned or confirmed.
    pub learned: DateTime<Utc>,
}

impl LearnedLimit {
    /// Whether it lets something through, in a time.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.size.is_finite() && self.size > 0.0 && !self.window.is_zero()
    }
}

impl LearnedLimit {
    /// The group under which a person's own limits are spread over the minute: the server has no part in it.
    pub const SETTINGS: &str = "settings";
    /// The group of what a `slow_down` leaves.
    pub const RAMP: &str = "ramp";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_are_told_in_short() {
        let hint = ServerHint {
            unit: Unit::Requests,
            group: None,
            size: Some(500),
            left: Some(499),
            full_in: None,
            window: None,
            charged: None,
            refused: false,
            source: Source::Headers,
        };
        let tokens =
            ServerHint { unit: Unit::Tokens, group: Some("project".into()), left: None, refused: true, ..hint.clone() };
        assert_eq!(in_short(&[hint, tokens]).as_deref(), Some("requests 499/500; tokens (project) ?/500 refused"));
        assert_eq!(in_short(&[]), None);
    }
}
