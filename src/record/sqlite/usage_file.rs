//! `usage.md`, written from the ledger in the file, and its edits taken into it.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::usage_file::{Edit, Found, Writings as _, day_tokens, edited_at, look, take_in, text_of, unwritable};
use super::super::{Admissions as _, FaceFound, UsageFile, UsageFileError};
use super::SqliteStore;
use super::faces::{self, Replacement};
use crate::admit::ledger::{Amount, Ledger};
use crate::admit::usage_md::Face;
use crate::atomic::{Prepared, folder_of, sync_folder};
use crate::clock::Now;

/// So often a writing is tried that another process is in the way of. What it writes is newer than what was there, and there is a next time.
const TRIES: u32 = 8;

/// A writing of `usage.md` on its way.
#[derive(Debug)]
pub enum NotedFace {
    /// The file says already what it should.
    Same,
    /// Another process has noted one since the amounts of this one were read.
    Late,
    /// It is noted, and lies beside the file.
    Noted {
        /// Its place in the order of writings.
        id: i64,
        prepared: Prepared,
    },
}

impl UsageFile for SqliteStore {
    fn take_edit(&mut self, now: &Now) -> Result<FaceFound, UsageFileError> {
        let path = &self.ledger_file;
        // The mode is a person's wish, also where the system would let us (as root, or by the rename).
        if fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().readonly()) {
            return Err(UsageFileError::ReadOnly { path: path.to_owned() });
        }
        if !matches!(look(&self.connection, path).map_err(self.database())??, Found::Edit(_)) {
            return Ok(FaceFound::Ours);
        }
        let path = path.to_owned();
        // Looked at again where no other process writes the file or takes the edit in: an edit is taken once. Taken again, it would undo what was
        // used since. Dies before the end: nothing was taken.
        self.replacing(now, |transaction, ledger, boot| {
            let Edit { face, identity, text } = match look(&**transaction, &path)? {
                Ok(Found::Edit(edit)) => edit,
                Ok(_) => return Ok(Ok(FaceFound::Ours)),
                Err(error) => return Ok(Err(error)),
            };
            let used = ledger.used(now);
            let day = day_tokens(&face, now);
            let new = (face.minute, day) != (used.minute, used.day.tokens);
            if new {
                let at = edited_at(identity, now);
                let edited = Replacement { minute: face.minute, at, day_tokens: day, fresh: false };
                edited.put(transaction, ledger, boot, now)?;
            }
            let noted = faces::note(transaction, &text, identity)?;
            faces::forget_before(transaction, noted)?;
            Ok(Ok(if new { FaceFound::Edited(face) } else { FaceFound::Ours }))
        })?
    }

    fn preview(&mut self, now: &Now) -> Result<Ledger, UsageFileError> {
        self.used(now)?;
        let mut ledger = self.ledger.clone();
        let found = look(&self.connection, &self.ledger_file).map_err(self.database())??;
        if let Found::Edit(Edit { face, identity, .. }) = found {
            take_in(&mut ledger, &face, identity, now);
        }
        Ok(ledger)
    }

    fn write_face(&mut self, now: &Now) -> Result<Face, UsageFileError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let (face, noted) = self.note_face(now)?;
            if self.place_face(noted)? || tries == TRIES {
                return Ok(face);
            }
        }
    }

    fn reset_usage(&mut self, now: &Now) -> Result<Option<PathBuf>, UsageFileError> {
        let path = self.ledger_file.clone();
        let unwritable = unwritable(&path);
        let kept = if path.exists() {
            let kept = free_name(&path);
            fs::rename(&path, &kept).map_err(&unwritable)?;
            Some(kept)
        } else {
            None
        };
        let zero = Replacement { minute: Amount::default(), at: now.mono, day_tokens: 0, fresh: true };
        self.replacing(now, |transaction, ledger, boot| zero.put(transaction, ledger, boot, now))?;
        self.write_face(now)?;
        sync_folder(folder_of(&path)).map_err(unwritable)?;
        Ok(kept)
    }
}

impl SqliteStore {
    /// The first half of [`write_face`](UsageFile::write_face): the new text lies beside the file, and is noted as ours.
    ///
    /// Dies before it is noted, or after: the file is as it was, and is known.
    pub fn note_face(&mut self, now: &Now) -> Result<(Face, NotedFace), UsageFileError> {
        self.take_edit(now)?;
        // Asked before the amounts are read: of two writings the one that is noted later has the later amounts.
        let newest = self.connection.newest().map_err(self.database())?;
        let path = self.ledger_file.clone();
        let face = Face::of(self.used(now)?, self.ledger.limits());
        let text = face.to_string();
        if text_of(&path).is_ok_and(|there| there == text) {
            return Ok((face, NotedFace::Same));
        }
        let prepared = Prepared::new(&path, text.as_bytes()).map_err(unwritable(&path))?;
        let noted = self.alone(|transaction| {
            if (**transaction).newest()? != newest {
                return Ok(None);
            }
            if let Ok(Found::Ours(stands)) = look(&**transaction, &path)? {
                faces::forget_before(transaction, stands)?;
            }
            faces::note(transaction, &text, prepared.identity()).map(Some)
        })?;
        Ok((face, noted.map_or(NotedFace::Late, |id| NotedFace::Noted { id, prepared })))
    }

    /// The second half: puts the writing in its place, where it is still the newest and nobody has edited the file. Says whether the file is right.
    ///
    /// However long a process is held up between the two halves, it never puts an older text over a newer one.
    /// Dies before the rename: the file is as it was. Dies after it: it is known as ours.
    pub fn place_face(&mut self, noted: NotedFace) -> Result<bool, UsageFileError> {
        let (id, prepared) = match noted {
            NotedFace::Same => return Ok(true),
            NotedFace::Late => return Ok(false),
            NotedFace::Noted { id, prepared } => (id, prepared),
        };
        let path = self.ledger_file.clone();
        self.alone(|transaction| {
            let is_newest = (**transaction).newest()?.is_some_and(|newest| newest.id == id);
            let is_edited =
                !matches!(look(&**transaction, &path)?, Ok(Found::Nothing | Found::Ours(_) | Found::Unchanged));
            if is_edited || !is_newest {
                return Ok(Ok(false));
            }
            Ok(prepared.place(&path).map(|()| true).map_err(unwritable(&path)))
        })?
    }
}

/// `usage.md` -> `usage.md.old`, or the first of `.old.2`, `.old.3`, ... that is free.
fn free_name(path: &Path) -> PathBuf {
    let with = |ending: String| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let first = with(".old".to_owned());
    if !first.exists() {
        return first;
    }
    (2..=u32::MAX).map(|number| with(format!(".old.{number}"))).find(|name| !name.exists()).unwrap_or(first)
}
