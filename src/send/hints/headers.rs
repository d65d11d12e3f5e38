//! Limits in headers, in the forms of `OpenAI`, Azure, Groq, Together, Mistral, Cerebras, Anthropic and litellm.
//!
//! Each header's name is looked at once; what a bucket's headers say is gathered as text, then read.

use std::time::Duration;

use chrono::{DateTime, Utc};
use http::HeaderMap;

use super::{count, unit, window};
use crate::admit::hint::{ServerHint, Source, Span, Unit};
use crate::send::wait;

/// The most buckets of one response; more is nonsense, and is not read.
const MOST_BUCKETS: usize = 16;

/// Windows that are part of a name.
const WINDOWS: [(&str, Duration); 3] = [
    ("-minute", Duration::from_secs(60)),
    ("-hour", Duration::from_secs(3_600)),
    ("-day", Duration::from_secs(86_400)),
];

/// What one header says of its bucket.
#[derive(Clone, Copy)]
enum Part {
    Limit,
    Remaining,
    Reset,
    /// What this request counts for.
    Charged,
}

/// The bucket that a header's name names.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Name<'a> {
    unit: Unit,
    group: Option<&'a str>,
    /// As the name tells it.
    window: Option<Duration>,
    /// A second way to name the same bucket: its numbers are not mixed with those of the first before they are compared.
    variant: bool,
}

/// The texts of a bucket's headers.
struct Told<'a> {
    name: Name<'a>,
    limit: Option<&'a str>,
    remaining: Option<&'a str>,
    reset: Option<&'a str>,
}

/// What `headers` tell, at most one hint of a bucket.
pub(super) fn read(headers: &HeaderMap, wall: DateTime<Utc>) -> Vec<ServerHint> {
    let mut buckets: Vec<Told> = Vec::new();
    let mut charged = None;
    for (header, value) in headers {
        let Some((part, name)) = field(header.as_str()) else { continue };
        let Ok(text) = value.to_str() else { continue };
        if matches!(part, Part::Charged) {
            charged = charged.or(whole(text));
            continue;
        }
        let known = buckets.iter().position(|told| told.name == name);
        let place = known.unwrap_or(buckets.len());
        if known.is_none() {
            if place == MOST_BUCKETS {
                continue;
            }
            buckets.push(Told { name, limit: None, remaining: None, reset: None });
        }
        let told = &mut buckets[place];
        let member = match part {
            Part::Limit => &mut told.limit,
            Part::Remaining => &mut told.remaining,
            Part::Reset | Part::Charged => &mut told.reset,
        };
        // Of two values, the first: the others were added on the way.
        member.get_or_insert(text);
    }
    if buckets.is_empty() {
        return Vec::new();
    }
    let now = wait::server_time(headers, wall);
    let mut hints: Vec<ServerHint> = Vec::with_capacity(buckets.len());
    for hint in buckets.iter().filter_map(|told| told.hint(charged, now)) {
        match hints.iter_mut().find(|known| known.is_twin_of(&hint)) {
            Some(known) => known.or_stricter(hint),
            None => hints.push(hint),
        }
    }
    hints
}

/// What a header's name says; `None` where it is of no limit, or of one on something else.
fn field(header: &str) -> Option<(Part, Name<'_>)> {
    // litellm passes its upstream's headers on with this in front.
    let (header, forwarded) = header.strip_prefix("llm_provider-").map_or((header, false), |rest| (rest, true));
    let (part, name) = if let Some(rest) = header.strip_prefix("x-ratelimit-") {
        of_x_ratelimit(rest)?
    } else if let Some(rest) = header.strip_prefix("anthropic-ratelimit-") {
        let (name, part) = rest.rsplit_once('-')?;
        (self::part(part)?, bucket(name)?)
    } else if let Some(rest) = header.strip_prefix("x-tokenlimit-") {
        (part(rest)?, plain(Unit::Tokens))
    } else {
        let unit = match header {
            "x-litellm-key-rpm-limit" => Unit::Requests,
            "x-litellm-key-tpm-limit" => Unit::Tokens,
            _ => return None,
        };
        // The descriptor of the same limit in litellm's other headers.
        (Part::Limit, Name { group: Some("api_key"), window: Some(WINDOWS[0].1), ..plain(unit) })
    };
    Some((part, Name { variant: name.variant || forwarded, ..name }))
}

