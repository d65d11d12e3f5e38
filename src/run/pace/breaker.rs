//! The circuit breaker: when the server fails or refuses, or the account is used up, one request at a time asks whether it is back.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Ordinal;
use crate::clock::Mono;
use crate::model::Cause;
use crate::send::backoff::{probe_wait, quota_wait};

/// So many failures of several prompts in a row, in the order in which they were sent, are the server's.
const FAILURES: usize = 8;
/// They are of at least so many prompts: one that always fails is the prompt's own fault.
const PROMPTS: usize = 3;
/// So many requests in a row that never reached it are the server's, or the network's, whatever the prompts.
const UNSENT: usize = 3;

/// More are not remembered.
const MOST_FAILURES: usize = 64;

/// What may be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// Whatever else allows.
    Open,
    /// One request, to see whether it is answered.
    Probe,
    /// Nothing before this moment.
    NotBefore(Mono),
    /// Nothing until the probe under way is heard of.
    Probing,
}

/// What a failure means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// As far as is known the prompt's own: it uses up an attempt, unless it turns out to be the server's.
    Own,
    /// It never reached the server, and uses up no attempt.
    Unsent,
    /// It is the server: these prompts get their attempts back, and the next request is a probe at this moment.
    Opened {
        /// Prompts that were charged an attempt since the last answer.
        refunds: Vec<Ordinal>,
        /// When it is tried.
        probe: Mono,
    },
    /// It was known to be the server, and is tried again at this moment, if the request was the probe.
    StillOpen {
        /// When it is tried.
        probe: Option<Mono>,
    },
}

/// What follows from a refusal that would end the run, if it were not a stray one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Its prompt is asked again at this moment, alone.
    First { probe: Mono },
    /// Another one is asked again already.
    Known,
    /// It was asked again, and is refused again.
    Again,
}

/// The breaker.
#[derive(Clone, Debug, Default)]
pub(super) struct Breaker {
    /// When the latest request that was answered had been sent.
    answered: Option<Mono>,
    /// Failures that no later request has proved to be the prompts' own: none that was sent after they were heard of is answered.
    failures: Vec<Fault>,
    open: Option<Open>,
}

#[derive(Clone, Copy, Debug)]
struct Fault {
    sent: Mono,
    heard: Mono,
    ordinal: Ordinal,
    unsent: bool,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    cause: Cause,
    step: u32,
    probe_at: Mono,
    /// The probe under way.
    probe: Option<Ordinal>,
    /// Whose request is the probe; `None` where any is.
    wanted: Option<Ordinal>,
}

impl Breaker {
    /// What may be sent at `now`.
    pub(super) fn gate(&self, now: Mono) -> Gate {
        match self.open {
            None => Gate::Open,
            Some(Open { probe: Some(_), .. }) => Gate::Probing,
            Some(open) if now < open.probe_at => Gate::NotBefore(open.probe_at),
            Some(_) => Gate::Probe,
        }
    }

    /// Why it is open.
    pub(super) fn open(&self) -> Option<Cause> {
        self.open.map(|open| open.cause)
    }

    /// The only piece of work whose request may be sent; `None` where any may.
    pub(super) fn wanted(&self) -> Option<Ordinal> {
        self.open.and_then(|open| open.wanted)
    }

    /// A request leaves.
    pub(super) fn sent(&mut self, ordinal: Ordinal) {
        if let Some(open) = &mut self.open {
            open.probe.get_or_insert(ordinal);
        }
    }

    /// The server answered a request that left at `sent`, if only that the rate is too high (`throttled`): it is there. Returns what was open and
    /// is closed by it.
    pub(super) fn answered(&mut self, ordinal: Ordinal, sent: Mono, throttled: bool) -> Option<Cause> {
        self.answered = self.answered.max(Some(sent));
        self.failures.retain(|failure| failure.heard > sent);
        let open = self.open.filter(|open| open.probe == Some(ordinal))?;
        if throttled && open.cause == Cause::Refused {
            // That says nothing of what was refused.
            self.probe_again(ordinal);
            return None;
        }
        self.open = None;
        self.failures.clear();
        Some(open.cause)
    }

