//! What is sent next, and what it waits for.
//!
//! The order is strict: smaller job indices first, and those taken before ahead of new ones. What waits for room is never overtaken, so that neither
//! large prompts starve behind small ones nor the reverse: each waits at the most for the window in which the one before it fits.

use std::cmp::Reverse;
use std::time::Duration;

use super::breaker::Gate;
use super::machine::{Active, Machine, to_index};
use super::{Action, Job, JobIndex};
use crate::admit::hint::is_daily;
use crate::admit::ledger::{Amount, Wait};
use crate::admit::server::{Charge, ServerWait, Sustained};
use crate::clock::{Mono, Now};
use crate::model::{Cause, Doom, Ending, OnDayLimit, Place, Usage};
use crate::record::{Begun, Claim, Refusal, Settlement};
use crate::report::event::{Binds, Event, WaitFor};
use crate::report::learned::rate;

/// A wait is asked about again this often: another process may have given room back, or the clocks may have been set.
const RECHECK: Duration = Duration::from_secs(1);
/// The same for a day's limit.
const RECHECK_DAY: Duration = Duration::from_secs(60);
/// A wait that moves by less than this is not told again.
const SAME_WAIT: Duration = Duration::from_secs(5);
/// A shorter wait is not told again within [`TOLD_FOR`]: at an even pace there is one before each request.
const SHORT_WAIT: Duration = Duration::from_secs(1);
const TOLD_FOR: Duration = Duration::from_secs(60);

/// A wait that was told.
#[derive(Clone, Debug)]
pub(super) struct Told {
    wait_for: WaitFor,
    until: Mono,
    at: Mono,
}

impl Machine {
    /// Claims as much as may be in flight; the store admits what fits.
    pub(super) fn begin(&mut self, now: &Now, actions: &mut Vec<Action>) {
        if self.claimed.is_some() || self.blocked.is_some_and(|ask_again| now.mono < ask_again) {
            return;
        }
        self.blocked = None;
        self.next_try = None;
        self.binds = None;
        if self.is_holding() {
            return;
        }
        if self.behind && self.has_ready() {
            self.binds = Some(Binds { what: WaitFor::Reader, until: None });
            return;
        }
        if !self.has_ready() {
            // Nothing is left to do but to try again what has failed.
            if self.is_idle()
                && let Some(Reverse((at, _))) = self.delayed.peek().copied()
            {
                self.wait(now, WaitFor::Retry, at, actions);
            }
            return;
        }
        let Some(most) = self.gate(now, actions) else { return };
        let soft = self.soft_start.room(self.rules.concurrency.most(), now.mono);
        let through = self.through(now.mono);
        let at_once = self.in_flight_bound.most(self.open, through);
        let room = at_once.saturating_sub(self.in_flight);
        let most = most.min(room).min(soft.unwrap_or(usize::MAX));
        let (mut claimed, mut before) = (Vec::new(), Charge::default());
        while claimed.len() < most
            && let Some(job) = self.take_next()
        {
            let charge = self.charge(job);
            if let Some(wait) = self.server.frees(before, charge, now.mono) {
                self.ready.insert(job);
                if claimed.is_empty() {
                    self.await_server(now, wait, actions);
                }
                break;
            }
            before += charge;
            claimed.push(job);
        }
        if !claimed.is_empty() {
            let idle = self.is_idle();
            let claims = claimed.iter().enumerate().map(|(place, &job)| self.claim(job, idle && place == 0));
            actions.push(Action::Begin(claims.collect()));
            self.claimed = Some(claimed);
            self.settled_since = false;
        } else if room == 0 {
            self.binds = Some(Binds { what: WaitFor::Answers, until: None });
        } else if soft == Some(0) {
            self.next_try = self.soft_start.next();
            self.binds = Some(Binds { what: WaitFor::FirstAnswers, until: self.next_try });
        }
    }

