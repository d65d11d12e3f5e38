//! Limits of the server as people read them: the one way in which messages, `status` and `limits` say one.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, TimeZone, Utc};

use crate::admit::hint::{LearnedLimit, Source, Unit};
use crate::model::text::{count, span};

/// What a limit lets through: `10,000 tokens a minute`, `500 requests a minute (project), evenly spread`.
#[must_use]
pub fn rate(limit: &LearnedLimit) -> String {
    let LearnedLimit { unit, group, size, window, burst, .. } = limit;
    let group = match group.as_deref() {
        // Whose it is, the words around it say.
        None | Some(LearnedLimit::SETTINGS) => String::new(),
        Some(LearnedLimit::RAMP) => " and slowly more".to_owned(),
        Some(group) => format!(" ({group})"),
    };
    if *unit == Unit::InFlight {
        return format!("{} {unit}{group}", amount(*size));
    }
    let evenly = if burst < window { ", evenly spread" } else { "" };
    format!("{} {unit} {}{group}{evenly}", amount(*size), per(*window))
}

/// The same with when and how it was learned: `10,000 tokens a minute, learned 2026-11-22 12:01 from a 429`.
#[must_use]
pub fn line<Tz: TimeZone>(limit: &LearnedLimit, zone: &Tz) -> String
where
    Tz::Offset: fmt::Display,
{
    learned(limit, &limit.learned.with_timezone(zone).format("%Y-%m-%d %H:%M").to_string())
}

/// The same at `now`, without the date if it is of today.
#[must_use]
pub fn line_at<Tz: TimeZone>(limit: &LearnedLimit, zone: &Tz, now: DateTime<Utc>) -> String
where
    Tz::Offset: fmt::Display,
{
    let at = limit.learned.with_timezone(zone);
    if at.date_naive() == now.with_timezone(zone).date_naive() {
        learned(limit, &at.format("%H:%M").to_string())
    } else {
        line(limit, zone)
    }
}

fn learned(limit: &LearnedLimit, at: &str) -> String {
    let comma = if limit.source == Source::Estimate { "," } else { "" };
    format!("{}, learned {at}{comma} {}", rate(limit), limit.source)
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
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sizes are over 0, and for people")]
    count(size.round() as u64)
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
    fn a_line_says_when_and_how() {
        let mut limit = limit(Unit::Tokens, 10_000.0, 60_000, 60_000, None);
        for (source, text) in [
            (Source::Refusal, "10,000 tokens a minute, learned 2026-11-22 12:01 from a 429"),
            (Source::Headers, "10,000 tokens a minute, learned 2026-11-22 12:01 from its headers"),
            (Source::Estimate, "10,000 tokens a minute, learned 2026-11-22 12:01, estimated from 429s"),
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
