//! `usage.md` on disk: written from the ledger, and read back where a person or another program edited it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

use super::sqlite::SqliteStore;
use super::sqlite::faces::{self, Replacement, Writing};
use super::{Store, StoreError};
use crate::admit::ledger::{Amount, Entry, Ledger};
use crate::admit::usage_md::{Face, FaceError};
use crate::atomic::{FileIdentity, Prepared, advice, folder_of, sync_folder};
use crate::clock::{Mono, Now, nanos};
use crate::model::Limits;
use crate::regular::{self, Unread};

/// So often a writing is tried that another process is in the way of. What it writes is newer than what was there, and there is a next time.
const TRIES: u32 = 8;

/// The most bytes of `usage.md`, whose six lines have about 200.
const MOST: u64 = 64_000;

/// `usage.md` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UsageFileError {
    /// It is not what it should be.
    #[error(
        "{path} is damaged: {source}. Fix it, or start afresh with --reset-usage (this file is kept beside the new one)"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: FaceError,
    },
    /// It cannot be read.
    #[error(
        "{path} cannot be read: {source}. Fix it, or start afresh with --reset-usage (this file is kept beside the new one)"
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Unread,
    },
    /// It is marked read-only.
    #[error(
        "{path} is read-only, and usage must be written there; make it writable (chmod u+w), or name another ledger with --ledger"
    )]
    ReadOnly {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be written.
    #[error("{path} cannot be written: {source}; {}, or name another ledger with --ledger", advice(source))]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The store behind it cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What was found in `usage.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaceFound {
    /// What was last written, or nothing.
    Ours,
    /// An edit; its numbers hold from now on.
    Edited(Face),
}

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
        /// The file.
        prepared: Prepared,
    },
}

/// What stands at `usage.md`.
enum Found {
    Nothing,
    /// The writing of this number.
    Ours(i64),
    /// Someone else's file with the numbers that were last noted.
    Unchanged,
    Edit(Edit),
}

/// A `usage.md` that someone else wrote.
struct Edit {
    face: Face,
    identity: FileIdentity,
    text: String,
}

