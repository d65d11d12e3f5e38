//! The last that a run does: it waits until what was said of it is written.

use std::time::Duration;

use super::run::{Run, is_signalled};
use crate::model::text::counted;
use crate::model::{Ending, Exit};

/// What is left is looked at this often.
const STEP: Duration = Duration::from_millis(50);
/// A run that was told to end, or that broke, waits so many steps for its readers.
const SHORT: u32 = 20;
/// After so many steps it is said that the run waits for who reads stdout.
const SAID: u32 = 40;

impl Run<'_> {
    /// Waits until all that was said is written, and says what is not. A run that ends by itself waits however slow its reader is, until a signal
    /// comes; one that was told to end, or that is in a `hurry`, waits for a moment.
    pub(super) fn finish(&mut self, exit: Exit, hurry: bool) -> Exit {
        let mut steps = if hurry || self.signal.is_some() { SHORT } else { u32::MAX };
        let mut step = 0;
        while self.watcher.stdout.wait(STEP) > 0 && step < steps {
            step += 1;
            steps = self.steps_left(step, steps);
            if step == SAID && steps == u32::MAX {
                let left = self.lines(self.watcher.stdout.wait(Duration::ZERO));
                let line =
                    format!("waiting for standard output to be read: {left} to be written; Ctrl-C ends the wait");
                self.watcher.terminal.say(&line);
            }
        }
        let unwritten = self.watcher.stdout.wait(Duration::ZERO) + self.watcher.stdout.lost();
        if unwritten > 0 {
            let were = if unwritten == 1 { "was" } else { "were" };
            self.watcher.terminal.say(&format!("{} {were} not written: stdout was not read", self.lines(unwritten)));
        }
        (step, steps) = (0, if steps == u32::MAX { steps } else { SHORT / 2 });
        while self.watcher.terminal.wait(STEP) > 0 && step < steps {
            step += 1;
            steps = self.steps_left(step, steps);
        }
        match self.signal {
            Some(signal) => Exit::of(&Ending::Interrupted(signal), 0),
            None if exit == Exit::Done && self.watcher.stdout.failure().is_some() => Exit::SomeFailed,
            None => exit,
        }
    }

    /// After a signal there is a moment more, after a second one none.
    fn steps_left(&mut self, step: u32, steps: u32) -> u32 {
        let before = self.signal;
        match is_signalled(&mut self.news, &mut self.signal) {
            true if before.is_some() => 0,
            true => steps.min(step.saturating_add(SHORT)),
            false => steps,
        }
    }

    fn lines(&self, lines: usize) -> String {
        counted(lines, if self.args.json { "event" } else { "line" })
    }
}
