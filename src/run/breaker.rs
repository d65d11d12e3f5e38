//! The circuit breaker: when the server fails, or the account is used up, one request at a time asks whether it is back.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;

use super::JobIndex;
use crate::clock::Mono;
use crate::send::backoff::{probe_wait, quota_wait};

/// So many failures of several prompts in a row, in the order in which they were sent, are the server's.
const FAILURES: usize = 8;
/// They are of at least so many prompts: one that always fails is the prompt's own fault.
const PROMPTS: usize = 3;
/// So many requests in a row that never reached it are the server's, or the network's, whatever the prompts.
const UNSENT: usize = 3;

/// More are not remembered.
const MOST_FAILURES: usize = 64;

/// Why admission stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The server, or the network, fails.
    Outage,
    /// The account is used up.
    Quota,
}

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
    /// One among answers: the prompt's own attempt.
    Own,
    /// Others fail too, and none is answered: it is most likely the server, and uses up no attempt.
    Suspected,
    /// It is the server: these prompts get their attempts back, and the next request is a probe at this moment.
    Opened {
        /// Prompts that were charged an attempt since the last answer.
        refunds: Vec<JobIndex>,
        /// When it is tried.
        probe: Mono,
    },
    /// It was known to be the server, and is tried again at this moment, if the request was the probe.
    StillOpen {
        /// When it is tried.
        probe: Option<Mono>,
    },
}

/// The breaker.
#[derive(Clone, Debug, Default)]
pub(super) struct Breaker {
    /// When the latest request that was answered had been sent.
    answered: Option<Mono>,
    /// Failures of requests that were sent after that.
    failures: Vec<Fault>,
    open: Option<Open>,
}

#[derive(Clone, Copy, Debug)]
struct Fault {
    sent: Mono,
    heard: Mono,
    job: JobIndex,
    unsent: bool,
    /// Whether it used up an attempt.
    charged: bool,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    cause: Cause,
    since: Mono,
    step: u32,
    probe_at: Mono,
    /// The probe under way.
    probe: Option<JobIndex>,
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

    /// Why it is open, since when, and when the next probe leaves.
    pub(super) fn open(&self) -> Option<(Cause, Mono, Mono)> {
        self.open.map(|open| (open.cause, open.since, open.probe_at))
    }

    /// A request leaves.
    pub(super) fn sent(&mut self, job: JobIndex) {
        if let Some(open) = &mut self.open {
            open.probe.get_or_insert(job);
        }
    }

    /// The server answered a request that left at `sent`: it is there. Returns what was open and is closed by it.
    pub(super) fn answered(&mut self, job: JobIndex, sent: Mono) -> Option<Cause> {
        self.answered = self.answered.max(Some(sent));
        self.failures.retain(|failure| failure.sent > sent);
        let open = self.open.filter(|open| open.probe == Some(job))?;
        self.open = None;
        self.failures.clear();
        Some(open.cause)
    }

    /// The server failed a request that left at `sent`; `unsent` where it never reached it. `wait` is what the server asks for.
    pub(super) fn failed(
        &mut self,
        job: JobIndex,
        sent: Mono,
        unsent: bool,
        now: Mono,
        wait: Option<Duration>,
        random: f64,
    ) -> Judged {
        if self.open.is_some() {
            return self.still_open(job, now, wait, random);
        }
        if self.answered.is_some_and(|answered| sent <= answered) {
            return if unsent { Judged::Suspected } else { Judged::Own };
        }
        let others = self.failures.iter().any(|failure| failure.job != job);
        let charged = !unsent;
        if self.failures.len() == MOST_FAILURES {
            self.failures.remove(0);
        }
        self.failures.push(Fault { sent, heard: now, job, unsent, charged });
        let prompts: BTreeSet<JobIndex> = self.failures.iter().map(|failure| failure.job).collect();
        let never_reached = self.failures.iter().rev().take_while(|failure| failure.unsent).count();
        if never_reached >= UNSENT || (self.failures.len() >= FAILURES && prompts.len() >= PROMPTS) {
            let refunds = self.failures.iter().filter(|failure| failure.charged).map(|failure| failure.job).collect();
            let since = self.failures.iter().map(|failure| failure.heard).min().unwrap_or(now);
            let probe = now.plus(probe_wait(1, wait, random));
            self.open = Some(Open { cause: Cause::Outage, since, step: 1, probe_at: probe, probe: None });
            return Judged::Opened { refunds, probe };
        }
        // So many failures without a third prompt among them are those prompts' own.
        if unsent || (others && self.failures.len() < FAILURES) { Judged::Suspected } else { Judged::Own }
    }

    /// A failure that used up no attempt after all gives none back.
    pub(super) fn spare(&mut self) {
        if let Some(failure) = self.failures.last_mut() {
            failure.charged = false;
        }
    }

    /// The account is used up. Returns when it is asked again, where this is news.
    pub(super) fn used_up(&mut self, job: JobIndex, now: Mono, first: Duration, random: f64) -> Option<Mono> {
        match &mut self.open {
            Some(open) if open.cause == Cause::Quota && open.probe != Some(job) => None,
            Some(open) if open.cause == Cause::Quota => {
                open.step += 1;
                open.probe = None;
                open.probe_at = now.plus(quota_wait(first, open.step, random));
                Some(open.probe_at)
            }
            _ => {
                let probe_at = now.plus(quota_wait(first, 1, random));
                self.open = Some(Open { cause: Cause::Quota, since: now, step: 1, probe_at, probe: None });
                Some(probe_at)
            }
        }
    }

    fn still_open(&mut self, job: JobIndex, now: Mono, wait: Option<Duration>, random: f64) -> Judged {
        let Some(open) = self.open.as_mut().filter(|open| open.probe == Some(job)) else {
            return Judged::StillOpen { probe: None };
        };
        open.step += 1;
        open.probe = None;
        open.probe_at = now.plus(probe_wait(open.step, wait, random));
        Judged::StillOpen { probe: Some(open.probe_at) }
    }
}