    /// The server failed a request that left at `sent`; `unsent` where it never reached it. `wait` is what the server asks for.
    pub(super) fn failed(
        &mut self,
        ordinal: Ordinal,
        sent: Mono,
        unsent: bool,
        now: Mono,
        wait: Option<Duration>,
        random: f64,
    ) -> Judged {
        if self.open.is_some() {
            return self.still_open(ordinal, now, wait, random);
        }
        if self.failures.len() == MOST_FAILURES {
            self.failures.remove(0);
        }
        self.failures.push(Fault { sent, heard: now, ordinal, unsent });
        // In a row: sent after the latest request that was answered.
        let row =
            || self.failures.iter().filter(|failure| self.answered.is_none_or(|answered| failure.sent > answered));
        let prompts: BTreeSet<Ordinal> = row().map(|failure| failure.ordinal).collect();
        let never_reached = self.failures.iter().rev().take_while(|failure| failure.unsent).count();
        if never_reached >= UNSENT || (row().count() >= FAILURES && prompts.len() >= PROMPTS) {
            let refunds =
                self.failures.iter().filter(|failure| !failure.unsent).map(|failure| failure.ordinal).collect();
            let probe = now.plus(probe_wait(1, wait, random));
            let cause = Cause::Outage;
            self.open = Some(Open { cause, step: 1, probe_at: probe, probe: None, wanted: None });
            return Judged::Opened { refunds, probe };
        }
        if unsent { Judged::Unsent } else { Judged::Own }
    }

    /// The account is used up. Returns when it is asked again, where this is news.
    pub(super) fn used_up(&mut self, ordinal: Ordinal, now: Mono, first: Duration, random: f64) -> Option<Mono> {
        match &mut self.open {
            Some(open) if open.cause == Cause::Quota && open.probe != Some(ordinal) => None,
            Some(open) if open.cause == Cause::Quota => {
                open.step += 1;
                open.probe = None;
                open.probe_at = now.plus(quota_wait(first, open.step, random));
                Some(open.probe_at)
            }
            _ => {
                let probe_at = now.plus(quota_wait(first, 1, random));
                let cause = Cause::Quota;
                self.open = Some(Open { cause, step: 1, probe_at, probe: None, wanted: None });
                Some(probe_at)
            }
        }
    }

    /// A request was refused as every one would be. It is asked again, alone, before that is believed.
    pub(super) fn refused(&mut self, ordinal: Ordinal, now: Mono, random: f64) -> Refused {
        match self.open {
            Some(Open { probe, .. }) if probe != Some(ordinal) => Refused::Known,
            Some(Open { cause: Cause::Refused, .. }) => Refused::Again,
            _ => {
                let (cause, probe_at) = (Cause::Refused, now.plus(probe_wait(1, None, random)));
                self.open = Some(Open { cause, step: 1, probe_at, probe: None, wanted: Some(ordinal) });
                Refused::First { probe: probe_at }
            }
        }
    }

    /// A request never left after all, for a reason of its own: if it was the probe, or was to be, another one may be.
    pub(super) fn not_sent(&mut self, ordinal: Ordinal) {
        self.probe_again(ordinal);
        if let Some(open) = self.open.as_mut().filter(|open| open.wanted == Some(ordinal)) {
            open.wanted = None;
        }
    }

    /// If it was this one's request that asked, one has to ask again.
    fn probe_again(&mut self, ordinal: Ordinal) {
        if let Some(open) = self.open.as_mut().filter(|open| open.probe == Some(ordinal)) {
            open.probe = None;
        }
    }

