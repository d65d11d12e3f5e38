//! When: how many requests may leave now, and what the rest waits for.
//!
//! The person's limits are the ledger's, which answers "not before"; what is known here is the server: `health` (is it there, does it want a pause, is
//! it met softly?), its own limits as we picture them, and `in_flight` (how many at a time are of use). `estimate` says what output to reserve, `waits`
//! what is told of a wait. What waits for room is never overtaken, so that neither large prompts starve behind small ones nor the reverse: each waits
//! at the most for the window in which the one before it fits.

mod breaker;
mod estimate;
mod health;
mod in_flight;
mod patience;
mod soft_start;
#[cfg(test)]
mod tests;
mod throttle;
mod waits;

pub use estimate::OutputEstimate;
pub(super) use health::{Means, Reply};

use std::time::Duration;

use super::action::Stop;
use super::rules::Rules;
use crate::admit::hint::{LearnedLimit, is_daily};
use crate::admit::ledger::Wait;
use crate::admit::server::{Charge, News, ServerLimits, ServerWait, Sustained, Ticket};
use crate::clock::{Mono, Now};
use crate::model::{Ending, OnDayLimit, Ordinal, Work};
use crate::report::event::Event;
use crate::report::learned::rate;
use crate::report::waits::{Binds, WaitFor};
use crate::send::classify::Verdict;
use health::{Door, Health, Judgement};
use in_flight::InFlight;
use waits::Waits;

/// A wait is asked about again this often: another process may have given room back, or the clocks may have been set.
const RECHECK: Duration = Duration::from_secs(1);
/// The same for a day's limit.
const RECHECK_DAY: Duration = Duration::from_secs(60);

/// What the pace is set by.
#[derive(Debug)]
pub(super) struct Pace {
    rules: Rules,
    estimate: OutputEstimate,
    server: ServerLimits,
    health: Health,
    in_flight: InFlight,
    waits: Waits,
    /// Amounts were settled while claims were at the store: a refusal may be out of date.
    settled_since: bool,
    mean: Mean,
}

/// The mean input of the prompts drawn so far.
#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    prompts: u64,
    input_tokens: u64,
}

/// What is under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// Requests at the server, and answers on their way to the disk.
    pub(super) in_flight: usize,
    /// Prompts without an end, as far as is known.
    pub(super) open: usize,
    /// Whether nothing at all is under way.
    pub(super) is_idle: bool,
}

/// What may be claimed now.
#[derive(Debug, Default)]
pub(super) struct Admission {
    /// In order.
    pub(super) claims: Vec<Room>,
    /// A wait that is new.
    pub(super) event: Option<Event>,
    /// The run ends instead.
    pub(super) stop: Option<Stop>,
}

/// What is to be reserved for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) ordinal: Ordinal,
    /// Where there is room for it.
    pub(super) tokens: u64,
    /// At the least.
    pub(super) least: u64,
}

/// What follows from a reply.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) means: Means,
    /// Whether it shows that the server is there.
    pub(super) is_there: bool,
    /// For whoever watches.
    pub(super) events: Vec<Event>,
    /// What is to be kept of the server's limits, where that has changed.
    pub(super) learned: Option<Vec<LearnedLimit>>,
    pub(super) stop: Option<Stop>,
}

impl Pace {
    pub(super) fn new(rules: &Rules, estimate: OutputEstimate, server: ServerLimits) -> Self {
        Self {
            estimate,
            server,
            health: Health::new(rules.clone()),
            in_flight: InFlight::new(rules.concurrency),
            waits: Waits::default(),
            settled_since: false,
            mean: Mean::default(),
            rules: rules.clone(),
        }
    }

    /// Time has passed since this was last called.
    pub(super) fn pass(&mut self, now: Mono) {
        self.health.pass(now, self.waits.binds().map(|binds| &binds.what));
    }

    /// Work was drawn, of a run that has so much to do as far as is known.
    pub(super) fn drawn(&mut self, work: &[Work], to_do: usize, now: Mono) {
        if self.mean.prompts == 0 && self.rules.soft_start && !self.server.is_known() {
            self.health.meet(to_do, now);
        }
        for work in work {
            self.mean.prompts += 1;
            self.mean.input_tokens = self.mean.input_tokens.saturating_add(work.input_tokens);
        }
    }

    /// What keeps the next request back; `None` where nothing does.
    pub(super) fn binds(&self) -> Option<&Binds> {
        self.waits.binds()
    }

