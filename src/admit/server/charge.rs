//! What requests take from the server's limits, and what was sent until when.

use std::collections::VecDeque;
use std::time::Duration;

use crate::admit::hint::Unit;
use crate::admit::ledger::Amount;
use crate::clock::Mono;

/// What most servers count for the answer of a request that names no most (FACTS A.5).
const UNNAMED_OUTPUT: u64 = 16;

/// What a request takes from the server's limits, as the server counts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Charge {
    pub(super) requests: f64,
    pub(super) tokens: f64,
}

impl Charge {
    /// A request of `input_tokens`, with the most output that it names.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "tokens of a request are far below 2^52")]
    pub fn request(input_tokens: u64, max_output_tokens: Option<u64>) -> Self {
        let tokens = input_tokens.saturating_add(max_output_tokens.unwrap_or(UNNAMED_OUTPUT));
        Self { requests: 1.0, tokens: tokens as f64 }
    }

    pub(super) fn of(self, unit: Unit) -> f64 {
        match unit {
            Unit::Requests => self.requests,
            Unit::Tokens => self.tokens,
            // That is not used up, but held.
            Unit::InFlight => 0.0,
        }
    }
}

impl Charge {
    pub(super) fn at_least_zero(self) -> Self {
        Self { requests: self.requests.max(0.0), tokens: self.tokens.max(0.0) }
    }
}

impl std::ops::AddAssign for Charge {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.tokens += other.tokens;
    }
}

impl std::ops::Sub for Charge {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self { requests: self.requests - other.requests, tokens: self.tokens - other.tokens }
    }
}

/// A request at the server: what is needed to read the hint that comes back with its answer.
#[derive(Clone, Copy, Debug)]
pub struct Ticket {
    /// When it was sent.
    pub sent: Mono,
    /// Requests in flight when it was sent, itself among them.
    pub rank: usize,
    pub(super) charge: Charge,
    /// What had been sent in all before it.
    pub(super) sent_before: Charge,
    /// What had been heard of before it was sent: that reached the server before it.
    pub(super) heard_before: Charge,
    /// What had been refused by then.
    pub(super) refused_before: Charge,
}

/// What was sent until when, over the last window, in 32 steps.
#[derive(Clone, Debug)]
pub(super) struct History {
    step: Duration,
    /// What had been sent in all at these moments, oldest first.
    marks: VecDeque<(Mono, Charge)>,
}

impl History {
    pub(super) fn new(window: Duration) -> Self {
        Self { step: (window / 32).max(Duration::from_millis(1)), marks: VecDeque::new() }
    }

    /// `sent` had been sent in all when another request left at `now`.
    pub(super) fn note(&mut self, sent: Charge, now: Mono) {
        if self.marks.back().is_some_and(|(at, _)| at.until(now) < self.step) {
            return;
        }
        self.marks.push_back((now, sent));
        while self.marks.len() > 34 {
            self.marks.pop_front();
        }
    }

    /// What had been sent in all when the `window` that ends at `now` began.
    pub(super) fn before(&self, window: Duration, now: Mono) -> Charge {
        self.since(window, now).0
    }

    /// The same, and how long the part of that window is in which anything was sent.
    pub(super) fn since(&self, window: Duration, now: Mono) -> (Charge, Duration) {
        let begins = self.marks.iter().find(|(at, _)| at.plus(window) > now);
        begins.map_or((Charge::default(), Duration::ZERO), |(at, sent)| (*sent, at.until(now)))
    }
}

/// How much of a limit of this unit the amount takes.
pub(super) fn of_amount(unit: Unit, amount: Amount) -> f64 {
    to_f64(match unit {
        Unit::Requests => amount.requests,
        Unit::Tokens => amount.tokens,
        Unit::InFlight => 0,
    })
}

#[expect(clippy::cast_precision_loss, reason = "limits are far below 2^52")]
pub(super) fn to_f64(number: u64) -> f64 {
    number as f64
}
