//! What each answer and each failure says of the server: is it there, does it want a pause, and whose fault was it?

use std::time::Duration;

use super::breaker::{Breaker, Gate, Judged, Refused};
use super::patience::Patience;
use super::soft_start::SoftStart;
use super::throttle::{Refusal, Throttle};
use crate::admit::hint::{ServerHint, is_daily};
use crate::admit::server::{Outcome, Ticket};
use crate::clock::{Mono, Now};
use crate::model::{Cause, Class, Ending, OnDayLimit, OnQuota, Ordinal, RunStop, Work};
use crate::report::event::Event;
use crate::report::waits::WaitFor;
use crate::run::action::Stop;
use crate::run::rules::Rules;
use crate::send::classify::{Billed, Failure, Kind, Verdict};

/// What came back for a request.
#[derive(Clone, Copy, Debug)]
pub(in crate::run) struct Reply<'a> {
    /// Whose.
    pub(in crate::run) work: &'a Work,
    /// The request's, from when it left.
    pub(in crate::run) ticket: Ticket,
    /// An answer, or a failure.
    pub(in crate::run) verdict: &'a Verdict,
    /// What it says of the server's limits.
    pub(in crate::run) hints: &'a [ServerHint],
    /// Other requests that are under way.
    pub(in crate::run) others: usize,
    /// Prompts without an end, its own among them, as far as is known.
    pub(in crate::run) open: usize,
}

/// What is known of the server's limits when it refuses.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// Whether anything was let in since the refusal before it.
    pub(super) lets_in: bool,
    /// How many requests a second the server lets in, as far as that is known.
    pub(super) shown: Option<f64>,
    /// The same, as far as two measures agree.
    pub(super) held: Option<f64>,
    /// When a window that is used up may end, as far as that is known.
    pub(super) may_open: Option<Mono>,
    /// Whether nothing else was in flight beside it.
    pub(super) alone: bool,
    /// Why it is the prompt's own, as far as is known; `None` where it is none of its own.
    pub(super) own: Option<Own>,
    /// Whether the refusal is of requests at a time.
    pub(super) crowded: Option<Crowding>,
}

/// Why a refusal is the prompt's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Own {
    /// Nothing else was in flight, and nothing used, though others are let in.
    Alone,
    /// It is larger than a limit that the server tells.
    TooLarge,
}

/// How it is known that a refusal is of too many requests at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crowding {
    /// The server says so.
    Told,
    /// That is what its refusals follow.
    Shown,
}

/// What a reply means.
#[derive(Debug)]
pub(super) struct Judgement {
    pub(super) means: Means,
    /// For the server's limits.
    pub(super) outcome: Outcome,
    /// Whether it shows that the server is there, whatever it says.
    pub(super) is_there: bool,
    /// Whether its prompt goes behind the rest from now on.
    pub(super) behind: bool,
    /// For whoever watches.
    pub(super) events: Vec<Event>,
    pub(super) stop: Option<Stop>,
}

/// What a reply means for its prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::run) enum Means {
    /// It has its answer, or has failed for good: that is its own affair.
    Own,
    /// It is sent again at this moment, and no attempt is used up.
    Again(Mono),
    /// As far as is known the failure is its own: it uses up an attempt, and may be sent again at this moment.
    Tried {
        /// It never reached the server, and uses up no attempt.
        unsent: bool,
        /// The server says that another one is of no use.
        last: bool,
        /// What it fails as.
        class: Class,
        /// The end of the wait that the server asks for.
        not_before: Mono,
    },
    /// It shows that the server, or the network, fails, and the failures of others were none of theirs: it is sent again at this moment.
    Outage {
        at: Mono,
        /// Prompts that get an attempt back.
        refunds: Vec<Ordinal>,
    },
    /// Every prompt would fail like this: the run ends, and it is sent by a later one.
    Stops,
}

/// Whether requests may leave, as far as the server's health goes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Door {
    /// So many.
    Open(usize),
    /// None until then, or until something is heard. It was told when it began.
    Shut(WaitFor, Option<Mono>),
    /// None until then, for the server asks for a pause.
    Paused(Mono),
}

