//! How the stand-in behaves.

use std::fmt;
use std::time::Duration;

use super::api::{On429, RateLimitHeaders};
use super::faults::{Fault, FaultAt, Slump, Span, schedule};
use super::limits::Refill;
use super::limits::limiter::Limits;

/// Limits, pace, faults and account of a stand-in. The default has no limit, no latency, no fault, and takes any key.
#[derive(Clone)]
pub struct Options {
    /// Requests in a window; `None` is no limit, and no headers for it.
    pub requests_per_minute: Option<u64>,
    /// Tokens in a window, reserved as `ceil(characters / 4)` plus the most output tokens that the request names (16 where it names none).
    pub tokens_per_minute: Option<u64>,
    /// What "a minute" means: the time in which an empty bucket fills, or the window in which requests are counted.
    pub window: Duration,
    /// How what is used up of a minute's limits comes back.
    pub refill: Refill,
    /// Whether a request that a limit refuses counts as one that is admitted does.
    pub count_refused: bool,
    /// How much of a minute's limit may come at once: as much as refills in this time. `None`, or as long as the window: all of it.
    ///
    /// A server that enforces its minute in slices of a second has one second (or a 60th of the window). A request that is larger than a slice is
    /// admitted when the slice is full, and those behind it wait until its size has refilled. The headers show the minute.
    pub burst: Option<Duration>,
    /// Requests in a day; `None` is no limit.
    pub requests_per_day: Option<u64>,
    /// What "a day" means: the time in which the empty bucket of a day fills.
    pub day: Duration,
    /// Spans in which the limits of a minute are lower, or higher; of those that overlap, the lowest holds. What is used stays the same share of a
    /// bucket, and the same count in a window.
    pub slumps: Vec<Slump>,
    /// Spans in which another client of the same key takes a share of the limits of a minute, a 60th of it in each 60th of the window, whatever is
    /// left. The limits do not change, only what remains of them.
    pub neighbours: Vec<Slump>,
    /// Spans in which the server is gone: in the first half every request gets a 503, in the second half connections are cut and refused.
    /// What was decided before the cut stands in the log as decided, though its response may not have arrived.
    pub outages: Vec<Span>,
    /// Spans in which every request for an answer gets the billing error.
    pub quota_outages: Vec<Span>,
    /// Requests that may be worked on at a time; one more gets a 429 at once, as the litellm proxy says it where `on_429` has a text. `None` is no
    /// bound. A request counts for as long as it takes, or until its client goes away.
    pub parallel: Option<u64>,
    /// Requests that may be worked on at a time; one more gets a 503 at once, without a wait. `None` is no bound.
    pub slots: Option<u64>,
    /// Puts a gateway that waits so long, and then sends a 504, before a server that works on one request at a time. What it waits for no longer
    /// is worked on all the same, and billed. `None`: there is no gateway, and a request waits for no other.
    pub gateway: Option<Duration>,
    /// How long every answer takes at least.
    pub latency: Duration,
    /// The most that is added to the latency; drawn evenly from zero to this.
    pub jitter: Duration,
    /// What goes wrong, and how often.
    pub faults: Vec<Fault>,
    /// What goes wrong at given requests; such a fault takes the place of one that is drawn.
    pub faults_at: Vec<FaultAt>,
    /// Seed of faults, jitter and ids.
    pub seed: u64,
    /// The key that is accepted; another one, or none, gets the 401. `None`: any key, and no key, is accepted.
    pub key: Option<String>,
    /// After so many answers every request gets the billing error.
    pub answers_before_quota: Option<u64>,
    /// `error.code` of the billing error; its message fits the codes that the API documents.
    pub quota_code: String,
    /// What a 429 for a limit says of its wait.
    pub on_429: On429,
    /// The wait that a 429 tells, where it tells one, in place of the true one.
    pub told_wait: Option<Duration>,
    /// The headers in which answers tell of the limits that are set.
    pub rate_limit_headers: RateLimitHeaders,
    /// Pads answers to so many tokens; a longer answer is left as it is. `None`: the plain answer, about 50 tokens.
    pub answer_tokens: Option<u64>,
    /// The models there are; a request for another one gets a 404. `None`: any name.
    pub known_models: Option<Vec<String>>,
    /// How many requests [`Server::log`](super::Server::log) remembers (about 100 bytes each); older ones are forgotten.
    pub remember: usize,
}

impl Options {
    /// The limits at `at`, since the first request.
    pub(super) fn limits(&self, at: Duration) -> Limits {
        let share = schedule::share(&self.slumps, at);
        Limits {
            requests_per_minute: self.requests_per_minute.map(|limit| part(limit, share)),
            tokens_per_minute: self.tokens_per_minute.map(|limit| part(limit, share)),
            window: self.window,
            refill: self.refill,
            count_refused: self.count_refused,
            burst: self.burst,
            requests_per_day: self.requests_per_day,
            day: self.day,
        }
    }
}

/// `share` of `limit`, rounded down, at least 1 of any.
fn part(limit: u64, share: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a limit of our own choice"
    )]
    let part = (limit as f64 * share) as u64;
    part.max(limit.min(1))
}

impl Default for Options {
    fn default() -> Self {
        Self {
            requests_per_minute: None,
            tokens_per_minute: None,
            window: Duration::from_secs(60),
            refill: Refill::Steady,
            count_refused: false,
            burst: None,
            requests_per_day: None,
            day: Duration::from_secs(86_400),
            slumps: Vec::new(),
            neighbours: Vec::new(),
            outages: Vec::new(),
            quota_outages: Vec::new(),
            parallel: None,
            slots: None,
            gateway: None,
            latency: Duration::ZERO,
            jitter: Duration::ZERO,
            faults: Vec::new(),
            faults_at: Vec::new(),
            seed: 0,
            key: None,
            answers_before_quota: None,
            quota_code: "insufficient_quota".to_owned(),
            on_429: On429::default(),
            told_wait: None,
            rate_limit_headers: RateLimitHeaders::default(),
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
            .field("refill", &self.refill)
            .field("count_refused", &self.count_refused)
            .field("burst", &self.burst)
            .field("requests_per_day", &self.requests_per_day)
            .field("slumps", &self.slumps)
            .field("neighbours", &self.neighbours)
            .field("outages", &self.outages)
            .field("quota_outages", &self.quota_outages)
            .field("parallel", &self.parallel)
            .field("slots", &self.slots)
            .field("gateway", &self.gateway)
            .field("latency", &self.latency)
            .field("faults", &self.faults)
            .field("faults_at", &self.faults_at)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}
