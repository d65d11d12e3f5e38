//! The server's own limits as we picture them: told by headers and refusals (`told`, `bucket`), or shown by refusals that say nothing (`refusal`,
//! `guess`). What is told is trusted; a guess is tried soon, and is gone where it is not there.
//!
//! The ledger keeps the limits that a person sets; this keeps us off those that the server has. Admission obeys both. It is a value of one run: what
//! other programs take from the same account shows in the hints.

mod bucket;
mod charge;
mod guess;
mod refusal;
#[cfg(test)]
mod tests;
mod told;

pub use charge::{Charge, Ticket};

use std::time::Duration;

use bucket::Bucket;
use charge::{History, of_amount, to_f64};
use guess::{Guess, Measure};

use super::hint::{LearnedLimit, ServerHint, Source, Unit, is_daily};
use super::ledger::Amount;
use crate::clock::{Mono, Now, nanos};
use crate::model::Limits;

/// A minute's limit that is enforced in slices is enforced in sixty.
const SLICES: u32 = 60;
/// A window of a limit that is longer than this, in seconds, is worth waiting for its end.
const LONG: f64 = 3.0;

/// How a minute's limit is spread over the minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pacing {
    /// At once, until the server shows that it enforces its limit in slices; then evenly.
    Auto,
    /// At once.
    Burst,
    /// Evenly, from the start.
    Smooth,
}

/// What became of a request, as far as limits go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was let in.
    Admitted,
    /// A limit refused it. `signal` says that it is the first of a burst of refusals.
    Refused {
        /// Whether it starts a burst.
        signal: bool,
    },
    /// The server wants slower growth.
    SlowDown {
        /// Whether it starts a burst.
        signal: bool,
    },
    /// Something else, which says nothing of limits.
    Other,
}

/// A wait for room in the server's limit.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerWait {
    pub limit: LearnedLimit,
    /// When it frees, as far as we can tell.
    pub until: Mono,
}

/// What a person should be told of the picture.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// A limit is new, or its size has changed.
    Learned(LearnedLimit),
    /// The rate is cut, because the server refused what should have fitted.
    Cut(LearnedLimit),
    /// Less than a tenth of the limit is left; told once.
    NearlyUsed {
        limit: LearnedLimit,
        /// What is left of it.
        left: u64,
    },
}

/// One thing that was heard.
#[derive(Clone, Copy)]
struct Heard<'a> {
    ticket: &'a Ticket,
    /// What may have arrived before or after it.
    others: Charge,
    /// Whether it starts a burst of refusals.
    signal: bool,
    /// Whether it tells of several windows of one limit.
    several: bool,
    now: &'a Now,
}

/// The picture.
#[derive(Clone, Debug)]
pub struct ServerLimits {
    pacing: Pacing,
    limits: Limits,
    buckets: Vec<Bucket>,
    sent: Charge,
    heard: Charge,
    /// What was refused of what was sent.
    refused: Charge,
    /// When the measure of what is let in began: that refusal had been sent, and what had been let in by then.
    emptied: Option<(Mono, Charge)>,
    /// What had been let in when the last refusal had been sent.
    let_in: Charge,
    /// How long a refusal takes to come back.
    echo: Duration,
    /// The latest measure of refusals that nothing explained.
    latest: Option<Measure>,
    /// How many measures in a row agreed with the one before, and how many more have to, because guesses turned out to be none.
    agreeing: u32,
    doubts: u32,
    /// The server does not even let in what it tells of.
    told_is_wrong: bool,
    /// The rate that refusals show, where nothing that is told explains them.
    guess: Option<Guess>,
    /// The size of it that was said last.
    said: Option<f64>,
    /// The bound on requests at a time that an earlier run kept.
    in_flight: Option<LearnedLimit>,
    history: History,
    /// When the latest request had left that was answered.
    answered: Option<Mono>,
    /// Limits that were said to be nearly used up.
    warned: Vec<(Unit, Duration)>,
    changed: bool,
    news: Vec<News>,
}

