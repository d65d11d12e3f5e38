//! The limits as they are set.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::text::count;

/// A whole, in parts per million.
pub const WHOLE_PPM: u32 = 1_000_000;

/// What a person allows; `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Input and output tokens in a window.
    pub tokens_per_minute: Option<u64>,
    /// Requests in a window.
    pub requests_per_minute: Option<u64>,
    /// Input and output tokens in a day.
    pub tokens_per_day: Option<u64>,
    /// Requests in a day.
    pub requests_per_day: Option<u64>,
    /// Input tokens of one batch.
    pub tokens_per_batch: Option<u64>,
    /// What "a minute" means.
    pub window: Duration,
    /// The share of a day's limit at which admission pauses until the day ends, in parts per million: 1 to [`WHOLE_PPM`].
    pub day_share_ppm: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tokens_per_minute: Some(500_000),
            requests_per_minute: Some(500),
            tokens_per_day: Some(5_000_000),
            requests_per_day: None,
            tokens_per_batch: Some(300_000),
            window: Duration::from_secs(60),
            day_share_ppm: WHOLE_PPM,
        }
    }
}

impl Limits {
    /// How long an amount counts after its admission at the most: the window and the guard.
    #[must_use]
    pub fn span(&self) -> Duration {
        self.window.saturating_add(self.guard())
    }

    /// The most that an amount counts beyond the window, for its way to the server: an eighth of the window, at most 250 ms.
    ///
    /// The server counts a request when it arrives, which is later than its admission by a delay that varies: a flush to the disk, a connection.
    /// Two requests admitted exactly a window apart may arrive closer together than that. An amount therefore counts for a window from the moment
    /// its answer came, which is surely after its arrival, but no longer than the guard after its own window: an answer may take minutes.
    #[must_use]
    pub fn guard(&self) -> Duration {
        guard(self.window)
    }

    /// The limit of this name; `None` where there is none, or it is not one of the settings here.
    #[must_use]
    pub fn of(&self, name: LimitName) -> Option<u64> {
        match name {
            LimitName::TokensPerMinute => self.tokens_per_minute,
            LimitName::RequestsPerMinute => self.requests_per_minute,
            LimitName::TokensPerDay => self.tokens_per_day,
            LimitName::RequestsPerDay => self.requests_per_day,
            LimitName::TokensPerBatch => self.tokens_per_batch,
            LimitName::ContextWindow => None,
        }
    }

    /// The most that is admitted in a day: the day's limit of this name, or its share where one is set; at least 1. `None` where there is no
    /// such limit, and where the name is not a day's.
    #[must_use]
    pub fn day_most(&self, name: LimitName) -> Option<u64> {
        let limit = self.of(name).filter(|_| name.is_daily())?;
        let share = u128::from(limit) * u128::from(self.day_share_ppm.min(WHOLE_PPM)) / u128::from(WHOLE_PPM);
        Some(u64::try_from(share).unwrap_or(limit).max(1))
    }

    /// The limit as messages name it: `tokens_per_day of 5,000,000 (paused at 80 %)`.
    #[must_use]
    pub fn named(&self, name: LimitName) -> String {
        let Some(most) = self.of(name) else { return name.to_string() };
        let share = if name.is_daily() { self.share() } else { String::new() };
        format!("{name} of {}{share}", count(most))
    }

    /// The share of a day's limit as messages name it, with a space before it: ` (paused at 80 %)`; nothing where it is the whole.
    #[must_use]
    pub fn share(&self) -> String {
        if self.day_share_ppm >= WHOLE_PPM {
            return String::new();
        }
        format!(" (paused at {} %)", f64::from(self.day_share_ppm) / 10_000.0)
    }

    /// The most tokens that a request may have, whatever else is used; `u64::MAX` where no limit says so.
    #[must_use]
    pub fn most_tokens(&self) -> u64 {
        let limits = [self.tokens_per_minute, self.day_most(LimitName::TokensPerDay)];
        limits.into_iter().flatten().min().unwrap_or(u64::MAX)
    }

