//! The limits as they are set.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ledger::TooLarge;

/// What a person allows; `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Input and output tokens in a window.
    pub tokens_per_minute: Option<u64>,
    /// Requests in a window.
    pub requests_per_minute: Option<u64>,
    /// Input and output tokens in a local day.
    pub tokens_per_day: Option<u64>,
    /// Requests in a local day.
    pub requests_per_day: Option<u64>,
    /// Input tokens of one batch.
    pub tokens_per_batch: Option<u64>,
    /// What "a minute" means.
    pub window: Duration,
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
        (self.window / 8).min(Duration::from_millis(250))
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

    /// Whether a request of `tokens` is over a limit that no wait changes.
    #[must_use]
    pub fn too_large(&self, tokens: u64) -> Option<TooLarge> {
        [(LimitName::TokensPerMinute, self.tokens_per_minute), (LimitName::TokensPerDay, self.tokens_per_day)]
            .into_iter()
            .find_map(|(limit, most)| {
                let most = most?;
                (tokens > most).then_some(TooLarge { limit, asked: tokens, most })
            })
    }
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

    /// Whether the limit is one of a local day.
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
