//! `usage.md` as a value, for who has no disk.

use std::path::PathBuf;

use super::super::usage_file::day_tokens;
use super::super::{FaceFound, UsageFile, UsageFileError};
use super::MemoryStore;
use crate::admit::ledger::{Amount, Entry, Ledger};
use crate::admit::usage_md::Face;
use crate::clock::{Mono, Now};

/// What stands there.
#[derive(Clone, Debug)]
pub(super) struct UsageMd {
    text: String,
    /// When it was edited, where it was since it was last written or read.
    edited: Option<Mono>,
    /// What was written or read last.
    noted: Option<Face>,
}

impl MemoryStore {
    /// A person writes `text` there.
    pub fn edit(&mut self, text: &str, now: &Now) {
        let noted = self.usage_md.take().and_then(|file| file.noted);
        self.usage_md = Some(UsageMd { text: text.to_owned(), edited: Some(now.mono), noted });
    }

    /// What stands there.
    #[must_use]
    pub fn usage_md(&self) -> Option<&str> {
        self.usage_md.as_ref().map(|file| file.text.as_str())
    }

    /// The edit that has not been taken in, and when it was made.
    fn edited(&self) -> Result<Option<(Face, Mono)>, UsageFileError> {
        let Some(UsageMd { text, edited: Some(at), noted }) = &self.usage_md else { return Ok(None) };
        let face =
            Face::parse(text).map_err(|source| UsageFileError::Damaged { path: PathBuf::from("usage.md"), source })?;
        let numbers = |face: &Face| (face.minute, face.day_tokens, face.date);
        let is_new = noted.as_ref().is_none_or(|noted| numbers(noted) != numbers(&face));
        Ok(is_new.then_some((face, *at)))
    }
}

/// Puts the numbers of `face`, which count from `at`, in the place of the ledger's.
fn replace(ledger: &mut Ledger, id: u64, face: &Face, at: Mono, now: &Now) {
    let requests = ledger.used(now).day.requests.max(face.minute.requests);
    ledger.clear_window();
    if face.minute != Amount::default() {
        ledger.enter(Entry::settled(id, at, face.minute));
    }
    ledger.replace_day(Amount { tokens: day_tokens(face, now), requests }, now);
}

impl UsageFile for MemoryStore {
    fn take_edit(&mut self, now: &Now) -> Result<FaceFound, UsageFileError> {
        let edited = self.edited()?;
        if let Some(file) = &mut self.usage_md
            && file.edited.take().is_some()
        {
            file.noted = Face::parse(&file.text).ok();
        }
        let Some((face, at)) = edited else { return Ok(FaceFound::Ours) };
        let used = self.ledger.used(now);
        if (face.minute, day_tokens(&face, now)) == (used.minute, used.day.tokens) {
            return Ok(FaceFound::Ours);
        }
        self.replaced = self.next_entry - 1;
        let id = self.next_entry;
        self.next_entry += 1;
        replace(&mut self.ledger, id, &face, at, now);
        Ok(FaceFound::Edited(face))
    }

    fn preview(&mut self, now: &Now) -> Result<Ledger, UsageFileError> {
        let mut ledger = self.ledger.clone();
        if let Some((face, at)) = self.edited()? {
            replace(&mut ledger, self.next_entry, &face, at, now);
        }
        Ok(ledger)
    }

    fn write_face(&mut self, now: &Now) -> Result<Face, UsageFileError> {
        self.take_edit(now)?;
        let face = Face::of(self.ledger.used(now), self.ledger.limits());
        self.usage_md = Some(UsageMd { text: face.to_string(), edited: None, noted: Some(face) });
        Ok(face)
    }

    fn reset_usage(&mut self, now: &Now) -> Result<Option<PathBuf>, UsageFileError> {
        self.usage_md = None;
        self.replaced = self.next_entry - 1;
        self.ledger = Ledger::new(*self.ledger.limits());
        self.write_face(now)?;
        Ok(None)
    }
}
