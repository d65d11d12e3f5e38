//! How the stand-in behaves.

use std::fmt;
use std::time::Duration;

use super::fault::Fault;

/// Limits, pace, faults and account of a stand-in. The default has no limit, no latency, no fault, and takes any key.
#[derive(Clone)]
pub struct Options {
    /// Requests in a window; `None` is no limit, and no headers for it.
    pub requests_per_minute: Option<u64>,
    /// Tokens in a window, reserved as `ceil(characters / 4)` plus the most output tokens that the request names (16 where it names none).
    pub tokens_per_minute: Option<u64>,
    /// What "a minute" means: the time in which an empty bucket fills.
    pub window: Duration,
    /// How long every answer takes at least.
    pub latency: Duration,
    /// The most that is added to the latency; drawn evenly from zero to this.
    pub jitter: Duration,
    /// What goes wrong, and how often.
    pub faults: Vec<Fault>,
    /// Seed of faults, jitter and ids.
    pub seed: u64,
    /// The key that is accepted; another one, or none, gets the 401. `None`: any key, and no key, is accepted.
    pub key: Option<String>,
    /// After so many answers every request gets the billing error.
    pub answers_before_quota: Option<u64>,
    /// `error.code` of the billing error; its message fits the codes that the API documents.
    pub quota_code: String,
    /// Whether a 429 that a wait helps has a `Retry-After`.
    pub headers_on_429: bool,
    /// Whether answers have the `x-ratelimit` headers of the limits that are set.
    pub rate_limit_headers: bool,
    /// Pads answers to so many tokens; a longer answer is left as it is. `None`: the plain answer, about 50 tokens.
    pub answer_tokens: Option<u64>,
    /// The models there are; a request for another one gets a 404. `None`: any name.
    pub known_models: Option<Vec<String>>,
    /// How many requests [`Server::log`](super::Server::log) remembers (about 100 bytes each); older ones are forgotten.
    pub remember: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            requests_per_minute: None,
            tokens_per_minute: None,
            window: Duration::from_secs(60),
            latency: Duration::ZERO,
            jitter: Duration::ZERO,
            faults: Vec::new(),
            seed: 0,
            key: None,
            answers_before_quota: None,
            quota_code: "insufficient_quota".to_owned(),
            headers_on_429: true,
            rate_limit_headers: true,
            answer_tokens: None,
            known_models: None,
            remember: 1_000_000,
        }
    }
}

/// Without the key: a test's output must not hold one either.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("requests_per_minute", &self.requests_per_minute)
            .field("tokens_per_minute", &self.tokens_per_minute)
            .field("window", &self.window)
            .field("latency", &self.latency)
            .field("faults", &self.faults)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}
