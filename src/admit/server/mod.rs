//! The server's own limits as we picture them: told by headers and refusals, estimated where it says nothing.
//!
//! The ledger keeps the limits that a person sets; this keeps us off those that the server has. Admission obeys both. It is a value of one run: what
//! other programs take from the same account shows in the hints.

mod bucket;
mod charge;
mod estimate;
#[cfg(test)]
mod tests;

pub use charge::{Charge, Ticket};

use std::time::Duration;

use bucket::{Anchor, Bucket, Told};
use charge::{History, of_amount, to_f64};

use super::hint::{LearnedLimit, ServerHint, Source, Span, Unit, is_daily};
use super::ledger::Amount;
use crate::clock::{Mono, Now, nanos};
use crate::model::Limits;

/// Windows that a server may mean; the person's own comes before them.
const WINDOWS: [Duration; 5] = [
    Duration::from_secs(60),
    Duration::from_secs(86_400),
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_secs(3_600),
];
/// A minute's limit that is enforced in slices is enforced in sixty.
const SLICES: u32 = 60;
/// What a server says that it counts for one request tells this much of what it counts for others.
const TOLD_WEIGHT: f64 = 0.25;
/// A limit is saved again when it was confirmed so long ago.
const STALE: Duration = Duration::from_secs(300);

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
    /// When the last refusal that we could not explain had been sent, and what had been let in by then.
    emptied: Option<(Mono, Charge)>,
    history: History,
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
            history: History::new(limits.window),
            warned: Vec::new(),
            changed: false,
            news: Vec::new(),
        };
        let recent: Vec<(Mono, Amount)> = recent.into_iter().collect();
        for limit in learned {
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
        server.cap_estimates();
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
                    group: Some(OWN.to_owned()),
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
        self.buckets.iter().any(|bucket| bucket.group.as_deref() != Some(OWN))
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
        latest.map(|(until, index)| ServerWait { limit: self.buckets[index].learned(), until })
    }

    /// A request leaves.
    pub fn take(&mut self, charge: Charge, now: Mono) -> Ticket {
        let ticket = Ticket { sent: now, charge, sent_before: self.sent, heard_before: self.heard };
        self.history.note(self.sent, now);
        self.sent += charge;
        for bucket in &mut self.buckets {
            bucket.take(charge.of(bucket.unit), now);
        }
        ticket
    }

    /// A request was heard of at `now`, with what the server says of its limits.
    pub fn heard(&mut self, ticket: Ticket, hints: &[ServerHint], outcome: Outcome, now: &Now) -> Vec<News> {
        let signal = matches!(outcome, Outcome::Refused { signal: true } | Outcome::SlowDown { signal: true });
        // What may have been taken after this request arrived: all that was sent but not heard of when it left.
        let others = self.sent - ticket.charge - ticket.heard_before;
        let heard = Heard { ticket: &ticket, others, signal, now };
        self.heard += ticket.charge;
        let refused = matches!(outcome, Outcome::Refused { .. } | Outcome::SlowDown { .. });
        if refused {
            self.refused += ticket.charge;
            // Nobody says that a refusal costs tokens; unsuccessful requests do count.
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
        self.cap_estimates();
        std::mem::take(&mut self.news)
    }

    /// What is to be kept between runs, if that has changed since it was last asked for.
    pub fn take_changed(&mut self) -> Option<Vec<LearnedLimit>> {
        std::mem::take(&mut self.changed).then(|| self.learned())
    }

    /// What is known of the server's limits.
    #[must_use]
    pub fn learned(&self) -> Vec<LearnedLimit> {
        let kept = self.buckets.iter().filter(|bucket| !bucket.is_ramp() && bucket.group.as_deref() != Some(OWN));
        kept.map(Bucket::learned).collect()
    }

    /// Requests a second that the server's limits let through in the long run, at `tokens` each, and how many at once; `None` where nothing is known.
    #[must_use]
    pub fn sustained(&self, mean: Charge, now: Mono) -> Option<Sustained> {
        let of = |bucket: &Bucket| {
            let each = mean.of(bucket.unit).max(1.0);
            Sustained { per_second: bucket.rate(now) / each, at_once: bucket.depth(now) / each }
        };
        self.buckets.iter().map(of).reduce(Sustained::min)
    }

    fn hint(&mut self, hint: &ServerHint, heard: &Heard<'_>) {
        let Heard { ticket, others, now, .. } = *heard;
        let Some(index) = self.bucket_of(hint, heard) else { return };
        let bucket = &mut self.buckets[index];
        if let (Some(charged), Unit::Tokens) = (hint.charged, hint.unit) {
            bucket.count(to_f64(charged) / ticket.charge.tokens.max(1.0), TOLD_WEIGHT);
        }
        let Some(left) = hint.left else { return };
        // A refusal that names more room than was asked for is of a part of the window: it says nothing of the level.
        if hint.refused && hint.charged.is_some_and(|charged| charged <= left) {
            return;
        }
        let told = Anchor {
            left: to_f64(left),
            sent: ticket.sent,
            sent_before: ticket.sent_before.of(hint.unit),
            // What came after a request that was refused is most likely refused too.
            others: if hint.refused { 0.0 } else { others.of(hint.unit) },
        };
        bucket.hint_level(told, now.mono);
        if !hint.refused && hint.window.is_some() {
            bucket.compare(told, now.mono);
        }
        let size = bucket.size;
        if to_f64(left) < size / 10.0 && bucket.is_daily() && !self.warned.contains(&(hint.unit, bucket.window)) {
            self.warned.push((hint.unit, bucket.window));
            self.news.push(News::NearlyUsed { limit: bucket.learned(), left });
        }
    }

    /// The bucket that a hint is of, made or brought up to it.
    fn bucket_of(&mut self, hint: &ServerHint, heard: &Heard<'_>) -> Option<usize> {
        let Heard { ticket, signal, now, .. } = *heard;
        let window = hint.window.and_then(|span| self.window(hint, span));
        let daily = window.map(is_daily);
        let size = hint.size.filter(|size| *size > 0).map(to_f64);
        let same = |bucket: &Bucket| {
            bucket.unit == hint.unit && bucket.group == hint.group && bucket.source != Source::Estimate
        };
        let index = self.buckets.iter().position(|bucket| {
            same(bucket)
                && daily
                    .map_or_else(|| size.is_none_or(|size| near(size, bucket.size)), |daily| daily == bucket.is_daily())
        });
        // A window that is not told is that of the bucket that there is, if it is one of a minute.
        let index = index
            .or_else(|| self.buckets.iter().position(|bucket| same(bucket) && daily.is_none() && !bucket.is_daily()));
        let Some(index) = index else {
            let window = window.unwrap_or(self.limits.window);
            let limit = LearnedLimit {
                unit: hint.unit,
                group: hint.group.clone(),
                size: size?,
                window,
                burst: self.burst(window),
                source: hint.source,
                learned: now.wall,
            };
            let mut bucket = Bucket::new(limit, ticket.sent);
            // Until a hint says what is left, all that we sent in its window counts.
            bucket.take((self.sent - self.history.before(window, now.mono)).of(hint.unit), now.mono);
            self.news.push(News::Learned(bucket.learned()));
            self.changed = true;
            self.buckets.push(bucket);
            return Some(self.buckets.len() - 1);
        };
        let bucket = &mut self.buckets[index];
        if let Some(size) = size {
            let window = window.unwrap_or(bucket.window);
            let stale = (now.wall - bucket.learned).to_std().unwrap_or_default() > STALE;
            // Headers are surer than the text of a refusal of the same limit.
            let source = if bucket.source == Source::Headers { Source::Headers } else { hint.source };
            if bucket.confirm(&Told { size, window, source }, signal, now) {
                self.news.push(News::Learned(bucket.learned()));
                self.changed = true;
            } else if stale {
                self.changed = true;
            }
        }
        Some(index)
    }

    /// The window that is meant by one known within bounds; `None` where too many could be.
    fn window(&self, hint: &ServerHint, span: Span) -> Option<Duration> {
        let known = self
            .buckets
            .iter()
            .find(|bucket| bucket.unit == hint.unit && bucket.group == hint.group && span.holds(bucket.window));
        let named = std::iter::once(self.limits.window).chain(WINDOWS).find(|window| span.holds(*window));
        let narrow = span.most <= span.least + span.least / 4;
        known.map(|bucket| bucket.window).or(named).or_else(|| narrow.then(|| (span.least + span.most) / 2))
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

/// The group under which the person's own limits are spread.
const OWN: &str = LearnedLimit::SETTINGS;

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 0.01 * b
}
