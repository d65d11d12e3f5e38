//! How a run ends: its sum, which the journal keeps.

use super::ended::Ended;
use super::run::Run;
use crate::model::{Ending, Exit, Supply};
use crate::record::Store;
use crate::report::closing::{stopped_by, unkept};
use crate::report::summary::{Summary, Tally};

impl Run<'_> {
    /// Adds up what came of it, and journals that where the run `ran`.
    pub(super) fn close(
        &mut self,
        supply: &Supply,
        tally: &Tally,
        ending: &Ending,
        store: Option<&mut dyn Store>,
        ran: bool,
    ) -> Ended {
        let summary = Summary {
            prompts: supply.prompts,
            up_to_date: supply.up_to_date,
            pending: supply.to_do() - tally.done - tally.failed,
            tally: tally.clone(),
            cost_usd: self.watch.meter.cost_usd(),
            seconds: self.mill.started.until(self.clock.mono()).as_secs_f64(),
            exit_code: Exit::of(ending, tally.failed + tally.kept).code(),
            stopped_by: stopped_by(ending, &self.mill.settings.limits, self.mill.settings.day),
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
        Ended { summary, ending: ending.clone(), runtime: None }
    }
}