impl SqliteStore {
    /// Reads `usage.md`; where it was edited since it was last written, its numbers win.
    ///
    /// The window's numbers count from the time of the edit, the day's only where its date is today.
    pub fn take_edit(&mut self, now: &Now) -> Result<FaceFound, UsageFileError> {
        let path = self.ledger_file();
        // The mode is a person's wish, also where the system would let us (as root, or by the rename).
        if fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().readonly()) {
            return Err(UsageFileError::ReadOnly { path: path.to_owned() });
        }
        if !matches!(look(self.connection(), path).map_err(self.database())??, Found::Edit(_)) {
            return Ok(FaceFound::Ours);
        }
        let path = path.to_owned();
        // Looked at again where no other process writes the file or takes the edit in: an edit is taken once. Taken again, it would undo what was
        // used since. Dies before the end: nothing was taken.
        self.replacing(now, |transaction, ledger, boot| {
            let Edit { face, identity, text } = match look(transaction, &path)? {
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

    /// The ledger as the next run will see it, an edit of `usage.md` taken in, without writing anything.
    pub fn preview(&mut self, now: &Now) -> Result<Ledger, UsageFileError> {
        self.used(now)?;
        let mut ledger = self.ledger().clone();
        let found = look(self.connection(), self.ledger_file()).map_err(self.database())??;
        if let Found::Edit(Edit { face, identity, .. }) = found {
            take_in(&mut ledger, &face, identity, now);
        }
        Ok(ledger)
    }

    /// Writes `usage.md` if what it says has changed, and says what it says now.
    ///
    /// A file that was edited or damaged since is never overwritten: its numbers are taken first, or the error is returned.
    pub fn write_face(&mut self, now: &Now) -> Result<Face, UsageFileError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let (face, noted) = self.note_face(now)?;
            if self.place_face(noted)? || tries == TRIES {
                return Ok(face);
            }
        }
    }

    /// The first half of [`write_face`](Self::write_face): the new text lies beside the file, and is noted as ours.
    ///
    /// Dies before it is noted, or after: the file is as it was, and is known.
    pub fn note_face(&mut self, now: &Now) -> Result<(Face, NotedFace), UsageFileError> {
        self.take_edit(now)?;
        // Asked before the amounts are read: of two writings the one that is noted later has the later amounts.
        let newest = faces::newest(self.connection()).map_err(self.database())?;
        let path = self.ledger_file().to_owned();
        let face = Face::of(self.used(now)?, self.limits());
        let text = face.to_string();
        if text_of(&path).is_ok_and(|there| there == text) {
            return Ok((face, NotedFace::Same));
        }
        let prepared = Prepared::new(&path, text.as_bytes()).map_err(unwritable(&path))?;
        let noted = self.alone(|transaction| {
            if faces::newest(transaction)? != newest {
                return Ok(None);
            }
            if let Ok(Found::Ours(stands)) = look(transaction, &path)? {
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
        let path = self.ledger_file().to_owned();
        self.alone(|transaction| {
            let is_newest = faces::newest(transaction)?.is_some_and(|newest| newest.id == id);
            let is_edited =
                !matches!(look(transaction, &path)?, Ok(Found::Nothing | Found::Ours(_) | Found::Unchanged));
            if is_edited || !is_newest {
                return Ok(Ok(false));
            }
            Ok(prepared.place(&path).map(|()| true).map_err(unwritable(&path)))
        })?
    }

    /// Starts afresh: all counters are zero, and the old file, whatever is in it, is kept beside. Returns where.
    pub fn reset_usage(&mut self, now: &Now) -> Result<Option<PathBuf>, UsageFileError> {
        let path = self.ledger_file().to_owned();
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

/// Looks whether `usage.md` is one of our writings: the very file, with the very text. A person may set it back to numbers that it had before.
fn look(connection: &Connection, path: &Path) -> rusqlite::Result<Result<Found, UsageFileError>> {
    let unreadable = |source| UsageFileError::Unreadable { path: path.to_owned(), source };
    let identity = match fs::metadata(path) {
        Ok(metadata) => FileIdentity::of(&metadata),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ok(Found::Nothing)),
        Err(error) => return Ok(Err(unreadable(error.into()))),
    };
    let ours = faces::of(connection, identity)?;
    let newest = faces::newest(connection)?;
    let text = match text_of(path) {
        Ok(text) => text,
        Err(unread) => return Ok(Err(unreadable(unread))),
    };
    if let Some(Writing { id, .. }) = ours.filter(|ours| ours.text == text) {
        return Ok(Ok(Found::Ours(id)));
    }
    let face = match Face::parse(&text) {
        Ok(face) => face,
        Err(source) => return Ok(Err(UsageFileError::Damaged { path: path.to_owned(), source })),
    };
    // An editor that saves what it was given changes the file and no number.
    let numbers = |face: Face| (face.minute, face.day_tokens, face.date);
    let last = newest.and_then(|newest| Face::parse(&newest.text).ok());
    let is_unchanged = last.is_some_and(|last| numbers(last) == numbers(face));
    Ok(Ok(if is_unchanged { Found::Unchanged } else { Found::Edit(Edit { face, identity, text }) }))
}

fn unwritable(path: &Path) -> impl Fn(io::Error) -> UsageFileError {
    move |source| UsageFileError::Unwritable { path: path.to_owned(), source }
}

/// The ledger that an edited `usage.md` alone tells of: for a look where there is no state yet.
pub fn ledger_of_face(path: &Path, limits: Limits, now: &Now) -> Result<Ledger, UsageFileError> {
    let mut ledger = Ledger::new(limits);
    let read = || Ok::<_, Unread>((text_of(path)?, FileIdentity::of(&fs::metadata(path)?)));
    match read() {
        Ok((text, identity)) => {
            let face =
                Face::parse(&text).map_err(|source| UsageFileError::Damaged { path: path.to_owned(), source })?;
            take_in(&mut ledger, &face, identity, now);
        }
        Err(unread) if unread.is_missing() => {}
        Err(source) => return Err(UsageFileError::Unreadable { path: path.to_owned(), source }),
    }
    Ok(ledger)
}

fn text_of(path: &Path) -> Result<String, Unread> {
    let bytes = regular::read(path, MOST)?;
    Ok(String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))?)
}

fn take_in(ledger: &mut Ledger, face: &Face, identity: FileIdentity, now: &Now) {
    ledger.clear_window();
    ledger.enter(Entry::settled(0, edited_at(identity, now), face.minute));
    ledger.replace_day(Amount { tokens: day_tokens(face, now), requests: face.minute.requests }, now);
}

/// When the file was last changed, on the steady clock; at most a day ago.
fn edited_at(identity: FileIdentity, now: &Now) -> Mono {
    let age = now.wall.timestamp_nanos_opt().map_or(0, |wall| u64::try_from(wall - identity.modified_ns).unwrap_or(0));
    Mono(now.mono.0.saturating_sub(age.min(nanos(Duration::from_secs(86_400)))))
}

/// The tokens that count today: none of another day's.
fn day_tokens(face: &Face, now: &Now) -> u64 {
    if face.date == now.day.date { face.day_tokens } else { 0 }
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
