//! One limit of the server as we picture it: a bucket that refills all the time, corrected by what the server tells.
//!
//! The picture is never exact: requests arrive later than they leave, in another order, and the server counts tokens its own way. So a hint gives
//! bounds, and the level moves only when it lies outside of them.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::admit::hint::{LearnedLimit, Source, Unit, is_daily};
use crate::clock::{Mono, Now};
use crate::model::guard;

/// A limit that headers do not confirm is tried with more after a part of its window without a refusal: this part,
const QUIET: f64 = 0.5;
/// then by a quarter more
const STEP: f64 = 1.25;
/// for each such part of its window,
const STEP_TIME: f64 = 0.25;
/// up to so many times what is known.
const MOST_GROWTH: f64 = 64.0;
/// A trial that ends at the same limit as the one before it makes the next one wait for twice the time, so often: a limit that was lowered for a while
/// is found to be back within two windows.
const MOST_PATIENCE: u32 = 1;
/// Above so many tokens a minute a server that says `slow_down` wants growth of at most a half in 15 minutes (FACTS B.3).
const RAMP_TOKENS_PER_MINUTE: f64 = 1e6;
/// A rate that was too much is cut to this,
const CUT: f64 = 0.8;
/// or to what was let in, if that was measured for this part of the window, but at the most to the first of these and at least to the second.
const MEASURED: f64 = 0.125;
const MOST_CUT: f64 = 0.4;
const LEAST_CUT: f64 = 0.9;
/// What was sent is compared with what the server counts for it after this part of the limit,
const COMPARED: f64 = 0.125;
/// and after so many times what may have arrived in another order than it left;
const SURE: f64 = 8.0;
/// each comparison counts with this weight.
const COMPARED_WEIGHT: f64 = 0.5;
/// The server counts at the most so many times what we do, or that part of it.
const MOST_SCALE: f64 = 3.0;
/// Rounding of the level never keeps a request back.
const GRAIN: f64 = 1e-6;

/// How a limit that is not told with every answer grows back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Growth {
    /// Not at all: headers tell when it does.
    Told,
    /// Tried with more after a quiet time, doubled so many times.
    Tried { patience: u32 },
    /// After a `slow_down`: freely up to a million tokens a minute, then by a half in 15 minutes.
    Ramp,
}

/// A size that is told, or found.
pub(super) struct Told {
    pub(super) size: f64,
    pub(super) window: Duration,
    pub(super) source: Source,
}

/// What a hint said is left, and what we had sent by then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Anchor {
    pub(super) left: f64,
    /// When the request left that it came back with.
    pub(super) sent: Mono,
    /// What had been sent in all before that request.
    pub(super) sent_before: f64,
    /// What may have arrived before or after it.
    pub(super) others: f64,
}

/// A bucket of the server.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    pub(super) unit: Unit,
    pub(super) group: Option<String>,
    /// The most that fits into a window, as last told or estimated.
    pub(super) size: f64,
    pub(super) window: Duration,
    /// How much may come at once, as the time in which it refills.
    pub(super) burst: Duration,
    pub(super) source: Source,
    pub(super) learned: DateTime<Utc>,
    /// What can be taken at `at`; below zero where more was taken than we thought there was.
    level: f64,
    at: Mono,
    /// Whether it has been full since the last cut.
    rested: bool,
    /// How many times our charge the server counts: it estimates tokens its own way, and others may use the same account.
    scale: f64,
    /// An earlier hint, against which the next ones show what the server counts.
    anchor: Option<Anchor>,
    /// When the size was last told or refused; the time in which it lay full is added, because that tries nothing.
    confirmed: Mono,
    /// The largest size that it had in this run.
    highest: f64,
    /// It is not tried with more than this: the size that the server tells of the same limit.
    pub(super) most: f64,
    growth: Growth,
}

impl Bucket {
    /// A bucket that is full at `now`.
    pub(super) fn new(limit: LearnedLimit, now: Mono) -> Self {
        let LearnedLimit { unit, group, size, window, burst, source, learned } = limit;
        let growth = if source == Source::Headers { Growth::Told } else { Growth::Tried { patience: 0 } };
        let window = window.max(Duration::from_millis(1));
        let mut bucket = Self {
            unit,
            group,
            size: size.max(GRAIN),
            window,
            burst: burst.min(window),
            source,
            learned,
            level: 0.0,
            at: now,
            rested: false,
            scale: 1.0,
            anchor: None,
            confirmed: now,
            highest: size,
            most: f64::INFINITY,
            growth,
        };
        bucket.level = bucket.depth(now);
        bucket
    }

