//! How a run says that it has ended: its closing line, and what is to be known beside it.

use std::time::Duration;

use super::watch::Watcher;
use crate::drive::Control;
use crate::mill::Ended;
use crate::model::{Ending, Exit};
use crate::report::closing::remarks;
use crate::report::event::Event;

/// The closing line waits so long for the lines before it, which go another way.
const IN_ORDER: Duration = Duration::from_millis(500);

impl Watcher<'_> {
    /// Prints the closing line and what is to be known beside it.
    pub(super) fn close(&mut self, control: &mut Control, ended: &Ended) -> Exit {
        let Ended { summary, ending, .. } = ended;
        let exit = ended.exit();
        self.terminal.end();
        let hurry = matches!(ending, Ending::Broken(_));
        if self.json {
            self.tell(&Event::Summary(summary.clone()));
            if let (Ending::Broken(_), Some(reason)) = (ending, &summary.stopped_by) {
                self.terminal.say(&format!("ended early: {reason}"));
            }
            return self.finish(control, exit, hurry);
        }
        if !self.quiet {
            for line in remarks(summary) {
                self.terminal.say(&line);
            }
        }
        if let Some(reason) = &summary.stopped_by {
            self.terminal.say(&format!("ended early: {reason}"));
        }
        // On a terminal it is the last line.
        let _ = self.terminal.wait(IN_ORDER);
        self.stdout.line(summary.to_string());
        if self.stdout.wait(IN_ORDER) == 0
            && let Some(error) = self.stdout.failure()
        {
            // The run has ended as it has ended, whoever reads of it.
            let line = format!("warning: cannot write to standard output: {error}; the closing line: {summary}");
            self.terminal.say(&line);
        }
        self.finish(control, exit, hurry)
    }
}
