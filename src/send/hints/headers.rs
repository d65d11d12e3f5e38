//! Limits in headers, in the forms of `OpenAI`, Azure, Groq, Together, Mistral, Cerebras, Anthropic, litellm, Kong and Envoy, and of the IETF's drafts.
//!
//! Each header's name is looked at once; what a bucket's headers say is gathered as text, then read.

use std::time::Duration;

use chrono::{DateTime, Utc};
use http::HeaderMap;

use super::{count, fields, unit, window};
use crate::admit::hint::{ServerHint, Source, Span, Unit};
use crate::send::wait;

/// The most buckets of one response; more is nonsense, and is not read.
const MOST_BUCKETS: usize = 16;

/// Windows that servers have, besides the minute of the settings.
const USUAL: [Duration; 5] = [
    Duration::from_secs(60),
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_secs(3_600),
    Duration::from_secs(86_400),
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
    /// By the IETF's first drafts: its reset is the time to the end of a window.
    of_draft: bool,
}

/// The texts of a bucket's headers.
struct Told<'a> {
    name: Name<'a>,
    limit: Option<&'a str>,
    remaining: Option<&'a str>,
    reset: Option<&'a str>,
}

/// What `headers` tell, at most one hint of a bucket. `minute` is what a minute means.
pub(super) fn read(headers: &HeaderMap, minute: Duration, wall: DateTime<Utc>) -> Vec<ServerHint> {
    let mut buckets: Vec<Told> = Vec::new();
    let mut charged = None;
    let mut found = Vec::new();
    for (header, value) in headers {
        if matches!(header.as_str(), "ratelimit" | "ratelimit-policy") && found.is_empty() {
            found = fields::read(headers);
        }
        let Some((part, name)) = field(header.as_str(), minute) else { continue };
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
    if buckets.is_empty() && found.is_empty() {
        return Vec::new();
    }
    let now = wait::server_time(headers, wall);
    // Those whose window is named come first: what names none is then found to be one of them.
    buckets.sort_by_key(|told| told.name.window.is_none());
    for told in &buckets {
        found.extend(told.hint(charged, minute, now));
        found.extend(told.others());
    }
    let mut hints: Vec<ServerHint> = Vec::with_capacity(found.len().min(MOST_BUCKETS));
    for hint in found {
        match hint.twin(&hints, minute) {
            Some(place) => hints[place].or_stricter(hint),
            None if hints.len() < MOST_BUCKETS => hints.push(hint),
            None => {}
        }
    }
    hints
}

/// What a header's name says; `None` where it is of no limit, or of one on something else.
fn field(header: &str, minute: Duration) -> Option<(Part, Name<'_>)> {
    // litellm passes its upstream's headers on with this in front.
    let (header, forwarded) = header.strip_prefix("llm_provider-").map_or((header, false), |rest| (rest, true));
    let x_ratelimit = header.strip_prefix("x-ratelimit-").or_else(|| header.strip_prefix("x-rate-limit-"));
    let (part, name) = if let Some(rest) = x_ratelimit {
        of_x_ratelimit(rest, minute)?
    } else if let Some(rest) = header.strip_prefix("anthropic-ratelimit-") {
        let (name, part) = rest.rsplit_once('-')?;
        (self::part(part)?, bucket(name, minute)?)
    } else if let Some(rest) = header.strip_prefix("x-tokenlimit-") {
        (part(rest)?, plain(Unit::Tokens))
    } else if let Some(rest) = header.strip_prefix("ratelimit-") {
        (part(rest)?, Name { of_draft: true, ..plain(Unit::Requests) })
    } else {
        let unit = match header {
            "x-litellm-key-rpm-limit" => Unit::Requests,
            "x-litellm-key-tpm-limit" => Unit::Tokens,
            _ => return None,
        };
        // The descriptor of the same limit in litellm's other headers.
        (Part::Limit, Name { group: Some("api_key"), window: Some(minute), ..plain(unit) })
    };
    Some((part, Name { variant: name.variant || forwarded, ..name }))
}

/// What stands after `x-ratelimit-`.
fn of_x_ratelimit(rest: &str, minute: Duration) -> Option<(Part, Name<'_>)> {
    if rest == "tokens-query-cost" {
        return Some((Part::Charged, plain(Unit::Tokens)));
    }
    // Together names no unit.
    let Some((first, after)) = rest.split_once('-') else { return Some((part(rest)?, plain(Unit::Requests))) };
    if let Some(part) = part(first) {
        return Some((part, bucket(after, minute)?));
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

/// `tokens`, `project-tokens`, `tokens_usage_based`, `req-minute`, `requests-day`; Kong's `minute` is one of requests.
fn bucket(name: &str, minute: Duration) -> Option<Name<'_>> {
    let (rest, last) = name.rsplit_once('-').unwrap_or(("requests", name));
    let (name, window) = window_named(last, minute).map_or((name, None), |window| (rest, Some(window)));
    let (name, variant) = name.strip_suffix("_usage_based").map_or((name, false), |rest| (rest, true));
    let (unit, group) = unit(name)?;
    Some(Name { group, window, variant, ..plain(unit) })
}

/// The window that a part of a name names; a minute is what the settings say.
fn window_named(name: &str, minute: Duration) -> Option<Duration> {
    match name {
        "second" => Some(Duration::from_secs(1)),
        "minute" => Some(minute),
        "hour" => Some(Duration::from_secs(3_600)),
        "day" => Some(Duration::from_secs(86_400)),
        _ => None,
    }
}

fn plain(unit: Unit) -> Name<'static> {
    Name { unit, group: None, window: None, variant: false, of_draft: false }
}

/// A text that is a whole number and nothing else.
pub(super) fn whole(text: &str) -> Option<u64> {
    count(text.trim()).filter(|(_, rest)| rest.is_empty()).map(|(number, _)| number)
}

impl Told<'_> {
    /// The hint in the texts; `None` where they tell nothing.
    fn hint(&self, charged: Option<u64>, minute: Duration, now: DateTime<Utc>) -> Option<ServerHint> {
        let size = match self.limit {
            // A bucket without a believable size has no believable rest: Azure sends -1 and -1, others 0 and 0.
            Some(text) => Some(size(text).filter(|size| *size > 0)?),
            None => None,
        };
        let left = self.remaining.and_then(self::size);
        if size.is_none() && left.is_none() {
            return None;
        }
        let reset = self.reset.and_then(|text| wait::printed(text, now));
        let policy = || self.sizes().find_map(|(of, window)| window.filter(|_| size == Some(of)));
        let used = size.zip(left).and_then(|(size, left)| size.checked_sub(left)).filter(|_| !self.name.of_draft);
        let worked_out = || {
            let ((time, span), (size, used)) = reset.zip(size.zip(used))?;
            // Who prints durations tells when a bucket is full that refills all the time. Bare seconds and moments may as well be the end of a fixed
            // window, of which arithmetic makes nonsense: no server has a window of 97 minutes.
            let is_duration = span.least == time;
            let usual = |window: &Span| std::iter::once(minute).chain(USUAL).any(|length| window.holds(length));
            window(span, size, used).filter(|window| is_duration || usual(window))
        };
        Some(ServerHint {
            size,
            left,
            full_in: reset.map(|(time, _)| time),
            window: self.name.window.or_else(policy).map(Span::exactly).or_else(worked_out),
            // Mistral alone tells it, for its plain tokens.
            charged: charged.filter(|_| self.name.unit == Unit::Tokens && self.name.group.is_none()),
            ..ServerHint::unknown(self.name.unit, self.name.group.map(str::to_owned), Source::Headers)
        })
    }

    /// The other limits in a list of policies, with their sizes and windows.
    fn others(&self) -> impl Iterator<Item = ServerHint> {
        let meant = self.limit.and_then(size).filter(|size| *size > 0);
        let others = self.sizes().filter(move |(size, _)| *size > 0 && meant.is_some_and(|meant| meant != *size));
        let others = others.filter_map(|(size, window)| Some((size, Span::exactly(window?))));
        others.map(|(size, window)| ServerHint {
            size: Some(size),
            window: Some(window),
            ..ServerHint::unknown(self.name.unit, self.name.group.map(str::to_owned), Source::Headers)
        })
    }

    fn sizes(&self) -> impl Iterator<Item = (u64, Option<Duration>)> {
        fields::sizes(self.limit.filter(|text| text.contains(';')).unwrap_or_default())
    }
}

/// The number in `100`, or the first in `100, 100;w=60` and `100;w=60`.
fn size(text: &str) -> Option<u64> {
    whole(if text.contains(';') { text.split([',', ';']).next()? } else { text })
}

impl ServerHint {
    /// Which of `hints` is of the same bucket: of the same group, and no window tells them apart. One without a window is of any window that has its
    /// size, and else of a minute.
    fn twin(&self, hints: &[Self], minute: Duration) -> Option<usize> {
        let of_group = |known: &&Self| known.unit == self.unit && known.group == self.group;
        let length = |hint: &Self| hint.window.unwrap_or(Span::exactly(minute));
        let place = |is_twin: &dyn Fn(&Self) -> bool| hints.iter().position(|known| of_group(&known) && is_twin(known));
        place(&|known| known.window == self.window)
            .or_else(|| place(&|known| known.same_window(self) && known.size.is_some() && known.size == self.size))
            .or_else(|| place(&|known| length(known).meets(&length(self))))
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
