//! Limits of the server as people read them: the one way in which messages, `status` and `limits` say one.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, TimeZone, Utc};

use crate::admit::hint::{LearnedLimit, Source, Unit};
use crate::model::text::{count, span};

/// What a limit lets through: `10,000 tokens a minute`, `500 requests a minute (project), evenly spread`, `2 requests at a time`. An estimate is said
/// as one: `about 10 requests a second`.
#[must_use]
pub fn rate(limit: &LearnedLimit) -> String {
    let about = if is_estimate(limit) { "about " } else { "" };
    let is_spread = limit.unit != Unit::InFlight && limit.burst < limit.window;
    let evenly = if is_spread && !is_estimate(limit) { ", evenly spread" } else { "" };
    format!("{about}{}{evenly}", plain(limit))
}

/// The same as the server's: `the server's 10,000 tokens a minute`, `the server's estimated 10 requests a second`.
#[must_use]
pub fn of_server(limit: &LearnedLimit) -> String {
    format!("the server's {}{}", if is_estimate(limit) { "estimated " } else { "" }, plain(limit))
}

/// What a limit lets through, without how sure that is.
fn plain(limit: &LearnedLimit) -> String {
    let LearnedLimit { unit, group, size, window, .. } = limit;
    let group = match group.as_deref() {
        // Whose it is, the words around it say.
        None | Some(LearnedLimit::SETTINGS) => String::new(),
        Some(LearnedLimit::RAMP) => " and slowly more".to_owned(),
        Some(group) => format!(" ({group})"),
    };
    if *unit == Unit::InFlight {
        let unit = if count_of(*size) == 1 { "request at a time".to_owned() } else { unit.to_string() };
        return format!("{} {unit}{group}", count(count_of(*size)));
    }
    if !is_estimate(limit) {
        return format!("{} {unit} {}{group}", amount(*size), per(*window));
    }
    let a_second = size / window.as_secs_f64();
    let reads_well = |window: &Duration| a_second * window.as_secs_f64() >= FEW;
    let window = EACH.into_iter().find(reads_well).unwrap_or(EACH[EACH.len() - 1]);
    format!("{} {unit} {}{group}", amount(two_digits(a_second * window.as_secs_f64())), per(window))
}

/// The windows by which a rate is said that has none of its own, the shortest of them in which there are so many.
const EACH: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(60), Duration::from_secs(3_600)];
const FEW: f64 = 2.0;

/// Whether its number is a guess. What a `slow_down` leaves is what we keep to.
fn is_estimate(limit: &LearnedLimit) -> bool {
    limit.source == Source::Estimate && limit.group.as_deref() != Some(LearnedLimit::RAMP)
}

/// Rounded to its two largest digits.
fn two_digits(number: f64) -> f64 {
    let unit = 10_f64.powf(number.log10().floor() - 1.0);
    (number / unit).round() * unit
}

/// The same with when and how it was learned: `10,000 tokens a minute, learned 2026-11-22 12:01 from a 429`.
#[must_use]
pub fn line<Tz: TimeZone>(limit: &LearnedLimit, zone: &Tz) -> String
where
    Tz::Offset: fmt::Display,
{
    format!("{}, {}", rate(limit), learned(limit, &on_date(limit, zone)))
}

/// The same at `now`, without the date if it is of today.
#[must_use]
pub fn line_at<Tz: TimeZone>(limit: &LearnedLimit, zone: &Tz, now: DateTime<Utc>) -> String
where
    Tz::Offset: fmt::Display,
{
    format!("{}, {}", rate(limit), learned_at(limit, zone, now))
}

/// When and how it was learned, at `now`: `learned 12:01 from a 429`.
#[must_use]
pub fn learned_at<Tz: TimeZone>(limit: &LearnedLimit, zone: &Tz, now: DateTime<Utc>) -> String
where
    Tz::Offset: fmt::Display,
{
    let at = limit.learned.with_timezone(zone);
    let is_today = at.date_naive() == now.with_timezone(zone).date_naive();
    learned(limit, &if is_today { at.format("%H:%M").to_string() } else { on_date(limit, zone) })
}

fn on_date<Tz: TimeZone>(limit: &LearnedLimit, zone: &Tz) -> String
where
    Tz::Offset: fmt::Display,
{
    limit.learned.with_timezone(zone).format("%Y-%m-%d %H:%M").to_string()
}

fn learned(limit: &LearnedLimit, at: &str) -> String {
    let comma = if limit.source == Source::Estimate { "," } else { "" };
    format!("learned {at}{comma} {}", limit.source)
}

/// `a minute`, `an hour`, `in 10 s`.
fn per(window: Duration) -> String {
    match (window.as_secs(), window.subsec_nanos()) {
        (1, 0) => "a second".to_owned(),
        (60, 0) => "a minute".to_owned(),
        (3_600, 0) => "an hour".to_owned(),
        (86_400, 0) => "a day".to_owned(),
        (10..60, 0) => format!("in {} s", window.as_secs()),
        _ => format!("in {}", span(window)),
    }
}

