//! Learned limits as people read them.

use std::fmt;
use std::time::Duration;

use chrono::TimeZone;

use super::format::{count, span};
use crate::admit::hint::{LearnedLimit, Source};

/// What a limit lets through: `10,000 tokens a minute`, `500 requests a minute (project), in slices of a second`.
#[must_use]
pub fn rate(limit: &LearnedLimit) -> String {
    let LearnedLimit { unit, group, size, window, burst, .. } = limit;
    let group = group.as_ref().map_or(String::new(), |group| format!(" ({group})"));
    let per =
        named(*window).map_or_else(|| format!("in {}", span(*window)), |name| format!("{} {name}", article(name)));
    let slices = if burst < window {
        let slice = named(*burst).map_or_else(|| span(*burst), |name| format!("{} {name}", article(name)));
        format!(", in slices of {slice}")
    } else {
        String::new()
    };
    format!("{} {unit} {per}{group}{slices}", amount(*size))
}

/// The same with when and how it was learned: `10,000 tokens a minute, learned 2026-11-22 12:01 from a 429`.
#[must_use]
pub fn line<Tz: TimeZone>(limit: &LearnedLimit, zone: &Tz) -> String
where
    Tz::Offset: fmt::Display,
{
    let comma = if limit.source == Source::Estimate { "," } else { "" };
    let at = limit.learned.with_timezone(zone).format("%Y-%m-%d %H:%M");
    format!("{}, learned {at}{comma} {}", rate(limit), limit.source)
}

/// The name of a common span.
fn named(span: Duration) -> Option<&'static str> {
    match (span.as_secs(), span.subsec_nanos()) {
        (1, 0) => Some("second"),
        (60, 0) => Some("minute"),
        (3_600, 0) => Some("hour"),
        (86_400, 0) => Some("day"),
        _ => None,
    }
}

fn article(name: &str) -> &'static str {
    if name == "hour" { "an" } else { "a" }
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
    use crate::admit::hint::Unit;
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
            (limit(Unit::Requests, 500.4, minute, 1_000, None), "500 requests a minute, in slices of a second"),
            (limit(Unit::Requests, 2.5, 1_000, 1_000, Some("project")), "2.5 requests a second (project)"),
            (limit(Unit::Requests, 100.0, 10_000, 500, None), "100 requests in 10 s, in slices of 500 ms"),
            (limit(Unit::Tokens, 9.0, 3_600_000, 3_600_000, None), "9 tokens an hour"),
            (limit(Unit::Tokens, 9.0, 86_400_000, 86_400_000, None), "9 tokens a day"),
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
    }
}
