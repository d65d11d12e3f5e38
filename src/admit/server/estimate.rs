//! What is made of refusals that the picture does not explain: slices, rates that are found by trial, and slower growth.

use std::time::Duration;

use super::bucket::Bucket;
use super::charge::{Ticket, to_f64};
use super::{Heard, News, Pacing, SLICES, ServerLimits};
use crate::admit::hint::{LearnedLimit, ServerHint, Source, Unit, is_daily};
use crate::clock::{Mono, Now};

impl ServerLimits {
    /// A limit refused a request. Where the picture has room for it, the picture is wrong.
    pub(super) fn refusal(&mut self, hints: &[ServerHint], heard: &Heard<'_>) {
        let Heard { ticket, signal, now, .. } = *heard;
        let told = hints.iter().find(|hint| hint.refused);
        let explained = match told {
            // A day that is used up says nothing of the minute.
            Some(ServerHint { window: Some(window), .. }) if is_daily(window.least) => true,
            Some(ServerHint { size: Some(_), left: Some(left), charged: Some(charged), .. }) => left < charged,
            _ => self.explains(told.map(|hint| hint.unit), heard),
        };
        if explained || !signal {
            return;
        }
        let unit = told.map_or_else(|| self.likely_unit(now.mono), |hint| hint.unit);
        self.cut(unit, ticket, now);
    }

    /// Whether the picture has a limit, of this unit where that is told, that had hardly any room for what was refused. A burst empties it.
    fn explains(&mut self, unit: Option<Unit>, heard: &Heard<'_>) -> bool {
        let Heard { ticket, signal, now, .. } = *heard;
        let mut explained = false;
        for bucket in self.buckets.iter_mut().filter(|bucket| !bucket.is_ramp()) {
            // The refused tokens have been given back; the level is judged with them taken.
            let taken = if bucket.unit == Unit::Tokens { ticket.charge.tokens } else { 0.0 };
            if unit.is_none_or(|unit| unit == bucket.unit) && bucket.explains(taken, now.mono) {
                if signal {
                    bucket.drain(now.mono);
                }
                // That an estimate was reached is how it is found to be too large: it is cut all the same.
                explained |= bucket.source != Source::Estimate;
            }
        }
        explained && !self.buckets.iter().any(Bucket::is_estimate)
    }

    /// The limit that was most likely meant by a refusal that does not say: the one of which more is used, by the person's own limits.
    fn likely_unit(&self, now: Mono) -> Unit {
        let used = self.sent - self.history.before(self.limits.window, now);
        let share = |most: Option<u64>, used: f64| most.map_or(0.0, |most| used / to_f64(most));
        let requests = share(self.limits.requests_per_minute, used.requests);
        if share(self.limits.tokens_per_minute, used.tokens) > requests { Unit::Tokens } else { Unit::Requests }
    }

    /// Cuts the rate, or begins to keep one.
    fn cut(&mut self, unit: Unit, ticket: &Ticket, now: &Now) {
        self.changed = true;
        // The refused request itself is not part of what had been sent before it.
        let admitted = ticket.sent_before - (self.refused - ticket.charge);
        let before = self.emptied.replace((ticket.sent, admitted));
        let estimate = self.buckets.iter_mut().find(|bucket| bucket.is_estimate());
        if let Some(bucket) = estimate {
            let since = before.map(|(at, before)| ((admitted - before).of(bucket.unit), at.until(ticket.sent)));
            bucket.cut(since, now);
            self.news.push(News::Cut(bucket.learned()));
            return;
        }
        let told = self.buckets.iter().filter(|bucket| bucket.unit == unit && !bucket.is_daily() && !bucket.is_ramp());
        let limit = if let Some(told) = told.min_by(|a, b| a.rate(now.mono).total_cmp(&b.rate(now.mono))) {
            // There should have been room in the minute: it is enforced in slices.
            let burst = if self.pacing == Pacing::Burst { told.window } else { told.window / SLICES };
            let size =
                if self.pacing == Pacing::Burst || told.burst < told.window { told.size * 0.8 } else { told.size };
            LearnedLimit { group: None, size, burst, source: Source::Estimate, learned: now.wall, ..told.learned() }
        } else {
            // All that was sent before it in a window went in: a bucket's depth, and what refilled meanwhile. One such request goes in at least.
            let window = self.limits.window;
            let (before, passed) = self.history.since(window, ticket.sent);
            let took = (ticket.sent_before - before).of(unit).max(ticket.charge.of(unit)).max(1.0);
            // Some of them are on their way to a refusal of their own.
            let size = 0.9 * took / (1.0 + passed.as_secs_f64() / window.as_secs_f64());
            LearnedLimit {
                unit,
                group: None,
                size,
                window,
                burst: self.burst(window),
                source: Source::Estimate,
                learned: now.wall,
            }
        };
        let mut bucket = Bucket::new(limit, now.mono);
        bucket.drain(now.mono);
        self.news.push(News::Cut(bucket.learned()));
        self.buckets.push(bucket);
    }

    /// The server wants slower growth: a cut to 70 %, and a slow way back.
    pub(super) fn slow_down(&mut self, now: &Now) {
        let minute = Duration::from_secs(60);
        let (before, passed) = self.history.since(self.limits.window, now.mono);
        let sent = (self.sent - before).tokens;
        let per_minute =
            (sent / passed.max(Duration::from_secs(1)).as_secs_f64() * minute.as_secs_f64() * 0.7).max(1.0);
        self.buckets.retain(|bucket| !bucket.is_ramp());
        let bucket = Bucket::ramp(per_minute, now.mono, now.wall);
        self.news.push(News::Cut(bucket.learned()));
        self.buckets.push(bucket);
    }

    /// What is estimated grows no further than what is told.
    pub(super) fn cap_estimates(&mut self) {
        for unit in [Unit::Requests, Unit::Tokens] {
            let told = self
                .buckets
                .iter()
                .filter(|bucket| bucket.unit == unit && bucket.source != Source::Estimate && !bucket.is_daily());
            let rate = told.map(|bucket| bucket.size / bucket.window.as_secs_f64()).min_by(f64::total_cmp);
            for bucket in
                self.buckets.iter_mut().filter(|bucket| bucket.unit == unit && bucket.source == Source::Estimate)
            {
                bucket.most = rate.map_or(f64::INFINITY, |rate| rate * bucket.window.as_secs_f64());
            }
        }
    }
}
