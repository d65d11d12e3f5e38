//! How long a server asks us to wait: every form of `Retry-After`, and waits named in error messages.
//!
//! It does not judge `x-ratelimit-reset-*`: that is the time until the bucket is full, not until a request fits. [`super::hints`] reads it with
//! `printed`.

use std::time::Duration;

use chrono::{DateTime, Utc};
use http::HeaderMap;

use crate::admit::hint::Span;

/// A longer wait than this is taken for a mistake (a moment in another unit, a counter) and ignored: no limit is longer than a month.
pub(super) const ABSURD: Duration = Duration::from_secs(31 * 86_400);

const SECOND: Duration = Duration::from_secs(1);
pub(super) const MILLISECOND: Duration = Duration::from_millis(1);

/// Nanoseconds in a unit of a Go duration. Longer names come first where one begins another.
const GO_UNITS: &[(&str, u64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000), // U+00B5, micro sign
    ("μs", 1_000), // U+03BC, Greek mu
    ("ms", 1_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
];

/// Nanoseconds in a unit as people spell it.
const SPOKEN_UNITS: &[(&[&str], u64)] = &[
    (&["ns"], 1),
    (&["us", "µs", "μs"], 1_000),
    (&["ms", "millisecond", "milliseconds"], 1_000_000),
    (&["s", "sec", "secs", "second", "seconds"], 1_000_000_000),
    (&["m", "min", "mins", "minute", "minutes"], 60_000_000_000),
    (&["h", "hr", "hrs", "hour", "hours"], 3_600_000_000_000),
    (&["d", "day", "days"], 86_400_000_000_000),
];

/// What stands before a wait in the messages of rate limits.
const PHRASES: &[&str] =
    &["try again in ", "try again after ", "retry after ", "retry in ", "wait for ", "wait at least ", "please wait "];

/// The longest wait that `headers` or `message` ask for; `None` where they ask for none that makes sense.
///
/// Zero, negative and past waits, and those over 31 days, are ignored. Moments are measured from the server's own `Date` where it sends one, so
/// that its clock need not agree with ours; else from `wall`.
#[must_use]
pub fn asked(headers: &HeaderMap, message: &str, wall: DateTime<Utc>) -> Option<Duration> {
    let now = server_time(headers, wall);
    let texts = |name| texts(headers, name);
    let millis = texts("retry-after-ms")
        .filter_map(|text| number(text.trim()).filter(|(_, rest)| rest.is_empty())?.0.of(1_000_000));
    let after = texts("retry-after").filter_map(|text| value(text, now));
    millis.chain(after).chain(in_message(message)).filter(|wait| sensible(*wait)).max()
}

/// A wait in any form that a header (or a member of an error body) gives it; `now` is what moments are measured from.
///
/// Seconds, whole or not; a moment in seconds or milliseconds since 1970; a Go duration, also with spaces; an HTTP date; RFC 3339.
#[must_use]
pub fn value(text: &str, now: DateTime<Utc>) -> Option<Duration> {
    printed(text, now).map(|(time, _)| time)
}

/// What [`value`] reads, and the bounds that its printing leaves.
///
/// A duration with units is cut: to whole milliseconds where it shows less than a second, else to whole seconds. A bare number is cut or rounded
/// to its last digit. A moment is known to a second each way: so exact is the `Date` that it is measured from.
pub(super) fn printed(text: &str, now: DateTime<Utc>) -> Option<(Duration, Span)> {
    let text = text.trim();
    let either_way = |time: Duration, by| (time, Span { least: time.saturating_sub(by), most: time + by });
    let moment = |moment| until(moment, now).map(|time| either_way(time, SECOND));
    let found = match number(text) {
        // 1e9 seconds are 31 years, so it is a moment; as milliseconds it would be one of January 1970, so those start higher.
        Some((number, "")) if number.whole >= 100_000_000_000 => {
            moment(DateTime::from_timestamp_millis(i64::try_from(number.whole).ok()?)?)
        }
        Some((number, "")) if number.whole >= 1_000_000_000 => {
            moment(DateTime::from_timestamp(i64::try_from(number.whole).ok()?, 0)?)
        }
        Some((number, "")) => number.of(1_000_000_000).map(|time| {
            let digits = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
            either_way(time, [SECOND, SECOND / 10, SECOND / 100, MILLISECOND][digits.min(3)])
        }),
        _ => go_duration(text)
            .or_else(|| spoken(text).filter(|(_, rest)| rest.is_empty()).map(|(wait, _)| wait))
            .map(|time| {
                let grain = if time.subsec_nanos() == 0 { SECOND } else { MILLISECOND };
                (time, Span { least: time, most: time.saturating_add(grain) })
            })
            .or_else(|| moment(DateTime::parse_from_rfc3339(text).ok()?.with_timezone(&Utc)))
            .or_else(|| moment(http_date(text)?)),
    };
    found.filter(|(time, _)| sensible(*time))
}

/// The server's own clock where it sends its `Date`, else `wall`.
pub(super) fn server_time(headers: &HeaderMap, wall: DateTime<Utc>) -> DateTime<Utc> {
    texts(headers, "date").find_map(http_date).unwrap_or(wall)
}

fn texts<'a>(headers: &'a HeaderMap, name: &'static str) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok())
}

