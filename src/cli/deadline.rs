//! When a run is to end: `--until 07:00` and `--for 2h`. Pure.

use std::time::Duration;

use chrono::{DateTime, Days, NaiveDateTime, NaiveTime, TimeZone, Utc};

use crate::clock::{Mono, Now, moments};

/// A time that no run can end at.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeadlineError {
    /// It cannot be read.
    #[error("--until `{text}` is not a time; write one such as 07:00, 2026-11-23T07:00 or 2026-11-23T07:00:00Z")]
    NoTime {
        /// As it was given.
        text: String,
    },
    /// It has passed.
    #[error("--until `{text}` has passed; name a later time")]
    Passed {
        /// As it was given.
        text: String,
    },
}

/// The moment that `text` means at `wall` in the time zone `zone`; always later than `wall`.
///
/// A time alone is the next such local one. Where the clocks show it twice, the first that is not over is meant; where they skip it, the moment to
/// which they skip.
pub(super) fn deadline<Tz: TimeZone>(
    text: &str,
    wall: DateTime<Utc>,
    zone: &Tz,
) -> Result<DateTime<Utc>, DeadlineError> {
    let text = text.trim();
    let next_of = |local: NaiveDateTime| moments(local, zone).into_iter().find(|moment| *moment > wall);
    let passed = || DeadlineError::Passed { text: text.to_owned() };
    if let Ok(moment) = DateTime::parse_from_rfc3339(text) {
        return Some(moment.to_utc()).filter(|moment| *moment > wall).ok_or_else(passed);
    }
    let local = ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S"];
    if let Some(local) = local.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok()) {
        return next_of(local).ok_or_else(passed);
    }
    let time = ["%H:%M", "%H:%M:%S"].iter().find_map(|form| NaiveTime::parse_from_str(text, form).ok());
    let no_time = || DeadlineError::NoTime { text: text.to_owned() };
    let (time, today) = (time.ok_or_else(no_time)?, wall.with_timezone(zone).date_naive());
    let days = (0..=1).filter_map(|more| today.checked_add_days(Days::new(more)));
    days.map(|day| day.and_time(time)).find_map(next_of).ok_or_else(passed)
}

/// The moment of the steady clock at which a run ends that starts at `now`; `None` where nothing is said.
pub(super) fn ends_at<Tz: TimeZone>(
    until: Option<&str>,
    run_for: Option<Duration>,
    now: &Now,
    zone: &Tz,
) -> Result<Option<Mono>, DeadlineError> {
    let until = until.map(|text| deadline(text, now.wall, zone)).transpose()?;
    let span = until.map(|moment| (moment - now.wall).to_std().unwrap_or_default()).or(run_for);
    Ok(span.map(|span| now.mono.plus(span)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Day;
    use chrono_tz::{America::Sao_Paulo, Asia::Kathmandu, Europe::Berlin, Tz};

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a date in RFC 3339")
    }

    #[test]
    fn every_form_is_the_next_such_moment() {
        for (zone, wall, text, expected) in [
            (Berlin, "2026-11-22T20:00:00Z", "07:00", "2026-11-23T06:00:00Z"),
            (Berlin, "2026-11-22T20:00:00Z", " 22:30 ", "2026-11-22T21:30:00Z"),
            (Berlin, "2026-11-22T20:00:00Z", "21:00", "2026-11-23T20:00:00Z"),
            (Berlin, "2026-11-22T20:00:00Z", "21:00:01", "2026-11-22T20:00:01Z"),
            (Berlin, "2026-11-22T20:00:00Z", "00:00", "2026-11-22T23:00:00Z"),
            (Berlin, "2026-11-22T20:00:00Z", "2026-11-25T07:00", "2026-11-25T06:00:00Z"),
            (Berlin, "2026-11-22T20:00:00Z", "2026-11-25 07:00:30", "2026-11-25T06:00:30Z"),
            (Berlin, "2026-11-22T20:00:00Z", "2026-11-25T07:00:00Z", "2026-11-25T07:00:00Z"),
            (Berlin, "2026-11-22T20:00:00Z", "2026-11-25T07:00:00-05:00", "2026-11-25T12:00:00Z"),
            // It is already the next day there.
            (Kathmandu, "2026-11-22T20:00:00Z", "07:00", "2026-11-23T01:15:00Z"),
            // 02:00 became 03:00: 02:20 is skipped, and the night has an hour less.
            (Berlin, "2026-03-28T22:00:00Z", "02:20", "2026-03-29T01:00:00Z"),
            (Berlin, "2026-03-28T22:00:00Z", "07:00", "2026-03-29T05:00:00Z"),
            (Berlin, "2026-03-29T01:00:00Z", "02:20", "2026-03-30T00:20:00Z"),
            // 03:00 became 02:00: 02:30 comes twice.
            (Berlin, "2026-10-24T22:00:00Z", "02:30", "2026-10-25T00:30:00Z"),
            (Berlin, "2026-10-25T00:30:00Z", "02:30", "2026-10-25T01:30:00Z"),
            (Berlin, "2026-10-25T01:30:00Z", "02:30", "2026-10-26T01:30:00Z"),
            (Berlin, "2026-10-25T00:30:00Z", "2026-10-25T02:30", "2026-10-25T01:30:00Z"),
            (Berlin, "2026-10-24T22:00:00Z", "07:00", "2026-10-25T06:00:00Z"),
            // Midnight is skipped.
            (Sao_Paulo, "2018-11-03T12:00:00Z", "00:00", "2018-11-04T03:00:00Z"),
        ] {
            assert_eq!(deadline(text, at(wall), &zone), Ok(at(expected)), "{text} in {zone} at {wall}");
        }
    }

    #[test]
    fn what_has_passed_or_is_no_time_is_an_error() {
        let wall = at("2026-11-22T20:00:00Z");
        for text in ["2026-11-22T20:59", "2026-11-22T21:00", "2026-11-22T20:00:00Z", "2025-01-01 07:00"] {
            assert_eq!(deadline(text, wall, &Berlin), Err(DeadlineError::Passed { text: text.to_owned() }));
        }
        for text in ["", "7", "25:00", "07:60", "tomorrow", "2h", "2026-11-31T07:00", "2026-11-23"] {
            assert_eq!(deadline(text, wall, &Berlin), Err(DeadlineError::NoTime { text: text.to_owned() }));
        }
        assert!(deadline("7pm", wall, &Berlin).expect_err("no").to_string().contains("07:00"));
    }

    #[test]
    fn a_run_ends_so_much_later_on_the_steady_clock() {
        let wall = at("2026-11-22T20:00:00Z");
        let now = Now { mono: Mono(7), wall, day: Day::of(wall, &Berlin) };
        let ends = |until, run_for| ends_at::<Tz>(until, run_for, &now, &Berlin);
        let hour = Duration::from_secs(3_600);
        assert_eq!(ends(None, None), Ok(None));
        assert_eq!(ends(None, Some(hour)), Ok(Some(Mono(7).plus(hour))));
        assert_eq!(ends(Some("22:00"), None), Ok(Some(Mono(7).plus(hour))));
        assert!(ends(Some("soon"), None).is_err());
    }
}
