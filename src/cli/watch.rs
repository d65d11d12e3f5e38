//! Passes a run's events on: to the person on stderr, and as JSON lines to stdout.

use std::io::{self, Write};

use crate::admit::usage_md::Face;
use crate::drive::Watch;
use crate::plan::price::Price;
use crate::report::event::Event;
use crate::report::summary::Progress;
use crate::report::terminal::Terminal;

/// Both views of a run.
pub(super) struct Watcher {
    pub(super) terminal: Terminal,
    pub(super) json: bool,
    /// The model's price, where answers cost something.
    pub(super) price: Option<Price>,
    /// What the answers cost so far, in US dollars: request by request, because a long one has a dearer rate.
    pub(super) cost_usd: f64,
}

impl Watcher {
    pub(super) fn tell(&mut self, event: &Event) {
        self.terminal.event(event);
        if self.json {
            self.json_line(event);
        }
    }

    fn json_line(&mut self, event: &Event) {
        let written = serde_json::to_string(event)
            .map_err(io::Error::from)
            .and_then(|line| writeln!(io::stdout().lock(), "{line}"));
        if let Err(error) = written {
            // The reader has gone away; the run, which costs money, is worth more than its report.
            self.json = false;
            self.terminal.say(&format!("warning: the events cannot be written to standard output any more: {error}"));
        }
    }
}

impl Watch for Watcher {
    fn event(&mut self, event: Event) {
        if let (Event::Done { usage, .. }, Some(price)) = (&event, &self.price) {
            self.cost_usd += price.cost_usd(*usage);
        }
        self.tell(&event);
    }

    fn face(&mut self, face: Face) {
        self.terminal.face(face);
    }

    fn tick(&mut self, progress: Progress<'_>) {
        self.terminal.tick(progress);
    }
}
