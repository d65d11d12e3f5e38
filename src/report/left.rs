//! How long a run still takes: from the limit that binds, and from how prompts ended of late. Pure.
//!
//! What was done since the start says little of what is to come: a run begins with a burst that a limit then stops, and a server changes its rate. So
//! the rate is that of the last third of the time. Prompts may end in bursts, a minute apart where a limit has fixed windows; so as much is looked at as
//! holds several of the longest gaps, and it is measured from the end of one burst to the end of another.

use std::collections::VecDeque;
use std::time::Duration;

use super::summary::Progress;
use super::waits::{Binds, WaitFor};
use crate::admit::hint::{LearnedLimit, Source, Unit, is_daily};
use crate::clock::{Mono, nanos};
use crate::model::{LimitName, Limits};

/// A limit that keeps a run to its pace is seen between requests; it still binds so long after it was seen.
const SEEN: Duration = Duration::from_secs(2);
/// Counts closer together than this part of the time are one.
const FINE: u32 = 256;
/// The most counts that are kept.
const MOST: usize = 2_048;
/// The rate is that of this part of the time,
const LATEST: u32 = 3;
/// but of at least so many of the longest gaps between counts.
const GAPS: f64 = 4.0;
/// The latest gap is a longer one than those before it from so many times their length on.
const LONGER: f64 = 1.5;
/// What came of late is about what a limit lets through where that is at most so many times as much.
const NEAR: f64 = 1.5;
const FEW: usize = 3;
/// An estimate grows to so many times as much.
const GROWS: f64 = 1.25;
/// What is told is worked out anew this often, so that it can be read.
const EVERY: Duration = Duration::from_secs(1);

/// So many prompts had ended.
#[derive(Clone, Copy, Debug)]
struct Count {
    at: Mono,
    ended: usize,
}

/// How many prompts a limit lets through in a window, while it binds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Allowed {
    prompts: f64,
    window: Duration,
    /// Whether it is no estimate.
    is_sure: bool,
    /// Whether what does not fit waits for the window's end, and not only for a moment.
    is_window: bool,
}

impl Allowed {
    fn per_second(self) -> f64 {
        self.prompts / self.window.as_secs_f64()
    }

    /// Prompts a second under the limit, where they came so of late. No more than it lets through; and where they were about as many, or too few to say,
    /// the limit is the surer number.
    fn rate(self, flow: &Flow) -> f64 {
        match self.is_sure {
            true if flow.rate * NEAR >= self.per_second() || flow.prompts < FEW => self.per_second(),
            true => flow.rate,
            false => flow.rate.min(self.per_second() * GROWS),
        }
    }
}

/// A limit whose window was waited for.
#[derive(Clone, Copy, Debug)]
struct Window {
    allowed: Allowed,
    /// When it lets prompts through again.
    until: Mono,
    /// Prompts that had ended then, as far as is known.
    ended: usize,
}

/// How prompts ended.
#[derive(Clone, Copy, Debug)]
struct Flow {
    /// Prompts a second; over 0.
    rate: f64,
    /// From where on it is to be counted on.
    from: Count,
    /// Prompts from which it is known.
    prompts: usize,
    /// The longest gap in it, in seconds.
    gap: f64,
}

/// Works out how long a run still takes.
#[derive(Debug)]
pub(super) struct TimeLeft {
    started: Mono,
    /// The oldest first.
    counts: VecDeque<Count>,
    /// The limit that binds, and when that was last seen.
    bound: Option<(Allowed, Mono)>,
    window: Option<Window>,
    /// What was told, and when, and whether that was through a pause, and under a limit.
    told: Option<(Mono, Duration, [bool; 2])>,
}

impl TimeLeft {
    /// That of a run which starts now.
    pub(super) fn new(started: Mono) -> Self {
        Self { started, counts: VecDeque::new(), bound: None, window: None, told: None }
    }

    /// Takes in how far the run is, and says how long it still takes; `None` where that is not known. Ask at every look: a pace is what was seen a moment ago.
    pub(super) fn tell(&mut self, progress: &Progress<'_>, limits: &Limits, now: Mono) -> Option<Duration> {
        let Progress { jobs, tally, in_flight, binds } = *progress;
        let ended = tally.done + tally.failed;
        self.count(ended, now);
        self.bind(progress, limits, now);
        let to_do = jobs.saturating_sub(ended);
        let wait = foreseen(binds, now).filter(|_| to_do > 0);
        let Some(wait) = wait else {
            self.told = None;
            return None;
        };
        let why = [matches!(wait, Wait::Until(_)), self.bound.is_some()];
        if let Some((at, left, _)) = self.told.filter(|(at, _, told)| now < at.plus(EVERY) && *told == why) {
            return Some(left.saturating_sub(at.until(now)));
        }
        let left = self.left(to_do, ended, in_flight, wait, now);
        self.told = left.map(|left| (now, left, why));
        left
    }

