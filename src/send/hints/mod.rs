//! What a response tells of the server's limits: its headers and, where it refuses, its words, as one list of [`ServerHint`]s.
//!
//! Pure, and run for every response. It reads what is told and works out windows; it does not judge what follows: [`super::wait`] says how long the
//! server asks us to wait, [`super::classify`] what a refusal means.

use std::time::Duration;

use chrono::{DateTime, Utc};
use http::HeaderMap;

use super::reply::Reply;
use super::said::Said;
use super::wait;
use crate::admit::hint::{ServerHint, Source, Span, Unit};
use crowd::Crowd;

mod crowd;
mod fields;
mod headers;
mod message;
#[cfg(test)]
mod tests;

/// What `reply` tells. `minute` is what a minute means to both sides; `wall` is now, for resets that name a moment.
#[must_use]
pub fn of_reply(reply: &Reply, minute: Duration, wall: DateTime<Utc>) -> Vec<ServerHint> {
    let is_told = names_a_limit(reply.status) || names_a_crowd(reply.status);
    let words = if is_told { Said::in_error(&reply.body).words() } else { String::new() };
    read(&reply.headers, reply.status, &words, minute, wall)
}

/// What a response of `status` with these `headers` and `words` tells, at most one hint of a bucket. The words are those of its error: its message, and
/// its code and type on lines of their own. They count for a 429 or 413, and for a 503 or 529 where too many requests were under way at once.
///
/// Where the words name a window, that is the limit's, and "a minute" is `minute`, the setting: its hint has no window then. Words whose wait does not
/// fit their own numbers tell of no limit. Moments are measured from the server's own `Date` where it sends one, else from `wall`. Limits of 0, -1 and
/// other nonsense are ignored, with all that is told of them; so are limits on anything but requests and tokens.
#[must_use]
pub fn read(headers: &HeaderMap, status: u16, words: &str, minute: Duration, wall: DateTime<Utc>) -> Vec<ServerHint> {
    let mut hints = headers::read(headers, minute, wall);
    if let Some(crowd) = crowd(headers, status, words) {
        hints.push(ServerHint { size: crowd.most, ..ServerHint::unknown(Unit::InFlight, None, Source::Refusal) });
    } else if names_a_limit(status)
        && let Some(refusal) = message::read(words, minute)
    {
        // A message may leave out that the limit is the project's: then its size tells.
        let window = refusal.window.unwrap_or(Span::exactly(minute));
        let agrees = |hint: &ServerHint| {
            hint.unit == refusal.unit && hint.same_size(&refusal) && hint.window.is_none_or(|span| span.meets(&window))
        };
        let by_group = hints.iter().position(|hint| agrees(hint) && hint.group == refusal.group);
        let by_size =
            || hints.iter().position(|hint| agrees(hint) && refusal.group.is_none() && hint.size == refusal.size);
        match by_group.or_else(by_size) {
            Some(place) => hints[place].refused_by(&refusal),
            None => hints.push(refusal),
        }
    } else if status == 429 {
        // No words, but where nothing is left, nothing fits.
        for hint in hints.iter_mut().filter(|hint| hint.left == Some(0)) {
            hint.refused = true;
        }
    }
    hints
}

/// Whether a response of `status` with these `headers` and `words` was refused because too many requests were under way at once.
pub(super) fn is_crowded(headers: &HeaderMap, status: u16, words: &str) -> bool {
    crowd(headers, status, words).is_some()
}

fn crowd(headers: &HeaderMap, status: u16, words: &str) -> Option<Crowd> {
    // What names a limit of a window is refused by that, whatever the names in it.
    if names_a_crowd(status) && !message::is_numbered(words) { crowd::read(headers, words) } else { None }
}

/// Whether a limit may be the reason: Groq sends 413 for what is larger than its limit.
fn names_a_limit(status: u16) -> bool {
    matches!(status, 429 | 413)
}

/// Whether too many requests at once may be the reason.
fn names_a_crowd(status: u16) -> bool {
    matches!(status, 429 | 503 | 529)
}

impl Span {
    /// Whether both may be of the same length.
    fn meets(&self, other: &Self) -> bool {
        self.least <= other.most && other.least <= self.most
    }
}

impl ServerHint {
    fn same_size(&self, other: &Self) -> bool {
        self.size.zip(other.size).is_none_or(|(one, two)| one == two)
    }

    /// Whether both count the same in what may be the same window.
    fn same_window(&self, other: &Self) -> bool {
        self.unit == other.unit && self.window.zip(other.window).is_none_or(|(one, two)| one.meets(&two))
    }

    /// Adds what the text of a refusal tells of the same bucket.
    fn refused_by(&mut self, refusal: &Self) {
        self.size = self.size.or(refusal.size);
        self.left = refusal.left.or(self.left);
        self.window = match (self.window, refusal.window) {
            (Some(one), Some(two)) => Some(Span { least: one.least.max(two.least), most: one.most.min(two.most) }),
            (one, two) => one.or(two),
        };
        self.charged = refusal.charged.or(self.charged);
        self.refused = true;
    }
}

/// The window of a bucket of `size`, of which `used` refills in `time`; `None` where that is no window.
fn window(time: Span, size: u64, used: u64) -> Option<Span> {
    let scaled = |part: Duration| part.as_nanos().checked_mul(u128::from(size));
    let used = u128::from(used);
    let nanos = |total: u128| u64::try_from(total).ok().map(Duration::from_nanos);
    let least = nanos(scaled(time.least)?.checked_div(used)?)?;
    let most = nanos(scaled(time.most)?.div_ceil(used))?;
    (least <= wait::ABSURD).then_some(Span { least, most })
}

/// What a limit named `tokens`, `requests`, `req` or `GROUP-tokens` counts, and its group; `None` for anything else (`input-images`), also for
/// `concurrent-requests`, which come in no window.
fn unit(name: &str) -> Option<(Unit, Option<&str>)> {
    let (group, name) = name.rsplit_once('-').map_or((None, name), |(group, name)| (Some(group), name));
    if matches!(group, Some("concurrent" | "parallel" | "active")) {
        return None;
    }
    let unit = match name {
        "tokens" => Unit::Tokens,
        "requests" | "req" => Unit::Requests,
        _ => return None,
    };
    Some((unit, group))
}

/// The whole number at the start of `text`, with or without thousands separators, and what stands after it.
fn count(text: &str) -> Option<(u64, &str)> {
    let (first, mut rest) = wait::digits(text);
    let mut total: u64 = first.parse().ok()?;
    while first.len() <= 3
        && let Some((thousand, after)) = rest.strip_prefix(',').map(wait::digits)
        && thousand.len() == 3
    {
        total = total.checked_mul(1_000)?.checked_add(thousand.parse().ok()?)?;
        rest = after;
    }
    Some((total, rest))
}