    /// What a `slow_down` leaves: `tokens_per_minute` and its slow growth.
    pub(super) fn ramp(tokens_per_minute: f64, now: Mono, wall: DateTime<Utc>) -> Self {
        let window = Duration::from_secs(60);
        let limit = LearnedLimit {
            unit: Unit::Tokens,
            group: Some(LearnedLimit::RAMP.to_owned()),
            size: tokens_per_minute,
            window,
            burst: window / 60,
            source: Source::Estimate,
            learned: wall,
        };
        Self { growth: Growth::Ramp, level: 0.0, ..Self::new(limit, now) }
    }

    pub(super) fn is_ramp(&self) -> bool {
        self.growth == Growth::Ramp
    }

    /// Whether it is worked out from 429s that say nothing, as a rate to keep.
    pub(super) fn is_estimate(&self) -> bool {
        self.source == Source::Estimate && !self.is_ramp()
    }

    /// Whether it is of a day, or of hours.
    pub(super) fn is_daily(&self) -> bool {
        is_daily(self.window)
    }

    /// How much more than its known size is tried at `now`.
    fn factor(&self, now: Mono) -> f64 {
        let windows = self.confirmed.until(now).as_secs_f64() / self.window.as_secs_f64();
        let factor = match self.growth {
            Growth::Told => 1.0,
            Growth::Tried { patience } => {
                // One that was larger before may be so again at any time.
                let patience = if self.size < 0.95 * self.highest { 0 } else { patience };
                let quiet = QUIET * f64::from(1_u32 << patience);
                if windows <= quiet { 1.0 } else { STEP.powf((windows - quiet) / STEP_TIME).min(MOST_GROWTH) }
            }
            Growth::Ramp => {
                // Its window is a minute. Half more a minute until the million, then half more in 15 minutes.
                let free = ((RAMP_TOKENS_PER_MINUTE / self.size).max(1.0).ln() / 1.5_f64.ln()).min(windows);
                1.5_f64.powf(free + (windows - free) / 15.0)
            }
        };
        factor.min((self.most / self.size).max(1.0))
    }

    /// Units a second at `now`.
    pub(super) fn rate(&self, now: Mono) -> f64 {
        self.size * self.factor(now) / self.window.as_secs_f64()
    }

    /// The most that may come at once at `now`.
    pub(super) fn depth(&self, now: Mono) -> f64 {
        (self.rate(now) * self.burst.as_secs_f64()).max(1.0)
    }

    /// What is kept in reserve for requests that arrive closer together than they left: an eighth of a window's worth, at most 250 ms' worth, as in
    /// [`Limits::guard`](crate::model::Limits::guard); of a slice not so much that it would fill up while we hesitate.
    fn reserve(&self, now: Mono) -> f64 {
        let guard = self.rate(now) * guard(self.window).as_secs_f64();
        guard.min(self.depth(now) * 0.4)
    }

    fn refill(&mut self, now: Mono) {
        if now > self.at {
            let passed = self.at.until(now);
            let full = self.depth(now);
            self.level += self.rate(now) * passed.as_secs_f64();
            if self.level >= full {
                self.level = full;
                self.rested = true;
                self.anchor = None;
                self.confirmed = self.confirmed.plus(passed).min(now);
            }
            self.at = now;
        }
    }

    /// When `charge` fits after `before` has been taken; `None` if now. What is over the depth fits when the bucket is full.
    pub(super) fn frees(&mut self, before: f64, charge: f64, now: Mono) -> Option<Mono> {
        self.refill(now);
        let depth = self.depth(now);
        let (charge, before) = (charge * self.scale, before * self.scale);
        let missing = (charge + self.reserve(now)).min(depth) + before - self.level;
        if missing <= GRAIN {
            return None;
        }
        // A hair more than it takes, so that rounding does not wake us too early.
        let wait = Duration::try_from_secs_f64(missing / self.rate(now)).unwrap_or(Duration::MAX);
        Some(now.plus(wait.saturating_add(Duration::from_nanos(100))))
    }

    pub(super) fn take(&mut self, charge: f64, now: Mono) {
        self.refill(now);
        self.level -= charge * self.scale;
    }

    pub(super) fn give_back(&mut self, charge: f64) {
        self.level += charge * self.scale;
    }

    /// Nothing is left at `now`, at the most.
    pub(super) fn drain(&mut self, now: Mono) {
        self.refill(now);
        self.level = self.level.min(0.0);
    }

