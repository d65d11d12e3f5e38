//! Time as a value: [`Now`] is an argument of every decision, and [`Clock`] is the only reader of clocks.

use std::time::Duration;

use chrono::{
    DateTime, Days, FixedOffset, Local, LocalResult, NaiveDate, NaiveDateTime, TimeDelta, TimeZone, Timelike, Utc,
};
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

/// A calendar day of some time zone: what the day limits count in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Day {
    pub date: NaiveDate,
    /// Its first moment: midnight, daylight saving counted.
    pub starts: DateTime<Utc>,
    /// The first moment after it.
    pub ends: DateTime<Utc>,
}

impl Day {
    /// The day of `wall` in the time zone `zone`.
    #[must_use]
    pub fn of<Tz: TimeZone>(wall: DateTime<Utc>, zone: &Tz) -> Self {
        let date = wall.with_timezone(zone).date_naive();
        let midnights = |date: NaiveDate| moments(date.and_time(chrono::NaiveTime::MIN), zone);
        // Where the clocks go back over midnight it comes twice: a day begins with the first, and ends with the one that is ahead.
        let [starts, _] = midnights(date);
        let [first, second] = midnights(date.checked_add_days(Days::new(1)).unwrap_or(date));
        Self { date, starts, ends: if first > wall { first } else { second } }
    }
}

/// Whose midnight ends a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DayZone {
    /// That of the machine's time zone.
    #[default]
    Local,
    /// That of a fixed offset from UTC.
    Fixed(FixedOffset),
}

impl DayZone {
    /// The day of `wall`.
    #[must_use]
    pub fn day_of(self, wall: DateTime<Utc>) -> Day {
        match self {
            Self::Local => Day::of(wall, &Local),
            Self::Fixed(offset) => Day::of(wall, &offset),
        }
    }
}

/// A quarter of an hour of UTC, numbered from 1970: what the use of a day is kept by. The midnight of every time zone begins one, so that the same
/// use can be summed up for the day of any zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quarter(pub i64);

impl Quarter {
    /// Quarters of 24 hours.
    pub const PER_DAY: i64 = 96;

    /// The quarter in which `wall` lies.
    #[must_use]
    pub fn of(wall: DateTime<Utc>) -> Self {
        Self(wall.timestamp().div_euclid(900))
    }
}

/// The moments at which the clocks of `zone` show `local`, in order: the same twice where it comes once, and where the clocks skip it, the moment
/// to which they skip.
#[must_use]
pub fn moments<Tz: TimeZone>(local: NaiveDateTime, zone: &Tz) -> [DateTime<Utc>; 2] {
    let shown = |local: NaiveDateTime| match zone.from_local_datetime(&local) {
        LocalResult::Single(at) => Some([at.to_utc(); 2]),
        LocalResult::Ambiguous(first, second) => Some([first.to_utc(), second.to_utc()]),
        LocalResult::None => None,
    };
    // Clocks skip to a quarter of an hour, the finest step that any zone has used, and no zone skips more than a day.
    let past_quarter = i64::from(local.num_seconds_from_midnight() % 900);
    let quarters = (1..=96).map(|quarter| local + TimeDelta::seconds(900 * quarter - past_quarter));
    let skipped_to = || quarters.into_iter().find_map(|local| shown(local).map(|[first, _]| [first; 2]));
    shown(local).or_else(skipped_to).unwrap_or([local.and_utc(); 2])
}

/// One reading of the clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For windows and timers.
    pub mono: Mono,
    /// For people, and for what must be understood after a restart; it may step either way.
    pub wall: DateTime<Utc>,
    /// The day of `wall`.
    pub day: Day,
}

/// Reads the machine's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    /// Whose day it tells.
    pub day: DayZone,
}

impl Clock {
    /// The time now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one reader of the wall clock")]
    pub fn now(self) -> Now {
        let wall = Utc::now();
        Now { mono: self.mono(), wall, day: self.day.day_of(wall) }
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
    use chrono_tz::{America::Havana, America::Sao_Paulo, Asia::Kathmandu, Europe::Berlin, Pacific::Apia};

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
    fn a_day_begins_where_the_one_before_it_ends() {
        for (zone, wall) in [
            (Berlin, "2026-11-22T12:00:00Z"),
            (Berlin, "2026-03-29T12:00:00Z"),
            (Berlin, "2026-10-25T12:00:00Z"),
            (Kathmandu, "2026-11-22T12:00:00Z"),
            (Sao_Paulo, "2018-11-03T12:00:00Z"),
            // Samoa, 2011: a day was left out.
            (Apia, "2011-12-30T08:00:00Z"),
        ] {
            let day = Day::of(at(wall), &zone);
            let next = Day::of(day.ends, &zone);
            assert_eq!(next.starts, day.ends, "{zone}");
            assert!(day.starts <= at(wall) && at(wall) < day.ends && day.date < next.date, "{zone}");
            assert_eq!(day.ends.timestamp() % 900, 0, "{zone}");
        }
    }

    #[test]
    fn a_midnight_that_comes_twice_ends_a_day_twice_and_begins_the_next_once() {
        // Havana, 2026-11-01: 01:00 became 00:00.
        let [first, second] = [at("2026-11-01T04:00:00Z"), at("2026-11-01T05:00:00Z")];
        for wall in [first, first + TimeDelta::minutes(59), second, second + TimeDelta::hours(3)] {
            let day = Day::of(wall, &Havana);
            assert_eq!((day.date.to_string(), day.starts), ("2026-11-01".into(), first));
            assert_eq!(day.ends, at("2026-11-02T05:00:00Z"));
        }
        assert_eq!(Day::of(first - TimeDelta::seconds(1), &Havana).ends, first);
    }

    #[test]
    fn the_setting_says_whose_midnight_it_is() {
        let wall = at("2026-11-22T23:30:00Z");
        let starts = |zone: DayZone| (zone.day_of(wall).date.to_string(), zone.day_of(wall).starts);
        let offset = |seconds| DayZone::Fixed(FixedOffset::east_opt(seconds).expect("an offset"));
        assert_eq!(starts(offset(0)), ("2026-11-22".into(), at("2026-11-22T00:00:00Z")));
        assert_eq!(starts(offset(2 * 3_600)), ("2026-11-23".into(), at("2026-11-22T22:00:00Z")));
        assert_eq!(starts(offset(-8 * 3_600)), ("2026-11-22".into(), at("2026-11-22T08:00:00Z")));
        assert_eq!(DayZone::Local.day_of(wall), Day::of(wall, &Local));
    }

    #[test]
    fn quarters_are_told_apart_before_1970_too() {
        for (text, quarter) in [("1970-01-01T00:14:59Z", 0), ("1970-01-01T00:15:00Z", 1), ("1969-12-31T23:59:59Z", -1)]
        {
            assert_eq!(Quarter::of(at(text)), Quarter(quarter), "{text}");
        }
    }

    #[test]
    fn the_steady_clock_goes_forward() {
        let clock = Clock::default();
        let before = clock.mono();
        assert!(clock.mono() >= before && before > Mono(0));
    }
}