    /// How many requests a pause, an outage or the account let through; `None` where none.
    fn gate(&mut self, now: &Now, actions: &mut Vec<Action>) -> Option<usize> {
        let gate = self.breaker.gate(now.mono);
        if let Some(cause) = self.breaker.open() {
            let what = match cause {
                Cause::Outage => WaitFor::Outage,
                Cause::Quota => WaitFor::Account,
                Cause::Refused => WaitFor::Refused,
            };
            match gate {
                // It was told when it began.
                Gate::NotBefore(until) => {
                    self.next_try = Some(until);
                    self.binds = Some(Binds { what, until: Some(until) });
                    return None;
                }
                Gate::Probing => {
                    self.binds = Some(Binds { what, until: None });
                    return None;
                }
                Gate::Probe | Gate::Open => {}
            }
        }
        if let Some(until) = self.throttle.until(now.mono) {
            self.next_try = Some(until);
            self.wait(now, WaitFor::Server, until, actions);
            return None;
        }
        Some(if gate == Gate::Probe { 1 } else { usize::MAX })
    }

    /// What all limits together let through.
    fn through(&self, now: Mono) -> Option<Sustained> {
        let limits = &self.rules.limits;
        let tokens = self.mean_input_tokens.saturating_add(self.expected_output());
        let of = |most: Option<u64>, each: u64| {
            #[expect(clippy::cast_precision_loss, reason = "an estimate")]
            most.map(|most| most as f64 / each.max(1) as f64)
                .map(|at_once| Sustained { per_second: at_once / limits.window.as_secs_f64(), at_once })
        };
        let own = [of(limits.tokens_per_minute, tokens), of(limits.requests_per_minute, 1)];
        let mean = Charge::request(self.mean_input_tokens, self.rules.max_output_tokens);
        own.into_iter().flatten().chain(self.server.sustained(mean, now)).reduce(Sustained::min)
    }

    pub(super) fn has_ready(&mut self) -> bool {
        let next = self.take_ready();
        next.is_some_and(|job| self.ready.insert(job))
    }

    /// The next job that may be sent: the one that is asked again alone, or the next in order.
    fn take_next(&mut self) -> Option<JobIndex> {
        match self.breaker.wanted() {
            Some(job) => self.ready.take(&job),
            None => self.take_ready(),
        }
    }

    /// The next job in order: those taken before come first.
    fn take_ready(&mut self) -> Option<JobIndex> {
        if let Some(job) = self.ready.pop_first() {
            return Some(job);
        }
        while let Some(job) = self.jobs.get(self.cursor)
            && job.batch <= self.batch
        {
            self.cursor += 1;
            if job.doomed.is_none() {
                return Some(to_index(self.cursor - 1));
            }
        }
        None
    }

    fn expected_output(&self) -> u64 {
        self.rules.max_output_tokens.unwrap_or_else(|| self.estimate.tokens())
    }

    fn charge(&self, index: JobIndex) -> Charge {
        Charge::request(self.jobs[index as usize].input_tokens, self.rules.max_output_tokens)
    }

    /// `alone` where nothing is in flight whose answer could give some of its tokens back.
    fn claim(&self, index: JobIndex, alone: bool) -> Claim {
        let Job { key, fingerprint, input_tokens, place: Place { before, .. }, .. } = &self.jobs[index as usize];
        let (key, fingerprint, input_tokens, before) = (key.clone(), *fingerprint, *input_tokens, *before);
        let (limits, estimate) = (&self.rules.limits, &self.estimate);
        let (tokens, least) = match self.rules.max_output_tokens {
            Some(most) => (input_tokens.saturating_add(most), u64::MAX),
            None if alone => {
                (estimate.reservation(input_tokens, limits), estimate.least_reservation(input_tokens, limits))
            }
            None => (estimate.reservation(input_tokens, limits), u64::MAX),
        };
        let attempt = self.tries.get(&index).map_or(0, |tries| tries.begun) + 1;
        Claim { key, fingerprint, attempt, input_tokens, tokens, least: least.min(tokens), before }
    }