/// A Go `time.Duration` as `x-ratelimit-reset-*` print it: `6m0s`, `8.64s`, `120ms`. No sign, no spaces, a unit to each number.
#[must_use]
pub fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() || text.is_empty() {
        let (number, after) = number(rest)?;
        let (name, nanos) = GO_UNITS.iter().find(|(name, _)| after.starts_with(name))?;
        total = total.checked_add(number.of(*nanos)?)?;
        rest = after.strip_prefix(name)?;
    }
    Some(total)
}

/// The longest wait that `message` names ("try again in 6m11.52s").
#[must_use]
pub fn in_message(message: &str) -> Option<Duration> {
    // ASCII alone: other lower-casing changes lengths.
    let lower = message.to_ascii_lowercase();
    PHRASES
        .iter()
        .flat_map(|phrase| lower.match_indices(phrase).map(|(at, found)| &lower[at + found.len()..]))
        .filter_map(spoken_at_start)
        .max()
}

/// The wait at the start of `text` (`6m11.52s`, `6m 11.52s`, `20 seconds`), and what stands after it.
fn spoken(text: &str) -> Option<(Duration, &str)> {
    let mut total = None;
    let mut rest = text;
    while let Some((part, after)) = spoken_part(rest.trim_start_matches(' ')) {
        total = Some(total.unwrap_or(Duration::ZERO).checked_add(part)?);
        rest = after;
    }
    total.map(|total| (total, rest))
}

/// The length of time at the start of `text` (`10 seconds`), where it is one.
pub(super) fn spoken_at_start(text: &str) -> Option<Duration> {
    spoken(text).map(|(time, _)| time).filter(|time| sensible(*time))
}

/// One number with its unit.
fn spoken_part(text: &str) -> Option<(Duration, &str)> {
    let (number, after) = number(text)?;
    let after = after.strip_prefix(' ').unwrap_or(after);
    let end = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
    let (name, rest) = after.split_at(end);
    let (_, nanos) = SPOKEN_UNITS.iter().find(|(names, _)| names.contains(&name))?;
    Some((number.of(*nanos)?, rest))
}

/// A decimal number without sign or exponent.
#[derive(Clone, Copy)]
struct Number {
    whole: u64,
    /// Billionths; what is finer is dropped.
    billionths: u64,
}

impl Number {
    /// So many times `nanos`; `None` where that is over 584 years.
    fn of(self, nanos: u64) -> Option<Duration> {
        let total = u128::from(self.whole) * u128::from(nanos)
            + u128::from(self.billionths) * u128::from(nanos) / 1_000_000_000;
        u64::try_from(total).ok().map(Duration::from_nanos)
    }
}

/// The number at the start of `text`, and what stands after it.
fn number(text: &str) -> Option<(Number, &str)> {
    let (whole, rest) = digits(text);
    let whole = whole.parse().ok()?;
    let Some((fraction, after)) = rest.strip_prefix('.').map(digits).filter(|(fraction, _)| !fraction.is_empty())
    else {
        return Some((Number { whole, billionths: 0 }, rest));
    };
    let billionths = fraction
        .bytes()
        .chain(std::iter::repeat(b'0'))
        .take(9)
        .fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    Some((Number { whole, billionths }, after))
}

