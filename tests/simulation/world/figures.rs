//! What one run against a server came to, measured from outside: by a stopwatch, and by what the server saw.

use std::collections::BTreeMap;

use promptmill::model::{Class, Ending};
use promptmill::report::event::Event;
use promptmill::send::classify::{Billed, Failure, Verdict};

use super::super::laws::number;
use super::super::setting::{More, Prompt, SECOND};
use super::{Happening, World};

/// What one run came to; all times in nanoseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    began: u64,
    /// The least that it could take, for one who knows the server's rules.
    pub(crate) least: u64,
    pub(crate) took: u64,
    /// `None` where it did not end in time.
    pub(crate) ending: Option<Ending>,
    /// When each prompt's answer was heard, after the start.
    pub(crate) answered: BTreeMap<u64, u64>,
    pub(crate) failed: Vec<(u64, Class)>,
    /// When requests came to the server, and whether it answered; and how many of them it did not answer.
    pub(crate) arrivals: Vec<(u64, bool)>,
    pub(crate) refused: usize,
    /// Failures that may be billed; and those of requests that were begun after the first of them was heard of.
    pub(crate) maybe: usize,
    pub(crate) maybe_later: usize,
    first_maybe: Option<u64>,
    /// How often a limit of the server was spoken of.
    pub(crate) said: usize,
}

impl Figures {
    /// A request that was begun at `begun` comes to the server at `at`, which says `verdict`.
    pub(super) fn arrives(&mut self, begun: u64, at: u64, verdict: &Verdict) {
        self.arrivals.push((at, matches!(verdict, Verdict::Answer(_))));
        let Verdict::Failure(Failure { billed, .. }) = verdict else { return };
        self.refused += 1;
        if *billed == Billed::Maybe {
            self.maybe += 1;
            self.maybe_later += usize::from(self.first_maybe.is_some_and(|first| begun > first));
        }
    }

    /// An answer, or what stands in its place, is heard of.
    pub(super) fn heard(&mut self, prompt: u64, at: u64, verdict: &Verdict) {
        match verdict {
            Verdict::Answer(_) => drop(self.answered.insert(prompt, at - self.began)),
            Verdict::Failure(Failure { billed: Billed::Maybe, .. }) => drop(self.first_maybe.get_or_insert(at)),
            Verdict::Failure(_) => {}
        }
    }

    pub(super) fn said(&mut self, event: &Event) {
        match event {
            Event::LimitLearned { .. } | Event::RateCut { .. } => self.said += 1,
            Event::Failed { key, class, .. } => self.failed.push((number(key), *class)),
            _ => {}
        }
    }

    pub(crate) fn requests(&self) -> usize {
        self.arrivals.len()
    }

    /// The most requests that came in any second.
    pub(crate) fn busiest_second(&self) -> usize {
        let within = |(first, (at, _)): (usize, &(u64, bool))| {
            self.arrivals[first..].iter().take_while(|(other, _)| *other < at + SECOND).count()
        };
        self.arrivals.iter().enumerate().map(within).max().unwrap_or(0)
    }
}

impl World {
    /// A measured run begins, with so much to do.
    pub(super) fn measure(&mut self) {
        if self.case.measured.is_none() {
            return;
        }
        let charges: Vec<u64> =
            self.work.iter().map(|work| self.charge(self.prompts[&number(&work.key)].usage)).collect();
        let least = self.server.least(self.mono, &charges, self.case.work, 2 * self.case.transit);
        self.figures = Figures { began: self.mono, least, ..Figures::default() };
    }

    /// Whether a measured run goes on at `at` for too long.
    pub(super) fn takes_too_long(&self, at: u64) -> bool {
        self.machine.is_some() && self.case.measured.is_some_and(|most| at > self.figures.began + most)
    }

    /// A measured run is over: the next begins, if there is one.
    pub(super) fn measured(&mut self, ending: Option<Ending>) {
        self.figures.took = self.mono - self.figures.began;
        self.done = !matches!(ending, Some(Ending::Complete));
        self.figures.ending = ending;
        self.outcome.figures.push(std::mem::take(&mut self.figures));
        let Some(More { rest, prompts, server }) = self.more.pop_front().filter(|_| !self.done) else {
            self.done = true;
            return;
        };
        let last = self.prompts.keys().next_back().copied().unwrap_or(0);
        for (number, usage) in (last + 1..).zip(prompts) {
            self.prompts.insert(number, Prompt { usage, batch: 0, doomed: false, version: 0 });
        }
        if let Some(manner) = server {
            self.server.replace(manner);
        }
        self.machine = None;
        self.run += 1;
        self.restarts_at = self.mono + rest;
        self.push(0, rest, Happening::Restart);
    }
}
