//! Passes a run's events on: to the person on stderr, and as JSON lines to stdout.

use std::io::{self, Write};

use crate::admit::ledger::Used;
use crate::model::{LimitName, Limits};

use crate::drive::Watch;
use crate::plan::price::Price;
use crate::report::event::Event;
use crate::report::summary::Progress;
use crate::report::terminal::Terminal;

/// Both views of a run.
pub(super) struct Watcher {
    pub(super) terminal: Terminal,
    pub(super) json: bool,
    /// Whether what was to be read on stdout could not be written there; a reader that has read enough is no failure.
    pub(super) stdout_fails: bool,
    /// The model's price, where answers cost something.
    pub(super) price: Option<Price>,
    /// What the answers cost so far, in US dollars: request by request, because a long one has a dearer rate.
    pub(super) cost_usd: f64,
    /// The limits, of which little may be left.
    pub(super) limits: Limits,
    /// After how many answers a line of usage is told; `None` for never.
    pub(super) usage_every: Option<u64>,
    /// Answers of this run.
    pub(super) answers: usize,
    /// The latest counters.
    pub(super) latest: Option<Used>,
    /// Limits that were said to be nearly used up.
    pub(super) warned: Vec<LimitName>,
}

impl Watcher {
    pub(super) fn tell(&mut self, event: &Event) {
        self.terminal.event(event);
        if self.json {
            self.json_line(event);
        }
    }

    fn json_line(&mut self, event: &Event) {
        if let Err(error) = writeln!(io::stdout().lock(), "{}", event.to_json()) {
            // The reader has gone away; the run, which costs money, is worth more than its report.
            self.json = false;
            self.stdout_fails = error.kind() != io::ErrorKind::BrokenPipe;
            self.terminal.say(&format!("warning: the events cannot be written to standard output any more: {error}"));
        }
    }
}

impl Watcher {
    fn tell_usage(&mut self) {
        let due = self.usage_every.is_some_and(|every| (self.answers as u64).is_multiple_of(every));
        if let (true, Some(used)) = (due, self.latest) {
            self.tell(&Event::Usage {
                answers: self.answers,
                tokens_within_min: used.minute.tokens,
                requests_within_min: used.minute.requests,
                tokens_within_day: used.day.tokens,
                requests_within_day: used.day.requests,
            });
        }
    }

    /// Says once of each limit that less than a tenth of it is left.
    fn warn_of_little(&mut self, now: Used) {
        for (limit, used) in [
            (LimitName::TokensPerMinute, now.minute.tokens),
            (LimitName::RequestsPerMinute, now.minute.requests),
            (LimitName::TokensPerDay, now.day.tokens),
            (LimitName::RequestsPerDay, now.day.requests),
        ] {
            let most = self.limits.day_most(limit).or(self.limits.of(limit));
            if let Some(most) = most.filter(|most| used > most - most / 10)
                && !self.warned.contains(&limit)
            {
                self.warned.push(limit);
                self.tell(&Event::LimitNearlyUsed { limit, used, most });
            }
        }
    }
}

impl Watch for Watcher {
    fn event(&mut self, event: Event) {
        if let (Event::Done { usage, .. }, Some(price)) = (&event, &self.price) {
            self.cost_usd += price.cost_usd(*usage);
        }
        let answered = matches!(event, Event::Done { .. });
        self.tell(&event);
        if answered {
            self.answers += 1;
            self.tell_usage();
        }
    }

    fn used(&mut self, used: Used) {
        self.terminal.used(used);
        self.latest = Some(used);
        self.warn_of_little(used);
    }

    fn tick(&mut self, progress: Progress<'_>) {
        self.terminal.tick(progress);
    }
}
