//! When a plan's requests leave: the ledger and the server's limits played forward in virtual time.

use std::collections::VecDeque;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use crate::admit::hint::{LearnedLimit, Unit, is_daily};
use crate::admit::ledger::{Admission, Amount, Ledger};
use crate::clock::{Day, Mono, Now, nanos};
use crate::model::LimitName;

/// A limit that holds requests back. In JSON it is a name, or the server's limit as an object.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Binding {
    /// One that is set.
    Own(LimitName),
    /// One of the server, as far as it is known.
    Server(LearnedLimit),
}

/// How a run is expected to go.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// From the start to the last admission; answers take their own time after it.
    pub last_admission: Duration,
    /// How often admission waits.
    pub waits: usize,
    /// The limit that is waited for the longest in all.
    pub binds: Option<Binding>,
    /// Requests that a day limit leaves pending, where the run ends at it.
    pub left_pending: usize,
}

/// What is known of the server.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its limits, as earlier runs learned them.
    pub limits: Vec<LearnedLimit>,
    /// The mean time of an answer.
    pub answer: Duration,
}

/// Plays the requests with these reserved tokens forward from `now`, in order.
///
/// Reservations stay as they are, so a run that needs less than expected ends earlier. `day_of` tells the day of a moment.
#[must_use]
pub fn forecast(
    mut ledger: Ledger,
    server: &Server,
    reserved: impl ExactSizeIterator<Item = u64>,
    now: &Now,
    day_of: impl Fn(DateTime<Utc>) -> Day,
    ends_at_day_limit: bool,
) -> Forecast {
    let start = *now;
    let mut now = *now;
    let mut gates: Vec<Gate> = server.limits.iter().map(|limit| Gate::new(limit, server, &ledger, now.mono)).collect();
    let mut forecast = Forecast { last_admission: Duration::ZERO, waits: 0, binds: None, left_pending: 0 };
    let mut waited: Vec<(Binding, Duration)> = Vec::new();
    let count = reserved.len();
    for (sent, tokens) in reserved.enumerate() {
        loop {
            let shut =
                gates.iter_mut().filter_map(|gate| gate.frees(tokens, now.mono).map(|until| (until, &gate.limit)));
            let (binding, is_daily, until) = match shut.max_by_key(|(until, _)| *until) {
                Some((until, limit)) => (Binding::Server(limit.clone()), is_day(limit), until),
                // One entry a moment: its number needs only to differ from those of the store.
                None => match ledger.admit(u64::MAX, Amount::request(tokens), &now) {
                    Admission::Now | Admission::Never(_) => break,
                    Admission::NotBefore(wait) => (Binding::Own(wait.limit), wait.limit.is_daily(), wait.until),
                },
            };
            if is_daily && ends_at_day_limit {
                forecast.left_pending = count - sent;
                forecast.binds = longest(waited);
                return forecast;
            }
            let span = now.mono.until(until);
            forecast.waits += 1;
            match waited.iter_mut().find(|(known, _)| *known == binding) {
                Some((_, sum)) => *sum = sum.saturating_add(span),
                None => waited.push((binding, span)),
            }
            let wall = now.wall + TimeDelta::from_std(span).unwrap_or(TimeDelta::MAX);
            now = Now { mono: until, wall, day: day_of(wall) };
        }
        for gate in &mut gates {
            gate.take(tokens, now.mono);
        }
        forecast.last_admission = start.mono.until(now.mono);
    }
    forecast.binds = longest(waited);
    forecast
}

/// The limit that is waited for the longest in all; of two that are so equally long, the later one.
fn longest(waited: Vec<(Binding, Duration)>) -> Option<Binding> {
    waited.into_iter().max_by_key(|(_, sum)| *sum).map(|(binding, _)| binding)
}

fn is_day(limit: &LearnedLimit) -> bool {
    limit.unit != Unit::InFlight && is_daily(limit.window)
}

/// A limit of the server, played forward.
struct Gate {
    limit: LearnedLimit,
    room: Room,
}

