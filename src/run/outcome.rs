//! What comes of an attempt: answers, failures, and what the journal is told.

use std::cmp::Reverse;
use std::time::Duration;

use super::breaker::{Judged, Refused};
use super::machine::{Active, End, Machine, Recorded};
use super::{Action, JobIndex};
use crate::admit::hint::ServerHint;
use crate::admit::ledger::Amount;
use crate::admit::server::{News, Outcome, Ticket};
use crate::clock::{Mono, Now};
use crate::model::{Cause, Class, Content, Ending, OnQuota, RunStop, Signal, Usage};
use crate::record::{Ended, Reservation, Settlement};
use crate::report::event::Event;
use crate::send::answer::Answer;
use crate::send::backoff::backoff;
use crate::send::classify::{Billed, Failure, Kind, Verdict};

/// The last failure of a prompt, which may turn out to be the server's.
#[derive(Debug)]
pub(super) struct Held {
    job: JobIndex,
    /// When it was heard of.
    heard: Mono,
    class: Class,
    message: String,
    usage: Usage,
    /// The end of the wait that the server asked for.
    not_before: Mono,
    /// The journal has the attempt's end; before that the prompt is not begun again.
    journalled: bool,
    /// It is the server's: it is tried again as soon as that is journalled.
    released: bool,
}

/// What is known of an attempt that has failed among others.
#[derive(Clone, Copy, Debug)]
struct Tried {
    /// What the server asks for.
    wait: Option<Duration>,
    /// It never reached the server.
    unsent: bool,
    /// The server says that another one is of no use.
    last: bool,
}

impl Machine {
    pub(super) fn heard(
        &mut self,
        now: &Now,
        job: JobIndex,
        verdict: Verdict,
        hints: &[ServerHint],
        actions: &mut Vec<Action>,
    ) {
        let Some(Active::Sending(reservation, ticket)) = self.active.remove(&job) else { return };
        self.soft_start.heard(ticket.sent, matches!(verdict, Verdict::Answer(_)), now.mono);
        let outcome = self.outcome(now, job, &verdict, &ticket, actions);
        let out_of_patience = self.patience_with(now, &verdict, hints);
        for news in self.server.heard(ticket, hints, outcome, now) {
            actions.push(Action::Say(match news {
                News::Learned(limit) => Event::LimitLearned { limit },
                News::Cut(limit) => Event::RateCut { limit },
                News::NearlyUsed { limit, left } => Event::NearlyUsed { limit, left },
            }));
        }
        if self.server.is_known() {
            self.soft_start.told();
        }
        if let Some(learned) = self.server.take_changed() {
            actions.push(Action::Learn(learned));
        }
        match verdict {
            Verdict::Answer(answer) => self.answered(now, job, reservation, answer, actions),
            Verdict::Failure(failure) => self.failed(now, job, reservation, ticket.sent, failure, actions),
        }
        if let Some(ending) = out_of_patience {
            self.end_for_server(ending, actions);
        }
    }

    /// What a verdict says of the server: of its limits, and whether it is there.
    fn outcome(
        &mut self,
        now: &Now,
        job: JobIndex,
        verdict: &Verdict,
        ticket: &Ticket,
        actions: &mut Vec<Action>,
    ) -> Outcome {
        let outcome = match verdict {
            Verdict::Answer(_) => {
                self.throttle.answered(ticket.sent);
                self.in_flight_bound.answered(ticket.sent.until(now.mono));
                Outcome::Admitted
            }
            Verdict::Failure(Failure { kind: Kind::Throttled, class, message, wait, .. }) => {
                let signal = self.throttle.refused(ticket.sent, now.mono, *wait, self.random.f64());
                if let Some(until) = self.throttle.until(now.mono) {
                    self.soft_start.again(until);
                    if signal {
                        actions.push(Action::Say(Event::Throttled {
                            key: self.jobs[job as usize].key.clone(),
                            class: *class,
                            message: message.clone(),
                            seconds: now.mono.until(until).as_secs_f64(),
                        }));
                    }
                }
                match *class {
                    Class::RateLimited => Outcome::Refused { signal },
                    Class::SlowDown => Outcome::SlowDown { signal },
                    _ => Outcome::Other,
                }
            }
            Verdict::Failure(Failure { kind: Kind::Prompt, class, .. }) if !class.is_local() => Outcome::Other,
            Verdict::Failure(Failure { kind: Kind::Prompt, .. }) => {
                self.breaker.not_sent(job);
                return Outcome::Other;
            }
            Verdict::Failure(_) => return Outcome::Other,
        };
        // Whatever it says, the server is there.
        let refused = matches!(verdict, Verdict::Failure(Failure { kind: Kind::Throttled, .. }));
        if let Some(cause) = self.breaker.answered(job, ticket.sent, refused) {
            self.soft_start.again(now.mono);
            actions.push(Action::Say(Event::Resumed { cause }));
        }
        self.fail_held(ticket.sent, actions);
        outcome
    }

