//! What a run takes over from earlier ones: the ledger, answers that could not be written, and requests whose run was killed.

use super::Failure;
use super::run::Run;
use crate::atomic::{folder_of, remove_leftovers};
use crate::clock::Now;
use crate::count::Tokenizer;
use crate::model::text::{count, counted};
use crate::model::{Content, Usage};
use crate::record::{self, FaceFound, Found, Store, state_file};
use crate::report::event::Event;
use crate::run::recover::Recovery;
use crate::write::Sink;

/// A temporary file of `usage.md` that is older than this was left by a killed process.
const LEFTOVER_AGE: chrono::TimeDelta = chrono::TimeDelta::minutes(1);

impl Run<'_> {
    /// Opens the ledger, and takes in an edit of `usage.md`.
    pub(super) fn open_store(&mut self, now: &Now) -> Result<Box<dyn Store>, Failure> {
        let settings = &self.mill.settings;
        let has_history = state_file(&settings.ledger).exists();
        let (ledger, limits, boot) = (settings.ledger.clone(), settings.limits, self.clock.boot());
        let mut store = self.patiently(|now| record::open(&ledger, limits, boot.clone(), now))?;
        let settings = &self.mill.settings;
        // Other processes may share the ledger: only what none of them can be about to rename. What stays does no harm.
        let old = (now.wall - LEFTOVER_AGE).into();
        let _ = remove_leftovers(folder_of(&settings.ledger), Some(old));
        let ledger = settings.ledger.display().to_string();
        if let Ok(target) = std::fs::read_link(&settings.ledger) {
            let target = std::fs::canonicalize(&settings.ledger).unwrap_or(target);
            let target = target.display();
            self.warning(format!(
                "{ledger} is a link to {target}; a file takes its place, and {target} stays as it is. To keep the ledger there, use --ledger {target}"
            ));
        }
        if self.order.reset_usage {
            let kept = self.patiently(|now| store.reset_usage(now))?;
            let kept = kept.map_or(String::new(), |kept| format!("; the old file is {}", kept.display()));
            self.watch.say(&format!("{ledger}: all counters are set to zero{kept}"));
        } else if let FaceFound::Edited(face) = self.patiently(|now| store.take_edit(now))? {
            let minute = face.minute;
            let why = if has_history { "was edited" } else { "has no history" };
            self.watch.say(&format!(
                "{ledger} {why}; its numbers hold: {} tokens and {} requests in this minute, {} tokens in the day {}",
                count(minute.tokens),
                count(minute.requests),
                count(face.day_tokens),
                face.date
            ));
        }
        Ok(store)
    }

    /// Writes answers that an earlier run received and could not write.
    pub(super) fn write_kept(
        &mut self,
        store: &mut dyn Store,
        found: &mut Found,
        sink: &dyn Sink,
    ) -> Result<(), Failure> {
        let mut written = Vec::new();
        for answer in std::mem::take(&mut found.kept) {
            match sink.put(&answer.key, &Content::Answer(answer.text.clone()), false) {
                Ok(_) => written.push(answer),
                // The prompt fails again, and is told so.
                Err(error) if error.is_alone() => found.kept.push(answer),
                Err(source) => return Err(Failure::Kept { source }),
            }
        }
        if written.is_empty() {
            return Ok(());
        }
        // The answers are on disk for good before the store forgets them.
        sink.flush().map_err(|source| Failure::Kept { source })?;
        for answer in &written {
            self.patiently(|now| store.recover_kept(answer, now))?;
        }
        self.watch.say(&format!("{} of an earlier run written now", counted(written.len(), "answer")));
        Ok(())
    }

    /// Tells of the requests whose run died, and journals the answers of theirs that are on disk. `sent_again` of the others are sent again now.
    pub(super) fn settle_lost(
        &mut self,
        store: &mut dyn Store,
        recovery: &Recovery,
        sent_again: usize,
        sink: &dyn Sink,
    ) -> Result<(), Failure> {
        let Recovery { answered, unknown } = recovery;
        if answered.is_empty() && unknown.is_empty() {
            return Ok(());
        }
        let price = self.mill.price(self.clock.now().wall);
        self.watch.tell(Event::Recovered {
            requests: answered.len() + unknown.len(),
            answered: answered.len(),
            sent_again,
            most_tokens: unknown.iter().map(|request| request.reserved_tokens).sum(),
            most_cost_usd: price.map(|price| unknown.iter().map(|request| price.cost_usd(request.most_usage())).sum()),
        });
        if answered.is_empty() {
            return Ok(());
        }
        let tokenizer = Tokenizer::for_model(&self.mill.settings.template.model);
        let with_usage = answered.iter().map(|(request, content)| {
            let text = sink.text(&request.key).unwrap_or_default();
            let usage =
                Usage { input_tokens: request.input_tokens, output_tokens: tokenizer.count(&text), ..Usage::default() };
            (request.clone(), usage, *content)
        });
        let with_usage: Vec<_> = with_usage.collect();
        Ok(self.patiently(|now| store.recover_lost(&with_usage, now))?)
    }
}