/// A size, which an estimate makes a fraction; the fraction is told where it matters.
fn amount(size: f64) -> String {
    if size < 10.0 && size.fract() != 0.0 {
        return format!("{size:.1}");
    }
    count(count_of(size))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sizes are over 0, and for people")]
fn count_of(size: f64) -> u64 {
    size.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono_tz::Europe::Berlin;

    fn limit(unit: Unit, size: f64, window_ms: u64, burst_ms: u64, group: Option<&str>) -> LearnedLimit {
        LearnedLimit {
            unit,
            group: group.map(str::to_owned),
            size,
            window: Duration::from_millis(window_ms),
            burst: Duration::from_millis(burst_ms),
            source: Source::Refusal,
            learned: "2026-11-22T11:01:59Z".parse().expect("a date"),
        }
    }

    #[test]
    fn rates_read_well() {
        let minute = 60_000;
        for (limit, text) in [
            (limit(Unit::Tokens, 10_000.0, minute, minute, None), "10,000 tokens a minute"),
            (limit(Unit::Requests, 500.4, minute, 1_000, None), "500 requests a minute, evenly spread"),
            (limit(Unit::Requests, 2.5, 1_000, 1_000, Some("project")), "2.5 requests a second (project)"),
            (limit(Unit::InFlight, 2.0, minute, minute, Some("api_key")), "2 requests at a time (api_key)"),
            (limit(Unit::InFlight, 1.0, minute, 1_000, None), "1 request at a time"),
            (limit(Unit::Requests, 100.0, 10_000, 500, None), "100 requests in 10 s, evenly spread"),
            (limit(Unit::Requests, 100.0, 2_000, 2_000, None), "100 requests in 2.0 s"),
            (limit(Unit::Tokens, 9.0, 3_600_000, 3_600_000, None), "9 tokens an hour"),
            (limit(Unit::Tokens, 9.0, 86_400_000, 86_400_000, None), "9 tokens a day"),
            (
                limit(Unit::Requests, 200.0, minute, 1_000, Some(LearnedLimit::SETTINGS)),
                "200 requests a minute, evenly spread",
            ),
            (
                limit(Unit::Tokens, 7e5, minute, 1_000, Some(LearnedLimit::RAMP)),
                "700,000 tokens a minute and slowly more, evenly spread",
            ),
        ] {
            assert_eq!(rate(&limit), text);
        }
    }

    #[test]
    fn an_estimate_is_said_as_one_in_the_unit_that_reads_best() {
        for (size, window_ms, text) in [
            (103.4, 10_000, "10 requests a second"),
            (3_012.0, 60_000, "50 requests a second"),
            (299.9, 60_000, "5 requests a second"),
            (150.0, 60_000, "2.5 requests a second"),
            (100.0, 60_000, "100 requests a minute"),
            (2.7, 60_000, "2.7 requests a minute"),
            (1.04, 60_000, "62 requests an hour"),
            (0.5, 3_600_000, "0.5 requests an hour"),
            (123_456.0, 1_000, "120,000 requests a second"),
        ] {
            let estimate =
                LearnedLimit { source: Source::Estimate, ..limit(Unit::Requests, size, window_ms, 500, None) };
            assert_eq!(rate(&estimate), format!("about {text}"));
            assert_eq!(of_server(&estimate), format!("the server's estimated {text}"));
        }
        let four = LearnedLimit { source: Source::Estimate, ..limit(Unit::InFlight, 3.9, 1, 1, None) };
        assert_eq!(
            (rate(&four), of_server(&four)),
            ("about 4 requests at a time".to_owned(), "the server's estimated 4 requests at a time".to_owned())
        );
        assert_eq!(of_server(&limit(Unit::Tokens, 500.0, 60_000, 1_000, None)), "the server's 500 tokens a minute");
    }

    #[test]
    fn a_line_says_when_and_how() {
        let mut limit = limit(Unit::Tokens, 10_000.0, 60_000, 60_000, None);
        for (source, text) in [
            (Source::Refusal, "10,000 tokens a minute, learned 2026-11-22 12:01 from a 429"),
            (Source::Headers, "10,000 tokens a minute, learned 2026-11-22 12:01 from its headers"),
            (Source::Estimate, "about 170 tokens a second, learned 2026-11-22 12:01, estimated from 429s"),
        ] {
            limit.source = source;
            assert_eq!(line(&limit, &Berlin), text);
        }
        limit.source = Source::Refusal;
        for (now, text) in [
            ("2026-11-22T22:59:59Z", "10,000 tokens a minute, learned 12:01 from a 429"),
            ("2026-11-22T23:00:00Z", "10,000 tokens a minute, learned 2026-11-22 12:01 from a 429"),
        ] {
            assert_eq!(line_at(&limit, &Berlin, now.parse().expect("a date")), text);
        }
    }
}