enum Room {
    /// A bucket that refills all the time, and how much is in it at a moment.
    Bucket(f64, Mono),
    /// When each request in flight is answered, and the time that an answer takes.
    Slots(VecDeque<Mono>, Duration),
}

/// Rounding keeps no request back.
const GRAIN: f64 = 1e-6;

impl Gate {
    /// What the ledger knows of the limit's window is taken from it.
    fn new(limit: &LearnedLimit, server: &Server, ledger: &Ledger, now: Mono) -> Self {
        let limit = limit.clone();
        if limit.unit == Unit::InFlight {
            return Self { limit, room: Room::Slots(VecDeque::new(), server.answer) };
        }
        let begins = Mono(now.0.saturating_sub(nanos(limit.window)));
        let recent = ledger.recent().filter(|(at, _)| *at > begins);
        let taken: f64 = recent.map(|(_, amount)| of(limit.unit, amount)).sum();
        let mut gate = Self { limit, room: Room::Bucket(0.0, now) };
        gate.room = Room::Bucket((gate.depth() - taken).max(0.0), now);
        gate
    }

    /// Units a second.
    fn rate(&self) -> f64 {
        self.limit.size / self.limit.window.as_secs_f64()
    }

    /// The most that may come at once.
    fn depth(&self) -> f64 {
        (self.rate() * self.limit.burst.min(self.limit.window).as_secs_f64()).max(1.0)
    }

    /// When a request of so many tokens fits; `None` if now. One that is larger than the limit fits when all of it is free.
    fn frees(&mut self, tokens: u64, now: Mono) -> Option<Mono> {
        let (rate, depth, asked) = (self.rate(), self.depth(), of(self.limit.unit, Amount::request(tokens)));
        match &mut self.room {
            Room::Bucket(level, at) => {
                *level = (*level + rate * at.until(now).as_secs_f64()).min(depth);
                *at = now;
                let missing = asked.min(depth) - *level;
                let wait = Duration::try_from_secs_f64(missing / rate).unwrap_or(Duration::MAX);
                (missing > GRAIN).then(|| now.plus(wait.saturating_add(Duration::from_nanos(1))))
            }
            Room::Slots(answers, _) => {
                while answers.front().is_some_and(|answer| *answer <= now) {
                    answers.pop_front();
                }
                #[expect(clippy::cast_precision_loss, reason = "requests in flight")]
                let is_full = answers.len() as f64 >= self.limit.size.max(1.0).floor();
                answers.front().copied().filter(|_| is_full)
            }
        }
    }