impl ServerLimits {
    /// The picture at the start of a run: what was learned before, and what the ledger says was sent in the window that ends now.
    #[must_use]
    pub fn new(
        pacing: Pacing,
        limits: Limits,
        learned: Vec<LearnedLimit>,
        recent: impl IntoIterator<Item = (Mono, Amount)>,
        now: &Now,
    ) -> Self {
        let mut server = Self {
            pacing,
            limits,
            buckets: Vec::new(),
            sent: Charge::default(),
            heard: Charge::default(),
            refused: Charge::default(),
            emptied: None,
            let_in: Charge::default(),
            echo: Duration::ZERO,
            latest: None,
            agreeing: 0,
            doubts: 0,
            told_is_wrong: false,
            guess: None,
            said: None,
            in_flight: None,
            history: History::new(limits.window),
            answered: None,
            warned: Vec::new(),
            changed: false,
            news: Vec::new(),
        };
        let recent: Vec<(Mono, Amount)> = recent.into_iter().collect();
        for limit in learned {
            match limit {
                LearnedLimit { unit: Unit::InFlight, .. } => {
                    server.in_flight = Some(limit);
                    continue;
                }
                LearnedLimit { source: Source::Estimate, size, .. } => {
                    server.said = Some(size);
                    server.guess = Some(Guess::kept(&limit, now.mono));
                    continue;
                }
                _ => {}
            }
            let mut bucket = Bucket::new(limit, now.mono);
            // It was not full when that window began: at the worst it was empty, and what was taken since is what refilled. Of a window that is
            // longer than ours only a part is known.
            let begins = Mono(now.mono.0.saturating_sub(nanos(bucket.window)));
            let taken = recent.iter().filter(|(at, _)| *at > begins).map(|(_, amount)| of_amount(bucket.unit, *amount));
            let unknown = bucket.window.as_secs_f64() / limits.window.as_secs_f64();
            if !bucket.is_daily() {
                let taken = (taken.sum::<f64>() * unknown.max(1.0)).min(bucket.depth(now.mono));
                bucket.take(taken, now.mono);
            }
            server.buckets.push(bucket);
        }
        if pacing == Pacing::Smooth {
            server.smooth_settings(now);
        }
        server.cap_guess();
        server
    }

    /// The person's own limits, spread evenly.
    fn smooth_settings(&mut self, now: &Now) {
        let window = self.limits.window;
        for (unit, most) in
            [(Unit::Requests, self.limits.requests_per_minute), (Unit::Tokens, self.limits.tokens_per_minute)]
        {
            if let Some(most) = most {
                let limit = LearnedLimit {
                    unit,
                    group: Some(LearnedLimit::SETTINGS.to_owned()),
                    size: to_f64(most),
                    window,
                    burst: window / SLICES,
                    source: Source::Headers,
                    learned: now.wall,
                };
                self.buckets.push(Bucket::new(limit, now.mono));
            }
        }
        for bucket in &mut self.buckets {
            if !bucket.is_daily() {
                bucket.burst = bucket.window / SLICES;
            }
        }
    }

