//! How a run says that it has ended: its closing line, and what is to be known beside it.

use std::time::Duration;

use super::run::Run;
use crate::model::{Ending, Exit, Supply};
use crate::record::Store;
use crate::report::closing::{remarks, stopped_by, unkept};
use crate::report::event::Event;
use crate::report::summary::{Summary, Tally};

/// The closing line waits so long for the lines before it, which go another way.
const IN_ORDER: Duration = Duration::from_millis(500);

impl Run<'_> {
    /// Prints the closing line and what is to be known beside it.
    pub(super) fn close(
        &mut self,
        supply: &Supply,
        tally: &Tally,
        ending: &Ending,
        store: Option<&mut dyn Store>,
        ran: bool,
    ) -> Exit {
        let exit = Exit::of(ending, tally.failed + tally.kept);
        let summary = Summary {
            prompts: supply.prompts,
            up_to_date: supply.up_to_date,
            pending: supply.to_do() - tally.done - tally.failed,
            tally: tally.clone(),
            cost_usd: self.watcher.meter.cost_usd(),
            seconds: self.started.until(self.clock.mono()).as_secs_f64(),
            exit_code: exit.code(),
            stopped_by: stopped_by(ending, &self.prepared.settings.limits, self.prepared.settings.day),
        };
        if ran
            && let Some(store) = store
            && let Err(error) = self.patiently(|now| store.end_run(&summary.to_string(), now))
            && !matches!(ending, Ending::Store(_))
        {
            self.warning(error.to_string());
        }
        for message in unkept(tally) {
            self.warning(message);
        }
        self.watcher.terminal.end();
        let hurry = matches!(ending, Ending::Broken(_));
        if self.args.json {
            let stopped_by = summary.stopped_by.clone();
            self.watcher.tell(&Event::Summary(summary));
            if let (Ending::Broken(_), Some(reason)) = (ending, stopped_by) {
                self.watcher.terminal.say(&format!("ended early: {reason}"));
            }
            return self.finish(exit, hurry);
        }
        if !self.args.quiet {
            for line in remarks(&summary) {
                self.watcher.terminal.say(&line);
            }
        }
        if let Some(reason) = &summary.stopped_by {
            self.watcher.terminal.say(&format!("ended early: {reason}"));
        }
        // On a terminal it is the last line.
        let _ = self.watcher.terminal.wait(IN_ORDER);
        self.watcher.stdout.line(summary.to_string());
        if self.watcher.stdout.wait(IN_ORDER) == 0
            && let Some(error) = self.watcher.stdout.failure()
        {
            // The run has ended as it has ended, whoever reads of it.
            let line = format!("warning: cannot write to standard output: {error}; the closing line: {summary}");
            self.watcher.terminal.say(&line);
        }
        self.finish(exit, hurry)
    }
}