    pub(super) fn begun(&mut self, now: &Now, begun: Begun, actions: &mut Vec<Action>) {
        let claimed = self.claimed.take().unwrap_or_default();
        let admitted = begun.admitted.len();
        // A stop or a pause that came while the store was asked holds for these too: they are given back unsent.
        let closed = matches!(self.breaker.gate(now.mono), Gate::NotBefore(_) | Gate::Probing);
        if self.recording.is_none() && self.finished.is_empty() {
            self.store_works(actions);
        }
        let stops = self.stopping.is_some() || self.is_out_of_time(now);
        let held = stops || closed || self.throttle.until(now.mono).is_some() || self.is_holding();
        for (place, (&job, reservation)) in claimed.iter().zip(begun.admitted).enumerate() {
            // Where the breaker opened in the meantime, one of them may be the probe, if it is not another's turn.
            let probing = place > 0 && self.breaker.gate(now.mono) == Gate::Probing;
            let another = self.breaker.wanted().is_some_and(|wanted| wanted != job);
            if held || probing || another {
                self.in_flight += 1;
                self.again(job, Settlement { reservation, used: Amount::default(), heard: now.mono }, None, now.mono);
                continue;
            }
            self.tries.entry(job).or_default().begun += 1;
            let ticket = self.server.take(self.charge(job), now.mono);
            self.soft_start.sent();
            self.breaker.sent(job);
            self.active.insert(job, Active::Sending(reservation, ticket));
            self.in_flight += 1;
            self.tally.requests += 1;
            actions.push(Action::Send(job));
        }
        let mut rest = claimed.into_iter().skip(admitted);
        match begun.refused {
            // Where amounts were settled since, it is asked again at once.
            Some(Refusal::NotBefore(_)) if self.settled_since => {}
            Some(Refusal::NotBefore(wait)) => self.block(now, wait, actions),
            Some(Refusal::Never(too_large)) => {
                if let Some(job) = rest.next() {
                    self.breaker.not_sent(job);
                    let doom = Doom::too_large(&too_large);
                    self.write_error(job, None, Usage::default(), doom.class, doom.message, actions);
                }
            }
            None => {}
        }
        self.ready.extend(rest);
    }

    fn block(&mut self, now: &Now, wait: Wait, actions: &mut Vec<Action>) {
        let daily = wait.limit.is_daily();
        if daily && !self.is_idle() {
            // What is under way may use less than was reserved for it; when it is settled, `recorded` asks again.
            self.blocked = Some(wait.until.min(now.mono.plus(RECHECK_DAY)));
            self.binds = Some(Binds { what: WaitFor::Limit(wait.limit), until: Some(wait.until) });
            return;
        }
        if daily && self.rules.on_day_limit == OnDayLimit::Exit {
            if self.stopping.is_none() {
                self.say_stopping(format!("{} is reached", wait.limit), None, actions);
                self.stopping = Some(Ending::DayLimit);
            }
            return;
        }
        let recheck = if daily { RECHECK_DAY } else { RECHECK };
        self.blocked = Some(wait.until.min(now.mono.plus(recheck)));
        self.wait(now, WaitFor::Limit(wait.limit), wait.until, actions);
    }

    /// The server's limit has no room. One of a day ends the run, where a day's limit is to end it.
    fn await_server(&mut self, now: &Now, wait: ServerWait, actions: &mut Vec<Action>) {
        let ServerWait { limit, until } = wait;
        let ending = match is_daily(limit.window) {
            true if self.rules.on_day_limit == OnDayLimit::Exit => {
                Some(Ending::ServerDayLimit { what: rate(&limit), wait: now.mono.until(until) })
            }
            true => None,
            // Where it answers, such a wait is the pace; where it only refuses, it ends with the patience.
            false => self.patience.runs_out(now.mono, now.mono, self.rules.give_up_after),
        };
        if let (true, Some(ending)) = (self.is_idle(), ending) {
            return self.end_for_server(ending, actions);
        }
        self.next_try = Some(until.min(now.mono.plus(RECHECK)));
        self.wait(now, WaitFor::ServerLimit(limit), until, actions);
    }

    /// Waits, and tells of it once, and again only when it is for something else or for a good deal longer.
    pub(super) fn wait(&mut self, now: &Now, wait_for: WaitFor, until: Mono, actions: &mut Vec<Action>) {
        self.binds = Some(Binds { what: wait_for.clone(), until: Some(until) });
        let span = now.mono.until(until);
        let known = self.told.as_ref().is_some_and(|told| {
            let same = told.wait_for.is_like(&wait_for);
            let goes_on = now.mono < told.until && until <= told.until.plus(SAME_WAIT);
            let again = span < SHORT_WAIT && now.mono < told.at.plus(TOLD_FOR);
            same && (goes_on || again)
        });
        if !known {
            self.told = Some(Told { wait_for: wait_for.clone(), until, at: now.mono });
            let until = now.wall + chrono::TimeDelta::from_std(span).unwrap_or_default();
            actions.push(Action::Say(Event::Waiting { wait_for, seconds: span.as_secs_f64(), until }));
        }
    }
}
