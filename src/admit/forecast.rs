//! When a plan's requests leave: the ledger played forward in virtual time.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::admit::ledger::{Admission, Amount, Ledger};
use crate::clock::{Day, Now};
use crate::model::LimitName;

/// How a run is expected to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// From the start to the last admission; answers take their own time after it.
    pub last_admission: Duration,
    /// How often admission waits.
    pub waits: usize,
    /// The limit that the longest wait is for.
    pub binds: Option<LimitName>,
    /// Requests that a day limit leaves pending, where the run ends at it.
    pub left_pending: usize,
}

/// Plays the requests with these reserved tokens forward from `now`, in order.
///
/// Reservations stay as they are, so a run that needs less than expected ends earlier. `day_of` tells the day of a moment.
#[must_use]
pub fn forecast(
    mut ledger: Ledger,
    reserved: impl ExactSizeIterator<Item = u64>,
    now: &Now,
    day_of: impl Fn(DateTime<Utc>) -> Day,
    ends_at_day_limit: bool,
) -> Forecast {
    let start = *now;
    let mut now = *now;
    let mut forecast = Forecast { last_admission: Duration::ZERO, waits: 0, binds: None, left_pending: 0 };
    let mut longest = Duration::ZERO;
    let count = reserved.len();
    for (sent, tokens) in reserved.enumerate() {
        loop {
            // One entry a moment: its number needs only to differ from those of the store.
            match ledger.admit(u64::MAX, Amount::request(tokens), &now) {
                Admission::Now | Admission::Never(_) => break,
                Admission::NotBefore(wait) => {
                    if wait.limit.is_daily() && ends_at_day_limit {
                        forecast.left_pending = count - sent;
                        return forecast;
                    }
                    let span = now.mono.until(wait.until);
                    forecast.waits += 1;
                    if span >= longest {
                        longest = span;
                        forecast.binds = Some(wait.limit);
                    }
                    let wall = now.wall + TimeDelta::from_std(span).unwrap_or(TimeDelta::MAX);
                    now = Now { mono: wait.until, wall, day: day_of(wall) };
                }
            }
        }
        forecast.last_admission = start.mono.until(now.mono);
    }
    forecast
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Mono;
    use crate::model::Limits;

    fn now() -> Now {
        let wall = "2026-11-22T23:00:00Z".parse().expect("a date");
        Now { mono: Mono(5), wall, day: Day::of(wall, &Utc) }
    }

    fn play(limits: Limits, requests: usize, tokens: u64, ends: bool) -> Forecast {
        let ledger = Ledger::new(limits);
        forecast(ledger, std::iter::repeat_n(tokens, requests), &now(), |wall| Day::of(wall, &Utc), ends)
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
        assert_eq!(forecast.binds, Some(LimitName::RequestsPerMinute));
    }

    #[test]
    fn a_day_limit_waits_for_midnight_or_ends_the_run() {
        let limits = Limits { tokens_per_day: Some(1_000), ..Limits::default() };
        let forecast = play(limits, 25, 100, false);
        assert_eq!(forecast.last_admission, Duration::from_secs(25 * 3600));
        assert_eq!(forecast.binds, Some(LimitName::TokensPerDay));
        assert_eq!(play(limits, 25, 100, true).left_pending, 15);
    }
}
