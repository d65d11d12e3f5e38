//! The last that a run does: it waits until what was said of it is written.

use std::time::Duration;

use super::watch::Watcher;
use crate::drive::Control;
use crate::model::text::counted;
use crate::model::{Ending, Exit};

/// What is left is looked at this often.
const STEP: Duration = Duration::from_millis(50);
/// A run that was told to end, or that broke, waits so many steps for its readers.
const SHORT: u32 = 20;
/// After so many steps it is said that the run waits for who reads stdout.
const SAID: u32 = 40;

impl Watcher<'_> {
    /// Waits until all that was said is written, and says what is not. A run that ends by itself waits however slow its reader is, until a signal
    /// comes; one that was told to end, or that is in a `hurry`, waits for a moment.
    pub(super) fn finish(&mut self, control: &mut Control, exit: Exit, hurry: bool) -> Exit {
        let mut steps = if hurry || control.signal().is_some() { SHORT } else { u32::MAX };
        let mut step = 0;
        while self.stdout.wait(STEP) > 0 && step < steps {
            step += 1;
            steps = steps_left(control, step, steps);
            if step == SAID && steps == u32::MAX {
                let left = self.lines(self.stdout.wait(Duration::ZERO));
                let line =
                    format!("waiting for standard output to be read: {left} to be written; Ctrl-C ends the wait");
                self.terminal.say(&line);
            }
        }
        let unwritten = self.stdout.wait(Duration::ZERO) + self.stdout.lost();
        if unwritten > 0 {
            let were = if unwritten == 1 { "was" } else { "were" };
            self.terminal.say(&format!("{} {were} not written: stdout was not read", self.lines(unwritten)));
        }
        (step, steps) = (0, if steps == u32::MAX { steps } else { SHORT / 2 });
        while self.terminal.wait(STEP) > 0 && step < steps {
            step += 1;
            steps = steps_left(control, step, steps);
        }
        match control.signal() {
            Some(signal) => Exit::of(&Ending::Interrupted(signal), 0),
            None if exit == Exit::Done && self.stdout.failure().is_some() => Exit::SomeFailed,
            None => exit,
        }
    }

    fn lines(&self, lines: usize) -> String {
        counted(lines, if self.json { "event" } else { "line" })
    }
}

/// After a signal there is a moment more, after a second one none.
fn steps_left(control: &mut Control, step: u32, steps: u32) -> u32 {
    let before = control.signal();
    match control.is_signalled() {
        true if before.is_some() => 0,
        true => steps.min(step.saturating_add(SHORT)),
        false => steps,
    }
}
