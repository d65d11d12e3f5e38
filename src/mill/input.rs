//! How `run` and `plan` read their input: what is in it, what stands in the outputs, and what the journal knows.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use super::Failure;
use super::Mill;
use crate::config::Settings;
use crate::count::Tokenizer;
use crate::model::{ContentId, Form, Key, Known};
use crate::plan::{Feed, History, HistoryError, Outputs, PlanRules, Survey};
use crate::record::KeptAnswer;
use crate::record::entry::LostRequest;
use crate::run::answer_is_kept;
use crate::run::recover::{Recovery, Stands, recover};
use crate::source::Source as _;
use crate::source::folder::FolderSource;
use crate::source::scan::Scan;
use crate::write::Sink;

/// The outputs, and answers that the store keeps until they can be written.
struct WithKept {
    outputs: Arc<dyn Sink>,
    /// Their lengths.
    kept: HashMap<Key, u64>,
}

impl Outputs for WithKept {
    fn stands(&self, key: &Key) -> Result<u64, String> {
        let stands = self.outputs.stands(key);
        match self.kept.get(key) {
            Some(bytes) => stands.map(|_| *bytes).map_err(|why| answer_is_kept(&why)),
            None => stands,
        }
    }

    fn form(&self, key: &Key) -> io::Result<Form> {
        self.outputs.form(key)
    }

    fn content(&self, key: &Key) -> io::Result<ContentId> {
        self.outputs.content(key)
    }
}

/// Finds out what became of the requests whose run died.
pub(crate) fn recover_lost(lost: Vec<LostRequest>, outputs: &dyn Outputs) -> Recovery {
    recover(lost, |key| {
        outputs.stands(key).ok().filter(|bytes| *bytes > 0)?;
        // What cannot be read proves nothing.
        let content = outputs.content(key).ok()?;
        let failure = outputs.form(key).ok()? == Form::Failure;
        Some(Stands { content, failure })
    })
}

impl Mill {
    /// Opens the prompts that were scanned. `history` knows of them what the journal does, `kept` are answers that it keeps, and `recovery` is what
    /// became of requests whose run died.
    pub(crate) fn feed(
        &self,
        scan: &Scan,
        outputs: &Arc<dyn Sink>,
        mut history: Box<dyn History>,
        kept: &[KeptAnswer],
        recovery: &Recovery,
        force: bool,
    ) -> Result<Feed, Failure> {
        let Settings { limits, template, split, priorities, .. } = &self.settings;
        let source = FolderSource::new(scan.folder.clone(), scan.prompts.clone(), priorities);
        let beside = known_beside(history.as_mut(), kept, recovery)?;
        let kept = kept.iter().map(|answer| (answer.key.clone(), answer.text.len() as u64)).collect();
        let outputs: Arc<dyn Outputs> = Arc::new(WithKept { outputs: Arc::clone(outputs), kept });
        let lost = recovery.unknown.iter().map(|request| (request.key.clone(), request.fingerprint)).collect();
        let survey = Survey::new(template, self.rehearsal, source.texts(), outputs, history)?;
        let rules = PlanRules {
            limits: *limits,
            context_window: self.context_window(),
            max_output_tokens: template.output_limit(),
            split: *split,
        };
        Ok(Feed::new(Box::new(source), survey.beside(beside).lost(lost).force(force), rules))
    }
}

/// What is known that the journal does not say yet: kept answers count as written, and those of lost requests that stand there are theirs.
fn known_beside(
    history: &mut dyn History,
    kept: &[KeptAnswer],
    recovery: &Recovery,
) -> Result<HashMap<Key, Known>, HistoryError> {
    let keys: Vec<_> = kept.iter().map(|answer| answer.key.clone()).collect();
    let known = history.known(&keys)?;
    let written = kept
        .iter()
        .zip(known)
        .filter_map(|(answer, known)| Some((answer.key.clone(), known?.answered(answer.content()))));
    let found = recovery.answered.iter().map(|(request, content)| (request.key.clone(), request.answered(*content)));
    Ok(written.chain(found).collect())
}

/// What is to be known of the tokens of what is sent.
pub(crate) fn of_tokenizer(model: &str) -> Option<String> {
    let is_known = Tokenizer::for_model(model).is_known();
    (!is_known).then(|| format!("the tokenizer of {model} is unknown; its tokens are counted with o200k_base"))
}
