//! Time as a value: [`Now`] is an argument of every decision, and [`Clock`] is the only reader of clocks.

use std::time::Duration;

use chrono::{DateTime, Days, Local, LocalResult, NaiveDate, TimeZone, Utc};
use serde::{Deserialize, Serialize};

/// Nanoseconds since the machine started, a laptop's sleep included: what windows and timers are measured in.
///
/// It never steps, whatever is done to the wall clock, and it is the same for all processes of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mono(pub u64);

impl Mono {
    /// The later moment `self + span`; stays at the end of time instead of overflowing.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(nanos(span)))
    }

    /// How long it is from `self` until `later`; zero when `later` has passed.
    #[must_use]
    pub fn until(self, later: Self) -> Duration {
        Duration::from_nanos(later.0.saturating_sub(self.0))
    }
}

/// A duration in whole nanoseconds, at most `u64::MAX` (584 years).
#[must_use]
pub fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// A local calendar day: what the day limits count in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Day {
    /// Its date.
    pub date: NaiveDate,
    /// The first moment after it: local midnight, daylight saving counted.
    pub ends: DateTime<Utc>,
}

impl Day {
    /// The day of `wall` in the time zone `zone`.
    #[must_use]
    pub fn of<Tz: TimeZone>(wall: DateTime<Utc>, zone: &Tz) -> Self {
        let date = wall.with_timezone(zone).date_naive();
        let next = date.checked_add_days(Days::new(1)).unwrap_or(date);
        Self { date, ends: first_moment(next, zone) }
    }
}

/// The first moment of `date`: midnight, or where the clocks skip midnight, the moment they skip to.
fn first_moment<Tz: TimeZone>(date: NaiveDate, zone: &Tz) -> DateTime<Utc> {
    let midnight = date.and_time(chrono::NaiveTime::MIN);
    // No zone skips more than a day; a quarter of an hour is the finest step that any has used.
    for quarter in 0..=96 {
        let local = midnight + chrono::TimeDelta::minutes(15 * quarter);
        match zone.from_local_datetime(&local) {
            LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => return at.with_timezone(&Utc),
            LocalResult::None => {}
        }
    }
    midnight.and_utc()
}

/// One reading of the clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For windows and timers.
    pub mono: Mono,
    /// For people, and for what must be understood after a restart; it may step either way.
    pub wall: DateTime<Utc>,
    /// The local day of `wall`.
    pub day: Day,
}

/// Reads the machine's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock;

impl Clock {
    /// The time now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one reader of the wall clock")]
    pub fn now(self) -> Now {
        let wall = Utc::now();
        Now { mono: self.mono(), wall, day: Day::of(wall, &Local) }
    }

    /// The steady clock alone.
    #[must_use]
    pub fn mono(self) -> Mono {
        // Linux: the clock that goes on while the machine sleeps. Elsewhere the monotonic clock, which on macOS does too.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let id = rustix::time::ClockId::Boottime;
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let id = rustix::time::ClockId::Monotonic;
        let at = rustix::time::clock_gettime(id);
        let seconds = u64::try_from(at.tv_sec).unwrap_or(0);
        let nanos = u64::try_from(at.tv_nsec).unwrap_or(0);
        Mono(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
    }

    /// Names this start of the machine, so that a [`Mono`] of an earlier one is not compared with ours.
    ///
    /// Where the system has no such name, each process gets its own.
    #[must_use]
    pub fn boot(self) -> String {
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map_or_else(
            |_| format!("process {} at {}", std::process::id(), self.now().wall.timestamp_micros()),
            |id| id.trim().to_owned(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono_tz::{America::Sao_Paulo, Europe::Berlin};

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a date in RFC 3339")
    }

    #[test]
    fn a_day_ends_at_local_midnight() {
        let day = Day::of(at("2026-11-22T22:59:59Z"), &Berlin);
        assert_eq!((day.date.to_string(), day.ends), ("2026-11-22".into(), at("2026-11-22T23:00:00Z")));
        assert_eq!(Day::of(day.ends, &Berlin).date.to_string(), "2026-11-23");
    }

    #[test]
    fn the_days_of_a_clock_change_have_23_and_25_hours() {
        let spring = Day::of(at("2026-03-29T12:00:00Z"), &Berlin);
        assert_eq!(spring.ends, at("2026-03-29T22:00:00Z"));
        let autumn = Day::of(at("2026-10-25T12:00:00Z"), &Berlin);
        assert_eq!(autumn.ends, at("2026-10-25T23:00:00Z"));
    }

    #[test]
    fn a_day_without_a_midnight_starts_where_the_clocks_skip_to() {
        // Brazil, 2018-11-04: 00:00 became 01:00.
        assert_eq!(Day::of(at("2018-11-03T12:00:00Z"), &Sao_Paulo).ends, at("2018-11-04T03:00:00Z"));
    }

    #[test]
    fn the_steady_clock_goes_forward() {
        let before = Clock.mono();
        assert!(Clock.mono() >= before && before > Mono(0));
    }
}
