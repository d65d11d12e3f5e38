//! What a run keeps to.

use std::time::Duration;

use crate::clock::Mono;
use crate::model::{Limits, OnDayLimit, OnQuota};

/// What a run keeps to.
#[derive(Clone, Debug)]
pub struct Rules {
    pub concurrency: Concurrency,
    /// Whether a server whose limits are not known is met softly.
    pub soft_start: bool,
    /// How often a prompt is tried before it fails for good; attempts that were throttled, or that fell into an outage, do not count.
    pub attempts: u32,
    /// The most output tokens of an answer, where the request says so.
    pub max_output_tokens: Option<u64>,
    /// What a day limit does to the run.
    pub on_day_limit: OnDayLimit,
    /// What an account that is used up does to the run.
    pub on_quota: OnQuota,
    /// How long such an account is left alone before it is asked for the first time; doubled each time, up to an hour.
    pub quota_wait: Duration,
    /// An outage of this length ends the run.
    pub give_up_after: Duration,
    /// When nothing more is sent.
    pub deadline: Option<Mono>,
    /// The limits, for what a reservation may be at the most. The store admits.
    pub limits: Limits,
}

/// A number of requests in flight that is set, or found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concurrency {
    /// Always at most so many.
    Fixed(usize),
    /// Found from latency and rate; at most so many.
    Auto(usize),
}

impl Concurrency {
    /// The most that there ever are.
    #[must_use]
    pub fn most(self) -> usize {
        match self {
            Self::Fixed(most) | Self::Auto(most) => most,
        }
    }
}