    /// Whether anything is known of the server: then it is not met softly.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.guess.is_some() || self.buckets.iter().any(|bucket| !bucket.is_own())
    }

    /// The bound on requests at a time that an earlier run kept.
    #[must_use]
    pub fn in_flight(&self) -> Option<&LearnedLimit> {
        self.in_flight.as_ref()
    }

    /// Whether a request of `charge` is larger than a limit that the server tells.
    #[must_use]
    pub fn is_over(&self, charge: Charge) -> bool {
        let mut told = self.buckets.iter().filter(|bucket| bucket.is_told());
        told.any(|bucket| bucket.is_over(charge.of(bucket.unit)))
    }

    /// When as much time has passed since the last burst of refusals as lay between it and the one before: a window that is used up may end then.
    #[must_use]
    pub fn may_open(&self) -> Option<Mono> {
        let ((at, _), latest) = self.emptied.zip(self.latest)?;
        (latest.seconds >= LONG).then(|| at.plus(Duration::try_from_secs_f64(latest.seconds).unwrap_or(Duration::MAX)))
    }

    /// Whether nothing has left after this request.
    #[must_use]
    pub fn is_newest(&self, ticket: &Ticket) -> bool {
        (self.sent - ticket.sent_before - ticket.charge).requests < 0.5
    }

    /// When the latest request had left that was answered.
    #[must_use]
    pub fn answered_at(&self) -> Option<Mono> {
        self.answered
    }

    /// Whether nothing was answered that left in the window of a minute before this request.
    #[must_use]
    pub fn is_unused(&self, ticket: &Ticket) -> bool {
        self.answered.is_none_or(|at| at.plus(self.limits.window) <= ticket.sent)
    }

    /// Requests a second that a guess lets through; `None` where there is none.
    #[must_use]
    pub fn held(&self) -> Option<f64> {
        self.guess.as_ref().map(|guess| guess.rate() / self.mean().of(guess.unit).max(1.0))
    }

    /// Requests a second that the server lets in, as far as refusals have shown it; `None` where they have not.
    #[must_use]
    pub fn shown(&self) -> Option<f64> {
        self.held().or_else(|| {
            let latest = self.latest?;
            Some(latest.let_in.requests / latest.seconds)
        })
    }

    /// Whether a request that was let in lies between the last refusal and this request, which is refused as well.
    #[must_use]
    pub fn lets_in(&self, ticket: &Ticket) -> bool {
        (ticket.sent_before - self.refused - self.let_in).requests >= 1.0
    }

    /// The mean of what was sent.
    fn mean(&self) -> Charge {
        let requests = self.sent.requests.max(1.0);
        Charge { requests: 1.0, tokens: self.sent.tokens / requests }
    }

    /// When a request of `charge` fits after `before` was claimed; `None` if now.
    pub fn frees(&mut self, before: Charge, charge: Charge, now: Mono) -> Option<ServerWait> {
        let mut latest: Option<(Mono, usize)> = None;
        for (index, bucket) in self.buckets.iter_mut().enumerate() {
            if let Some(until) = bucket.frees(before.of(bucket.unit), charge.of(bucket.unit), now)
                && latest.is_none_or(|(known, _)| until > known)
            {
                latest = Some((until, index));
            }
        }
        let told = latest.map(|(until, index)| ServerWait { limit: self.buckets[index].learned(), until });
        let guessed = self.guess.as_mut().and_then(|guess| {
            let until = guess.frees(before.of(guess.unit), charge.of(guess.unit), self.echo, now)?;
            Some(ServerWait { limit: guess.learned(self.limits.window), until })
        });
        match (told, guessed) {
            (Some(told), Some(guessed)) => Some(if guessed.until > told.until { guessed } else { told }),
            (told, guessed) => told.or(guessed),
        }
    }

    /// A request leaves, the `rank`-th at a time.
    pub fn take(&mut self, charge: Charge, rank: usize, now: Mono) -> Ticket {
        let ticket = Ticket {
            sent: now,
            rank,
            charge,
            sent_before: self.sent,
            heard_before: self.heard,
            refused_before: self.refused,
        };
        self.history.note(self.sent, now);
        self.sent += charge;
        for bucket in &mut self.buckets {
            bucket.take(charge.of(bucket.unit), now);
        }
        // So much was let in that there is no such limit.
        if self.guess.as_mut().is_some_and(|guess| guess.take(charge.of(guess.unit), now)) {
            self.changed |= self.guess.take().is_some();
            self.said = None;
        }
        ticket
    }

    /// A request was heard of at `now`, with what the server says of its limits.
    pub fn heard(&mut self, ticket: Ticket, hints: &[ServerHint], outcome: Outcome, now: &Now) -> Vec<News> {
        let signal = matches!(outcome, Outcome::Refused { signal: true } | Outcome::SlowDown { signal: true });
        // What may have been taken after this request arrived: all that was sent but not heard of when it left.
        let mut others = self.sent - ticket.charge - ticket.heard_before;
        // Nobody says that a refusal costs tokens; unsuccessful requests do count.
        others.tokens -= (self.refused - ticket.refused_before).tokens;
        let same = |one: &ServerHint, other: &ServerHint| one.unit == other.unit && one.group == other.group;
        let several = hints.iter().enumerate().any(|(place, one)| hints[..place].iter().any(|other| same(one, other)));
        let heard = Heard { ticket: &ticket, others, signal, several, now };
        self.heard += ticket.charge;
        if outcome == Outcome::Admitted {
            self.answered = self.answered.max(Some(ticket.sent));
        }
        let refused = matches!(outcome, Outcome::Refused { .. } | Outcome::SlowDown { .. });
        if refused {
            self.echo = ticket.sent.until(now.mono);
            self.refused += ticket.charge;
            for bucket in self.buckets.iter_mut().filter(|bucket| bucket.unit == Unit::Tokens) {
                bucket.give_back(ticket.charge.tokens);
            }
        }
        for hint in hints.iter().filter(|hint| hint.unit != Unit::InFlight) {
            self.hint(hint, &heard);
        }
        match outcome {
            Outcome::Refused { .. } => self.refusal(hints, &heard),
            Outcome::SlowDown { signal: true } => self.slow_down(now),
            Outcome::SlowDown { signal: false } | Outcome::Admitted | Outcome::Other => {}
        }
        self.cap_guess();
        std::mem::take(&mut self.news)
    }

    /// Whether what is to be kept between runs has changed since this was last asked.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// What is known of the server's limits.
    #[must_use]
    pub fn learned(&self) -> Vec<LearnedLimit> {
        let kept = self.buckets.iter().filter(|bucket| bucket.is_told());
        let guess = self.guess.as_ref().filter(|guess| guess.is_kept());
        kept.map(Bucket::learned).chain(guess.map(|guess| guess.learned(self.limits.window))).collect()
    }

    /// Requests a second that the server's limits let through in the long run, at `tokens` each, and how many at once; `None` where nothing is known.
    #[must_use]
    pub fn sustained(&self, mean: Charge, now: Mono) -> Option<Sustained> {
        let of = |bucket: &Bucket| {
            let each = mean.of(bucket.unit).max(1.0);
            Sustained { per_second: bucket.rate(now) / each, at_once: bucket.depth(now) / each }
        };
        let guess = self.guess.as_ref().filter(|guess| !guess.is_tried()).map(|guess| {
            let per_second = guess.rate() / mean.of(guess.unit).max(1.0);
            Sustained { per_second, at_once: 1.0 }
        });
        self.buckets.iter().map(of).chain(guess).reduce(Sustained::min)
    }

    fn burst(&self, window: Duration) -> Duration {
        if self.pacing == Pacing::Smooth && !is_daily(window) { window / SLICES } else { window }
    }
}

/// What limits let through.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sustained {
    /// Requests a second in the long run.
    pub per_second: f64,
    /// Requests at once, from rest.
    pub at_once: f64,
}

impl Sustained {
    /// What both let through.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Self { per_second: self.per_second.min(other.per_second), at_once: self.at_once.min(other.at_once) }
    }
}
