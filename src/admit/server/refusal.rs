//! What is made of refusals that the picture does not explain, and of a wish for slower growth.

use std::time::Duration;

use super::bucket::Bucket;
use super::charge::Ticket;
use super::guess::{Guess, Measure, Measured, Said};
use super::{Heard, News, Pacing, SLICES, ServerLimits};
use crate::admit::hint::{LearnedLimit, ServerHint, Unit, is_daily};
use crate::clock::{Mono, Now};

/// What is said of a guess is said again when it has changed by so much of it.
const NEWS: f64 = 0.25;
/// For each guess that turned out to be none, one more measure has to agree; so many at the most.
const MOST_DOUBTS: u32 = 5;
/// Fewer requests are no measure, nor is a shorter time, in seconds: many limits are counted in windows of a second.
const FEW: f64 = 4.0;
const SHORT: f64 = 1.0;

impl ServerLimits {
    /// A limit refused a request. Where the picture has room for it, the picture is wrong.
    pub(super) fn refusal(&mut self, hints: &[ServerHint], heard: &Heard<'_>) {
        let Heard { ticket, signal, now, .. } = *heard;
        // One that never fits says nothing of the others.
        if self.is_over(ticket.charge) {
            return;
        }
        let told = hints.iter().find(|hint| hint.refused && hint.unit != Unit::InFlight);
        let explained = match told {
            // A day that is used up says nothing of the minute.
            Some(ServerHint { window: Some(window), .. }) if is_daily(window.least) => return,
            Some(ServerHint { size: Some(_), left: Some(left), charged: Some(charged), .. }) => left < charged,
            _ => self.explains(told.map(|hint| hint.unit), heard),
        };
        if !signal {
            return;
        }
        let measured = self.measure(ticket);
        if explained {
            self.latest = None;
            return;
        }
        self.guess_from(measured, told.map(|hint| hint.unit), now);
    }

    /// What was let in since a refusal before this one.
    fn measure(&mut self, ticket: &Ticket) -> Measured {
        // The refused request itself is not part of what had been sent before it.
        let admitted = ticket.sent_before - (self.refused - ticket.charge);
        self.let_in = admitted;
        let Some((at, before)) = self.emptied else {
            self.emptied = Some((ticket.sent, admitted));
            return Measured::First;
        };
        let let_in = (admitted - before).at_least_zero();
        let seconds = at.until(ticket.sent).as_secs_f64();
        if let_in.requests < FEW || seconds < SHORT {
            return Measured::Few;
        }
        self.emptied = Some((ticket.sent, admitted));
        Measured::So(Measure { let_in, seconds })
    }

    /// A refusal that nothing explains: what was let in between two of them shows a rate, if the next two show the same.
    fn guess_from(&mut self, measured: Measured, unit: Option<Unit>, now: &Now) {
        if let Some(guess) = &mut self.guess {
            let (was_kept, was_shown) = (guess.is_kept(), guess.is_shown());
            if guess.refused(measured, now.mono, now.wall) == Said::Strange {
                self.guess = None;
                self.changed |= was_kept;
                self.agreeing = 0;
                if was_shown {
                    self.doubts = (self.doubts + 1).min(MOST_DOUBTS);
                } else {
                    self.told_is_wrong = true;
                }
            } else {
                if guess.is_confirmed() {
                    self.doubts = 0;
                }
                self.changed |= guess.is_sure();
                self.say_guess();
            }
        } else if let Some(told) =
            self.told_rate(unit, now.mono).filter(|_| self.pacing != Pacing::Burst && !self.told_is_wrong)
        {
            // There should have been room: it is enforced in slices.
            self.guess = Some(Guess::hint(&told, told.window / SLICES, now.mono));
        } else if let (Some(one), Measured::So(two)) = (self.latest, measured) {
            let guess = Guess::of(one, two, unit, now.mono, now.wall);
            self.agreeing = if guess.is_some() { self.agreeing + 1 } else { 0 };
            self.guess = guess.filter(|_| self.agreeing > self.doubts);
            self.say_guess();
        }
        if let Measured::So(measure) = measured {
            self.latest = Some(measure);
        }
    }

    fn say_guess(&mut self) {
        let window = self.limits.window;
        let Some(limit) = self.guess.as_ref().filter(|guess| guess.is_shown()).map(|guess| guess.learned(window))
        else {
            return;
        };
        let known = |said: f64| (limit.size - said).abs() <= NEWS * said;
        if !self.said.is_some_and(known) {
            self.said = Some(limit.size);
            self.news.push(News::Cut(limit));
        }
    }

    /// The limit of those that are told, of this unit where that is known, that binds first.
    fn told_rate(&self, unit: Option<Unit>, now: Mono) -> Option<LearnedLimit> {
        let mean = self.mean();
        let per_second = |bucket: &&Bucket| bucket.rate(now) / mean.of(bucket.unit).max(1.0);
        let told = self
            .buckets
            .iter()
            .filter(|bucket| unit.is_none_or(|unit| unit == bucket.unit) && bucket.is_told() && !bucket.is_daily());
        told.min_by(|a, b| per_second(a).total_cmp(&per_second(b))).map(Bucket::learned)
    }

    /// Whether the picture has a limit, of this unit where that is told, that had hardly any room for what was refused. A burst empties it.
    fn explains(&mut self, unit: Option<Unit>, heard: &Heard<'_>) -> bool {
        let Heard { ticket, signal, now, .. } = *heard;
        let mut explained = false;
        for bucket in self.buckets.iter_mut().filter(|bucket| bucket.is_told()) {
            // The refused tokens have been given back; the level is judged with them taken.
            let taken = if bucket.unit == Unit::Tokens { ticket.charge.tokens } else { 0.0 };
            if unit.is_none_or(|unit| unit == bucket.unit) && bucket.explains(taken, now.mono) {
                if signal {
                    bucket.drain(now.mono);
                }
                explained = true;
            }
        }
        explained
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

    /// What is guessed is not over what is told.
    pub(super) fn cap_guess(&mut self) {
        let Some(guess) = &mut self.guess else { return };
        let told =
            self.buckets.iter().filter(|bucket| bucket.unit == guess.unit && bucket.is_told() && !bucket.is_daily());
        let rates = told.map(|bucket| bucket.size / bucket.window.as_secs_f64());
        guess.most = rates.min_by(f64::total_cmp).unwrap_or(f64::INFINITY);
    }
}
