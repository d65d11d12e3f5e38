//! What of the events about limits is said, so that each is said once: what is new, what has changed a good deal, and now and then how it stands. Pure.
//!
//! It stands between the events, of which `--json` and the journal have every one, and the terminal.

use std::time::Duration;

use super::event::Event;
use super::waits::{Binds, WaitFor};
use super::wording::Verbosity;
use crate::admit::hint::{LearnedLimit, Source, Unit};
use crate::clock::Mono;
use crate::model::{Cause, LimitName};

/// A limit is said again where it lets through so many times what was said of it, or that part of it.
const CHANGED: f64 = 1.25;
/// A limit keeps its window within this factor; another one of the same unit is another limit.
const SAME_WINDOW: f64 = 2.0;
/// An estimate is said when it has bound for so long,
const SETTLED: Duration = Duration::from_secs(5);
/// within this factor of itself, and was seen to a moment ago: at an even pace nothing binds between two requests.
const STEADY: f64 = 1.1;
const SEEN: Duration = Duration::from_secs(2);
/// Between a change that is said and the next, at first.
const CHANGES: Duration = Duration::from_secs(30);
/// Between a wait or a pause that is said and another one of its kind, at first.
const REPEATS: Duration = Duration::from_secs(60);
/// At the most: the time between two of them doubles up to this.
const MOST: Duration = Duration::from_secs(3_600);
/// A wait so many times as long as any before it is said at once, from the second of these on.
const MUCH_LONGER: f64 = 2.0;
const LONG_WAIT: f64 = 60.0;

/// What was said.
#[derive(Debug)]
pub(super) struct Said {
    /// Why the run pauses.
    paused: Option<Cause>,
    /// Seconds of the latest pause after a 429.
    throttled: f64,
    limits: Vec<Told>,
    kinds: Vec<(Kind, Last)>,
    changes: Seldom,
    repeats: Seldom,
    settling: Option<Settling>,
}

/// A limit of the server.
#[derive(Debug)]
struct Told {
    /// As it was last said.
    said: LearnedLimit,
    /// As it is now, where that is not said yet.
    since: Option<LearnedLimit>,
}

/// What is said of limits beside the limits themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The server wants a pause.
    Pause,
    /// A limit of the server has no room.
    Room(Unit),
    /// A limit that is set has none.
    Own(LimitName),
    /// The rate is cut.
    Cut(Unit),
    /// Little is left of a limit of the server.
    NearlyUsed(Unit),
}

#[derive(Clone, Copy, Debug)]
struct Last {
    at: Mono,
    /// The longest wait that was said, in seconds.
    longest: f64,
}

/// Something that is said less and less often.
#[derive(Debug)]
struct Seldom {
    next: Mono,
    gap: Duration,
}

impl Seldom {
    fn new(gap: Duration) -> Self {
        Self { next: Mono(0), gap }
    }

    /// Whether it may be said at `now`; then it counts as said.
    fn may(&mut self, now: Mono) -> bool {
        if now < self.next {
            return false;
        }
        self.next = now.plus(self.gap);
        self.gap = (self.gap * 2).min(MOST);
        true
    }
}

/// An estimate that binds.
#[derive(Debug)]
struct Settling {
    /// As it was first seen so.
    limit: LearnedLimit,
    since: Mono,
    seen: Mono,
}

impl Said {
    pub(super) fn new() -> Self {
        Self {
            paused: None,
            throttled: 0.0,
            limits: Vec::new(),
            kinds: Vec::new(),
            changes: Seldom::new(CHANGES),
            repeats: Seldom::new(REPEATS),
            settling: None,
        }
    }

    /// From which verbosity on an event is said at `now` that by itself is worth a line from `from` on.
    pub(super) fn from(&mut self, event: &Event, from: Verbosity, now: Mono) -> Verbosity {
        if self.is_news(event, from, now) { from } else { from.max(Verbosity::Verbose) }
    }

