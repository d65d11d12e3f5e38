//! The headers in which an answer tells of its server's limits, in the forms of several providers.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use clap::ValueEnum;
use http::{HeaderName, HeaderValue};

use crate::standin::limits::bucket::Level;
use crate::standin::limits::go_duration::go_duration;
use crate::standin::limits::limiter::Levels;

/// In whose form answers tell of limits, what is left of them and when they are full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum RateLimitHeaders {
    /// `x-ratelimit-limit-requests` and the other five, resets as Go durations. Of a minute's and a day's requests the one shows of which a
    /// smaller share remains.
    #[default]
    #[value(name = "openai")]
    OpenAi,
    /// The same without the two resets.
    NoReset,
    /// The same names, resets in whole seconds, and beside every `Retry-After` a `retry-after-ms`.
    Azure,
    /// As `openai`, but requests are always those of a day where the day has a limit.
    Groq,
    /// `x-ratelimit-limit-req-minute`, `x-ratelimit-limit-tokens-minute`, what remains of them, and what the request cost; no resets.
    Mistral,
    /// `anthropic-ratelimit-requests-limit` and so on, resets as moments in RFC 3339.
    Anthropic,
    /// None.
    None,
}

/// The names of a limit's headers: its size, what remains, and, where it is told, when it is full.
struct Names {
    limit: HeaderName,
    remaining: HeaderName,
    reset: Option<HeaderName>,
}

impl Names {
    const fn new(limit: &'static str, remaining: &'static str, reset: &'static str) -> Self {
        let reset = Some(HeaderName::from_static(reset));
        Self { limit: HeaderName::from_static(limit), remaining: HeaderName::from_static(remaining), reset }
    }

    const fn without_reset(limit: &'static str, remaining: &'static str) -> Self {
        Self { limit: HeaderName::from_static(limit), remaining: HeaderName::from_static(remaining), reset: None }
    }
}

const OPENAI_REQUESTS: Names =
    Names::new("x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests");
const OPENAI_TOKENS: Names =
    Names::new("x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens");
const NO_RESET_REQUESTS: Names = Names::without_reset("x-ratelimit-limit-requests", "x-ratelimit-remaining-requests");
const NO_RESET_TOKENS: Names = Names::without_reset("x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens");
const ANTHROPIC_REQUESTS: Names = Names::new(
    "anthropic-ratelimit-requests-limit",
    "anthropic-ratelimit-requests-remaining",
    "anthropic-ratelimit-requests-reset",
);
const ANTHROPIC_TOKENS: Names = Names::new(
    "anthropic-ratelimit-tokens-limit",
    "anthropic-ratelimit-tokens-remaining",
    "anthropic-ratelimit-tokens-reset",
);
const MISTRAL_REQUESTS: Names =
    Names::without_reset("x-ratelimit-limit-req-minute", "x-ratelimit-remaining-req-minute");
const MISTRAL_TOKENS: Names =
    Names::without_reset("x-ratelimit-limit-tokens-minute", "x-ratelimit-remaining-tokens-minute");
const MISTRAL_COST: HeaderName = HeaderName::from_static("x-ratelimit-tokens-query-cost");

/// The headers of an answer given at `wall`, with `levels` left: in the form of `whose`.
pub(in crate::standin) fn of(
    whose: RateLimitHeaders,
    levels: &Levels,
    wall: DateTime<Utc>,
) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    use RateLimitHeaders::{Anthropic, Azure, Groq, Mistral, NoReset, None as Nobody, OpenAi};
    let requests = match whose {
        // Theirs are those of a minute; a day is not told.
        Azure | Mistral | Anthropic => levels.requests,
        Groq => levels.requests_per_day.or(levels.requests),
        OpenAi | NoReset | Nobody => tighter(levels.requests, levels.requests_per_day),
    };
    let names = match whose {
        OpenAi | Azure | Groq => Some((OPENAI_REQUESTS, OPENAI_TOKENS)),
        NoReset => Some((NO_RESET_REQUESTS, NO_RESET_TOKENS)),
        Mistral => Some((MISTRAL_REQUESTS, MISTRAL_TOKENS)),
        Anthropic => Some((ANTHROPIC_REQUESTS, ANTHROPIC_TOKENS)),
        Nobody => None,
    };
    let limits = names.map(|(of_requests, of_tokens)| [(of_requests, requests), (of_tokens, levels.tokens)]);
    let cost = (whose == Mistral && levels.tokens.is_some()).then(|| (MISTRAL_COST, HeaderValue::from(levels.taken)));
    let limits = limits.into_iter().flatten().filter_map(|(names, level)| Some((names, level?)));
    let limits = limits.flat_map(move |(names, level)| {
        [
            Some((names.limit, HeaderValue::from(level.limit))),
            Some((names.remaining, HeaderValue::from(level.remaining))),
            names.reset.map(|name| (name, reset(whose, level.reset, wall))),
        ]
    });
    limits.flatten().chain(cost)
}

/// Of a minute's and a day's requests, that of which a smaller share remains: the minute where they are equal.
fn tighter(minute: Option<Level>, day: Option<Level>) -> Option<Level> {
    match (minute, day) {
        (Some(minute), Some(day)) => Some(if day.is_tighter_than(&minute) { day } else { minute }),
        (minute, day) => minute.or(day),
    }
}