/// How the server does.
#[derive(Debug)]
pub(super) struct Health {
    rules: Rules,
    breaker: Breaker,
    throttle: Throttle,
    patience: Patience,
    soft_start: SoftStart,
    has_answered: bool,
}

impl Health {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            rules,
            breaker: Breaker::default(),
            throttle: Throttle::default(),
            patience: Patience::default(),
            soft_start: SoftStart::default(),
            has_answered: false,
        }
    }

    /// A server of which nothing is known is met by a run of so many prompts.
    pub(super) fn meet(&mut self, prompts: usize, now: Mono) {
        self.soft_start.begin(prompts, now);
    }

    /// Time has passed until `now`, in which `binds` was waited for.
    pub(super) fn pass(&mut self, now: Mono, binds: Option<&WaitFor>) {
        let counts = match binds {
            Some(WaitFor::Limit(_) | WaitFor::Account | WaitFor::Disk | WaitFor::Reader | WaitFor::Prompts) => false,
            Some(WaitFor::ServerLimit(limit)) => !is_daily(limit.window),
            _ => true,
        };
        self.patience.pass(now, counts);
    }

    /// Whether requests may leave.
    pub(super) fn door(&self, now: Mono) -> Door {
        let gate = self.breaker.gate(now);
        if let Some(cause) = self.breaker.open() {
            let what = match cause {
                Cause::Outage => WaitFor::Outage,
                Cause::Quota => WaitFor::Account,
                Cause::Refused => WaitFor::Refused,
            };
            match gate {
                Gate::NotBefore(until) => return Door::Shut(what, Some(until)),
                Gate::Probing => return Door::Shut(what, None),
                Gate::Probe | Gate::Open => {}
            }
        }
        match self.throttle.until(now) {
            Some(until) => Door::Paused(until),
            None => Door::Open(if gate == Gate::Probe { 1 } else { usize::MAX }),
        }
    }

    /// The only one whose request may leave; `None` where any may.
    pub(super) fn wanted(&self) -> Option<Ordinal> {
        self.breaker.wanted()
    }

    /// Whether this one's request may leave after all, now that it is admitted.
    pub(super) fn lets_go(&self, ordinal: Ordinal, now: Mono) -> bool {
        matches!(self.door(now), Door::Open(_)) && self.wanted().is_none_or(|wanted| wanted == ordinal)
    }

    /// How many more may leave while the server has shown little; `None` where that bounds nothing.
    pub(super) fn soft_room(&mut self, most: usize, now: Mono) -> Option<usize> {
        self.soft_start.room(most, now)
    }

    /// When one more may leave; `None` where only an answer changes that.
    pub(super) fn soft_next(&self) -> Option<Mono> {
        self.soft_start.next()
    }

    /// A request leaves.
    pub(super) fn sent(&mut self, ordinal: Ordinal) {
        self.soft_start.sent();
        self.breaker.sent(ordinal);
    }

    /// A request cannot leave, for a reason of its own.
    pub(super) fn not_sent(&mut self, ordinal: Ordinal) {
        self.breaker.not_sent(ordinal);
    }

    /// Until when nothing is sent that is ready; `None` where something may be, or where the wait is none of the server's failures.
    pub(super) fn keeps_waiting(&self, now: Mono) -> Option<Mono> {
        let probe = match self.breaker.gate(now) {
            Gate::NotBefore(_) if self.breaker.open() == Some(Cause::Quota) => return None,
            Gate::NotBefore(until) => Some(until),
            Gate::Open | Gate::Probe | Gate::Probing => None,
        };
        probe.max(self.throttle.until(now))
    }

    /// Why the run ends, if nothing can be sent before `until`; `None` where that can be borne.
    pub(super) fn runs_out(&self, now: Mono, until: Mono) -> Option<Stop> {
        self.patience.runs_out(now, until, self.rules.give_up_after)
    }

    /// Takes in what came back for a request.
    pub(super) fn heard(&mut self, now: &Now, reply: Reply<'_>, seen: Seen, random: f64) -> Judgement {
        let is_answer = matches!(reply.verdict, Verdict::Answer(_));
        self.soft_start.heard(reply.ticket.sent, is_answer, now.mono);
        let failure = match reply.verdict {
            Verdict::Answer(_) => {
                self.has_answered = true;
                self.patience.answered();
                return Judgement { outcome: Outcome::Admitted, ..self.is_there(now, reply, false) };
            }
            Verdict::Failure(failure) => failure,
        };
        match failure.kind {
            Kind::Prompt if failure.class.is_local() => {
                self.breaker.not_sent(reply.work.ordinal);
                Judgement::of(Means::Own)
            }
            Kind::Prompt => {
                self.patience.answered();
                self.is_there(now, reply, false)
            }
            Kind::Run(stop) => self.refused(now, reply, failure, stop, random),
            Kind::Throttled if seen.crowded == Some(Crowding::Told) => self.crowded(now, reply, failure),
            Kind::Throttled => self.throttled(now, reply, failure, seen, random),
            Kind::Transient | Kind::Unknown | Kind::Last => self.failed(now, reply, failure, random),
        }
    }

    /// Whatever it says, the server is there. That it is throttled says nothing of what was refused.
    fn is_there(&mut self, now: &Now, reply: Reply<'_>, throttled: bool) -> Judgement {
        let mut judgement = Judgement { is_there: true, ..Judgement::of(Means::Own) };
        if let Some(cause) = self.breaker.answered(reply.work.ordinal, reply.ticket.sent, throttled) {
            self.soft_start.again(None, Duration::ZERO, now.mono);
            judgement.events.push(Event::Resumed { cause });
        }
        judgement
    }

    /// The rate is too high. One burst of such answers is one signal; a day limit of the server is a day limit, and no failure.
    fn throttled(&mut self, now: &Now, reply: Reply<'_>, failure: &Failure, seen: Seen, random: f64) -> Judgement {
        let Failure { class, message, wait, .. } = failure;
        let Seen { lets_in, shown, alone, .. } = seen;
        if reply.hints.iter().any(never_fits) {
            let mut judgement = self.is_there(now, reply, true);
            let (last, class) = (true, Class::TooLarge);
            judgement.means = Means::Tried { unsent: false, last, class, not_before: now.mono };
            return judgement;
        }
        self.soft_start.refused(reply.ticket.sent.until(now.mono));
        let refusal =
            Refusal { began: reply.ticket.sent, wait: *wait, lets_in, alone, held: seen.held, may_open: seen.may_open };
        let signal = self.throttle.refused(refusal, now.mono, random);
        let mut events = Vec::new();
        let pause = self.throttle.until(now.mono);
        if let Some(until) = pause {
            // Where nothing was let in after the pause before this one, nobody knows how long it takes.
            let room = if lets_in { now.mono.until(until) } else { Duration::ZERO };
            self.soft_start.again(shown, room, until);
            if signal {
                events.push(Event::Throttled {
                    key: reply.work.key.clone(),
                    class: *class,
                    message: message.clone(),
                    seconds: now.mono.until(until).as_secs_f64(),
                });
            }
        }
        let mut judgement = self.is_there(now, reply, true);
        judgement.events.splice(..0, events);
        // So that nothing starves behind one that is refused again and again.
        judgement.behind = alone && !lets_in;
        judgement.means = match seen.own {
            Some(own) => {
                let class = if own == Own::TooLarge { Class::TooLarge } else { *class };
                Means::Tried { unsent: false, last: false, class, not_before: pause.unwrap_or(now.mono) }
            }
            None => Means::Again(now.mono),
        };
        judgement.outcome = match class {
            _ if seen.crowded.is_some() => Outcome::Other,
            Class::RateLimited => Outcome::Refused { signal },
            Class::SlowDown => Outcome::SlowDown { signal },
            _ => Outcome::Other,
        };
        let of_day = |hint: &ServerHint| hint.refused && hint.window.is_some_and(|window| is_daily(window.least));
        judgement.stop = if reply.hints.iter().any(of_day) {
            let until = pause.unwrap_or(now.mono);
            self.patience.excuse(until);
            let wait = wait.unwrap_or_else(|| now.mono.until(until));
            let exits = self.rules.on_day_limit == OnDayLimit::Exit;
            exits.then(|| Stop::server_day_limit(format!("{class}: {message}"), wait))
        } else {
            self.loses_patience(now, failure)
        };
        judgement
    }

    /// Too many are at the server at a time. One that ends makes room for the next; what was refused waits as long as the server says, if none of
    /// ours is there.
    fn crowded(&mut self, now: &Now, reply: Reply<'_>, failure: &Failure) -> Judgement {
        let mut judgement = self.is_there(now, reply, true);
        // Some gateways name the window of another limit then (litellm 1.110): where one of ours holds the place, its end is what is waited for.
        let wait = failure.wait.filter(|_| reply.others == 0).unwrap_or_default();
        judgement.means = Means::Again(now.mono.plus(wait));
        judgement.stop = self.loses_patience(now, failure);
        judgement
    }

    /// It would refuse every prompt. What comes after good answers may be a stray refusal, of a server among several, and is asked again.
    fn refused(&mut self, now: &Now, reply: Reply<'_>, failure: &Failure, stop: RunStop, random: f64) -> Judgement {
        let (ordinal, class, message) = (reply.work.ordinal, failure.class, failure.message.clone());
        let mut judgement = Judgement::of(Means::Again(now.mono));
        if stop == RunStop::Quota && self.rules.on_quota == OnQuota::Wait {
            let probe = self.breaker.used_up(ordinal, now.mono, self.rules.quota_wait, random);
            judgement.events.extend(probe.map(|probe| paused(now, Cause::Quota, failure, probe)));
            return judgement;
        }
        let is_stray = self.has_answered && stop != RunStop::Quota;
        match if is_stray { self.breaker.refused(ordinal, now.mono, random) } else { Refused::Again } {
            Refused::First { probe } => judgement.events.push(paused(now, Cause::Refused, failure, probe)),
            Refused::Known => {}
            Refused::Again => {
                let reason = format!("{class}: {message}");
                judgement.means = Means::Stops;
                judgement.stop = Some(Stop { ending: Ending::Stopped { stop, class, message }, reason });
            }
        }
        judgement
    }

    /// It fails, or cannot be reached.
    fn failed(&mut self, now: &Now, reply: Reply<'_>, failure: &Failure, random: f64) -> Judgement {
        let Failure { kind, class, wait, billed, .. } = *failure;
        let stop = self.loses_patience(now, failure);
        let unsent = matches!(class, Class::Connection | Class::Timeout) && billed == Billed::No;
        let not_before = now.mono.plus(wait.unwrap_or_default());
        let judged = self.breaker.failed(reply.work.ordinal, reply.ticket.sent, unsent, now.mono, wait, random);
        let (means, probe) = match judged {
            Judged::Own | Judged::Unsent => {
                let means = Means::Tried { unsent, last: kind == Kind::Last, class, not_before };
                return Judgement { stop, ..Judgement::of(means) };
            }
            Judged::Opened { refunds, probe } => (Means::Outage { at: not_before, refunds }, Some(probe)),
            Judged::StillOpen { probe } => (Means::Again(not_before), probe),
        };
        let mut judgement = Judgement { stop, ..Judgement::of(means) };
        if let (Some(probe), Some(cause)) = (probe, self.breaker.open()) {
            // One that is longer than the rules bear is not begun, if nothing under way can change that.
            if reply.others > 0 || self.runs_out(now.mono, probe).is_none() {
                judgement.events.push(paused(now, cause, failure, probe));
            }
        }
        judgement
    }

    fn loses_patience(&mut self, now: &Now, failure: &Failure) -> Option<Stop> {
        self.patience.failed(now.mono, failure.class, &failure.message, failure.wait);
        self.runs_out(now.mono, now.mono)
    }
}

impl Judgement {
    fn of(means: Means) -> Self {
        Self { means, outcome: Outcome::Other, is_there: false, behind: false, events: Vec::new(), stop: None }
    }
}

/// Whether a refusal says that the request is larger than the limit itself.
fn never_fits(hint: &ServerHint) -> bool {
    hint.refused && hint.charged.zip(hint.size).is_some_and(|(charged, size)| charged > size)
}

fn paused(now: &Now, cause: Cause, failure: &Failure, probe: Mono) -> Event {
    let span = now.mono.until(probe);
    let until = now.wall + chrono::TimeDelta::from_std(span).unwrap_or_default();
    let Failure { class, message, .. } = failure;
    Event::Paused { cause, class: *class, message: message.clone(), seconds: span.as_secs_f64(), until }
}
