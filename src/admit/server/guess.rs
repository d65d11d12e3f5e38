//! A rate that nobody tells, as refusals show it: a bracket of what was let in and what was refused, which heals.
//!
//! Between two refusals a server lets in what its limit refills: what left in between, by that time, is the rate. Two such measures that agree make a
//! guess; one alone says nothing, for a refusal may be a stray one. A guess holds the rate for a while; then more is tried, one request first, then two
//! and four. If that is refused, the rate is measured anew, and the next trial comes later; if it is not, there is no such limit.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::charge::Charge;
use crate::admit::hint::{LearnedLimit, Source, Unit};
use crate::admit::widening::Widening;
use crate::clock::Mono;

/// Measures agree within this part of what is expected,
const AGREES: f64 = 0.25;
/// and so many requests: a measure counts whole ones.
const GRAIN: f64 = 1.5;
/// Two measures that make a guess count so many requests together.
const SURE: f64 = 5.0;
/// What a measure counts beside the one after it.
const OLDER: f64 = 0.5;
/// Less than what is measured, so that requests which arrive closer together than they left are no refusal.
const HELD: f64 = 0.97;
/// After so many requests that were let in, it is tried without the guess,
const TRIED_AFTER: f64 = 32.0;
/// doubled with each refusal that agrees, so many times,
const MOST_CONFIRMED: u32 = 2;
/// but not later than this.
const LATEST: Duration = Duration::from_secs(60);
/// What is only a hint, from an earlier run or from a limit that is told, is tried this soon.
const HINT: Duration = Duration::from_millis(500);
/// Requests may arrive this much closer together than they left, in seconds.
const SPACING: f64 = 0.02;
/// More refusals in a row than this, although no more was tried than it lets through, are none of a rate.
const UNEXPLAINED: u32 = 1;
/// The number of more requests that are tried grows by no more than so many a second, or twice what is known.
const STEEPEST: f64 = 900.0;
/// When so many more were let in, or as many as come in a second, there is no such limit.
const NOT_THERE: f64 = 64.0;
/// How much may come at once after a time in which nothing was sent, as the time in which it refills.
const BURST: Duration = Duration::from_secs(1);

/// What was let in between two refusals, and over how long.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Measure {
    pub(super) let_in: Charge,
    pub(super) seconds: f64,
}

/// What a refusal measures.
#[derive(Clone, Copy, Debug)]
pub(super) enum Measured {
    /// Nothing: it is the first of this run.
    First,
    /// Nothing: too few were let in since the one before.
    Few,
    So(Measure),
}

/// How far a guess is to be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// It comes from elsewhere.
    Hint,
    /// Refusals of this run show it, the last so many of them one after the other.
    Measured(u32),
}

/// What a refusal says of a guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It is right.
    Agrees,
    /// The server lets in more.
    Lifted,
    /// Less was let in than it explains.
    Strange,
}

/// The guess.
#[derive(Clone, Debug)]
pub(super) struct Guess {
    pub(super) unit: Unit,
    /// Units a second.
    rate: f64,
    /// It is not over this: the rate that the server tells of the same limit.
    pub(super) most: f64,
    /// What was let in between refusals, and the seconds, the older the less.
    sums: (f64, f64),
    trust: Trust,
    /// Refusals in a row although no more was tried than it lets through.
    unexplained: u32,
    /// Whether an earlier run kept it.
    was_kept: bool,
    /// When it was refused last, or made.
    since: Mono,
    /// How many requests left since then.
    requests: f64,
    /// The mean size of a request; `None` before the first.
    each: Option<f64>,
    /// The requests more that are tried, and how many of them were added to the level.
    trial: Option<(Widening, f64)>,
    /// How much may come at once, as the time in which it refills.
    burst: Duration,
    level: f64,
    at: Mono,
    learned: DateTime<Utc>,
}

impl Guess {
    fn new(unit: Unit, rate: f64, trust: Trust, now: Mono, learned: DateTime<Utc>) -> Self {
        let rate = rate.max(f64::MIN_POSITIVE);
        Self {
            unit,
            rate,
            most: f64::INFINITY,
            sums: (0.0, 0.0),
            trust,
            unexplained: 0,
            was_kept: false,
            since: now,
            requests: 0.0,
            each: None,
            trial: None,
            burst: BURST,
            level: 0.0,
            at: now,
            learned,
        }
    }

    /// What an earlier run kept.
    pub(super) fn kept(limit: &LearnedLimit, now: Mono) -> Self {
        Self { was_kept: true, ..Self::hint(limit, BURST, now) }
    }