    /// Whether `charge` was refused for good reason, as far as we can see: there was hardly room for it.
    pub(super) fn explains(&mut self, charge: f64, now: Mono) -> bool {
        self.refill(now);
        self.level - charge * self.scale < self.reserve(now) + 0.05 * self.depth(now)
    }

    /// A hint of what was left when a request arrived: `others` may have been taken since. `now` is when it was heard.
    pub(super) fn hint_level(&mut self, hint: Anchor, now: Mono) {
        self.refill(now);
        let most = hint.left + self.rate(now) * hint.sent.until(now).as_secs_f64();
        let least = hint.left - hint.others * self.scale;
        self.level = self.level.min(most).max(least).min(self.depth(now));
    }

    /// A hint shows what the server counts for what we sent since an earlier one, while it was never full.
    pub(super) fn compare(&mut self, hint: Anchor, now: Mono) {
        let Some(anchor) = self.anchor else {
            self.anchor = Some(hint);
            return;
        };
        let ours = hint.sent_before - anchor.sent_before;
        // Requests arrive in another order than they leave: only a good part of the limit, and many times what was under way, tells more than that.
        if ours >= COMPARED * self.size && ours >= SURE * (anchor.others + hint.others) {
            let refilled = self.rate(now) * anchor.sent.until(hint.sent).as_secs_f64();
            self.count((anchor.left - hint.left + refilled) / ours, COMPARED_WEIGHT);
            self.anchor = Some(hint);
        }
    }

    /// The server counts `ratio` times what we charge, as one comparison says that counts with `weight` of 1.
    pub(super) fn count(&mut self, ratio: f64, weight: f64) {
        if ratio.is_finite() && ratio > 0.0 {
            self.scale += (ratio.clamp(1.0 / MOST_SCALE, MOST_SCALE) - self.scale) * weight;
        }
    }

    /// Its size is told. Returns whether that is news. `signal` says that it ends a trial: a burst of refusals is one.
    pub(super) fn confirm(&mut self, told: &Told, signal: bool, now: &Now) -> bool {
        let Told { size, window, source } = *told;
        let (now, wall) = (now.mono, now.wall);
        self.refill(now);
        let same = (size - self.size).abs() <= 0.01 * self.size && window == self.window;
        self.growth = match (source, self.growth) {
            (Source::Headers, _) => Growth::Told,
            (_, Growth::Tried { patience }) if same => {
                Growth::Tried { patience: (patience + u32::from(signal)).min(MOST_PATIENCE) }
            }
            _ => Growth::Tried { patience: 0 },
        };
        let news = !same || source != self.source;
        if !same {
            self.anchor = None;
        }
        self.highest = self.highest.max(size);
        if self.burst == self.window {
            self.burst = window;
        }
        (self.size, self.window, self.source) = (size, window, source);
        (self.confirmed, self.learned) = (now, wall);
        self.level = self.level.min(self.depth(now));
        news
    }

    /// A refusal that says nothing: what was tried is too much. The rate is cut once for a burst of them.
    ///
    /// `admitted` is what was let in since the refusal before it, and over how long: between two moments at which the bucket was empty, that is what
    /// refilled. A bucket that was full in between, as one of a slice often is, lost some of that.
    pub(super) fn cut(&mut self, admitted: Option<(f64, Duration)>, now: &Now) {
        self.refill(now.mono);
        let tried = self.size * self.factor(now.mono);
        let measured = admitted
            .filter(|(_, passed)| *passed >= self.window.mul_f64(MEASURED) && !self.rested && self.burst == self.window)
            .map(|(amount, passed)| amount / passed.as_secs_f64() * self.window.as_secs_f64());
        let size = measured.unwrap_or(tried * CUT).clamp(tried * MOST_CUT, tried * LEAST_CUT);
        let near = (size - self.size).abs() <= 0.1 * self.size;
        let patience = match self.growth {
            Growth::Tried { patience } if near => (patience + 1).min(MOST_PATIENCE),
            _ => 0,
        };
        self.confirm(&Told { size, window: self.window, source: Source::Estimate }, false, now);
        self.growth = Growth::Tried { patience };
        self.rested = false;
        self.level = self.level.min(0.0);
    }

    /// What is kept of it between runs.
    pub(super) fn learned(&self) -> LearnedLimit {
        LearnedLimit {
            unit: self.unit,
            group: self.group.clone(),
            size: self.size,
            window: self.window,
            burst: self.burst,
            source: self.source,
            learned: self.learned,
        }
    }
}