    /// Whether a request of `tokens` is over a limit that no wait changes.
    #[must_use]
    pub fn too_large(&self, tokens: u64) -> Option<TooLarge> {
        let day = LimitName::TokensPerDay;
        [(LimitName::TokensPerMinute, self.tokens_per_minute), (day, self.day_most(day))].into_iter().find_map(
            |(limit, most)| {
                let most = most?;
                (tokens > most).then_some(TooLarge { limit, asked: tokens, most })
            },
        )
    }
}

/// A request that no wait makes fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge {
    /// The limit it is over.
    pub limit: LimitName,
    /// Tokens (or requests) asked for.
    pub asked: u64,
    /// The most that could be asked for.
    pub most: u64,
}

/// The guard of a window: see [`Limits::guard`].
pub(crate) fn guard(window: Duration) -> Duration {
    (window / 8).min(Duration::from_millis(250))
}

/// Which limit is meant, in an answer or a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitName {
    /// `tokens_per_minute`.
    TokensPerMinute,
    /// `requests_per_minute`.
    RequestsPerMinute,
    /// `tokens_per_day`.
    TokensPerDay,
    /// `requests_per_day`.
    RequestsPerDay,
    /// `tokens_per_batch`.
    TokensPerBatch,
    /// The most tokens that the model takes in one request.
    ContextWindow,
}

impl LimitName {
    /// The name of the setting.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::TokensPerMinute => "tokens_per_minute",
            Self::RequestsPerMinute => "requests_per_minute",
            Self::TokensPerDay => "tokens_per_day",
            Self::RequestsPerDay => "requests_per_day",
            Self::TokensPerBatch => "tokens_per_batch",
            Self::ContextWindow => "context window",
        }
    }

    /// Whether the limit is one of a day.
    #[must_use]
    pub fn is_daily(self) -> bool {
        matches!(self, Self::TokensPerDay | Self::RequestsPerDay)
    }
}

impl fmt::Display for LimitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(tokens: u64, share: u32) -> Limits {
        Limits { tokens_per_day: Some(tokens), requests_per_day: Some(7), day_share_ppm: share, ..Limits::default() }
    }

    #[test]
    fn a_day_admits_its_share() {
        for (tokens, share, most) in [
            (5_000_000, WHOLE_PPM, 5_000_000),
            (5_000_000, 800_000, 4_000_000),
            (10, 250_000, 2),
            (10, 1, 1),
            (u64::MAX, WHOLE_PPM, u64::MAX),
            (u64::MAX, 500_000, u64::MAX / 2),
        ] {
            assert_eq!(limits(tokens, share).day_most(LimitName::TokensPerDay), Some(most), "{share} of {tokens}");
        }
        let half = limits(10, 500_000);
        assert_eq!(half.day_most(LimitName::RequestsPerDay), Some(3));
        assert_eq!(half.day_most(LimitName::TokensPerMinute), None);
        assert_eq!(Limits { tokens_per_day: None, ..half }.day_most(LimitName::TokensPerDay), None);
    }

    #[test]
    fn what_is_over_the_share_never_fits() {
        let limits = limits(1_000, 500_000);
        assert_eq!(limits.too_large(500), None);
        assert_eq!(limits.too_large(501), Some(TooLarge { limit: LimitName::TokensPerDay, asked: 501, most: 500 }));
    }

    #[test]
    fn a_name_tells_the_limit_and_the_share() {
        for (share, name, text) in [
            (WHOLE_PPM, LimitName::TokensPerDay, "tokens_per_day of 5,000"),
            (800_000, LimitName::TokensPerDay, "tokens_per_day of 5,000 (paused at 80 %)"),
            (333_000, LimitName::RequestsPerDay, "requests_per_day of 7 (paused at 33.3 %)"),
            (800_000, LimitName::RequestsPerMinute, "requests_per_minute of 500"),
            (800_000, LimitName::ContextWindow, "context window"),
        ] {
            assert_eq!(limits(5_000, share).named(name), text);
        }
    }
}