/// What stands after `x-ratelimit-`.
fn of_x_ratelimit(rest: &str) -> Option<(Part, Name<'_>)> {
    if rest == "tokens-query-cost" {
        return Some((Part::Charged, plain(Unit::Tokens)));
    }
    // Together names no unit.
    let Some((first, after)) = rest.split_once('-') else { return Some((part(rest)?, plain(Unit::Requests))) };
    if let Some(part) = part(first) {
        return Some((part, bucket(after)?));
    }
    // litellm's own: `api_key-remaining-tokens`.
    let (head, name) = rest.rsplit_once('-')?;
    let (descriptor, part) = head.rsplit_once('-')?;
    Some((self::part(part)?, Name { group: Some(descriptor), ..plain(unit(name)?.0) }))
}

fn part(name: &str) -> Option<Part> {
    match name {
        "limit" => Some(Part::Limit),
        "remaining" => Some(Part::Remaining),
        "reset" => Some(Part::Reset),
        _ => None,
    }
}

/// `tokens`, `project-tokens`, `tokens_usage_based`, `req-minute`, `requests-day`.
fn bucket(name: &str) -> Option<Name<'_>> {
    let timed = WINDOWS.iter().find_map(|(suffix, window)| Some((name.strip_suffix(suffix)?, Some(*window))));
    let (name, window) = timed.unwrap_or((name, None));
    let (name, variant) = name.strip_suffix("_usage_based").map_or((name, false), |rest| (rest, true));
    let (unit, group) = unit(name)?;
    Some(Name { unit, group, window, variant })
}

fn plain(unit: Unit) -> Name<'static> {
    Name { unit, group: None, window: None, variant: false }
}

/// A text that is a whole number and nothing else.
fn whole(text: &str) -> Option<u64> {
    count(text.trim()).filter(|(_, rest)| rest.is_empty()).map(|(number, _)| number)
}

impl Told<'_> {
    /// The hint in the texts; `None` where they tell nothing.
    fn hint(&self, charged: Option<u64>, now: DateTime<Utc>) -> Option<ServerHint> {
        let size = match self.limit {
            // A bucket without a believable size has no believable rest: Azure sends -1 and -1, others 0 and 0.
            Some(text) => Some(whole(text).filter(|size| *size > 0)?),
            None => None,
        };
        let left = self.remaining.and_then(whole);
        if size.is_none() && left.is_none() {
            return None;
        }
        let reset = self.reset.and_then(|text| wait::printed(text, now));
        let used = size.zip(left).and_then(|(size, left)| size.checked_sub(left));
        let worked_out = reset.zip(size).zip(used).and_then(|(((_, time), size), used)| window(time, size, used));
        Some(ServerHint {
            unit: self.name.unit,
            group: self.name.group.map(str::to_owned),
            size,
            left,
            full_in: reset.map(|(time, _)| time),
            window: worked_out.or_else(|| self.name.window.map(Span::exactly)),
            // Mistral alone tells it, for its plain tokens.
            charged: charged.filter(|_| self.name.unit == Unit::Tokens && self.name.group.is_none()),
            refused: false,
            source: Source::Headers,
        })
    }
}

impl ServerHint {
    /// Whether both have one name, and no window tells them apart.
    fn is_twin_of(&self, other: &Self) -> bool {
        self.group == other.group && self.same_window(other)
    }

    /// Becomes the stricter of two hints of one bucket. What it leaves out, the other adds, unless it is of another size.
    fn or_stricter(&mut self, mut other: Self) {
        let strictness = |hint: &Self| (hint.left.unwrap_or(u64::MAX), hint.size.unwrap_or(u64::MAX));
        if strictness(&other) < strictness(self) {
            std::mem::swap(self, &mut other);
        }
        if self.same_size(&other) {
            self.size = self.size.or(other.size);
            self.left = self.left.or(other.left);
            self.full_in = self.full_in.or(other.full_in);
            self.window = self.window.or(other.window);
        }
    }
}