    /// What follows from a limit that is told, of which so much may come at once.
    pub(super) fn hint(limit: &LearnedLimit, burst: Duration, now: Mono) -> Self {
        let rate = limit.size / limit.window.as_secs_f64();
        Self { burst, ..Self::new(limit.unit, rate, Trust::Hint, now, limit.learned) }
    }

    /// What two measures in a row say, of this unit where that is told; `None` where they do not agree.
    pub(super) fn of(one: Measure, two: Measure, unit: Option<Unit>, now: Mono, wall: DateTime<Utc>) -> Option<Self> {
        let apart = |unit: Unit| {
            let (first, second) = (one.let_in.of(unit) / one.seconds, two.let_in.of(unit) / two.seconds);
            (first - second).abs() / first.max(second)
        };
        // The unit in which they agree better is the limit's.
        let by_sight = if apart(Unit::Tokens) + 0.02 < apart(Unit::Requests) { Unit::Tokens } else { Unit::Requests };
        let unit = unit.unwrap_or(by_sight);
        let count = one.let_in.requests + two.let_in.requests;
        if count < SURE || one.seconds <= 0.0 || two.seconds <= 0.0 {
            return None;
        }
        let (let_in, seconds) = (one.let_in.of(unit) + two.let_in.of(unit), one.seconds + two.seconds);
        let mut guess = Self::new(unit, let_in / seconds, Trust::Measured(0), now, wall);
        guess.sums = (let_in, seconds);
        guess.each = Some(let_in / count);
        let agree =
            guess.judge(one, let_in / count) == Said::Agrees && guess.judge(two, let_in / count) == Said::Agrees;
        agree.then_some(guess)
    }

    /// Units a second that are let through, while it holds.
    pub(super) fn rate(&self) -> f64 {
        self.rate.min(self.most) * HELD
    }

    /// Whether it is worth keeping: a refusal has confirmed it.
    pub(super) fn is_sure(&self) -> bool {
        matches!(self.trust, Trust::Measured(1..))
    }

    /// Whether refusals of this run show it.
    pub(super) fn is_shown(&self) -> bool {
        self.trust != Trust::Hint
    }

    /// Whether trials have confirmed it.
    pub(super) fn is_confirmed(&self) -> bool {
        matches!(self.trust, Trust::Measured(2..))
    }

    /// Whether it is kept for the next run: it is sure, or came from an earlier one and nothing speaks against it.
    pub(super) fn is_kept(&self) -> bool {
        let is_there = self.trial.is_none_or(|(_, more)| more < NOT_THERE);
        is_there && (self.is_sure() || self.was_kept)
    }

    /// Whether more is tried than it lets through.
    pub(super) fn is_tried(&self) -> bool {
        self.trial.is_some()
    }

    fn depth(&self) -> f64 {
        (self.rate() * self.burst.as_secs_f64()).max(self.each())
    }

    fn refill(&mut self, now: Mono) {
        if now > self.at {
            let refilled = self.rate() * self.at.until(now).as_secs_f64();
            self.level = (self.level + refilled).min(self.depth().max(self.level));
            self.at = now;
        }
        let each = self.each();
        if let Some((widening, added)) = &mut self.trial {
            let more = widening.grow(now);
            self.level += (more - *added) * each;
            *added = more;
        }
    }

    /// The mean size of a request that left lately.
    fn each(&self) -> f64 {
        self.each.unwrap_or(1.0)
    }

    /// When more is tried, as things are; `None` while too little has left since the last refusal.
    fn tried_at(&self) -> Option<Mono> {
        let (least, after) = match self.trust {
            Trust::Hint => (1.0, HINT.min(self.time_of(TRIED_AFTER))),
            Trust::Measured(times) => {
                let requests = TRIED_AFTER * f64::from(1_u32 << times);
                let after = self.time_of(requests);
                (if after > LATEST { 1.0 } else { requests }, after.min(LATEST))
            }
        };
        (self.requests >= least).then(|| self.since.plus(after))
    }

    /// The time of so many requests of the mean size that left lately.
    fn time_of(&self, requests: f64) -> Duration {
        Duration::try_from_secs_f64(requests * self.each() / self.rate()).unwrap_or(Duration::MAX)
    }

