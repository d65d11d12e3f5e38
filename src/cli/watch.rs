//! Passes a run's events on: to the person on stderr, and as JSON lines to stdout.

use std::io::IsTerminal as _;
use std::time::Duration;

use crate::admit::ledger::Used;

use super::args::RunArgs;
use super::log::start_log;
use super::{Failure, consent};
use crate::config::Environment;
use crate::config::consent::Question;
use crate::drive::parts::{Gone, Part, Unstarted};
use crate::drive::{Control, News, Watch};
use crate::mill::{Audience, Mill};
use crate::report::event::Event;
use crate::report::stderr::Stderr;
use crate::report::stdout::{Notice, Stdout};
use crate::report::summary::Progress;
use crate::report::terminal::Terminal;

/// What was said is waited for in such steps before a question.
const PATIENCE: Duration = Duration::from_secs(1);

/// Both views of a run.
pub(super) struct Watcher<'a> {
    environment: &'a Environment,
    pub(super) terminal: Terminal,
    pub(super) json: bool,
    pub(super) quiet: bool,
    pub(super) stdout: Stdout,
    /// Why there is no consent, where one was asked for.
    pub(super) no_consent: Option<Failure>,
}

impl<'a> Watcher<'a> {
    /// Starts the writers; `tell` hears of what becomes of them. Diagnostics go to stderr too, with `-v` and `-vv`.
    pub(super) fn start(
        args: &RunArgs,
        mill: &Mill,
        environment: &'a Environment,
        control: &Control,
    ) -> Result<Self, Unstarted> {
        let tell = control.tell();
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
            terminal: Terminal::new(stderr, args.verbosity(), is_terminal, mill.settings.limits, mill.clock()),
            stdout,
            json,
            quiet: args.quiet,
            no_consent: None,
            environment,
        })
    }

    pub(super) fn tell(&mut self, event: &Event) {
        self.terminal.event(event);
        if self.json {
            self.stdout.line(event.to_json());
        }
    }
}

impl Watch for Watcher<'_> {
    fn event(&mut self, event: Event) {
        self.tell(&event);
    }

    fn used(&mut self, used: Used) {
        self.terminal.used(used);
    }

    fn is_behind(&self) -> bool {
        self.stdout.is_behind()
    }

    fn tick(&mut self, progress: Progress<'_>) {
        self.terminal.tick(progress);
    }
}

impl Audience for Watcher<'_> {
    fn say(&mut self, line: &str) {
        self.terminal.say(line);
    }

    fn consents(&mut self, question: &Question) -> bool {
        // What was said before stands above the question.
        while self.terminal.wait(PATIENCE) > 0 {}
        self.no_consent = consent::obtain(question, self.environment).err();
        self.no_consent.is_none()
    }
}
