//! The limit in the words of a 429: `OpenAI`'s and Groq's sentences, old and new, and litellm's.

use std::time::Duration;

use super::{count, unit, window};
use crate::admit::hint::{ServerHint, Source, Span, Unit};
use crate::send::{message, wait};

const DAY: Duration = Duration::from_secs(86_400);

/// Short names of limits, and what they stand for.
const SHORT_NAMES: [(&str, &str, &str); 4] = [
    ("(tpm)", "tokens", "min"),
    ("(rpm)", "requests", "min"),
    ("(tpd)", "tokens", "day"),
    ("(rpd)", "requests", "day"),
];

/// The limit that `text` says refused the request; `None` where it names none, or one on something else than requests and tokens.
pub(super) fn read(text: &str) -> Option<ServerHint> {
    numbered(text).or_else(|| of_day(text))
}

/// A day's limit that is named without numbers.
fn of_day(text: &str) -> Option<ServerHint> {
    let lower = text.to_ascii_lowercase();
    let named = ["tokens per day", "requests per day", "tokensperday", "requestsperday", "daily limit", "daily quota"];
    let word = named.into_iter().find(|word| lower.contains(word))?;
    Some(ServerHint {
        unit: if word.starts_with("tokens") { Unit::Tokens } else { Unit::Requests },
        group: None,
        size: None,
        left: None,
        full_in: None,
        window: Some(Span::exactly(DAY)),
        charged: None,
        refused: true,
        source: Source::Refusal,
    })
}

/// A limit that is named with its size.
fn numbered(text: &str) -> Option<ServerHint> {
    // ASCII alone: other lower-casing changes lengths.
    let lower = text.to_ascii_lowercase();
    // A name may hold digits, so the numbers are looked for after it.
    let (named, rest) =
        between(text, &lower, "(for limit ", ')').map_or((None, &*lower), |(name, end)| (Some(name), &lower[end..]));
    let number = |word| number_after(rest, word);
    let (limit, used, requested, remaining) =
        (number("limit"), number("used"), number("requested"), number("remaining"));
    let limit = limit?;

    let (unit, group, period) = if let Some((name, period)) = of_period(rest) {
        let (unit, group) = unit(name)?;
        (unit, named.or(group), period)
    } else if let Some((name, _)) = between(&lower, &lower, "limit type: ", '.') {
        (unit(name)?.0, between(text, &lower, "exceeded for ", ':').map(|(key, _)| key), "")
    } else {
        // Realtime leaves unit and period out. No request has one token.
        (if requested.filter(|_| used.is_some())? > 1 { Unit::Tokens } else { Unit::Requests }, named, "")
    };

    let size = Some(limit).filter(|size| *size > 0);
    let over = used.zip(requested).and_then(|(used, requested)| used.checked_add(requested)?.checked_sub(limit));
    // Both servers that name these numbers cut the wait to whole milliseconds. A server that enforces its limit in slices refuses what is not over
    // it: its wait tells nothing of the window. Nor does Realtime's: the one that was seen would make 252 s of a minute.
    let worked_out = over
        .filter(|_| !period.is_empty())
        .zip(size)
        .zip(wait::in_message(text))
        .and_then(|((over, size), wait)| window(Span { least: wait, most: wait + wait::MILLISECOND }, size, over));
    Some(ServerHint {
        unit,
        group: group.map(message::tidy).filter(|group| !group.is_empty()),
        size,
        left: size.and_then(|size| used.map(|used| size.saturating_sub(used)).or(remaining)),
        full_in: None,
        window: worked_out.or((period == "day").then_some(Span::exactly(DAY))),
        charged: requested,
        refused: true,
        source: Source::Refusal,
    })
}

/// The name and the period of `on NAME per PERIOD`, or those that a short name stands for.
fn of_period(lower: &str) -> Option<(&str, &str)> {
    let spoken = lower.match_indices(" per ").find_map(|(at, per)| {
        let (before, name) = lower[..at].rsplit_once(' ')?;
        let after = &lower[at + per.len()..];
        let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        (before == "on" || before.ends_with(" on")).then_some((name, &after[..end]))
    });
    let short =
        || SHORT_NAMES.iter().find(|(short, ..)| lower.contains(short)).map(|(_, name, period)| (*name, *period));
    spoken.or_else(short)
}

/// What stands in `text` between `start` (lower case) and `end`, and where that ends; `lower` is `text` in lower case.
fn between<'a>(text: &'a str, lower: &str, start: &str, end: char) -> Option<(&'a str, usize)> {
    let from = lower.find(start)? + start.len();
    let to = from + lower[from..].find(end)?;
    Some((text[from..to].trim(), to))
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