    /// When `charge` fits after `before` has been taken, or may be tried; `None` if now. `echo` is how long a refusal takes to come back.
    pub(super) fn frees(&mut self, before: f64, charge: f64, echo: Duration, now: Mono) -> Option<Mono> {
        self.refill(now);
        if self.level >= before + charge {
            return None;
        }
        let tried_at = self.tried_at();
        if self.trial.is_none() && tried_at.is_some_and(|at| at <= now) {
            let steepest = STEEPEST.max(2.0 * self.rate() / self.each());
            self.trial = Some((Widening::trial(echo, steepest, now), 0.0));
            self.refill(now);
        }
        // One larger than the bucket may go when it is full.
        let missing = before + charge.min(self.depth()) - self.level;
        if missing <= 1e-6 {
            return None;
        }
        let wait = Duration::try_from_secs_f64(missing / self.rate()).unwrap_or(Duration::MAX);
        let fits = now.plus(wait.saturating_add(Duration::from_nanos(100)));
        Some(match &self.trial {
            Some((widening, added)) => fits.min(widening.reaches(added + missing / self.each())),
            None => tried_at.map_or(fits, |at| fits.min(at)),
        })
    }

    /// A request leaves. Returns whether so many more have been let in by now that there is no such limit.
    pub(super) fn take(&mut self, charge: f64, now: Mono) -> bool {
        self.refill(now);
        self.level -= charge;
        self.requests += 1.0;
        let each = self.each.get_or_insert(charge);
        *each += (charge - *each) / 16.0;
        let rate = self.rate() / self.each();
        self.trial.is_some_and(|(_, more)| more >= 16.0 * NOT_THERE.max(rate))
    }

    /// A request was refused, the first of a burst.
    pub(super) fn refused(&mut self, measured: Measured, now: Mono, wall: DateTime<Utc>) -> Said {
        let each = self.each();
        self.unexplained = match measured {
            _ if self.trial.is_some() || self.trust == Trust::Hint => 0,
            // A window that is used up refuses until it ends.
            Measured::First | Measured::Few => self.unexplained,
            Measured::So(_) => self.unexplained + 1,
        };
        let said = match measured {
            _ if self.unexplained > UNEXPLAINED => Said::Strange,
            Measured::First | Measured::Few => Said::Agrees,
            Measured::So(measure) => self.judge(measure, each),
        };
        if let Measured::So(Measure { let_in, seconds }) = measured {
            let let_in = let_in.of(self.unit);
            self.sums = match said {
                Said::Agrees => (self.sums.0 * OLDER + let_in, self.sums.1 * OLDER + seconds),
                Said::Lifted | Said::Strange => (let_in, seconds),
            };
            self.rate = self.sums.0 / self.sums.1;
        }
        self.trust = match (said, measured, self.trust) {
            (Said::Agrees, Measured::Few, trust) => trust,
            (Said::Agrees, _, Trust::Measured(times)) => Trust::Measured((times + 1).min(MOST_CONFIRMED)),
            (Said::Agrees, _, Trust::Hint) | (Said::Lifted | Said::Strange, ..) => Trust::Measured(0),
        };
        self.learned = wall;
        self.since = now;
        self.requests = 0.0;
        self.trial = None;
        self.refill(now);
        // Those that leave now arrive closer together than they leave.
        self.level = self.level.min(0.0) - self.each().min(self.rate() * SPACING);
        said
    }

    fn judge(&self, measure: Measure, each: f64) -> Said {
        let (let_in, expected) = (measure.let_in.of(self.unit), self.rate.min(self.most) * measure.seconds);
        if let_in + GRAIN * each < (1.0 - AGREES) * expected {
            Said::Strange
        } else if let_in > expected / (1.0 - AGREES) + GRAIN * each {
            Said::Lifted
        } else {
            Said::Agrees
        }
    }