    fn count(&mut self, ended: usize, now: Mono) {
        let before = self.counts.back().map_or(0, |last| last.ended);
        if ended <= before {
            return;
        }
        let fine = self.started.until(now) / FINE;
        // The one before the last is a moment ago too: the last one says no more than this one.
        if self.counts.len() >= 2 && self.counts[self.counts.len() - 2].at.plus(fine) > now {
            self.counts.pop_back();
        }
        self.counts.push_back(Count { at: now, ended });
        if self.counts.len() > MOST {
            self.counts.pop_front();
        }
    }

    fn bind(&mut self, progress: &Progress<'_>, limits: &Limits, now: Mono) {
        let ended = progress.tally.done + progress.tally.failed;
        if let Some(Binds { what, until: Some(until) }) = progress.binds
            && let Some(allowed) = allowed(what, progress, limits)
        {
            self.bound = Some((allowed, now));
            let wait = now.until(*until).as_secs_f64();
            // At an even pace the wait is for the next prompt.
            if allowed.is_window && wait * 8.0 >= allowed.window.as_secs_f64() && wait * allowed.per_second() >= 2.0 {
                self.window = Some(Window { allowed, until: *until, ended });
            }
        }
        self.bound = self.bound.filter(|(_, seen)| now <= seen.plus(SEEN));
        if let Some(window) = &mut self.window {
            if now < window.until {
                window.ended = ended;
            } else if window.is_over(ended, now) {
                self.window = None;
            }
        }
    }

    fn left(&self, to_do: usize, ended: usize, in_flight: usize, wait: Wait, now: Mono) -> Option<Duration> {
        if let Some(left) = self.window.as_ref().and_then(|window| window.left(to_do, ended, now)) {
            return Some(left);
        }
        let pause = match wait {
            Wait::Pace => None,
            Wait::Until(until) => Some(now.until(until).as_secs_f64()),
        };
        let flow = self.flow(now, pause.is_some(), in_flight);
        let most = self.bound.map(|(allowed, _)| allowed);
        let rate = match (&flow, most) {
            (Some(flow), Some(most)) => most.rate(flow),
            (Some(flow), None) => flow.rate,
            (None, Some(most)) => most.per_second(),
            (None, None) => return None,
        };
        let from = flow.map_or(Count { at: now, ended }, |flow| flow.from);
        let take = to_f64(to_do + ended.saturating_sub(from.ended)) / rate;
        let (since, gap) = (from.at.until(now).as_secs_f64(), flow.map_or(0.0, |flow| flow.gap));
        let left = match pause {
            // It is one of those that are in the rate.
            Some(pause) if gap * 2.0 >= since + pause => (take - since).max(pause),
            Some(pause) => take + pause,
            None => (take - since).max(0.0),
        };
        Duration::try_from_secs_f64(left).ok()
    }

    /// How prompts ended of late; `is_paused` where the gap since the last of them is told for itself.
    fn flow(&self, now: Mono, is_paused: bool, in_flight: usize) -> Option<Flow> {
        let (first, last) = (self.counts.front()?, self.counts.back()?);
        let since = if is_paused { 0.0 } else { last.at.until(now).as_secs_f64() };
        let end = if is_paused { last.at } else { now };
        let gaps = || self.counts.iter().zip(self.counts.iter().skip(1));
        // As much as holds several of the longest gaps: each look further back may find a longer one.
        let mut span = self.started.until(end).as_secs_f64() / f64::from(LATEST);
        let (begins, gap) = loop {
            let begins = Mono(end.0.saturating_sub(nanos(Duration::from_secs_f64(span))));
            let gap = gaps()
                .filter(|(_, next)| next.at > begins)
                .map(|(count, next)| count.at.until(next.at).as_secs_f64())
                .fold(0.0, f64::max);
            let needs = GAPS * gap.max(since);
            if needs <= span || begins <= first.at {
                break (begins, gap);
            }
            span = needs;
        };
        // From the end of one burst on, so that as many bursts as gaps are in it.
        let is_burst = |count: &Count, next: &Count| {
            count.at >= begins && count.at.until(next.at).as_secs_f64() * 2.0 >= gap.max(since)
        };
        let mut bursts = gaps().filter(|(count, next)| is_burst(count, next)).map(|(count, _)| count);
        let first_of_span = || self.counts.iter().find(|count| count.at >= begins);
        let start = *bursts.next().or_else(first_of_span).unwrap_or(last);
        let end = match bursts.next_back() {
            _ if since > gap * LONGER => Count { at: now, ended: last.ended },
            // In the middle of a burst.
            Some(count) if !is_paused && since * 2.0 < gap => *count,
            _ => *last,
        };
        let measured = rate(start, end);
        let answer = self.started.until(first.at).as_secs_f64();
        let rate = if begins > first.at || gap > answer {
            measured
        } else {
            // It has only begun. The time to the first end is that of an answer, and so many are waited for together.
            let whole = rate(Count { at: self.started, ended: 0 }, *last);
            let together = to_f64(in_flight) / answer;
            Some(measured.map_or(0.0, |measured| measured.min(together)).max(whole.unwrap_or(0.0)))
        };
        let rate = rate.filter(|rate| *rate > 0.0 && rate.is_finite())?;
        Some(Flow { rate, from: end, prompts: end.ended - start.ended, gap })
    }
}

