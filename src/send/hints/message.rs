//! The limit in the words of a 429: `OpenAI`'s and Groq's sentences, old and new, litellm's, Anthropic's and Moonshot's.
//!
//! The window is the one that the words name. The wait beside it makes no window: gateways round it, add one of their own, or answer for another limit,
//! and where a few tokens are too many, a millisecond of rounding would be half a second of window.

use std::time::Duration;

use super::{count, unit};
use crate::admit::hint::{ServerHint, Source, Span, Unit, is_daily};
use crate::send::{message, wait};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// A wait is believed that is longer than the numbers next to it by half,
const MOST_LONGER: (u32, u32) = (3, 2);
/// and by this: what servers add against being asked a moment too early.
const MARGIN: Duration = Duration::from_millis(100);
/// A window is enforced in slices of at most this part of it: of a minute, Azure's have ten seconds.
const LARGEST_SLICE: u32 = 6;

/// Short names of limits, and what they stand for.
const SHORT_NAMES: [(&str, Unit, Period); 4] = [
    ("tpm", Unit::Tokens, Period::Minute),
    ("rpm", Unit::Requests, Period::Minute),
    ("tpd", Unit::Tokens, Period::Of(DAY)),
    ("rpd", Unit::Requests, Period::Of(DAY)),
];

/// How a day's limit is named, by servers that name no numbers and by those that name them otherwise.
const OF_A_DAY: [&str; 8] =
    ["per day", "per-day", "per_day", "perday", "byday", "daily limit", "daily quota", "daily rate limit"];

/// How a shorter window is named.
const OF_LESS: [&str; 6] = ["per min", "per-min", "per_min", "permin", "per hour", "per second"];

/// The window that the words name.
#[derive(Clone, Copy)]
enum Period {
    /// A minute; also where none is named, because then it is most likely one.
    Minute,
    Of(Duration),
    /// A word that is not known.
    Unknown,
}

/// A limit that is named with its size.
struct Named<'a> {
    unit: Unit,
    group: Option<&'a str>,
    period: Period,
    limit: u64,
    used: Option<u64>,
    requested: Option<u64>,
    remaining: Option<u64>,
}

/// The limit that `text` says refused the request; `None` where it names none, one on something else than requests and tokens, or one that the wait
/// beside it belies. `minute` is what a minute means.
pub(super) fn read(text: &str, minute: Duration) -> Option<ServerHint> {
    // ASCII alone: other lower-casing changes lengths.
    let lower = text.to_ascii_lowercase();
    match Named::of(text, &lower) {
        Some(named) => named.hint(wait::in_message(text), minute),
        None => of_day(&lower),
    }
}

/// Whether `text` names a limit on requests or tokens with its size.
pub(super) fn is_numbered(text: &str) -> bool {
    Named::of(text, &text.to_ascii_lowercase()).is_some()
}

/// A day's limit that is named without numbers.
fn of_day(lower: &str) -> Option<ServerHint> {
    let first = |words: &[&str]| words.iter().filter_map(|word| lower.find(word)).min();
    let short = |name: &&str| word_at(lower, name).is_some();
    let named = first(&OF_A_DAY);
    // What is said of a day after another window is an offer: "free-models-per-min. Add 10 credits to unlock 1000 requests per day".
    let offered = named.zip(first(&OF_LESS)).is_some_and(|(day, less)| less < day);
    if named.is_none_or(|_| offered) && !["tpd", "rpd"].iter().any(short) {
        return None;
    }
    let of_tokens = ["tokens per day", "tokens-per-day", "tokens_per_day", "tokensperday"];
    let is_tokens = of_tokens.iter().any(|word| lower.contains(word)) || short(&"tpd");
    Some(ServerHint {
        window: Some(Span::exactly(DAY)),
        ..ServerHint::unknown(if is_tokens { Unit::Tokens } else { Unit::Requests }, None, Source::Refusal)
    })
}

impl<'a> Named<'a> {
    fn of(text: &'a str, lower: &'a str) -> Option<Self> {
        // A name may hold digits, so the numbers are looked for after it.
        let (named, rest) =
            between(text, lower, "(for limit ", ')').map_or((None, lower), |(name, end)| (Some(name), &lower[end..]));
        let number = |word| number_after(rest, word);
        let (used, requested) = (number("used").or_else(|| number("current")), number("requested"));
        let (limit, unit, group, period) = if let Some(limit) = number("limit") {
            let (unit, group, period) = if let Some((name, period)) = of_period(rest) {
                let (unit, group) = unit(name)?;
                (unit, named.or(group), period)
            } else if let Some((name, _)) = between(lower, lower, "limit type: ", '.') {
                (unit(name)?.0, between(text, lower, "exceeded for ", ':').map(|(key, _)| key), Period::Minute)
            } else if let Some((_, unit, period)) = short_name(rest) {
                (unit, named, period)
            } else {
                // Realtime leaves unit and period out. No request has one token.
                let is_tokens = requested.filter(|_| used.is_some())? > 1;
                (if is_tokens { Unit::Tokens } else { Unit::Requests }, named, Period::Minute)
            };
            (limit, unit, group, period)
        } else if let Some((limit, unit, group, period)) = of_number(rest) {
            (limit, unit, named.or(group), period)
        } else {
            let (short, unit, period) = short_name(rest)?;
            (number(short)?, unit, named, period)
        };
        Some(Self { unit, group, period, limit, used, requested, remaining: number("remaining") })
    }