/// `text` split after its leading digits.
pub(super) fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// How long it is from `now` until `moment`, if it has not passed.
fn until(moment: DateTime<Utc>, now: DateTime<Utc>) -> Option<Duration> {
    (moment - now).to_std().ok()
}

/// A date in one of HTTP's three forms.
fn http_date(text: &str) -> Option<DateTime<Utc>> {
    httpdate::parse_http_date(text.trim()).ok().map(DateTime::from)
}

/// Whether a wait is one: over zero, and not absurd.
fn sensible(wait: Duration) -> bool {
    !wait.is_zero() && wait <= ABSURD
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    fn now() -> DateTime<Utc> {
        "2026-11-22T12:00:00Z".parse().expect("a date")
    }

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::try_from(*name).expect("a name"),
                    HeaderValue::from_bytes(value.as_bytes()).expect("a value"),
                )
            })
            .collect()
    }

    #[test]
    fn every_form_of_retry_after() {
        let table: &[(&str, Option<u64>)] = &[
            ("56", Some(56_000)),
            (" 56 ", Some(56_000)),
            ("1.5", Some(1_500)),
            ("0.002", Some(2)),
            ("Sun, 22 Nov 2026 12:00:30 GMT", Some(30_000)),
            ("Sunday, 22-Nov-26 12:01:00 GMT", Some(60_000)),
            ("Sun Nov 22 12:00:05 2026", Some(5_000)),
            ("6m0s", Some(360_000)),
            ("2m59.56s", Some(179_560)),
            ("120ms", Some(120)),
            ("6m 11.52s", Some(371_520)),
            ("20 seconds", Some(20_000)),
            ("2026-11-22T12:00:09Z", Some(9_000)),
            ("2026-11-22T13:00:09.250+01:00", Some(9_250)),
            ("1795348810", Some(10_000)),
            ("1795348812500", Some(12_500)),
            ("2678400", Some(2_678_400_000)),
            // Ignored: no wait, the past, over 31 days, not a wait at all.
            ("0", None),
            ("0s", None),
            ("-1", None),
            ("-5s", None),
            ("+5", None),
            ("", None),
            ("soon", None),
            ("NaN", None),
            ("inf", None),
            ("1e3", None),
            ("1e999", None),
            ("2592000", Some(2_592_000_000)),
            ("5.", None),
            (".5", None),
            ("1 fortnight", None),
            ("2678401", None),
            ("99999999999999999999999999", None),
            ("18446744073709551615", None),
            ("745h", None),
            ("Sun, 22 Nov 2026 11:59:30 GMT", None),
            ("2026-11-22T11:59:59Z", None),
            ("1795348799", None),
            ("9999-12-31T23:59:59Z", None),
        ];
        for (text, millis) in table {
            let got = asked(&headers(&[("retry-after", text)]), "", now());
            assert_eq!(got, millis.map(Duration::from_millis), "{text:?}");
        }
    }

    #[test]
    fn every_form_of_a_wait_in_a_message() {
        let table: &[(&str, Option<u64>)] = &[
            ("Limit 500, Used 500, Requested 1. Please try again in 120ms. Visit https://x", Some(120)),
            ("Please try again in 6m11.52s. Visit", Some(371_520)),
            ("Please try again in 6m 11.52s.", Some(371_520)),
            ("Please try again in 28m48s", Some(1_728_000)),
            ("please TRY AGAIN IN 1.903s", Some(1_903)),
            ("Please try again in 6ms. Contact us", Some(6)),
            ("Please try again in 1h2m3s.", Some(3_723_000)),
            ("Please retry after 26 seconds.", Some(26_000)),
            ("Please retry after 1 second.", Some(1_000)),
            ("request reached max organization concurrency: 1, please try again after 1 seconds", Some(1_000)),
            (
                "Rate limit of 150 per 86400s exceeded for UserByModelByDay. Please wait 35944 seconds before retrying.",
                Some(35_944_000),
            ),
            ("Please wait a moment and try again.", None),
            ("try again in 30 days", Some(2_592_000_000)),
            ("try again in 1e999 s", None),
            ("try again in 2 minutes, or retry after 3 minutes", Some(180_000)),
            ("try again in 1 hour 30 minutes", Some(5_400_000)),
            ("ÄÖÜİ try again in 2s", Some(2_000)),
            ("try again in 20", None),
            ("try again in a while", None),
            ("try again in 0s", None),
            ("try again in -3s", None),
            ("try again in 3 monkeys", None),
            ("try again in 99999999999999999999s", None),
            ("try again in 18446744073709551615h", None),
            ("try again in 90 days", None),
            ("20s", None),
            ("", None),
        ];
        for (text, millis) in table {
            assert_eq!(asked(&HeaderMap::new(), text, now()), millis.map(Duration::from_millis), "{text:?}");
        }
    }

    #[test]
    fn the_largest_wait_counts() {
        let wait = |fields: &[(&str, &str)], message: &str| {
            asked(&headers(fields), message, now()).map(|wait| wait.as_millis())
        };
        assert_eq!(wait(&[("retry-after-ms", "300"), ("retry-after", "5")], "try again in 2s"), Some(5_000));
        assert_eq!(wait(&[("retry-after-ms", "300.5")], ""), Some(300));
        assert_eq!(wait(&[("retry-after", "1"), ("retry-after", "7")], ""), Some(7_000));
        assert_eq!(wait(&[("retry-after", "1")], "try again in 23.03s"), Some(23_030));
        assert_eq!(wait(&[("retry-after-ms", "274579000")], "try again in 1s"), Some(274_579_000));
        assert_eq!(wait(&[("retry-after", "9999999"), ("retry-after-ms", "-4")], "try again in 3s"), Some(3_000));
        assert_eq!(wait(&[("x-ratelimit-reset-tokens", "6m0s")], ""), None);
    }

    #[test]
    fn moments_are_measured_from_the_servers_own_date() {
        let fields = [("date", "Sun, 22 Nov 2026 15:00:00 GMT"), ("retry-after", "Sun, 22 Nov 2026 15:00:04 GMT")];
        assert_eq!(asked(&headers(&fields), "", now()), Some(Duration::from_secs(4)));
    }

    #[test]
    fn go_durations() {
        let table: &[(&str, Option<u64>)] = &[
            ("1s", Some(1_000_000_000)),
            ("8.64s", Some(8_640_000_000)),
            ("1m30s", Some(90_000_000_000)),
            ("1h0m0.5s", Some(3_600_500_000_000)),
            ("1.5h", Some(5_400_000_000_000)),
            ("0s", Some(0)),
            ("3us", Some(3_000)),
            ("3µs", Some(3_000)),
            ("3μs", Some(3_000)),
            ("7ns", Some(7)),
            ("0.0000000019s", Some(1)),
            ("", None),
            ("5", None),
            ("s", None),
            ("1m 30s", None),
            ("-1s", None),
            ("1s ", None),
            ("1x", None),
            ("99999999999h", None),
        ];
        for (text, nanos) in table {
            assert_eq!(go_duration(text), nanos.map(Duration::from_nanos), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>(), message in "(.{0,6}(try again in|retry after) [0-9.hmsµ ]{0,12}.{0,4}){0,3}") {
            let _ = go_duration(&text);
            let _ = value(&text, now());
            let _ = asked(&HeaderMap::new(), &message, now());
            let _ = asked(&HeaderMap::new(), &text, now());
        }

        #[test]
        fn a_printed_duration_is_read_back(h in 0..1000_u64, m in 0..60_u64, s in 0..60_u64, ms in 1..1000_u64) {
            let expected = Duration::from_millis(((h * 60 + m) * 60 + s) * 1000 + ms);
            prop_assert_eq!(go_duration(&format!("{h}h{m}m{s}.{ms:03}s")), Some(expected));
            prop_assert_eq!(go_duration(&format!("{h}h{m}m{s}s{ms}ms")), Some(expected));
        }
    }
}
