//! Passes a run's events on: to the person on stderr, and as JSON lines to stdout.

use std::io::IsTerminal as _;

use tokio::sync::mpsc::UnboundedSender;

use crate::admit::ledger::Used;

use super::args::RunArgs;
use super::process::start_log;
use crate::clock::Clock;
use crate::config::Settings;
use crate::drive::parts::{Gone, Part, Unstarted};
use crate::drive::{News, Watch};
use crate::report::event::Event;
use crate::report::meter::Meter;
use crate::report::stderr::Stderr;
use crate::report::stdout::{Notice, Stdout};
use crate::report::summary::Progress;
use crate::report::terminal::Terminal;

/// Both views of a run.
pub(super) struct Watcher {
    pub(super) terminal: Terminal,
    json: bool,
    pub(super) stdout: Stdout,
    /// What is used and what it costs.
    pub(super) meter: Meter,
}

impl Watcher {
    /// Starts the writers; `tell` hears of what becomes of them. Diagnostics go to stderr too, with `-v` and `-vv`.
    pub(super) fn start(
        args: &RunArgs,
        settings: &Settings,
        clock: Clock,
        tell: &UnboundedSender<News>,
    ) -> Result<Self, Unstarted> {
        let died = |part| {
            let tell = tell.clone();
            move || {
                let _ = tell.send(News::Gone(Gone { part, panicked: true }));
            }
        };
        let stderr_died = died(Part::Stderr);
        let stderr = Stderr::start(stderr_died).map_err(|source| Unstarted { part: Part::Stderr, source })?;
        start_log(args.verbose, stderr.clone());
        let (stdout_died, tell, json, errors) = (died(Part::Stdout), tell.clone(), args.json, stderr.clone());
        let notice = move |notice| match notice {
            // Nobody listens before the run starts, and after it.
            Notice::Free => {
                let _ = tell.send(News::Read);
            }
            Notice::Died => stdout_died(),
            Notice::Failed(why) if json => {
                errors.say(&format!("warning: the events cannot be written to standard output any more: {why}"));
            }
            // The closing line is said elsewhere then.
            Notice::Failed(_) => {}
        };
        let stdout = Stdout::start(notice).map_err(|source| Unstarted { part: Part::Stdout, source })?;
        let is_terminal = std::io::stderr().is_terminal();
        Ok(Self {
            terminal: Terminal::new(stderr, args.verbosity(), is_terminal, settings.limits, clock),
            stdout,
            json,
            meter: Meter::new(settings.limits, settings.usage_every),
        })
    }

    pub(super) fn tell(&mut self, event: &Event) {
        self.terminal.event(event);
        if self.json {
            self.stdout.line(event.to_json());
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

    fn is_behind(&self) -> bool {
        self.stdout.is_behind()
    }

    fn tick(&mut self, progress: Progress<'_>) {
        self.terminal.tick(progress);
    }
}