    fn is_news(&mut self, event: &Event, from: Verbosity, now: Mono) -> bool {
        match event {
            // A probe that fails too is no news; the wait that follows is shown as it lasts.
            Event::Paused { cause, .. } => self.paused.replace(*cause) != Some(*cause),
            Event::Resumed { .. } => {
                self.paused = None;
                true
            }
            // What few want to know does not keep back what comes after it.
            _ if from > Verbosity::Normal => true,
            // A guess is said when it has settled: the first ones are wrong.
            Event::LimitLearned { limit } => !is_guess(limit) && self.is_new(limit, now),
            Event::RateCut { limit } => self.is_due(Kind::Cut(limit.unit), 0.0, now),
            Event::NearlyUsed { limit, .. } => self.is_due(Kind::NearlyUsed(limit.unit), 0.0, now),
            Event::Throttled { seconds, .. } => {
                self.throttled = *seconds;
                self.is_due(Kind::Pause, *seconds, now)
            }
            Event::Waiting { wait_for: WaitFor::Server, seconds, .. } => {
                *seconds > self.throttled && self.is_due(Kind::Pause, *seconds, now)
            }
            Event::Waiting { wait_for: WaitFor::ServerLimit(limit), seconds, .. } => {
                self.is_due(Kind::Room(limit.unit), *seconds, now)
            }
            Event::Waiting { wait_for: WaitFor::Limit(limit), seconds, .. } => {
                self.is_due(Kind::Own(*limit), *seconds, now)
            }
            _ => true,
        }
    }

    /// What is to be said now of how it stands: an estimate that has settled, or a change that came too soon after another.
    pub(super) fn due(&mut self, binds: Option<&Binds>, now: Mono) -> Option<Event> {
        let settled = self.settled(binds, now).filter(|limit| self.is_new(limit, now));
        settled.or_else(|| self.changed(now)).map(|limit| Event::LimitLearned { limit })
    }

    /// Whether a limit is to be said: it is new, or has changed and may be said again.
    fn is_new(&mut self, limit: &LearnedLimit, now: Mono) -> bool {
        let Some(told) = self.limits.iter_mut().find(|told| is_same(&told.said, limit)) else {
            self.limits.push(Told { said: limit.clone(), since: None });
            return true;
        };
        if !has_changed(&told.said, limit) {
            told.since = None;
            return false;
        }
        if self.changes.may(now) {
            *told = Told { said: limit.clone(), since: None };
            return true;
        }
        // A guess is asked about again as long as it binds.
        told.since = (!is_guess(limit)).then(|| limit.clone());
        false
    }

    /// A limit whose change is not said yet, and may be.
    fn changed(&mut self, now: Mono) -> Option<LearnedLimit> {
        let told = self.limits.iter_mut().find(|told| told.since.is_some())?;
        if !self.changes.may(now) {
            return None;
        }
        told.said = told.since.take()?;
        Some(told.said.clone())
    }

    /// The estimate that binds, where it has stood for a while.
    fn settled(&mut self, binds: Option<&Binds>, now: Mono) -> Option<LearnedLimit> {
        let limit = match binds {
            Some(Binds { what: WaitFor::ServerLimit(limit), .. }) if is_guess(limit) => limit,
            _ => {
                self.settling = self.settling.take().filter(|settling| now <= settling.seen.plus(SEEN));
                return None;
            }
        };
        match &mut self.settling {
            Some(settling) if is_same(&settling.limit, limit) && ratio(&settling.limit, limit) <= STEADY => {
                settling.seen = now;
                (settling.since.plus(SETTLED) <= now).then(|| limit.clone())
            }
            settling => {
                *settling = Some(Settling { limit: limit.clone(), since: now, seen: now });
                None
            }
        }
    }

    /// Whether something of this kind is to be said: the first of all, one that takes much longer, and now and then.
    fn is_due(&mut self, kind: Kind, seconds: f64, now: Mono) -> bool {
        let Some((_, last)) = self.kinds.iter_mut().find(|(known, _)| *known == kind) else {
            self.kinds.push((kind, Last { at: now, longest: seconds }));
            return true;
        };
        let is_longer = seconds >= LONG_WAIT && seconds > last.longest * MUCH_LONGER;
        let is_due = is_longer || (last.at.plus(REPEATS) <= now && self.repeats.may(now));
        if is_due {
            *last = Last { at: now, longest: last.longest.max(seconds) };
        }
        is_due
    }
}

