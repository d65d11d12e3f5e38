//! One run, from the scan of its prompts to the first request.

use std::collections::HashSet;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::ended::Ended;
use super::input::{of_tokenizer, recover_lost};
use super::order::{Metered, Order};
use super::{Failure, Mill};
use crate::clock::Clock;
use crate::config::needs_key;
use crate::count::Tokenizer;
use crate::drive::Control;
use crate::drive::parts::{Part, start};
use crate::model::{Ending, Key, Work};
use crate::plan::Outputs as _;
use crate::record::RunInfo;
use crate::record::entry::LostRequest;
use crate::report::event::Event;
use crate::report::summary::Tally;
use crate::run::chunk;
use crate::tripwire;
use crate::write::Sink;
use crate::write::files::Files;

/// One run, with what its steps share.
pub(super) struct Run<'a> {
    pub(super) mill: &'a mut Mill,
    pub(super) order: &'a Order,
    pub(super) clock: Clock,
    pub(super) watch: Metered<'a>,
    pub(super) control: &'a mut Control,
}

impl Run<'_> {
    pub(super) fn go(&mut self) -> Result<Ended, Failure> {
        let scan = self.mill.scan()?;
        self.warn();
        if !scan.has_text() {
            self.watch.say(&self.mill.nothing_selected(&scan));
        } else if !self.mill.rehearsal && self.mill.credential().is_none() && needs_key(&self.mill.settings.base_url) {
            return Err(Failure::NoKey { base_url: self.mill.settings.base_url.clone() });
        } else if let Some(question) = &self.mill.question
            && !self.watch.audience.consents(question)
        {
            return Err(Failure::NoConsent(Box::new(question.clone())));
        }
        let warming = self.warm_tokenizer(&scan.prompts)?;
        let now = self.clock.now();
        let says = format!("process {}, since {}", std::process::id(), now.wall.format("%Y-%m-%d %H:%M:%S UTC"));
        let sink: Arc<dyn Sink> = Arc::new(Files::hold(&self.mill.settings.outputs, &says)?);
        let mut store = self.open_store(&now)?;
        let outputs = self.mill.outputs_name();
        let mut found = store.find(&outputs, &self.mill.settings.template.model)?;
        self.write_kept(store.as_mut(), &mut found, &*sink)?;
        let recovery = recover_lost(std::mem::take(&mut found.lost), &*sink);
        let history = store.history(&outputs)?;
        let mut feed = self.mill.feed(&scan, &sink, history, &found.kept, &recovery, self.order.force)?;
        let draft = feed.draw(chunk(self.concurrency()), || true)?;
        if let Some(Err(panic)) = warming.map(JoinHandle::join) {
            std::panic::resume_unwind(panic);
        }
        self.settle_lost(store.as_mut(), &recovery, sent_again(&draft.drawn.work, &recovery.unknown), &*sink)?;
        self.mill.warnings.extend(draft.warnings(&*feed.texts()));
        if !draft.drawn.work.is_empty() || draft.refused.is_some() {
            self.mill.warnings.extend(of_tokenizer(&self.mill.settings.template.model));
        }
        self.warn();
        if let Some(refused) = draft.refused {
            return Err(refused.into());
        }
        if !draft.adopted.is_empty() {
            self.watch.tell(Event::WithoutHistory { answers: draft.adopted.len() });
        }
        // A run that starts has told of what was in flight, and tells of it once.
        if draft.drawn.work.is_empty() && draft.adopted.is_empty() && recovery.unknown.is_empty() {
            self.patiently(|now| store.write_face(now))?;
            return Ok(self.close(
                &draft.drawn.supply,
                &Tally::default(),
                &Ending::Complete,
                Some(store.as_mut()),
                false,
            ));
        }
        let info = RunInfo {
            outputs,
            model: self.mill.settings.template.model.clone(),
            rehearsal: self.mill.rehearsal,
            pid: std::process::id(),
        };
        self.patiently(|now| store.start_run(&info, now))?;
        self.patiently(|now| store.adopt(&draft.adopted, now))?;
        tripwire::here("command");
        // The folder is held to the end, and longer where a thread that writes there has not ended.
        self.send(feed, draft.drawn, Arc::clone(&sink), store, &found)
    }

    /// Loads the tokenizer's tables, which takes tens of milliseconds, while the store is opened: where the last prompt has no output yet, some
    /// prompt is to be counted. Where all are up to date, nothing is loaded.
    fn warm_tokenizer(&self, prompts: &[u64]) -> Result<Option<JoinHandle<()>>, Failure> {
        let settings = &self.mill.settings;
        let is_there = |number: u64| {
            let outputs = Files::to_read(&settings.outputs);
            outputs.is_ok_and(|outputs| outputs.stands(&Key::from(number)) != Ok(0))
        };
        let last_is_there = prompts.last().is_none_or(|number| is_there(*number));
        if !self.order.force && last_is_there {
            return Ok(None);
        }
        let tokenizer = Tokenizer::for_model(&settings.template.model);
        let warm = move || {
            tripwire::here("tokenizer");
            tokenizer.warm();
        };
        Ok(Some(start(Part::Tokenizer, drop, warm)?))
    }

    fn warn(&mut self) {
        for message in std::mem::take(&mut self.mill.warnings) {
            self.watch.tell(Event::Warning { message });
        }
    }

    pub(super) fn warning(&mut self, message: String) {
        self.watch.tell(Event::Warning { message });
    }
}

/// How many of the requests of unknown fate are sent again.
fn sent_again(work: &[Work], lost: &[LostRequest]) -> usize {
    let lost: HashSet<_> = lost.iter().map(|request| &request.key).collect();
    work.iter().filter(|work| work.doomed.is_none() && lost.contains(&work.key)).count()
}
