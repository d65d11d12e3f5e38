//! Reads the prompts on all cores: which have their answer, and how many tokens the others take.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::standing::{Evidence, Standing, standing};
use super::{Surveyable, Surveyed};
use crate::count::RequestCounter;
use crate::model::{Before, Class, Doom, Fingerprint, Fingerprinter, Key, Known, Place, RequestTemplate, Status};

use crate::source::folder::{Folder, ReadError};
use crate::source::prompt::is_blank;
use crate::write::on_disk::{self, Form};

/// How many prompts a thread takes at a time.
const CHUNK: usize = 64;

/// What a survey looks at.
#[derive(Clone, Copy)]
pub struct Survey<'a> {
    /// The prompts folder.
    pub prompts: &'a Folder,
    /// The outputs folder.
    pub outputs: &'a Path,
    /// What every request has.
    pub template: &'a RequestTemplate,
    /// What the journal knows.
    pub known: &'a HashMap<Key, Known>,
    /// Requests that were in flight when a run died, and whose fate is not known.
    pub lost: &'a HashSet<(Key, Fingerprint)>,
    /// The lengths of the outputs on disk.
    pub on_disk: &'a HashMap<Key, u64>,
    /// Why an output cannot be written in its place.
    pub blocked: &'a HashMap<Key, String>,
    /// Whether all are sent again.
    pub force: bool,
    /// Whether the stand-in answers.
    pub rehearsal: bool,
}

impl Survey<'_> {
    /// Surveys the prompts `numbers`. Those without text are left out.
    #[must_use]
    pub fn run(&self, numbers: &[u64]) -> Vec<Surveyed> {
        let fingerprinter = Fingerprinter::new(self.template, self.rehearsal);
        // Its tables are loaded only if a prompt is to be sent.
        let counter = OnceLock::new();
        let next = AtomicUsize::new(0);
        let work = || {
            let mut found = Vec::new();
            loop {
                let start = next.fetch_add(CHUNK, Ordering::Relaxed);
                let Some(chunk) = numbers.get(start..).filter(|rest| !rest.is_empty()) else { return found };
                for (offset, &number) in chunk.iter().take(CHUNK).enumerate() {
                    if let Some(surveyed) = self.one(Key::from(number), &fingerprinter, &counter) {
                        found.push((start + offset, surveyed));
                    }
                }
            }
        };
        let threads =
            thread::available_parallelism().map_or(1, std::num::NonZero::get).min(numbers.len().div_ceil(CHUNK));
        let mut found = thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mut found = work();
            for other in others {
                match other.join() {
                    Ok(more) => found.extend(more),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            found
        });
        found.sort_unstable_by_key(|(place, _)| *place);
        found.into_iter().map(|(_, surveyed)| surveyed).collect()
    }

    fn one(&self, key: Key, fingerprinter: &Fingerprinter, counter: &OnceLock<RequestCounter>) -> Option<Surveyed> {
        let output = self.on_disk.get(&key).copied();
        let known = self.known.get(&key);
        let stands = output.map(|bytes| self.form(&key, bytes, known));
        let answered = stands == Some(Form::Answer) && known.is_some_and(|known| known.status == Status::Done);
        let text = match self.prompts.read(&key) {
            Ok(text) if is_blank(&text) => return None,
            Ok(text) => text,
            Err(error) => {
                let place = Place { before: Before::Unknown, answered };
                return Some(Surveyed { key, place, request: Err(fault(&error)) });
            }
        };
        if let Some(message) = self.blocked.get(&key) {
            let doom = Doom { class: Class::OutputBlocked, message: message.clone() };
            return Some(Surveyed { key, place: Place::default(), request: Err(doom) });
        }
        let fingerprint = fingerprinter.of(&text);
        let lost = self.lost.contains(&(key.clone(), fingerprint));
        let evidence = Evidence { known, lost, stands, fingerprint };
        let standing = standing(evidence, self.force, self.rehearsal);
        let (input_tokens, before) = match standing {
            Standing::Send(_) => {
                let tokens = counter.get_or_init(|| RequestCounter::new(self.template)).input_tokens(&text);
                (tokens, self.before(&key, output))
            }
            _ => (0, Before::Unknown),
        };
        let place = Place { before, answered };
        let output_bytes = output.unwrap_or(0);
        Some(Surveyed { key, place, request: Ok(Surveyable { fingerprint, standing, input_tokens, output_bytes }) })
    }

    /// What an output on disk is. An answer that the journal knows is not read, unless there is a doubt that it still stands there.
    fn form(&self, key: &Key, bytes: u64, known: Option<&Known>) -> Form {
        if let Some(known) = known.filter(|known| known.status == Status::Done && known.bytes == bytes) {
            let stands = |output| on_disk::content(self.outputs, key).is_ok_and(|content| content == output);
            if !known.unsettled || known.output.is_some_and(stands) {
                return Form::Answer;
            }
        }
        // What cannot be read may be an answer.
        on_disk::form(self.outputs, key).unwrap_or(Form::Answer)
    }

    /// What stands where an answer is to be.
    fn before(&self, key: &Key, output: Option<u64>) -> Before {
        match output.map(|_| on_disk::content(self.outputs, key)) {
            None => Before::Nothing,
            Some(Ok(content)) => Before::Output(content),
            Some(Err(_)) => Before::Unknown,
        }
    }
}

/// The failure of a prompt whose file cannot be used.
#[must_use]
pub fn fault(error: &ReadError) -> Doom {
    let class = match error {
        ReadError::Unreadable { .. } => Class::Unreadable,
        ReadError::NotText { .. } => Class::NotText,
    };
    Doom { class, message: error.to_string() }
}
