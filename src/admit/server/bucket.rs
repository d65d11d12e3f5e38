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
/// What was sent is compared with what the server counts for it after this part of the limit,
const COMPARED: f64 = 0.125;
/// and after so many times what may have arrived in another order than it left;
const SURE: f64 = 8.0;
/// each comparison counts with this weight.
const COMPARED_WEIGHT: f64 = 0.5;
/// The server counts at the most so many times what we do, or that part of it.
const MOST_SCALE: f64 = 3.0;
/// A limit that is spread evenly lets through so much of its window's worth at once: one part of this many.
const EVEN: u32 = 16;
/// A moment at which a window ends is told within this, and a 64th of the window.
const SAME_END: Duration = Duration::from_millis(50);
/// A change of less than this part is no news.
const NEWS: f64 = 0.1;
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

/// What a hint tells of the time until a bucket is full.
#[derive(Clone, Copy, Debug)]
struct Full {
    /// When it will be.
    at: Mono,
    left: f64,
    /// The window that follows from that, of a bucket that refills all the time.
    window: Option<Duration>,
}

/// What is known of a window that is one of those that begin one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// It is the one that was known.
    Same,
    /// So much is left of it.
    In(Duration),
    /// It ends so long after the one before it.
    After(Duration),
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
    /// How many times our charge the server counts: it estimates tokens its own way, and others may use the same account.
    scale: f64,
    /// An earlier hint, against which the next ones show what the server counts.
    anchor: Option<Anchor>,
    /// When the size was last told or refused; the time in which it lay full is added, because that tries nothing.
    confirmed: Mono,
    /// The largest size that it had in this run.
    highest: f64,
    /// When the request had left whose hint is the latest.
    hinted: Mono,
    /// What was last said of it.
    said: Option<(f64, Duration)>,
    /// What the hint before the latest told of the time until it is full.
    told: Option<Full>,
    /// When the window ends, where it is one of those that begin one after the other.
    ends: Option<Mono>,
    /// The latest hint of what is left, where its window is not told.
    seen: Option<Anchor>,
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
            scale: 1.0,
            anchor: None,
            confirmed: now,
            highest: size,
            hinted: Mono(0),
            said: None,
            told: None,
            ends: None,
            seen: None,
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

    /// Whether it is the person's own limit, spread over its window: the server has no part in it.
    pub(super) fn is_own(&self) -> bool {
        self.group.as_deref() == Some(LearnedLimit::SETTINGS)
    }

    /// Whether the server told of it as a limit.
    pub(super) fn is_told(&self) -> bool {
        !self.is_ramp() && !self.is_own()
    }

    /// Whether it is of a day, or of hours.
    pub(super) fn is_daily(&self) -> bool {
        is_daily(self.window)
    }

    /// How much more than its known size is tried at `now`.
    fn factor(&self, now: Mono) -> f64 {
        let windows = self.confirmed.until(now).as_secs_f64() / self.window.as_secs_f64();
        match self.growth {
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
        }
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
        if let Some(ends) = self.ends {
            if now >= ends {
                let over = ends.until(now).as_nanos() / self.window.as_nanos().max(1) + 1;
                self.ends = Some(ends.plus(self.window.saturating_mul(u32::try_from(over).unwrap_or(u32::MAX))));
                self.level = self.depth(now);
                self.anchor = None;
            }
            self.at = now.max(self.at);
            return;
        }
        if now > self.at {
            let passed = self.at.until(now);
            let full = self.depth(now);
            self.level += self.rate(now) * passed.as_secs_f64();
            if self.level >= full {
                self.level = full;
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
        if let Some(ends) = self.ends {
            return Some(ends);
        }
        // A hair more than it takes, so that rounding does not wake us too early.
        let wait = Duration::try_from_secs_f64(missing / self.rate(now)).unwrap_or(Duration::MAX);
        Some(now.plus(wait.saturating_add(Duration::from_nanos(100))))
    }

    /// Whether `charge` never fits, even in a full bucket.
    pub(super) fn is_over(&self, charge: f64) -> bool {
        charge * self.scale > self.size.max(1.0)
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

    /// Whether a hint that came with a request that left at `sent` is the latest; requests are heard of in another order than they leave.
    pub(super) fn is_latest(&mut self, sent: Mono) -> bool {
        let is_latest = sent >= self.hinted;
        self.hinted = self.hinted.max(sent);
        is_latest
    }

    /// Takes in that a hint with `left` tells that it is full at `at`, and the `window` that would follow. Where that moment stays while the window
    /// would be another one, it is one of those that begin one after the other. Returns what that says of it then.
    pub(super) fn fills(&mut self, at: Mono, left: f64, window: Option<Duration>, now: Mono) -> Option<Ends> {
        let slack = self.window / 64 + SAME_END;
        let near = |one: Mono, two: Mono| one.until(two).max(two.until(one)) <= slack;
        let before = self.told;
        // The first hint of a window is what the others are compared with.
        if before.is_none_or(|before| !near(before.at, at) || left > before.left) {
            self.told = Some(Full { at, left, window });
        }
        let was_fixed = self.ends.is_some();
        let is_fixed = before.is_some_and(|before| {
            before.window.zip(window).is_some_and(|(one, two)| {
                // So much later a bucket that refills all the time would be full.
                let later = one.min(two).mul_f64(((before.left - left) / self.size).clamp(0.0, 1.0));
                near(before.at, at) && later >= slack * 4 && one.abs_diff(two) > one.max(two) / 4
            })
        });
        if !was_fixed && !is_fixed {
            return None;
        }
        self.anchor = None;
        self.ends = Some(at.max(now));
        match before {
            // A window begins when the one before it ends.
            Some(before) if was_fixed && !near(before.at, at) && before.at < at => {
                Some(Ends::After(before.at.until(at)))
            }
            _ if was_fixed => Some(Ends::Same),
            _ => Some(Ends::In(now.until(at))),
        }
    }

    /// What is to be said of it now, where it is another limit than was said before: changes of a few per cent are no news.
    pub(super) fn news(&mut self) -> Option<LearnedLimit> {
        let known = self.said.is_some_and(|(size, window)| {
            (self.size - size).abs() <= NEWS * size && self.window.abs_diff(window) <= window.mul_f64(NEWS)
        });
        (!known).then(|| {
            self.said = Some((self.size, self.window));
            self.learned()
        })
    }

    /// Takes in a hint that names no window, of a request with no other beside it. Returns the longest that the window can be, where what came back
    /// since the hint before shows that it is shorter than was thought.
    pub(super) fn shorter_window(&mut self, hint: Anchor) -> Option<Duration> {
        let before = self.seen.replace(hint)?;
        let passed = before.sent.until(hint.sent).as_secs_f64();
        let gained = hint.left - before.left + (hint.sent_before - before.sent_before);
        let expected = self.size * passed / self.window.as_secs_f64();
        if passed <= 0.0 || gained <= 2.0 * expected + 1.0 {
            return None;
        }
        let most = Duration::try_from_secs_f64(self.size * passed / gained).ok()?;
        // Nobody knows of what kind it is: a burst and what refills beside it would be too much for a window that slides.
        self.burst = self.window / EVEN;
        Some(most)
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
        self.burst = if self.burst == self.window { window } else { self.burst.min(window / EVEN) };
        (self.size, self.window, self.source) = (size, window, source);
        (self.confirmed, self.learned) = (now, wall);
        self.level = self.level.min(self.depth(now));
        news
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
