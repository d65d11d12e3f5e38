//! What changes while the stand-in runs: spans of time, counted from its first request, in which it behaves otherwise.
//!
//! Nothing here reads a clock or waits.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::clock::nanos;

/// A span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its start, since the first request.
    pub from: Duration,
    /// Its length; longer than nothing.
    pub lasts: Duration,
}

impl Span {
    /// Its end, which is the first moment after it.
    #[must_use]
    pub fn end(&self) -> Duration {
        self.from.saturating_add(self.lasts)
    }

    /// Whether `at` lies in it.
    #[must_use]
    pub fn contains(&self, at: Duration) -> bool {
        (self.from..self.end()).contains(&at)
    }

    /// Its second half.
    fn second_half(&self) -> Self {
        let half = self.lasts / 2;
        Self { from: self.from.saturating_add(half), lasts: self.lasts.saturating_sub(half) }
    }
}

/// A span in which the limits of a minute are others, or in which a neighbour takes a part of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slump {
    pub span: Span,
    /// Of the limits, above 0: 0.5 is half of them, 2 is twice as much.
    pub share: f64,
}

/// The share of the limits that holds at `at`: the smallest of the slumps that contain it, else 1.
pub(in crate::standin) fn share(slumps: &[Slump], at: Duration) -> f64 {
    shares(slumps, at).reduce(f64::min).unwrap_or(1.0)
}

/// The share of the limits that all neighbours together take at `at`.
pub(in crate::standin) fn taken(neighbours: &[Slump], at: Duration) -> f64 {
    shares(neighbours, at).sum()
}

fn shares(spans: &[Slump], at: Duration) -> impl Iterator<Item = f64> {
    spans.iter().filter(move |slump| slump.span.contains(at)).map(|slump| slump.share)
}

/// The moments after `after` and up to `until` at which a slump begins or ends, in order.
pub(in crate::standin) fn changes(slumps: &[Slump], after: Duration, until: Duration) -> Vec<Duration> {
    let edges = slumps.iter().flat_map(|slump| [slump.span.from, slump.span.end()]);
    let mut edges: Vec<_> = edges.filter(|&edge| after < edge && edge <= until).collect();
    edges.sort_unstable();
    edges
}

/// The moments after `after` and up to `until`, `step` apart since the first request, at which neighbours take something; with their numbers.
pub(in crate::standin) fn steps(
    neighbours: &[Slump],
    step: Duration,
    after: Duration,
    until: Duration,
) -> Vec<(Duration, u64)> {
    let step = nanos(step).max(1);
    let numbers = nanos(after) / step + 1..=nanos(until) / step;
    let moments = numbers.map(|number| (Duration::from_nanos(number * step), number));
    if neighbours.is_empty() { Vec::new() } else { moments.collect() }
}

/// Whether connections are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::standin) enum Door {
    /// They are, until then; `None`: for good.
    Open(Option<Duration>),
    /// They are refused until then.
    Closed(Duration),
}

/// Whether connections are taken at `at`: they are refused in the second half of an outage.
pub(in crate::standin) fn door(outages: &[Span], at: Duration) -> Door {
    let closed = outages.iter().map(Span::second_half);
    match closed.clone().filter(|span| span.contains(at)).map(|span| span.end()).max() {
        Some(end) => Door::Closed(end),
        None => Door::Open(closed.map(|span| span.from).filter(|&from| from > at).min()),
    }
}

/// Why a text is no span or slump.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Parts are missing, or there are too many.
    #[error("{text:?} is not {form}; write for example {example}")]
    Form {
        text: String,
        /// The form that is asked for.
        form: &'static str,
        /// A text that has it.
        example: &'static str,
    },
    /// A part is no duration.
    #[error("{text:?} is not a time ({why}); write for example 90s")]
    Time {
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// The span is empty.
    #[error("a span is longer than nothing; write for example 10s:5s")]
    Empty,
    /// The share is no number above 0 and up to 1,000.
    #[error("{0:?} is not a share; write a number above 0, where 1 is all, and at most 1000")]
    Share(String),
}

impl FromStr for Span {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let (from, lasts) = text.split_once(':').ok_or_else(|| ScheduleError::Form {
            text: text.to_owned(),
            form: "FROM:TIME",
            example: "10s:5s",
        })?;
        let span = Self { from: time(from)?, lasts: time(lasts)? };
        if span.lasts.is_zero() { Err(ScheduleError::Empty) } else { Ok(span) }
    }
}

impl FromStr for Slump {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let form = || ScheduleError::Form { text: text.to_owned(), form: "FROM:TIME:SHARE", example: "10s:5s:0.5" };
        let (span, share) = text.rsplit_once(':').filter(|(span, _)| span.contains(':')).ok_or_else(form)?;
        let share = share.trim();
        let number: f64 = share.parse().map_err(|_| ScheduleError::Share(share.to_owned()))?;
        if number > 0.0 && number <= 1_000.0 {
            Ok(Self { span: span.parse()?, share: number })
        } else {
            Err(ScheduleError::Share(share.to_owned()))
        }
    }
}

