//! Passes a run's events on: to the person on stderr, and as JSON lines to stdout.

use std::io::{self, Write};

use crate::admit::ledger::Used;

use crate::drive::Watch;
use crate::report::event::Event;
use crate::report::meter::Meter;
use crate::report::summary::Progress;
use crate::report::terminal::Terminal;

/// Both views of a run.
pub(super) struct Watcher {
    pub(super) terminal: Terminal,
    pub(super) json: bool,
    /// Whether what was to be read on stdout could not be written there; a reader that has read enough is no failure.
    pub(super) stdout_fails: bool,
    /// What is used and what it costs.
    pub(super) meter: Meter,
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

impl Watch for Watcher {
    fn event(&mut self, event: Event) {
        let after = self.meter.event(&event);
        self.tell(&event);
        if let Some(event) = after {
            self.tell(&event);
        }
    }

    fn used(&mut self, used: Used) {
        self.terminal.used(used);
        for event in self.meter.used(used) {
            self.tell(&event);
        }
    }

    fn tick(&mut self, progress: Progress<'_>) {
        self.terminal.tick(progress);
    }
}
