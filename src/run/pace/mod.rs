//! When: how many requests may leave now, and what the rest waits for.
//!
//! The person's limits are the ledger's, which answers "not before"; what is known here is the server. A refusal is read for what it is: its own limits
//! as they are told, or as refusals show them, are `admit::server`'s; `parallel` knows how many at a time it takes, `throttle` the pause after a
//! refusal, `soft_start` how it is met, `breaker` whether it is there, and `health` tells these apart. `in_flight` says how many at a time are of use,
//! `estimate` what output to reserve, `waits` what is told of a wait. What waits for room is never overtaken, so that neither large prompts starve
//! behind small ones nor the reverse; but one that is larger than a limit of the server, or is refused alone, goes behind the rest.

mod breaker;
mod estimate;
mod health;
mod in_flight;
mod parallel;
mod patience;
mod soft_start;
#[cfg(test)]
mod tests;
mod throttle;
mod waits;

pub use estimate::OutputEstimate;
pub(super) use health::{Means, Reply};

use std::collections::HashMap;
use std::time::Duration;

use super::action::Stop;
use super::rules::Rules;
use crate::admit::hint::{LearnedLimit, Unit, is_daily};
use crate::admit::ledger::Wait;
use crate::admit::server::{Charge, News, ServerLimits, ServerWait, Sustained, Ticket};
use crate::clock::{Mono, Now};
use crate::model::{Class, Ending, OnDayLimit, Ordinal, Work};
use crate::report::event::Event;
use crate::report::learned::rate;
use crate::report::waits::{Binds, WaitFor};
use crate::send::classify::{Failure, Kind, Verdict};
use health::{Crowding, Door, Health, Judgement, Own, Seen};
use in_flight::InFlight;
use parallel::{Crowded, Parallel};
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
    parallel: Parallel,
    waits: Waits,
    /// When those had left that were refused for rate, the first time.
    refused: HashMap<Ordinal, Mono>,
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
    /// Whether all that is ready goes behind the rest.
    pub(super) is_at_last: bool,
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
    /// What is larger than a limit that the server tells, and goes behind the rest.
    pub(super) behind: Vec<Ordinal>,
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
    /// Whether it goes behind the rest from now on.
    pub(super) behind: bool,
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
            parallel: Parallel::kept(server.in_flight()),
            server,
            health: Health::new(rules.clone()),
            in_flight: InFlight::new(rules.concurrency),
            waits: Waits::default(),
            refused: HashMap::new(),
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

    /// The only one whose request may leave; `None` where any may.
    pub(super) fn wanted(&self) -> Option<Ordinal> {
        self.health.wanted()
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
        let useful = self.in_flight.most(load.open, self.through(now.mono));
        let taken = self.parallel.most(now.mono).unwrap_or(usize::MAX);
        let room = useful.min(taken).saturating_sub(load.in_flight);
        let most = most.min(room).min(soft.unwrap_or(usize::MAX));
        let wanted = self.health.wanted();
        let mut before = Charge::default();
        for work in ready.filter(|work| wanted.is_none_or(|wanted| work.ordinal == wanted)).take(most) {
            let charge = self.charge(work);
            if !load.is_at_last && self.server.is_over(charge) {
                admission.behind.push(work.ordinal);
                continue;
            }
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
            let next = if taken < useful { self.parallel.next(load.in_flight) } else { None };
            self.waits.try_at(next);
            let bound = self.parallel.learned().filter(|_| taken < useful);
            self.waits.bind(bound.map_or(WaitFor::Answers, WaitFor::ServerLimit), None);
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

    /// A request leaves, the `rank`-th at a time.
    pub(super) fn sent(&mut self, work: &Work, rank: usize, now: Mono) -> Ticket {
        self.health.sent(work.ordinal);
        self.parallel.sent(rank);
        self.server.take(self.charge(work), rank, now)
    }

    /// A request can never leave.
    pub(super) fn not_sent(&mut self, ordinal: Ordinal) {
        self.health.not_sent(ordinal);
    }

    /// Takes in what came back for a request. `random` is from 0 to 1.
    pub(super) fn heard(&mut self, now: &Now, reply: Reply<'_>, random: f64) -> Heard {
        let Reply { ticket, verdict, hints, work, .. } = reply;
        let mut told = None;
        let seen = match verdict {
            Verdict::Answer(_) => {
                self.in_flight.answered(ticket.sent.until(now.mono));
                self.parallel.answered(ticket.sent, ticket.rank, now.mono);
                self.refused.remove(&work.ordinal);
                Seen::default()
            }
            Verdict::Failure(failure) => {
                let crowded = self.crowding(now, &reply, failure, &mut told);
                self.seen(&reply, failure, crowded)
            }
        };
        let Judgement { means, behind, outcome, is_there, mut events, stop } =
            self.health.heard(now, reply, seen, random);
        events.extend(told.map(|limit| Event::LimitLearned { limit }));
        events.extend(self.server.heard(ticket, hints, outcome, now).into_iter().map(|news| match news {
            News::Learned(limit) => Event::LimitLearned { limit },
            News::Cut(limit) => Event::RateCut { limit },
            News::NearlyUsed { limit, left } => Event::NearlyUsed { limit, left },
        }));
        let changed = [self.server.take_changed(), self.parallel.take_changed()];
        let learned =
            changed.contains(&true).then(|| self.server.learned().into_iter().chain(self.parallel.learned()).collect());
        Heard { means, is_there, behind, events, learned, stop }
    }

    /// What is known of the server's limits at a failure.
    fn seen(&mut self, reply: &Reply<'_>, failure: &Failure, crowded: Option<Crowding>) -> Seen {
        let Reply { work, ticket, .. } = *reply;
        let alone = ticket.rank == 1 && self.server.is_newest(&ticket);
        let refused_alone = self.is_own(reply, failure).then_some(Own::Alone);
        let own = if self.server.is_over(self.charge(work)) { Some(Own::TooLarge) } else { refused_alone };
        Seen {
            lets_in: self.server.lets_in(&ticket),
            shown: self.server.shown(),
            held: self.server.held(),
            may_open: self.server.may_open(),
            alone,
            own: own.filter(|_| alone),
            crowded,
        }
    }

    /// Whether a refusal is of the prompt itself, if it was alone: nothing was used in the window before it, and others that left after it was refused
    /// first were answered, or it is the last one. Where all are refused, it is none of theirs.
    fn is_own(&mut self, reply: &Reply<'_>, failure: &Failure) -> bool {
        let Reply { work, ticket, open, .. } = *reply;
        if failure.kind != Kind::Throttled {
            self.refused.remove(&work.ordinal);
            return false;
        }
        let first = *self.refused.entry(work.ordinal).or_insert(ticket.sent);
        let others = self.server.answered_at().is_some_and(|answered| answered >= first || open == 1);
        others && self.server.is_unused(&ticket)
    }

    /// How it is known that a failure is of too many requests at a time; `None` where it is not.
    fn crowding(
        &mut self,
        now: &Now,
        reply: &Reply<'_>,
        failure: &Failure,
        told: &mut Option<LearnedLimit>,
    ) -> Option<Crowding> {
        let Reply { ticket, hints, others, .. } = *reply;
        let crowded = Crowded { sent: ticket.sent, rank: ticket.rank, others };
        let hint = hints.iter().find(|hint| hint.unit == Unit::InFlight && hint.refused);
        let shown = match (failure.kind, failure.class) {
            _ if hint.is_some() => false,
            (Kind::Transient | Kind::Unknown, Class::Overloaded | Class::BadGateway | Class::Timeout)
            | (Kind::Throttled, Class::Overloaded) => self.parallel.follows(crowded),
            (Kind::Throttled, Class::RateLimited) if hints.iter().all(|hint| !hint.refused) => {
                self.parallel.explains(crowded, now.mono)
            }
            _ => false,
        };
        if matches!(failure.kind, Kind::Throttled) || shown {
            self.parallel.heard(now.mono);
        }
        let crowding = hint.map(|_| Crowding::Told).or(shown.then_some(Crowding::Shown));
        if crowding.is_some() {
            let size = hint.and_then(|hint| hint.size).and_then(|size| usize::try_from(size).ok());
            *told = self.parallel.refused(crowded, size, now);
        }
        crowding
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