fn reset(whose: RateLimitHeaders, span: Duration, wall: DateTime<Utc>) -> HeaderValue {
    // What is not told to the millisecond is rounded up: it is full then.
    let seconds = span.as_secs().saturating_add(u64::from(span.subsec_nanos() > 0));
    match whose {
        RateLimitHeaders::Azure => HeaderValue::from(seconds),
        RateLimitHeaders::Anthropic => {
            let full = TimeDelta::from_std(span).ok().and_then(|span| wall.checked_add_signed(span)).unwrap_or(wall);
            let up = TimeDelta::nanoseconds(999_999_999);
            let full = full.checked_add_signed(up).unwrap_or(full);
            text(&full.to_rfc3339_opts(SecondsFormat::Secs, true))
        }
        _ => text(&go_duration(span)),
    }
}

/// Our own ids and durations: visible ASCII, which every header takes.
pub(in crate::standin) fn text(value: &str) -> HeaderValue {
    HeaderValue::from_str(value).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(limit: u64, remaining: u64, reset_millis: u64) -> Level {
        Level { limit, remaining, reset: Duration::from_millis(reset_millis) }
    }

    fn told(whose: RateLimitHeaders, levels: &Levels) -> Vec<String> {
        let wall = "2026-11-22T10:00:00.5Z".parse().expect("a moment");
        of(whose, levels, wall).map(|(name, value)| format!("{name}: {}", value.to_str().expect("ASCII"))).collect()
    }

    #[test]
    fn each_provider_has_its_form() {
        let levels = Levels {
            requests: Some(level(500, 499, 120)),
            tokens: Some(level(10_000, 9_983, 1_102)),
            requests_per_day: Some(level(14_400, 14_370, 179_560)),
            taken: 17,
        };
        let openai = [
            "x-ratelimit-limit-requests: 500",
            "x-ratelimit-remaining-requests: 499",
            "x-ratelimit-reset-requests: 120ms",
            "x-ratelimit-limit-tokens: 10000",
            "x-ratelimit-remaining-tokens: 9983",
            "x-ratelimit-reset-tokens: 1.102s",
        ];
        // 30 of 14,400 is a larger share than 1 of 500.
        let by_day = [
            "x-ratelimit-limit-requests: 14400",
            "x-ratelimit-remaining-requests: 14370",
            "x-ratelimit-reset-requests: 2m59.56s",
        ];
        assert_eq!(told(RateLimitHeaders::OpenAi, &levels), [&by_day, &openai[3..]].concat());
        assert_eq!(told(RateLimitHeaders::NoReset, &levels), [&by_day[..2], &openai[3..5]].concat());
        assert_eq!(told(RateLimitHeaders::Groq, &levels), [&by_day, &openai[3..]].concat());
        let fresh = Levels { requests_per_day: Some(level(14_400, 14_399, 6_000)), ..levels };
        assert_eq!(told(RateLimitHeaders::OpenAi, &fresh), openai);
        assert_eq!(told(RateLimitHeaders::Groq, &fresh)[0], "x-ratelimit-limit-requests: 14400");
        assert_eq!(
            told(RateLimitHeaders::Azure, &levels),
            [
                "x-ratelimit-limit-requests: 500",
                "x-ratelimit-remaining-requests: 499",
                "x-ratelimit-reset-requests: 1",
                "x-ratelimit-limit-tokens: 10000",
                "x-ratelimit-remaining-tokens: 9983",
                "x-ratelimit-reset-tokens: 2",
            ]
        );
        assert_eq!(
            told(RateLimitHeaders::Mistral, &levels),
            [
                "x-ratelimit-limit-req-minute: 500",
                "x-ratelimit-remaining-req-minute: 499",
                "x-ratelimit-limit-tokens-minute: 10000",
                "x-ratelimit-remaining-tokens-minute: 9983",
                "x-ratelimit-tokens-query-cost: 17",
            ]
        );
        assert_eq!(
            told(RateLimitHeaders::Anthropic, &levels),
            [
                "anthropic-ratelimit-requests-limit: 500",
                "anthropic-ratelimit-requests-remaining: 499",
                "anthropic-ratelimit-requests-reset: 2026-11-22T10:00:01Z",
                "anthropic-ratelimit-tokens-limit: 10000",
                "anthropic-ratelimit-tokens-remaining: 9983",
                "anthropic-ratelimit-tokens-reset: 2026-11-22T10:00:02Z",
            ]
        );
        assert_eq!(told(RateLimitHeaders::None, &levels), [""; 0]);
    }

    #[test]
    fn what_has_no_limit_is_not_told() {
        for whose in [RateLimitHeaders::OpenAi, RateLimitHeaders::Mistral, RateLimitHeaders::Anthropic] {
            assert_eq!(told(whose, &Levels { taken: 17, ..Levels::default() }), [""; 0], "{whose:?}");
        }
        let day = Levels { requests_per_day: Some(level(200, 199, 432_000)), ..Levels::default() };
        assert_eq!(told(RateLimitHeaders::OpenAi, &day)[2], "x-ratelimit-reset-requests: 7m12s");
        assert_eq!(told(RateLimitHeaders::Azure, &day), [""; 0]);
    }
}
