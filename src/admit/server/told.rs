//! What the server tells of its limits, in headers and in the words of a refusal: of which bucket it is, and what window it means.

use std::time::Duration;

use super::bucket::{Anchor, Bucket, Ends, Told};
use super::charge::to_f64;
use super::{Heard, News, ServerLimits};
use crate::admit::hint::{LearnedLimit, ServerHint, Source, Span, Unit, is_daily};

/// Windows that a server may mean; the person's own comes before them.
const WINDOWS: [Duration; 5] = [
    Duration::from_secs(60),
    Duration::from_secs(86_400),
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_secs(3_600),
];
/// What a server says that it counts for one request tells this much of what it counts for others.
const TOLD_WEIGHT: f64 = 0.25;
/// A limit is saved again when it was confirmed so long ago.
const STALE: Duration = Duration::from_secs(300);

impl ServerLimits {
    /// Takes in what a response says of a limit.
    pub(super) fn hint(&mut self, hint: &ServerHint, heard: &Heard<'_>) {
        let Heard { ticket, others, now, .. } = *heard;
        let Some(index) = self.bucket_of(hint, heard) else { return };
        let bucket = &mut self.buckets[index];
        if let (Some(charged), Unit::Tokens) = (hint.charged, hint.unit) {
            bucket.count(to_f64(charged) / ticket.charge.tokens.max(1.0), TOLD_WEIGHT);
        }
        let Some(left) = hint.left else { return };
        // A refusal that names more room than was asked for is of a part of the window: it says nothing of the level.
        if hint.refused && hint.charged.is_some_and(|charged| charged <= left) {
            return;
        }
        let told = Anchor {
            left: to_f64(left),
            sent: ticket.sent,
            sent_before: ticket.sent_before.of(hint.unit),
            // What came after a request that was refused is most likely refused too.
            others: if hint.refused { 0.0 } else { others.of(hint.unit) },
        };
        bucket.hint_level(told, now.mono);
        if !hint.refused && hint.window.is_some() {
            bucket.compare(told, now.mono);
        }
        let size = bucket.size;
        if to_f64(left) < size / 10.0 && bucket.is_daily() && !self.warned.contains(&(hint.unit, bucket.window)) {
            self.warned.push((hint.unit, bucket.window));
            self.news.push(News::NearlyUsed { limit: bucket.learned(), left });
        }
    }

    /// The bucket that a hint is of, made or brought up to it.
    fn bucket_of(&mut self, hint: &ServerHint, heard: &Heard<'_>) -> Option<usize> {
        let Heard { ticket, signal, now, .. } = *heard;
        let window = hint.window.and_then(|span| self.window(hint, span));
        let size = hint.size.filter(|size| *size > 0).map(to_f64);
        let Some(index) = self.known_bucket(hint, window, size, heard.several) else {
            let window = window.unwrap_or(self.limits.window);
            let limit = LearnedLimit {
                unit: hint.unit,
                group: hint.group.clone(),
                size: size?,
                window,
                burst: self.burst(window),
                source: hint.source,
                learned: now.wall,
            };
            let mut bucket = Bucket::new(limit, ticket.sent);
            // Until a hint says what is left, all that we sent in its window counts.
            let mut taken = self.sent - self.history.before(window, now.mono);
            taken.tokens = (taken.tokens - self.refused.tokens).max(0.0);
            bucket.take(taken.of(hint.unit), now.mono);
            self.news.extend(bucket.news().map(News::Learned));
            self.changed = true;
            // What is told now is surer than what was guessed while nothing was.
            if hint.source == Source::Headers && !bucket.is_daily() {
                self.guess = None;
                self.latest = None;
            }
            bucket.is_latest(ticket.sent);
            self.buckets.push(bucket);
            return Some(self.buckets.len() - 1);
        };
        let window = if hint.refused { window } else { self.observed(index, hint, window, heard) };
        let bucket = &mut self.buckets[index];
        if let Some(size) = size.filter(|_| bucket.is_latest(ticket.sent)) {
            let window = window.unwrap_or(bucket.window);
            let stale = (now.wall - bucket.learned).to_std().unwrap_or_default() > STALE;
            // Headers are surer than the text of a refusal of the same limit.
            let source = if bucket.source == Source::Headers { Source::Headers } else { hint.source };
            if bucket.confirm(&Told { size, window, source }, signal, now) {
                self.news.extend(bucket.news().map(News::Learned));
                self.changed = true;
            } else if stale {
                self.changed = true;
            }
        }
        Some(index)
    }

    /// The bucket that a hint with this window and size is of.
    fn known_bucket(
        &self,
        hint: &ServerHint,
        window: Option<Duration>,
        size: Option<f64>,
        several: bool,
    ) -> Option<usize> {
        let daily = window.map(is_daily);
        let same = |bucket: &Bucket| bucket.unit == hint.unit && bucket.group == hint.group && !bucket.is_ramp();
        if let Some(window) = window.filter(|_| several) {
            let near = |bucket: &Bucket| bucket.window.abs_diff(window) <= window / 4;
            return self.buckets.iter().position(|bucket| same(bucket) && near(bucket));
        }
        let index = self.buckets.iter().position(|bucket| {
            same(bucket)
                && daily
                    .map_or_else(|| size.is_none_or(|size| near(size, bucket.size)), |daily| daily == bucket.is_daily())
        });
        // A window that is not told is that of the bucket that there is, if it is one of a minute.
        index.or_else(|| self.buckets.iter().position(|bucket| same(bucket) && daily.is_none() && !bucket.is_daily()))
    }

    /// The window as hints show it over time: of one that is not told, or whose end is told and not when it is full.
    fn observed(
        &mut self,
        index: usize,
        hint: &ServerHint,
        window: Option<Duration>,
        heard: &Heard<'_>,
    ) -> Option<Duration> {
        let Heard { ticket, others, now, .. } = *heard;
        let left = to_f64(hint.left?);
        let named = self.named_windows();
        let bucket = &mut self.buckets[index];
        if let Some(full_in) = hint.full_in {
            let middle = hint.window.map(|span| (span.least + span.most) / 2);
            return match bucket.fills(now.mono.plus(full_in), left, middle, now.mono) {
                None => window,
                Some(Ends::Same) => None,
                Some(Ends::After(length)) => Some(length),
                // It is no shorter than what is left of it.
                Some(Ends::In(rest)) => Some(named.filter(|named| *named + *named / 64 >= rest).min().unwrap_or(rest)),
            };
        }
        if hint.window.is_some() || others.of(hint.unit) > 0.0 {
            return window;
        }
        let (sent, sent_before) = (ticket.sent, ticket.sent_before.of(hint.unit));
        let most = bucket.shorter_window(Anchor { left, sent, sent_before, others: 0.0 })?;
        Some(named.filter(|named| *named <= most + most / 16).max().unwrap_or(most))
    }

    /// Windows that a server may mean, the likeliest first.
    fn named_windows(&self) -> impl Iterator<Item = Duration> + use<> {
        std::iter::once(self.limits.window).chain(WINDOWS)
    }

    /// The window that is meant by one known within bounds; `None` where too many could be.
    fn window(&self, hint: &ServerHint, span: Span) -> Option<Duration> {
        let known = self
            .buckets
            .iter()
            .find(|bucket| bucket.unit == hint.unit && bucket.group == hint.group && span.holds(bucket.window));
        let named = self.named_windows().find(|window| span.holds(*window));
        let narrow = span.most <= span.least + span.least / 4;
        known.map(|bucket| bucket.window).or(named).or_else(|| narrow.then(|| (span.least + span.most) / 2))
    }
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 0.01 * b
}