    /// What the words tell beside this wait. Numbers that do not belong to it tell nothing; that a day is used up, or hours are, is told all the same.
    fn hint(&self, wait: Option<Duration>, minute: Duration) -> Option<ServerHint> {
        let (length, window) = match self.period {
            Period::Minute => (minute, None),
            Period::Of(length) => (length, Some(Span::exactly(length))),
            Period::Unknown => return None,
        };
        let group = self.group.map(message::tidy).filter(|group| !group.is_empty());
        let hint = ServerHint { window, ..ServerHint::unknown(self.unit, group, Source::Refusal) };
        if wait.is_some_and(|wait| !self.fits(wait, length)) {
            return window.is_some_and(|span| is_daily(span.least)).then_some(hint);
        }
        let size = Some(self.limit).filter(|size| *size > 0);
        let left = size.and_then(|size| self.used.map(|used| size.saturating_sub(used)).or(self.remaining));
        Some(ServerHint { size, left, charged: self.requested, ..hint })
    }

    /// Whether the wait is that of the numbers: `(used + requested - limit) / limit` of the window, which is how long a bucket that refills all the
    /// time takes to have room.
    ///
    /// Servers cut the wait to milliseconds or to whole seconds, or round it up, and it may be a little longer. A server that enforces its limit in
    /// slices refuses what its numbers have room for: then the wait is for the next slice. All other waits belong to something else than the numbers: to
    /// another limit, to a gateway, or to the end of a fixed window. Of a fixed window the numbers may be true, but how often it comes is not told by one
    /// text, so that it is better found by what is let in than believed beside numbers that contradict each other.
    fn fits(&self, wait: Duration, window: Duration) -> bool {
        let (Some(used), Some(requested), 1..) = (self.used, self.requested, self.limit) else { return true };
        let over = used.saturating_add(requested).saturating_sub(self.limit);
        if over == 0 {
            return wait <= window / LARGEST_SLICE + MARGIN;
        }
        let nanos = window.as_nanos().saturating_mul(u128::from(over)) / u128::from(self.limit);
        let exact = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let grain = if wait.subsec_nanos() == 0 { SECOND } else { wait::MILLISECOND };
        let (times, part) = MOST_LONGER;
        let longest = (exact / part).saturating_mul(times).saturating_add(MARGIN).max(exact.saturating_add(grain));
        exact <= wait.saturating_add(grain) && wait <= longest
    }
}

/// The name and the period of `on NAME per PERIOD`.
fn of_period(lower: &str) -> Option<(&str, Period)> {
    lower.match_indices(" per ").find_map(|(at, per)| {
        let (before, name) = lower[..at].rsplit_once(' ')?;
        (before == "on" || before.ends_with(" on")).then_some((name, period(&lower[at + per.len()..])))
    })
}

/// The limit in `of 40,000 input tokens per minute`: its size, what it counts, its group and its window.
fn of_number(lower: &str) -> Option<(u64, Unit, Option<&str>, Period)> {
    lower.match_indices(" of ").find_map(|(at, of)| {
        let (limit, rest) = count(&lower[at + of.len()..])?;
        let (name, rest) = rest.strip_prefix(' ')?.split_once(" per ")?;
        let (group, name) = name.split_once(' ').map_or((None, name), |(group, name)| (Some(group), name));
        // "4096 tokens per request" is another thing.
        let period = Some(period(rest)).filter(|period| !matches!(period, Period::Unknown))?;
        Some((limit, unit(name)?.0, group, period))
    })
}

/// The short name that `lower` holds, if it is one alone: a list of several says nothing of the one that refused.
fn short_name(lower: &str) -> Option<(&'static str, Unit, Period)> {
    let mut found = SHORT_NAMES.into_iter().filter(|(name, ..)| word_at(lower, name).is_some());
    found.next().filter(|_| found.next().is_none())
}

/// The window whose name begins `lower`: `min`, `second`, `10 seconds`.
fn period(lower: &str) -> Period {
    let end = lower.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(lower.len());
    match &lower[..end] {
        "min" | "minute" => Period::Minute,
        "s" | "sec" | "second" => Period::Of(SECOND),
        "h" | "hour" => Period::Of(HOUR),
        "d" | "day" => Period::Of(DAY),
        "week" => Period::Of(7 * DAY),
        _ => wait::spoken_at_start(lower).map_or(Period::Unknown, Period::Of),
    }
}

/// What stands in `text` between `start` (lower case) and `end`, and where that ends; `lower` is `text` in lower case.
fn between<'a>(text: &'a str, lower: &str, start: &str, end: char) -> Option<(&'a str, usize)> {
    let from = lower.find(start)? + start.len();
    let to = from + lower[from..].find(end)?;
    Some((text[from..to].trim(), to))
}

/// Where `word` stands in `lower` as a word of its own.
fn word_at(lower: &str, word: &str) -> Option<usize> {
    let is_part = |c: char| c.is_alphanumeric();
    lower
        .match_indices(word)
        .map(|(at, _)| at)
        .find(|at| !lower[..*at].ends_with(is_part) && !lower[at + word.len()..].starts_with(is_part))
}

/// The number after the first `word` that one follows: `limit 500`, `limit: 500`.
fn number_after(lower: &str, word: &str) -> Option<u64> {
    lower.match_indices(word).find_map(|(at, _)| {
        let after = &lower[at + word.len()..];
        let (number, rest) = count(after.strip_prefix(':').unwrap_or(after).strip_prefix(' ')?)?;
        let whole_word = !lower[..at].ends_with(|c: char| c.is_alphanumeric());
        (whole_word && !rest.starts_with(|c: char| c.is_alphanumeric() || c == '-')).then_some(number)
    })
}