    fn answered(
        &mut self,
        now: &Now,
        job: JobIndex,
        reservation: Reservation,
        answer: Answer,
        actions: &mut Vec<Action>,
    ) {
        let Answer { text, usage, finish, odd } = answer;
        for what in odd {
            self.tally.odd(what);
            actions.push(Action::Say(Event::Odd { key: self.jobs[job as usize].key.clone(), what }));
        }
        // Where nothing was reported or counted, what was reserved is the safe number.
        let input_tokens = self.jobs[job as usize].input_tokens;
        let usage =
            usage.unwrap_or(Usage { input_tokens, output_tokens: reservation.tokens().saturating_sub(input_tokens) });
        self.estimate.learn(usage.output_tokens);
        let settled = Some(Settlement { reservation, used: Amount::request(usage.total()), heard: now.mono });
        self.active.insert(job, Active::Writing { settled, end: End::Answered { usage, finish }, again: false });
        actions.push(Action::Write(job, Content::Answer(text)));
    }

    fn failed(
        &mut self,
        now: &Now,
        job: JobIndex,
        reservation: Reservation,
        sent: Mono,
        failure: Failure,
        actions: &mut Vec<Action>,
    ) {
        let Failure { kind, class, message, wait, billed, usage } = failure;
        let tokens = match billed {
            Billed::No => 0,
            Billed::Maybe => usage.map_or(reservation.tokens(), |usage| usage.total().max(reservation.tokens())),
            Billed::Yes => usage.map_or(reservation.tokens(), Usage::total),
        };
        if billed == Billed::Maybe {
            self.tally.unknown_requests += 1;
            self.tally.unknown_tokens = self.tally.unknown_tokens.saturating_add(tokens);
        }
        let used = if class.is_local() {
            // It never left.
            self.tally.requests -= 1;
            Amount::default()
        } else {
            Amount::request(tokens)
        };
        let settled = Settlement { reservation, used, heard: now.mono };
        let usage = usage.unwrap_or_default();
        match kind {
            Kind::Prompt => self.write_error(job, Some(settled), usage, class, message, actions),
            Kind::Run(RunStop::Quota) if self.rules.on_quota == OnQuota::Wait => {
                let random = self.random.f64();
                if let Some(probe) = self.breaker.used_up(job, now.mono, self.rules.quota_wait, random) {
                    Self::say_paused(now, Cause::Quota, class, message, probe, actions);
                }
                self.tally.retried += 1;
                self.again(job, settled, Some(class), now.mono);
            }
            Kind::Run(stop) => {
                self.again(job, settled, Some(class), now.mono);
                // What comes after good answers may be a stray one, of a server among several.
                let stray = self.in_flight_bound.has_answers() && stop != RunStop::Quota;
                let random = self.random.f64();
                let refused = if stray { self.breaker.refused(job, now.mono, random) } else { Refused::Again };
                match refused {
                    Refused::First { probe } => {
                        self.tally.retried += 1;
                        Self::say_paused(now, Cause::Refused, class, message, probe, actions);
                    }
                    Refused::Known => self.tally.retried += 1,
                    Refused::Again => {
                        let reason = format!("{class}: {message}");
                        self.stop(Ending::Stopped { stop, class, message }, reason, actions);
                    }
                }
            }
            Kind::Throttled => {
                self.tally.throttled += 1;
                self.again(job, settled, Some(class), now.mono);
            }
            Kind::Transient | Kind::Unknown | Kind::Last => {
                let unsent = [Class::Connection, Class::Timeout].contains(&class) && billed == Billed::No;
                let random = self.random.f64();
                let judged = self.breaker.failed(job, sent, unsent, now.mono, wait, random);
                match judged {
                    Judged::Opened { .. } | Judged::StillOpen { .. } => {
                        self.tally.retried += 1;
                        self.again(job, settled, Some(class), now.mono.plus(wait.unwrap_or_default()));
                        self.outage(now, judged, class, message, actions);
                    }
                    Judged::Own | Judged::Unsent => {
                        let held = Held {
                            job,
                            heard: now.mono,
                            class,
                            message,
                            usage,
                            not_before: now.mono.plus(wait.unwrap_or_default()),
                            journalled: false,
                            released: false,
                        };
                        let tried = Tried { wait, unsent, last: kind == Kind::Last };
                        self.tried(now, held, settled, tried, actions);
                    }
                }
            }
        }
    }