    /// Whether nothing is to be claimed at `now`. Where it may be, all that was waited for is asked about anew.
    pub(super) fn is_blocked(&mut self, now: Mono) -> bool {
        let is_blocked = self.waits.is_blocked(now);
        if !is_blocked {
            self.waits.clear();
        }
        is_blocked
    }

    /// When something that is waited for may be over.
    pub(super) fn next(&self) -> Option<Mono> {
        self.waits.next()
    }

    /// What is next has changed, and may be smaller.
    pub(super) fn unblock(&mut self) {
        self.waits.unblock();
    }

    /// Amounts were settled, which may have made room.
    pub(super) fn settled(&mut self) {
        self.waits.unblock();
        self.settled_since = true;
    }

    /// Something else than the server or a limit is waited for, which is told elsewhere.
    pub(super) fn bind(&mut self, what: WaitFor, until: Option<Mono>) {
        self.waits.bind(what, until);
    }

    /// Nothing is left to do but to try again what has failed.
    pub(super) fn wait_to_retry(&mut self, now: &Now, at: Mono) -> Option<Event> {
        self.waits.wait(now, WaitFor::Retry, at)
    }

    /// Chooses the first of `ready` that may be claimed now; the store admits those that fit.
    pub(super) fn admit<'a>(&mut self, now: &Now, load: Load, ready: impl Iterator<Item = &'a Work>) -> Admission {
        let mut admission = Admission::default();
        let most = match self.health.door(now.mono) {
            Door::Open(most) => most,
            Door::Shut(what, until) => {
                if until.is_some() {
                    self.waits.try_at(until);
                }
                self.waits.bind(what, until);
                return admission;
            }
            Door::Paused(until) => {
                self.waits.try_at(Some(until));
                admission.event = self.waits.wait(now, WaitFor::Server, until);
                return admission;
            }
        };
        let soft = self.health.soft_room(self.rules.concurrency.most(), now.mono);
        let room = self.in_flight.most(load.open, self.through(now.mono)).saturating_sub(load.in_flight);
        let most = most.min(room).min(soft.unwrap_or(usize::MAX));
        let wanted = self.health.wanted();
        let mut before = Charge::default();
        for work in ready.filter(|work| wanted.is_none_or(|wanted| work.ordinal == wanted)).take(most) {
            let charge = self.charge(work);
            if let Some(wait) = self.server.frees(before, charge, now.mono) {
                if admission.claims.is_empty() {
                    (admission.event, admission.stop) = self.await_server(now, load, wait);
                }
                break;
            }
            before += charge;
            // Where nothing is in flight, no answer could give some of its tokens back.
            let is_alone = load.is_idle && admission.claims.is_empty();
            admission.claims.push(self.reserve(work, is_alone));
        }
        if !admission.claims.is_empty() {
            self.settled_since = false;
        } else if room == 0 {
            self.waits.bind(WaitFor::Answers, None);
        } else if soft == Some(0) {
            let next = self.health.soft_next();
            self.waits.try_at(next);
            self.waits.bind(WaitFor::FirstAnswers, next);
        }
        admission
    }

    /// The ledger has no room before then. A day's limit ends the run, where it is to.
    pub(super) fn refused(&mut self, now: &Now, wait: Wait, is_idle: bool) -> (Option<Event>, Option<Stop>) {
        if self.settled_since {
            // It is asked again at once.
            return (None, None);
        }
        let is_daily = wait.limit.is_daily();
        if is_daily && !is_idle {
            // What is under way may use less than was reserved for it; when it is settled, it is asked again.
            self.waits.block(wait.until.min(now.mono.plus(RECHECK_DAY)));
            self.waits.bind(WaitFor::Limit(wait.limit), Some(wait.until));
            return (None, None);
        }
        if is_daily && self.rules.on_day_limit == OnDayLimit::Exit {
            let reason = format!("{} is reached", wait.limit);
            return (None, Some(Stop { ending: Ending::DayLimit, reason }));
        }
        let recheck = if is_daily { RECHECK_DAY } else { RECHECK };
        self.waits.block(wait.until.min(now.mono.plus(recheck)));
        (self.waits.wait(now, WaitFor::Limit(wait.limit), wait.until), None)
    }

    /// Whether this one's request may leave after all, now that the store has admitted it.
    pub(super) fn lets_go(&self, ordinal: Ordinal, now: Mono) -> bool {
        self.health.lets_go(ordinal, now)
    }

    /// A request leaves.
    pub(super) fn sent(&mut self, work: &Work, now: Mono) -> Ticket {
        self.health.sent(work.ordinal);
        self.server.take(self.charge(work), now)
    }

    /// A request can never leave.
    pub(super) fn not_sent(&mut self, ordinal: Ordinal) {
        self.health.not_sent(ordinal);
    }

    /// Takes in what came back for a request. `random` is from 0 to 1.
    pub(super) fn heard(&mut self, now: &Now, reply: Reply<'_>, random: f64) -> Heard {
        let Reply { ticket, verdict, hints, .. } = reply;
        let Judgement { means, outcome, is_there, mut events, stop } = self.health.heard(now, reply, random);
        if matches!(verdict, Verdict::Answer(_)) {
            self.in_flight.answered(ticket.sent.until(now.mono));
        }
        events.extend(self.server.heard(ticket, hints, outcome, now).into_iter().map(|news| match news {
            News::Learned(limit) => Event::LimitLearned { limit },
            News::Cut(limit) => Event::RateCut { limit },
            News::NearlyUsed { limit, left } => Event::NearlyUsed { limit, left },
        }));
        if self.server.is_known() {
            self.health.is_told();
        }
        Heard { means, is_there, events, learned: self.server.take_changed(), stop }
    }

    /// An answer had so many output tokens.
    pub(super) fn learn(&mut self, output_tokens: u64) {
        self.estimate.learn(output_tokens);
    }

    /// Until when the server keeps from being sent what is ready; `None` where it does not.
    pub(super) fn keeps_waiting(&self, now: Mono) -> Option<Mono> {
        self.health.keeps_waiting(now)
    }

    /// Why the run ends, if the server keeps all that is left to do waiting until then; `None` where that can be borne.
    pub(super) fn runs_out(&self, now: Mono, until: Mono) -> Option<Stop> {
        self.health.runs_out(now, until)
    }

    /// The server's limit has no room. One of a day ends the run, where a day's limit is to end it.
    fn await_server(&mut self, now: &Now, load: Load, wait: ServerWait) -> (Option<Event>, Option<Stop>) {
        let ServerWait { limit, until } = wait;
        let stop = match is_daily(limit.window) {
            true if self.rules.on_day_limit == OnDayLimit::Exit => {
                Some(Stop::server_day_limit(rate(&limit), now.mono.until(until)))
            }
            true => None,
            // Where it answers, such a wait is the pace; where it only refuses, it ends with the patience.
            false => self.health.runs_out(now.mono, now.mono),
        };
        if load.is_idle && stop.is_some() {
            return (None, stop);
        }
        self.waits.try_at(Some(until.min(now.mono.plus(RECHECK))));
        (self.waits.wait(now, WaitFor::ServerLimit(limit), until), None)
    }

    /// What all limits together let through.
    fn through(&self, now: Mono) -> Option<Sustained> {
        let limits = &self.rules.limits;
        let input_tokens = self.mean.input_tokens / self.mean.prompts.max(1);
        let output_tokens = self.rules.max_output_tokens.unwrap_or_else(|| self.estimate.tokens());
        let of = |most: Option<u64>, each: u64| {
            #[expect(clippy::cast_precision_loss, reason = "an estimate")]
            most.map(|most| most as f64 / each.max(1) as f64)
                .map(|at_once| Sustained { per_second: at_once / limits.window.as_secs_f64(), at_once })
        };
        let tokens = input_tokens.saturating_add(output_tokens);
        let own = [of(limits.tokens_per_minute, tokens), of(limits.requests_per_minute, 1)];
        let mean = Charge::request(input_tokens, self.rules.max_output_tokens);
        own.into_iter().flatten().chain(self.server.sustained(mean, now)).reduce(Sustained::min)
    }

    fn charge(&self, work: &Work) -> Charge {
        Charge::request(work.input_tokens, self.rules.max_output_tokens)
    }

    fn reserve(&self, work: &Work, is_alone: bool) -> Room {
        let (limits, input_tokens) = (&self.rules.limits, work.input_tokens);
        let tokens = match self.rules.max_output_tokens {
            Some(most) => input_tokens.saturating_add(most),
            None => self.estimate.reservation(input_tokens, limits),
        };
        let is_estimate = self.rules.max_output_tokens.is_none();
        let least =
            if is_estimate && is_alone { self.estimate.least_reservation(input_tokens, limits) } else { tokens };
        Room { ordinal: work.ordinal, tokens, least: least.min(tokens) }
    }
}
