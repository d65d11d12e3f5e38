//! `RateLimit-Policy` and `RateLimit`, as draft-ietf-httpapi-ratelimit-headers has them in its versions 6 to 11, and lists of policies in other headers.
//!
//! Gateways and express-rate-limit send them: `RateLimit-Policy: "default";q=100;w=60` beside `RateLimit: "default";r=50;t=30`, and before draft 8
//! `100;w=60` beside `limit=100, remaining=50, reset=30`. What is malformed is ignored.

use std::time::Duration;

use http::HeaderMap;

use super::headers::whole;
use super::unit;
use crate::admit::hint::{ServerHint, Source, Span, Unit};
use crate::send::{message, wait};

/// The most items of a response; more is nonsense, and is not read.
const MOST_ITEMS: usize = 16;

/// An item of a list: `"default";q=100;w=60`.
struct Item<'a> {
    name: &'a str,
    text: &'a str,
}

/// What both headers say of one policy.
struct Policy<'a> {
    /// Empty where the policy has none.
    name: &'a str,
    /// `None` where it counts something else than requests and tokens.
    unit: Option<Unit>,
    quota: Option<u64>,
    window: Option<Duration>,
    left: Option<u64>,
    reset: Option<Duration>,
}

/// What the two headers tell. A reset is the time to the end of the window, by which arithmetic finds no window: it is the one that the policy names.
pub(super) fn read(headers: &HeaderMap) -> Vec<ServerHint> {
    let mut policies: Vec<Policy> = all(headers, "ratelimit-policy").map(|item| Policy::of(&item)).collect();
    let limits: Vec<Item> = all(headers, "ratelimit").collect();
    if limits.iter().any(|item| item.name.contains('=')) {
        // Draft 7: one limit, of the policy of this size.
        let member = |name| limits.iter().find_map(|item| item.name.strip_prefix(name)?.strip_prefix('='));
        let quota = member("limit").and_then(whole);
        let known = policies.iter().position(|policy| policy.quota == quota);
        told(&mut policies, known, ("", quota, member("remaining"), member("reset")));
    } else {
        for item in &limits {
            let known = policies.iter().position(|policy| policy.name == item.name);
            let quota = item.parameter("q").and_then(whole);
            told(&mut policies, known, (item.name, quota, item.parameter("r"), item.parameter("t")));
        }
    }
    // The name of the only one tells it from no other.
    let is_only = policies.len() == 1;
    policies.iter().filter_map(|policy| policy.hint(is_only)).collect()
}

/// Adds what is left of a policy, and when it ends, to the one at `known`, or to a new one of this name and quota.
fn told<'a>(
    policies: &mut Vec<Policy<'a>>,
    known: Option<usize>,
    (name, quota, left, reset): (&'a str, Option<u64>, Option<&str>, Option<&str>),
) {
    let place = known.unwrap_or(policies.len());
    if known.is_none() {
        policies.push(Policy { name, unit: Some(Unit::Requests), quota, window: None, left: None, reset: None });
    }
    policies[place].left = left.and_then(whole);
    policies[place].reset = reset.and_then(seconds);
}

/// The sizes and windows in a list of policies, as Envoy's `x-ratelimit-limit` and the first drafts have it: `10, 10;w=1;name="per-ip", 1000;w=3600`.
/// The first number is of the limit that is meant.
pub(super) fn sizes(text: &str) -> impl Iterator<Item = (u64, Option<Duration>)> {
    items(text).take(MOST_ITEMS).filter_map(|item| Some((whole(item.name)?, item.parameter("w").and_then(seconds))))
}

/// The items of all headers of this name.
fn all<'a>(headers: &'a HeaderMap, name: &'static str) -> impl Iterator<Item = Item<'a>> {
    let texts = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(items).take(MOST_ITEMS)
}

fn items(text: &str) -> impl Iterator<Item = Item<'_>> {
    split(text, ',').map(|text| Item { name: unquoted(split(text, ';').next().unwrap_or_default()), text })
}

/// `text` split at `at`, but not within quotes.
fn split(text: &str, at: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c: char| {
        quoted ^= c == '"';
        c == at && !quoted
    })
}

fn unquoted(text: &str) -> &str {
    text.trim().trim_matches('"')
}

/// Whole seconds, as a length of time that a limit may have.
fn seconds(text: &str) -> Option<Duration> {
    whole(text).map(Duration::from_secs).filter(|time| !time.is_zero() && *time <= wait::ABSURD)
}

impl<'a> Item<'a> {
    fn parameter(&self, name: &str) -> Option<&'a str> {
        let mut parameters = split(self.text, ';').skip(1).filter_map(|text| text.split_once('='));
        parameters.find(|(found, _)| found.trim() == name).map(|(_, value)| unquoted(value))
    }
}

impl<'a> Policy<'a> {
    /// What an item of `RateLimit-Policy` says.
    fn of(item: &Item<'a>) -> Self {
        // Before draft 8 the quota stands where the name does now.
        let quota = whole(item.name);
        Self {
            name: if quota.is_some() { "" } else { item.name },
            unit: item.parameter("qu").map_or(Some(Unit::Requests), |name| Some(unit(name)?.0)),
            quota: quota.or_else(|| item.parameter("q").and_then(whole)),
            window: item.parameter("w").and_then(seconds),
            left: None,
            reset: None,
        }
    }

    fn hint(&self, is_only: bool) -> Option<ServerHint> {
        // A quota of 0 is none, with all that is told of it.
        if self.quota == Some(0) || self.quota.is_none() && self.left.is_none() {
            return None;
        }
        let group = Some(self.name).filter(|name| !is_only && *name != "default").map(message::tidy);
        Some(ServerHint {
            size: self.quota,
            left: self.left,
            full_in: self.reset,
            window: self.window.map(Span::exactly),
            ..ServerHint::unknown(self.unit?, group.filter(|group| !group.is_empty()), Source::Headers)
        })
    }
}