    /// It leaves.
    fn take(&mut self, tokens: u64, now: Mono) {
        let asked = of(self.limit.unit, Amount::request(tokens));
        match &mut self.room {
            Room::Bucket(level, _) => *level -= asked,
            Room::Slots(answers, answer) => answers.push_back(now.plus(*answer)),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "limits are far below 2^52")]
fn of(unit: Unit, amount: Amount) -> f64 {
    match unit {
        Unit::Requests | Unit::InFlight => amount.requests as f64,
        Unit::Tokens => amount.tokens as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admit::hint::Source;
    use crate::admit::ledger::Entry;
    use crate::model::Limits;

    fn now() -> Now {
        let wall = "2026-11-22T23:00:00Z".parse().expect("a date");
        Now { mono: Mono(5), wall, day: Day::of(wall, &Utc) }
    }

    fn play(limits: Limits, requests: usize, tokens: u64, ends: bool) -> Forecast {
        play_with(Ledger::new(limits), &[], requests, tokens, ends)
    }

    fn play_with(ledger: Ledger, learned: &[LearnedLimit], requests: usize, tokens: u64, ends: bool) -> Forecast {
        let server = Server { limits: learned.to_vec(), answer: Duration::from_secs(3) };
        forecast(ledger, &server, std::iter::repeat_n(tokens, requests), &now(), |wall| Day::of(wall, &Utc), ends)
    }

    fn learned(unit: Unit, size: f64, window: u64, burst: u64) -> LearnedLimit {
        let (window, burst) = (Duration::from_secs(window), Duration::from_secs(burst));
        LearnedLimit { unit, group: None, size, window, burst, source: Source::Refusal, learned: now().wall }
    }

    #[test]
    fn what_fits_leaves_at_once() {
        let expected = Forecast { last_admission: Duration::ZERO, waits: 0, binds: None, left_pending: 0 };
        assert_eq!(play(Limits::default(), 500, 600, false), expected);
    }

    #[test]
    fn windows_add_up_and_the_binding_limit_is_named() {
        let limits = Limits { requests_per_minute: Some(40), ..Limits::default() };
        let forecast = play(limits, 121, 1, false);
        assert_eq!((forecast.last_admission, forecast.waits), (limits.span() * 3, 3));
        assert_eq!(forecast.binds, Some(Binding::Own(LimitName::RequestsPerMinute)));
    }

    #[test]
    fn a_day_limit_waits_for_midnight_or_ends_the_run() {
        let limits = Limits { tokens_per_day: Some(1_000), ..Limits::default() };
        let forecast = play(limits, 25, 100, false);
        assert_eq!(forecast.last_admission, Duration::from_secs(25 * 3600));
        assert_eq!(forecast.binds, Some(Binding::Own(LimitName::TokensPerDay)));
        assert_eq!(play(limits, 25, 100, true).left_pending, 15);
    }

    #[test]
    fn what_is_known_of_the_server_holds_too() {
        let limits = Limits { requests_per_minute: Some(90), ..Limits::default() };
        for (limit, requests, seconds) in [
            // All of a minute's at once, and then as it refills.
            (learned(Unit::Requests, 30.0, 60, 60), 30, 0.0),
            (learned(Unit::Requests, 30.0, 60, 60), 60, 60.0),
            // One second's at once.
            (learned(Unit::Requests, 60.0, 60, 1), 61, 60.0),
            (learned(Unit::Tokens, 600.0, 60, 60), 120, 60.0),
            // Three seconds each, two at a time.
            (learned(Unit::InFlight, 2.0, 60, 60), 2, 0.0),
            (learned(Unit::InFlight, 2.0, 60, 60), 21, 30.0),
            (learned(Unit::Requests, 24.0, 86_400, 86_400), 25, 3_600.0),
        ] {
            let forecast = play_with(Ledger::new(Limits::default()), std::slice::from_ref(&limit), requests, 10, false);
            let last = forecast.last_admission.as_secs_f64();
            assert!((last - seconds).abs() < 0.001, "{limit:?}: {requests} in {last} s");
            assert_eq!(forecast.binds, (seconds > 0.0).then_some(Binding::Server(limit)));
        }
        // The stricter one is named, whichever it is; the wait for it is the longer one in all, if not each time.
        let of = |size| play_with(Ledger::new(limits), &[learned(Unit::Requests, size, 60, 60)], 200, 1, false).binds;
        assert_eq!(of(1_000.0), Some(Binding::Own(LimitName::RequestsPerMinute)));
        assert_eq!(of(30.0), Some(Binding::Server(learned(Unit::Requests, 30.0, 60, 60))));
        // Where a day's limit ends the run, one of the server does too.
        let day = learned(Unit::Requests, 24.0, 86_400, 86_400);
        assert_eq!(play_with(Ledger::new(limits), &[day], 30, 1, true).left_pending, 6);
    }

    #[test]
    fn what_was_used_a_moment_ago_is_gone() {
        let mut ledger = Ledger::new(Limits::default());
        for id in 0..20 {
            ledger.enter(Entry::settled(id, now().mono, Amount::request(1)));
        }
        let limit = learned(Unit::Requests, 30.0, 60, 60);
        assert_eq!(play_with(ledger.clone(), std::slice::from_ref(&limit), 10, 1, false).waits, 0);
        assert_eq!(play_with(ledger, &[limit], 11, 1, false).waits, 1);
    }
}