    /// An attempt has failed among others. It is tried again, unless it was the last one.
    fn tried(
        &mut self,
        now: &Now,
        mut failure: Held,
        settled: Settlement,
        Tried { wait, unsent, last }: Tried,
        actions: &mut Vec<Action>,
    ) {
        let Held { job, class, .. } = failure;
        let attempts = self.rules.attempts;
        let tries = self.tries.entry(job).or_default();
        tries.failed += u32::from(!unsent);
        let failed = tries.failed;
        if last || (failed >= attempts && !unsent) {
            // What is heard of the server next says whether it is this prompt's, or the beginning of an outage.
            if failed >= attempts && attempts > 1 {
                failure.message = format!("{} (attempt {attempts} of {attempts})", failure.message);
            }
            self.in_flight -= 1;
            self.record(job, Some(settled), Ended::Again { class: Some(class) }, Recorded::Held(job));
            self.held.push(failure);
            return;
        }
        let pause = backoff(failed.max(1), wait, self.random.f64());
        self.tally.retried += 1;
        actions.push(Action::Say(Event::Retrying {
            key: self.jobs[job as usize].key.clone(),
            class,
            message: failure.message,
            attempt: failed,
            attempts,
            seconds: pause.as_secs_f64(),
        }));
        self.again(job, settled, Some(class), now.mono.plus(pause));
    }

    /// The server, or the network, fails: nobody's attempts are used up by it.
    fn outage(&mut self, now: &Now, judged: Judged, class: Class, message: String, actions: &mut Vec<Action>) {
        let probe = match judged {
            Judged::Opened { refunds, probe } => {
                self.release_held();
                for job in refunds {
                    if let Some(tries) = self.tries.get_mut(&job) {
                        tries.failed = tries.failed.saturating_sub(1);
                    }
                }
                Some(probe)
            }
            Judged::StillOpen { probe } => probe,
            Judged::Own | Judged::Unsent => None,
        };
        let Some(probe) = probe else { return };
        let Some(cause) = self.breaker.open() else { return };
        // One that is longer than the rules bear is not begun, if nothing under way can change that.
        if self.in_flight > 0 || self.patience.runs_out(now.mono, probe, self.rules.give_up_after).is_none() {
            Self::say_paused(now, cause, class, message, probe, actions);
        }
    }

    fn say_paused(now: &Now, cause: Cause, class: Class, message: String, probe: Mono, actions: &mut Vec<Action>) {
        let span = now.mono.until(probe);
        let until = now.wall + chrono::TimeDelta::from_std(span).unwrap_or_default();
        actions.push(Action::Say(Event::Paused { cause, class, message, seconds: span.as_secs_f64(), until }));
    }

    /// The server answers a request that left at `sent`: what had failed by then has failed for good.
    fn fail_held(&mut self, sent: Mono, actions: &mut Vec<Action>) {
        let (final_ones, rest) =
            std::mem::take(&mut self.held).into_iter().partition(|held| held.heard <= sent && !held.released);
        self.held = rest;
        self.fail(final_ones, actions);
    }

    /// Nothing else will be heard of the server: what is held has failed for good.
    pub(super) fn end_held(&mut self, actions: &mut Vec<Action>) {
        if self.held.is_empty() || self.stopping.is_some() {
            return;
        }
        if self.is_idle() && self.delayed.is_empty() && !self.has_ready() {
            let held = std::mem::take(&mut self.held);
            self.fail(held, actions);
        }
    }

    fn fail(&mut self, held: Vec<Held>, actions: &mut Vec<Action>) {
        for Held { job, class, message, usage, .. } in held {
            self.write_error(job, None, usage, class, message, actions);
        }
    }

    /// The server fails others too: what is held is tried again.
    fn release_held(&mut self) {
        self.tally.retried += self.held.iter().filter(|held| !held.released).count();
        let (journalled, rest) = std::mem::take(&mut self.held).into_iter().partition(|held: &Held| held.journalled);
        self.held = rest;
        self.held.iter_mut().for_each(|held| held.released = true);
        let journalled: Vec<Held> = journalled;
        self.delayed.extend(journalled.into_iter().map(|held| Reverse((held.not_before, held.job))));
    }

    /// The journal has the end of an attempt whose failure is held.
    pub(super) fn held_journalled(&mut self, job: JobIndex) {
        let Some(place) = self.held.iter().position(|held| held.job == job) else { return };
        if self.held[place].released {
            let held = self.held.swap_remove(place);
            self.delayed.push(Reverse((held.not_before, job)));
        } else {
            self.held[place].journalled = true;
        }
    }

    /// Journals that the job is to be sent again; its place in the run is kept. It is begun when that is journalled, at the moment `at` or later.
    pub(super) fn again(&mut self, job: JobIndex, settled: Settlement, class: Option<Class>, at: Mono) {
        self.in_flight -= 1;
        self.record(job, Some(settled), Ended::Again { class }, Recorded::Again(job, at));
    }

    pub(super) fn say_stopping(&self, reason: String, signal: Option<Signal>, actions: &mut Vec<Action>) {
        // What is on its way to the store is no news.
        let held = if self.trouble.is_some() { self.held_answers() } else { 0 };
        let in_flight = self.in_flight;
        actions.push(Action::Say(Event::Stopping { reason, in_flight, held, signal }));
    }

    pub(super) fn stop(&mut self, ending: Ending, reason: String, actions: &mut Vec<Action>) {
        if self.stopping.is_none() {
            self.say_stopping(reason, None, actions);
            self.stopping = Some(ending);
        }
    }
}