fn time(text: &str) -> Result<Duration, ScheduleError> {
    humantime::parse_duration(text.trim())
        .map_err(|error| ScheduleError::Time { text: text.to_owned(), why: error.to_string() })
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", humantime::format_duration(self.from), humantime::format_duration(self.lasts))
    }
}

impl fmt::Display for Slump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.span, self.share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn span(from: u64, lasts: u64) -> Span {
        Span { from: seconds(from), lasts: seconds(lasts) }
    }

    #[test]
    fn spans_and_slumps_are_read_or_explained() {
        assert_eq!("10s:5s".parse(), Ok(span(10, 5)));
        assert_eq!(" 0s : 1m 30s".parse(), Ok(span(0, 90)));
        let slump = Slump { span: span(10, 5), share: 0.5 };
        assert_eq!("10s:5s:0.5".parse(), Ok(slump));
        assert_eq!(slump.to_string().parse(), Ok(slump));
        for (text, part) in [
            ("10s", "is not FROM:TIME; write for example 10s:5s"),
            ("10s:0s", "longer than nothing"),
            ("10:5s", "\"10\" is not a time"),
            ("soon:5s", "\"soon\" is not a time"),
        ] {
            let error = text.parse::<Span>().expect_err(text).to_string();
            assert!(error.contains(part), "{error}");
        }
        for (text, part) in [
            ("10s:0.5", "is not FROM:TIME:SHARE; write for example 10s:5s:0.5"),
            ("10s:5s:0", "\"0\" is not a share"),
            ("10s:5s:1001", "at most 1000"),
            ("10s:5s:NaN", "is not a share"),
            ("10s:5s:half", "is not a share"),
            ("10s:0s:0.5", "longer than nothing"),
            ("1s:2s:3s:0.5", "is not a time"),
        ] {
            let error = text.parse::<Slump>().expect_err(text).to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn of_slumps_that_overlap_the_deepest_holds() {
        let slumps = [Slump { span: span(10, 10), share: 0.5 }, Slump { span: span(15, 2), share: 0.1 }];
        for (at, expected) in [(0, 1.0), (9, 1.0), (10, 0.5), (15, 0.1), (16, 0.1), (17, 0.5), (19, 0.5), (20, 1.0)] {
            assert!((share(&slumps, seconds(at)) - expected).abs() < f64::EPSILON, "at {at} s");
        }
        let whole = changes(&slumps, seconds(0), seconds(60));
        assert_eq!(whole, [10, 15, 17, 20].map(seconds));
        assert_eq!(changes(&slumps, seconds(10), seconds(17)), [15, 17].map(seconds));
        assert_eq!(changes(&slumps, seconds(17), seconds(17)), []);
    }

    #[test]
    fn a_share_above_one_raises_and_neighbours_add_up() {
        let raised = [Slump { span: span(10, 10), share: 2.0 }, Slump { span: span(15, 2), share: 3.0 }];
        for (at, holds, all) in [(9, 1.0, 0.0), (10, 2.0, 2.0), (15, 2.0, 5.0), (20, 1.0, 0.0)] {
            assert!((share(&raised, seconds(at)) - holds).abs() < f64::EPSILON, "at {at} s");
            assert!((taken(&raised, seconds(at)) - all).abs() < f64::EPSILON, "at {at} s");
        }
    }

    #[test]
    fn steps_are_counted_from_the_first_request() {
        let neighbours = [Slump { span: span(10, 10), share: 0.5 }];
        let of =
            |after, until| steps(&neighbours, seconds(2), Duration::from_millis(after), Duration::from_millis(until));
        assert_eq!(of(0, 4_000), [(seconds(2), 1), (seconds(4), 2)]);
        assert_eq!(of(4_000, 5_999), []);
        assert_eq!(of(5_999, 6_000), [(seconds(6), 3)]);
        assert_eq!(steps(&[], seconds(2), seconds(0), seconds(60)), []);
    }

    #[test]
    fn the_door_is_closed_in_the_second_half_of_an_outage() {
        let outages = [span(10, 8), span(30, 4)];
        for (at, expected) in [
            (0, Door::Open(Some(seconds(14)))),
            (10, Door::Open(Some(seconds(14)))),
            (14, Door::Closed(seconds(18))),
            (17, Door::Closed(seconds(18))),
            (18, Door::Open(Some(seconds(32)))),
            (33, Door::Closed(seconds(34))),
            (34, Door::Open(None)),
        ] {
            assert_eq!(door(&outages, seconds(at)), expected, "at {at} s");
        }
        assert_eq!(door(&[], seconds(5)), Door::Open(None));
    }
}