impl Window {
    /// Whether the next one was not waited for, or more came than it lets through.
    fn is_over(&self, ended: usize, now: Mono) -> bool {
        let Allowed { prompts, window, .. } = self.allowed;
        self.until.plus(window) <= now || to_f64(ended.saturating_sub(self.ended)) > prompts * 1.1 + 1.0
    }

    /// How long so many prompts take in whole windows; `None` where they fit into the one that runs, and none of it has come yet.
    fn left(&self, to_do: usize, ended: usize, now: Mono) -> Option<Duration> {
        let Allowed { prompts, window, .. } = self.allowed;
        let (next, before) = if now < self.until {
            (self.until, 0.0)
        } else {
            (self.until.plus(window), (prompts - to_f64(ended.saturating_sub(self.ended))).max(0.0))
        };
        let behind = to_f64(to_do) - before;
        if behind > 0.0 {
            return Some(now.until(next).saturating_add(window.mul_f64((behind / prompts).ceil() - 1.0)));
        }
        // The rest comes as what came since it began.
        let rate = rate(Count { at: self.until, ended: self.ended }, Count { at: now, ended })?;
        Duration::try_from_secs_f64(to_f64(to_do) / rate).ok()
    }
}

/// A wait through which the time left is known.
#[derive(Clone, Copy)]
enum Wait {
    /// It is the pace, or there is none.
    Pace,
    /// Nothing happens before then.
    Until(Mono),
}

/// What of a wait is to be added to the time that the rest takes; `None` where nobody knows how long it takes.
fn foreseen(binds: Option<&Binds>, now: Mono) -> Option<Wait> {
    let Some(Binds { what, until }) = binds else { return Some(Wait::Pace) };
    let wait = match until {
        Some(until) if now.until(*until) >= Duration::from_secs(1) => Wait::Until(*until),
        _ => Wait::Pace,
    };
    match what {
        WaitFor::Answers => Some(Wait::Pace),
        WaitFor::Server => Some(wait),
        WaitFor::Limit(limit) => (!limit.is_daily()).then_some(wait),
        WaitFor::ServerLimit(limit) => (limit.unit == Unit::InFlight || !is_daily(limit.window)).then_some(wait),
        WaitFor::FirstAnswers
        | WaitFor::Outage
        | WaitFor::Account
        | WaitFor::Refused
        | WaitFor::Prompts
        | WaitFor::Disk
        | WaitFor::Reader
        | WaitFor::Retry => None,
    }
}

/// What a limit lets through, in prompts; `None` where it does not say.
fn allowed(what: &WaitFor, progress: &Progress<'_>, limits: &Limits) -> Option<Allowed> {
    let (unit, size, window, is_sure, is_window) = match what {
        WaitFor::Limit(name) => {
            let unit = match name {
                LimitName::RequestsPerMinute => Unit::Requests,
                LimitName::TokensPerMinute => Unit::Tokens,
                _ => return None,
            };
            #[expect(clippy::cast_precision_loss, reason = "limits are far below 2^52")]
            let size = limits.of(*name)? as f64;
            (unit, size, limits.window, true, true)
        }
        WaitFor::ServerLimit(LearnedLimit { unit, size, window, burst, source, .. }) if !is_daily(*window) => {
            // Tokens it counts in its own way, and what a prompt waits for differs with its size.
            let is_window = *unit == Unit::Requests && burst == window;
            (*unit, *size, *window, *source != Source::Estimate, is_window)
        }
        _ => return None,
    };
    let prompts = match unit {
        Unit::Requests => size,
        Unit::Tokens => {
            let tally = progress.tally;
            #[expect(clippy::cast_precision_loss, reason = "tokens of a run are far below 2^52")]
            let each = tally.usage.total() as f64 / to_f64(tally.done);
            size / each
        }
        Unit::InFlight => return None,
    };
    (prompts.is_finite() && prompts > 0.0).then_some(Allowed { prompts, window, is_sure, is_window })
}

/// Prompts a second from one count to another; `None` where no time lies between them.
fn rate(from: Count, to: Count) -> Option<f64> {
    let rate = to_f64(to.ended - from.ended) / from.at.until(to.at).as_secs_f64();
    (rate.is_finite() && rate > 0.0).then_some(rate)
}

#[expect(clippy::cast_precision_loss, reason = "prompts of a run are far below 2^52")]
fn to_f64(prompts: usize) -> f64 {
    prompts as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_does_not_grow_with_the_run() {
        let mut left = TimeLeft::new(Mono(0));
        for tick in 1..200_000 {
            left.count(tick, Mono(tick as u64 * 100_000_000));
        }
        assert!(left.counts.len() <= MOST, "{}", left.counts.len());
    }
}
