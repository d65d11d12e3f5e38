//! How a run says that it has ended: its closing line, and what is to be known beside it.

use super::print;
use super::run::Run;
use crate::model::{Ending, Exit};
use crate::plan::Plan;
use crate::record::Store;
use crate::report::closing::{remarks, stopped_by, unkept};
use crate::report::event::Event;
use crate::report::summary::{Summary, Tally};

impl Run<'_> {
    /// Prints the closing line and what is to be known beside it.
    pub(super) fn close(
        &mut self,
        plan: &Plan,
        tally: &Tally,
        ending: &Ending,
        store: Option<&mut dyn Store>,
        ran: bool,
    ) -> Exit {
        let exit = Exit::of(ending, tally.failed + tally.kept);
        let summary = Summary {
            prompts: plan.prompts(),
            up_to_date: plan.up_to_date,
            pending: plan.prompts() - plan.up_to_date - tally.done - tally.failed,
            tally: tally.clone(),
            cost_usd: self.watcher.meter.cost_usd(),
            seconds: self.started.until(self.clock.mono()).as_secs_f64(),
            exit_code: exit.code(),
            stopped_by: stopped_by(ending, &self.prepared.settings.limits, self.prepared.settings.day),
        };
        if ran
            && let Some(store) = store
            && let Err(error) = store.end_run(&summary.to_string(), &self.clock.now())
            && !matches!(ending, Ending::Store(_))
        {
            self.warning(error.to_string());
        }
        for message in unkept(tally) {
            self.warning(message);
        }
        self.watcher.terminal.end();
        if self.args.json {
            let stopped_by = summary.stopped_by.clone();
            self.watcher.tell(&Event::Summary(summary));
            if let (Ending::Broken(_), Some(reason)) = (ending, stopped_by) {
                self.watcher.terminal.say(&format!("ended early: {reason}"));
            }
            return self.read(exit);
        }
        if !self.args.quiet {
            for line in remarks(&summary) {
                self.watcher.terminal.say(&line);
            }
        }
        if let Some(reason) = &summary.stopped_by {
            self.watcher.terminal.say(&format!("ended early: {reason}"));
        }
        // The run has ended as it has ended, whoever reads of it.
        if let Err(error) = print(&[summary.to_string()]) {
            self.watcher.stdout_fails = true;
            self.watcher.terminal.say(&format!("warning: {error}; the closing line: {summary}"));
        }
        self.read(exit)
    }

    /// The exit code of a run, where what was to be read of it may not have been written.
    fn read(&self, exit: Exit) -> Exit {
        if exit == Exit::Done && self.watcher.stdout_fails { Exit::SomeFailed } else { exit }
    }
}