    fn still_open(&mut self, ordinal: Ordinal, now: Mono, wait: Option<Duration>, random: f64) -> Judged {
        let Some(open) = self.open.as_mut().filter(|open| open.probe == Some(ordinal)) else {
            return Judged::StillOpen { probe: None };
        };
        open.step += 1;
        open.probe = None;
        open.probe_at = now.plus(probe_wait(open.step, wait, random));
        Judged::StillOpen { probe: Some(open.probe_at) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn at(seconds: u64) -> Mono {
        Mono(seconds * SECOND)
    }

    fn fail(breaker: &mut Breaker, ordinal: u32, sent: u64, now: u64) -> Judged {
        breaker.failed(Ordinal(ordinal), at(sent), false, at(now), None, 0.0)
    }

    #[test]
    fn one_failure_among_answers_is_the_prompts_own() {
        let mut breaker = Breaker::default();
        for sent in (0..100).step_by(2) {
            assert_eq!(fail(&mut breaker, 1, sent, sent + 1), Judged::Own);
            assert_eq!(breaker.answered(Ordinal(2), at(sent + 1), false), None);
        }
        assert_eq!(breaker.gate(at(100)), Gate::Open);
    }

    #[test]
    fn many_prompts_failing_in_a_row_open_it_and_get_their_attempts_back() {
        let mut breaker = Breaker::default();
        breaker.answered(Ordinal(9), at(1), false);
        // A request that arrived later than it left is the first that fails; one that left after it was answered still.
        assert_eq!(fail(&mut breaker, 0, 1, 10), Judged::Own);
        breaker.answered(Ordinal(8), at(2), false);
        for job in 1..8 {
            assert_eq!(fail(&mut breaker, job, 3, 10), Judged::Own);
        }
        let Judged::Opened { refunds, probe } = fail(&mut breaker, 8, 3, 11) else { panic!("it opens") };
        assert_eq!((refunds, probe), ((0..9).map(Ordinal).collect(), at(12)));
        assert_eq!(fail(&mut breaker, 8, 3, 11), Judged::StillOpen { probe: None });
        assert_eq!(breaker.gate(at(11)), Gate::NotBefore(at(12)));
        assert_eq!(breaker.gate(at(12)), Gate::Probe);
        breaker.sent(Ordinal(3));
        assert_eq!(breaker.gate(at(13)), Gate::Probing);
        // The probe fails too: twice the wait. The server's own is a minimum.
        assert_eq!(fail(&mut breaker, 3, 12, 13), Judged::StillOpen { probe: Some(at(15)) });
        // A request that turns out not to be sendable is no probe.
        breaker.sent(Ordinal(5));
        breaker.not_sent(Ordinal(5));
        assert_eq!(breaker.gate(at(15)), Gate::Probe);
        breaker.sent(Ordinal(3));
        let asked = breaker.failed(Ordinal(3), at(15), false, at(16), Some(Duration::from_secs(50)), 0.0);
        assert_eq!(asked, Judged::StillOpen { probe: Some(at(66)) });
        breaker.sent(Ordinal(4));
        assert_eq!(breaker.answered(Ordinal(4), at(66), false), Some(Cause::Outage));
        assert_eq!(breaker.gate(at(66)), Gate::Open);
    }

    #[test]
    fn a_prompt_that_always_fails_does_not_open_it() {
        let mut breaker = Breaker::default();
        for sent in 0..100 {
            let job = u32::from(sent % 2 == 0);
            assert_eq!(fail(&mut breaker, job, sent, sent), Judged::Own);
        }
        assert_eq!(fail(&mut breaker, 1, 100, 100), Judged::Own);
    }

    #[test]
    fn what_never_reaches_the_server_opens_it_soon_and_uses_up_nothing() {
        let mut breaker = Breaker::default();
        let mut unsent = |now: u64| breaker.failed(Ordinal(0), at(now), true, at(now), None, 0.0);
        assert_eq!((unsent(0), unsent(1)), (Judged::Unsent, Judged::Unsent));
        assert_eq!(unsent(2), Judged::Opened { refunds: Vec::new(), probe: at(3) });
    }

    #[test]
    fn an_account_that_is_used_up_is_asked_after_twice_the_time_each_time() {
        let mut breaker = Breaker::default();
        let first = Duration::from_secs(300);
        let (mut now, mut waits) = (0, Vec::new());
        for _ in 0..6 {
            let probe = breaker.used_up(Ordinal(1), at(now), first, 0.0).expect("it is news");
            waits.push(at(now).until(probe).as_secs());
            // Others that were under way say the same.
            assert_eq!(breaker.used_up(Ordinal(2), at(now), first, 0.0), None);
            now = probe.0 / SECOND;
            assert_eq!(breaker.gate(at(now)), Gate::Probe);
            breaker.sent(Ordinal(1));
        }
        assert_eq!(waits, [300, 600, 1_200, 2_400, 3_600, 3_600]);
        assert_eq!(breaker.answered(Ordinal(1), at(now), false), Some(Cause::Quota));
    }

    #[test]
    fn a_refusal_is_asked_again_alone_before_it_is_believed() {
        let mut breaker = Breaker::default();
        assert_eq!(breaker.refused(Ordinal(7), at(0), 0.0), Refused::First { probe: at(1) });
        // What was in flight with it says the same.
        assert_eq!(breaker.refused(Ordinal(2), at(0), 0.0), Refused::Known);
        assert_eq!((breaker.gate(at(0)), breaker.gate(at(1))), (Gate::NotBefore(at(1)), Gate::Probe));
        assert_eq!(breaker.wanted(), Some(Ordinal(7)));
        breaker.sent(Ordinal(7));
        // An answer to another one, or that the rate is too high, says nothing of it.
        assert_eq!(breaker.answered(Ordinal(3), at(0), false), None);
        assert_eq!(breaker.answered(Ordinal(7), at(1), true), None);
        assert_eq!((breaker.gate(at(1)), breaker.wanted()), (Gate::Probe, Some(Ordinal(7))));
        breaker.sent(Ordinal(7));
        assert_eq!(breaker.answered(Ordinal(7), at(1), false), Some(Cause::Refused));
        assert_eq!((breaker.gate(at(1)), breaker.wanted()), (Gate::Open, None));
        // The next one is asked again as well, and is refused for good.
        assert_eq!(breaker.refused(Ordinal(7), at(5), 0.0), Refused::First { probe: at(6) });
        breaker.sent(Ordinal(7));
        assert_eq!(breaker.refused(Ordinal(2), at(6), 0.0), Refused::Known);
        assert_eq!(breaker.refused(Ordinal(7), at(7), 0.0), Refused::Again);
    }

    #[test]
    fn a_request_that_cannot_be_sent_is_waited_for_by_nobody() {
        let mut breaker = Breaker::default();
        breaker.refused(Ordinal(7), at(0), 0.0);
        breaker.sent(Ordinal(7));
        breaker.not_sent(Ordinal(7));
        assert_eq!((breaker.gate(at(1)), breaker.wanted()), (Gate::Probe, None));
    }

    #[test]
    fn a_probe_of_an_outage_that_is_refused_is_asked_again() {
        let mut breaker = Breaker::default();
        for job in 0..8 {
            fail(&mut breaker, job, 0, 1);
        }
        breaker.sent(Ordinal(3));
        assert_eq!(breaker.refused(Ordinal(3), at(2), 0.0), Refused::First { probe: at(3) });
        breaker.sent(Ordinal(3));
        assert_eq!(fail(&mut breaker, 3, 3, 4), Judged::StillOpen { probe: Some(at(6)) });
        breaker.sent(Ordinal(3));
        assert_eq!(breaker.refused(Ordinal(3), at(6), 0.0), Refused::Again);
    }
}