    /// What is kept of it between runs, and said: so much in `window`.
    pub(super) fn learned(&self, window: Duration) -> LearnedLimit {
        LearnedLimit {
            unit: self.unit,
            group: None,
            size: self.rate.min(self.most) * window.as_secs_f64(),
            window,
            burst: window,
            source: Source::Estimate,
            learned: self.learned,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Mono {
        Mono(1_000_000_000_000).plus(Duration::from_secs_f64(seconds))
    }

    fn wall() -> DateTime<Utc> {
        "2026-11-29T12:00:00Z".parse().expect("a date")
    }

    fn measure(requests: f64, tokens: f64, seconds: f64) -> Measure {
        Measure { let_in: Charge { requests, tokens }, seconds }
    }

    fn guess(one: Measure, two: Measure) -> Option<Guess> {
        Guess::of(one, two, None, at(0.0), wall())
    }

    /// Ten requests a second.
    fn ten() -> Guess {
        guess(measure(10.0, 1_000.0, 1.0), measure(20.0, 2_000.0, 2.0)).expect("they agree")
    }

    /// Sends what fits from one moment to another, in steps of 5 ms; returns how many, and when.
    fn send(guess: &mut Guess, from: f64, to: f64, most: usize) -> (usize, f64) {
        let (mut now, mut sent) = (from, 0);
        while now < to && sent < most {
            while sent < most && guess.frees(0.0, 1.0, Duration::from_millis(5), at(now)).is_none() {
                guess.take(1.0, at(now));
                sent += 1;
            }
            now += 0.005;
        }
        (sent, now)
    }

    #[test]
    fn two_measures_that_agree_make_a_guess_in_the_unit_in_which_they_agree() {
        let guess_of = |one, two| guess(one, two).map(|guess| (guess.unit, guess.rate.round()));
        assert_eq!(guess_of(measure(10.0, 900.0, 1.0), measure(20.0, 2_500.0, 2.0)), Some((Unit::Requests, 10.0)));
        assert_eq!(guess_of(measure(10.0, 1_000.0, 1.0), measure(14.0, 2_000.0, 2.0)), Some((Unit::Tokens, 1_000.0)));
        assert_eq!(guess_of(measure(10.0, 1_000.0, 1.0), measure(50.0, 5_000.0, 2.0)), None);
        assert_eq!(guess_of(measure(1.0, 100.0, 1.0), measure(2.0, 200.0, 2.0)), None);
    }

    #[test]
    fn a_limit_that_is_there_is_used_up_and_seldom_passed() {
        for rate in [2.0, 10.0, 50.0] {
            let one = measure(rate * 2.0, 0.0, 2.0);
            let mut guess = Guess::of(one, one, None, at(0.0), wall()).expect("they agree");
            // The server's bucket holds a second's worth.
            let (mut level, mut used, mut since, mut refusals, mut pause) = (0.0_f64, 0.0, (0.0, 0.0), Vec::new(), 0.0);
            for tick in 0..24_000 {
                let now = f64::from(tick) / 200.0;
                level = (level + rate / 200.0).min(rate);
                while now >= pause && guess.frees(0.0, 1.0, Duration::from_millis(5), at(now)).is_none() {
                    if level >= 1.0 {
                        guess.take(1.0, at(now));
                        (level, used) = (level - 1.0, used + 1.0);
                        continue;
                    }
                    let measured = measure(used - since.1, 0.0, now - since.0);
                    let tried = guess.is_tried();
                    assert_ne!(guess.refused(Measured::So(measured), at(now), wall()), Said::Strange);
                    refusals.push((now, tried));
                    (since, pause) = ((now, used), now + 2.0 / rate);
                }
            }
            // 32 requests, 64, and then 128 lie between two trials, but no more than a minute.
            let most = if rate > 40.0 { 52 } else { 14 };
            assert!(refusals.len() < most, "{rate} a second: {refusals:?}");
            assert!(used > 0.95 * 120.0 * rate, "{used} of {rate} a second");
        }
    }

    #[test]
    fn what_is_let_in_beyond_it_lifts_it_and_too_little_ends_it() {
        let mut lifted = ten();
        assert_eq!(lifted.refused(Measured::So(measure(60.0, 0.0, 3.0)), at(3.0), wall()), Said::Lifted);
        assert!((lifted.rate - 20.0).abs() < 1e-9);
        assert_eq!(ten().refused(Measured::So(measure(9.0, 0.0, 3.0)), at(3.0), wall()), Said::Strange);
        // Too few to tell say nothing.
        assert_eq!(ten().refused(Measured::Few, at(0.2), wall()), Said::Agrees);
    }

    #[test]
    fn refusals_although_nothing_more_was_tried_are_none_of_a_rate() {
        let mut guess = ten();
        let agrees = Measured::So(measure(20.0, 0.0, 2.0));
        assert_eq!(guess.refused(agrees, at(2.0), wall()), Said::Agrees);
        assert_eq!(guess.refused(agrees, at(4.0), wall()), Said::Strange);
    }

    #[test]
    fn a_hint_that_is_no_longer_true_costs_less_than_three_seconds_and_is_not_kept() {
        for per_minute in [1.0, 60.0, 600.0] {
            let limit = LearnedLimit {
                unit: Unit::Requests,
                group: None,
                size: per_minute,
                window: Duration::from_secs(60),
                burst: Duration::from_secs(60),
                source: Source::Estimate,
                learned: wall(),
            };
            let mut guess = Guess::kept(&limit, at(0.0));
            guess.take(1.0, at(0.0));
            let (sent, end) = send(&mut guess, 0.0, 10.0, 500);
            assert!(sent == 500 && end < 3.0, "{sent} in {end} s, of {per_minute} a minute");
            assert!(!guess.is_kept());
        }
    }
}