/// Whether it was worked out from refusals that say nothing. What a `slow_down` leaves is what the run keeps to.
fn is_guess(limit: &LearnedLimit) -> bool {
    limit.source == Source::Estimate && limit.group.as_deref() != Some(LearnedLimit::RAMP)
}

/// Whether they are one limit, as it was and as it is. A guess may be of any window.
fn is_same(one: &LearnedLimit, other: &LearnedLimit) -> bool {
    let windows = times(one.window.as_secs_f64(), other.window.as_secs_f64());
    let in_window = one.unit == Unit::InFlight || is_guess(one) || windows <= SAME_WINDOW;
    one.unit == other.unit && one.group == other.group && is_guess(one) == is_guess(other) && in_window
}

fn has_changed(said: &LearnedLimit, limit: &LearnedLimit) -> bool {
    ratio(said, limit) > CHANGED
}

/// How many times as much one of them lets through as the other, at least 1.
fn ratio(one: &LearnedLimit, other: &LearnedLimit) -> f64 {
    let through = |limit: &LearnedLimit| match limit.unit {
        Unit::InFlight => limit.size,
        Unit::Requests | Unit::Tokens => limit.size / limit.window.as_secs_f64(),
    };
    times(through(one), through(other))
}

fn times(one: f64, other: f64) -> f64 {
    (one / other).max(other / one)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Class, Key, Limits};
    use crate::report::wording::line_of;
    use chrono::{DateTime, Utc};

    fn wall() -> DateTime<Utc> {
        "2026-11-22T11:01:59Z".parse().expect("a date")
    }

    fn mono(second: f64) -> Mono {
        Mono(0).plus(Duration::from_secs_f64(second))
    }

    fn limit(size: f64, seconds: u64, source: Source) -> LearnedLimit {
        let window = Duration::from_secs(seconds);
        LearnedLimit { unit: Unit::Requests, group: None, size, window, burst: window, source, learned: wall() }
    }

    fn learned(size: f64, seconds: u64) -> Event {
        Event::LimitLearned { limit: limit(size, seconds, Source::Headers) }
    }

    fn throttled(seconds: f64) -> Event {
        Event::Throttled { key: Key::from(1), class: Class::RateLimited, message: String::new(), seconds }
    }

    fn waiting(wait_for: WaitFor, seconds: f64) -> Event {
        Event::Waiting { wait_for, seconds, until: wall() }
    }

    /// The seconds at which a line is said at normal verbosity, of events by the second at which they come; looked at ten times a second.
    fn lines(
        seconds: u32,
        events: impl Fn(f64) -> Vec<Event>,
        binds: impl Fn(f64) -> Option<WaitFor>,
    ) -> Vec<(f64, String)> {
        let mut said = Said::new();
        let mut lines = Vec::new();
        for tick in 0..seconds * 10 {
            let second = f64::from(tick) / 10.0;
            let now = mono(second);
            let binds = binds(second).map(|what| Binds { what, until: Some(now) });
            let mut say = |event: &Event, said: &mut Said| {
                let (from, line) = line_of(event, &Limits::default(), wall()).expect("a line");
                if said.from(event, from, now) <= Verbosity::Normal {
                    lines.push((second, line));
                }
            };
            for event in &events(second) {
                say(event, &mut said);
            }
            if let Some(event) = said.due(binds.as_ref(), now) {
                lines.push((second, line_of(&event, &Limits::default(), wall()).expect("a line").1));
            }
        }
        lines
    }

    fn seconds(lines: &[(f64, String)]) -> Vec<f64> {
        lines.iter().map(|(second, _)| *second).collect()
    }

    fn at(second: f64, moments: &[f64]) -> bool {
        moments.iter().any(|moment| (moment - second).abs() < 0.01)
    }

    #[test]
    fn a_limit_is_said_when_it_is_new_and_when_it_has_changed_a_good_deal() {
        // (when it is told, its size and window, when it is said)
        let sizes =
            [(1.0, 100.0, 60), (2.0, 95.0, 60), (3.0, 118.0, 60), (4.0, 77.0, 46), (5.0, 30.0, 60), (50.0, 100.0, 60)];
        let events = |second: f64| {
            sizes
                .iter()
                .filter(|(told, ..)| at(second, &[*told]))
                .map(|(_, size, window)| learned(*size, *window))
                .collect()
        };
        assert_eq!(seconds(&lines(60, events, |_| None)), [1.0, 5.0, 50.0]);
        // One of a second beside one of a minute is another limit.
        let events = |second: f64| match second {
            1.0 => vec![learned(5.0, 1), learned(100.0, 60)],
            2.0 => vec![learned(100.0, 60), learned(5.0, 1)],
            _ => Vec::new(),
        };
        assert_eq!(seconds(&lines(60, events, |_| None)), [1.0, 1.0]);
    }

    #[test]
    fn a_change_too_soon_after_another_is_said_later_as_it_stands_then() {
        let events = |second: f64| match second {
            1.0 => vec![learned(100.0, 60)],
            2.0 => vec![learned(50.0, 60)],
            3.0 => vec![learned(100.0, 60)],
            4.0 => vec![learned(200.0, 60)],
            _ => Vec::new(),
        };
        let said = lines(100, events, |_| None);
        assert_eq!(seconds(&said), [1.0, 2.0, 32.0]);
        assert!(said[2].1.starts_with("the server allows 200 requests a minute, "), "{said:?}");
        // What is as it was said needs no word.
        let events = |second: f64| match second {
            1.0 => vec![learned(100.0, 60)],
            2.0 | 4.0 => vec![learned(50.0, 60)],
            3.0 => vec![learned(100.0, 60)],
            _ => Vec::new(),
        };
        assert_eq!(seconds(&lines(100, events, |_| None)), [1.0, 2.0]);
        // One that flickers for an hour is said ever less often.
        let sizes = |second: f64| if second % 2.0 < 1.0 { 50.0 } else { 100.0 };
        let flickers = |second: f64| if second.fract() < 0.05 { vec![learned(sizes(second), 60)] } else { Vec::new() };
        let said = lines(3_600, flickers, |_| None);
        assert!((6..=9).contains(&said.len()), "{said:#?}");
    }

    #[test]
    fn an_estimate_is_said_once_it_has_settled_and_as_it_stands_then() {
        let cut = |size| Event::RateCut { limit: limit(size, 10, Source::Estimate) };
        let events = |second: f64| match second {
            1.0 => vec![cut(30.0)],
            2.0 => vec![cut(60.0)],
            4.0 => vec![cut(90.0), Event::LimitLearned { limit: limit(95.0, 10, Source::Estimate) }],
            _ if second > 10.0 && second.fract() < 0.05 => vec![cut(100.0 + second % 5.0)],
            _ => Vec::new(),
        };
        // Between two requests nothing binds.
        let binds = |second: f64| {
            let size = if second < 4.0 { 30.0 } else { 100.0 + second.sin() };
            (second > 1.0 && second.fract() < 0.5).then(|| WaitFor::ServerLimit(limit(size, 10, Source::Estimate)))
        };
        let said = lines(300, events, binds);
        let [cut, settled, later @ ..] = &said[..] else { panic!("{said:#?}") };
        assert_eq!((cut.0, cut.1.contains(|c: char| c.is_ascii_digit())), (1.0, false), "{said:#?}");
        assert!((9.0..10.0).contains(&settled.0), "{said:#?}");
        assert!(settled.1.starts_with("the server allows about 10 requests a second, learned "), "{said:#?}");
        // A cut of the same kind is said now and then.
        assert!(later.len() <= 3 && later.iter().all(|(second, _)| *second >= 61.0), "{said:#?}");
        // One that heals before that is never said.
        let binds =
            |second: f64| (second > 1.0).then(|| WaitFor::ServerLimit(limit(3.0 * second, 60, Source::Estimate)));
        let events = |second: f64| if at(second, &[1.0]) { vec![cut_of(2.7)] } else { Vec::new() };
        assert_eq!(seconds(&lines(20, events, binds)), [1.0]);
    }

    fn cut_of(size: f64) -> Event {
        Event::RateCut { limit: limit(size, 60, Source::Estimate) }
    }

    #[test]
    fn pauses_and_waits_are_said_first_and_then_now_and_then() {
        let server = || WaitFor::ServerLimit(limit(100.0, 60, Source::Headers));
        let events = |second: f64| {
            if second.fract() < 0.05 {
                vec![throttled(3.0), waiting(WaitFor::Server, 2.9), waiting(server(), 4.0)]
            } else {
                Vec::new()
            }
        };
        let said = lines(600, events, |_| None);
        assert_eq!(seconds(&said), [0.0, 0.0, 60.0, 120.0, 240.0, 480.0], "{said:#?}");
        // A wait that is much longer is said at once, one of minutes again and again is not.
        let own = |seconds| waiting(WaitFor::Limit(LimitName::TokensPerDay), seconds);
        let events = |second: f64| match second {
            1.0 => vec![own(10.0)],
            2.0 => vec![own(50.0)],
            3.0 => vec![own(70.0)],
            4.0 => vec![own(80.0)],
            5.0 | 6.0 => vec![own(30_000.0)],
            _ => Vec::new(),
        };
        assert_eq!(seconds(&lines(10, events, |_| None)), [1.0, 3.0, 5.0]);
        // A short one is not worth a line, and keeps back none that is.
        let events = |second: f64| vec![throttled(if second < 5.0 { 0.5 } else { 30.0 })];
        assert_eq!(seconds(&lines(10, events, |_| None)), [5.0]);
    }

    #[test]
    fn few_lines_are_said_whatever_comes() {
        for seed in 0..20 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut said = Said::new();
            let mut lines = Vec::new();
            for tick in 0..1_200_u32 {
                let now = mono(f64::from(tick) / 2.0);
                let size = random.u32(1..1_000).into();
                let (unit, source) = (
                    [Unit::Requests, Unit::InFlight][random.usize(..2)],
                    [Source::Headers, Source::Refusal, Source::Estimate][random.usize(..3)],
                );
                let limit = LearnedLimit { unit, ..limit(size, 60, source) };
                let seconds = f64::from(random.u32(0..50));
                let event = match random.u32(0..6) {
                    0 => Event::LimitLearned { limit: limit.clone() },
                    1 => Event::RateCut { limit: limit.clone() },
                    2 => throttled(seconds),
                    3 => waiting(WaitFor::Server, seconds),
                    4 => waiting(WaitFor::ServerLimit(limit.clone()), seconds),
                    _ => waiting(WaitFor::Limit(LimitName::RequestsPerMinute), seconds),
                };
                let (from, line) = line_of(&event, &Limits::default(), wall()).expect("a line");
                if said.from(&event, from, now) <= Verbosity::Normal {
                    lines.push(line);
                }
                let binds = Binds { what: WaitFor::ServerLimit(limit), until: None };
                lines.extend(said.due(Some(&binds), now).map(|event| event.to_json()));
            }
            // It is the worst there is: all kinds of limits and waits, at any size, all the time.
            assert!(lines.len() <= 18, "{lines:#?}");
        }
    }

    #[test]
    fn a_pause_for_one_cause_is_said_once() {
        let mut said = Said::new();
        let mut is_said = |event: &Event| said.from(event, Verbosity::Quiet, mono(1.0)) == Verbosity::Quiet;
        let paused =
            |cause| Event::Paused { cause, class: Class::Busy, message: String::new(), seconds: 1.0, until: wall() };
        let causes = [Cause::Outage, Cause::Outage, Cause::Quota].map(|cause| is_said(&paused(cause)));
        assert_eq!(causes, [true, false, true]);
        assert!(is_said(&Event::Resumed { cause: Cause::Quota }) && is_said(&paused(Cause::Quota)));
    }
}
