//! `usage.md` on disk: written from the ledger, and read back where a person or another program edited it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{OptionalExtension, params};

use super::sqlite::SqliteStore;
use super::{Store, StoreError};
use crate::admit::ledger::{Amount, Entry, Ledger};
use crate::admit::limits::Limits;
use crate::admit::usage_md::{Face, FaceError};
use crate::atomic::{FileIdentity, Prepared, folder_of, sync_folder};
use crate::clock::{Mono, Now, nanos};
use crate::regular::{self, Unread};

/// How many of the latest writings are remembered: several processes may be about to rename theirs into place.
const FACES: i64 = 32;

/// The most bytes of `usage.md`, whose six lines have about 200.
const MOST: u64 = 64_000;

/// `usage.md` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UsageFileError {
    /// It is not what it should be.
    #[error(
        "{path} is damaged: {source}. Mend it, or start afresh with --reset-usage (this file is kept beside the new one)"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: FaceError,
    },
    /// It cannot be read.
    #[error(
        "{path} cannot be read: {source}. Mend it, or start afresh with --reset-usage (this file is kept beside the new one)"
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
    #[error("{path} cannot be written: {source}; make its folder writable, or name another ledger with --ledger")]
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

/// A `usage.md` that someone else wrote.
struct Edit {
    face: Face,
    metadata: fs::Metadata,
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
        let Some(Edit { face, metadata, text }) = self.edit()? else { return Ok(FaceFound::Ours) };
        let used = self.used(now)?;
        let day = day_tokens(&face, now);
        let new = (face.minute, day) != (used.minute, used.day.tokens);
        if new {
            self.replace_used(face.minute, edited_at(&metadata, now), day, false, now)?;
        }
        // An edit is taken once: taken again, it would undo what was used since. Dies before this: it is taken again by the next start.
        self.remember_face(&text, FileIdentity::of(&metadata))?;
        Ok(if new { FaceFound::Edited(face) } else { FaceFound::Ours })
    }

    /// The ledger as the next run will see it, an edit of `usage.md` taken in, without writing anything.
    pub fn preview(&mut self, now: &Now) -> Result<Ledger, UsageFileError> {
        self.used(now)?;
        let mut ledger = self.ledger().clone();
        if let Some(Edit { face, metadata, .. }) = self.edit()? {
            take_in(&mut ledger, &face, &metadata, now);
        }
        Ok(ledger)
    }

    /// The edit of `usage.md`; `None` where it is as it was written, or is not there.
    fn edit(&self) -> Result<Option<Edit>, UsageFileError> {
        let path = self.ledger_file().to_owned();
        let unreadable = |source| UsageFileError::Unreadable { path: path.clone(), source };
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error.into())),
        };
        let identity = FileIdentity::of(&metadata);
        let (ours, last_text) = self.faces(identity)?;
        if ours {
            return Ok(None);
        }
        let text = text_of(&path).map_err(unreadable)?;
        if last_text.as_deref() == Some(&text) {
            return Ok(None);
        }
        let face = Face::parse(&text).map_err(|source| UsageFileError::Damaged { path, source })?;
        // An editor that saves what it was given changes the file and no number.
        let numbers = |face: Face| (face.minute, face.day_tokens, face.date);
        if last_text.and_then(|last| Face::parse(&last).ok()).map(numbers) == Some(numbers(face)) {
            return Ok(None);
        }
        Ok(Some(Edit { face, metadata, text }))
    }

    /// Writes `usage.md` if what it says has changed, and says what it says now.
    ///
    /// A file that was edited or damaged since is never overwritten: its numbers are taken first, or the error is returned.
    /// Dies before the rename: the file is as it was. Dies after it: it is known as ours.
    pub fn write_face(&mut self, now: &Now) -> Result<Face, UsageFileError> {
        self.take_edit(now)?;
        let path = self.ledger_file().to_owned();
        let face = Face::of(self.used(now)?, self.limits());
        let text = face.to_string();
        if text_of(&path).is_ok_and(|there| there == text) {
            return Ok(face);
        }
        let unwritable = |source| UsageFileError::Unwritable { path: path.clone(), source };
        let prepared = Prepared::new(&path, text.as_bytes()).map_err(unwritable)?;
        self.remember_face(&text, prepared.identity())?;
        prepared.place(&path).map_err(unwritable)?;
        Ok(face)
    }

    /// Starts afresh: all counters are zero, and the old file, whatever is in it, is kept beside. Returns where.
    pub fn reset_usage(&mut self, now: &Now) -> Result<Option<PathBuf>, UsageFileError> {
        let path = self.ledger_file().to_owned();
        let unwritable = |source| UsageFileError::Unwritable { path: path.clone(), source };
        let kept = if path.exists() {
            let kept = free_name(&path);
            fs::rename(&path, &kept).map_err(unwritable)?;
            Some(kept)
        } else {
            None
        };
        self.replace_used(Amount::default(), now.mono, 0, true, now)?;
        self.write_face(now)?;
        sync_folder(folder_of(&path)).map_err(unwritable)?;
        Ok(kept)
    }

    /// Whether `identity` is one of the latest writings, and the text of the last.
    fn faces(&self, identity: FileIdentity) -> Result<(bool, Option<String>), StoreError> {
        let inode = identity.inode.cast_signed();
        let run = || -> rusqlite::Result<_> {
            let ours = self
                .connection()
                .prepare_cached("SELECT 1 FROM faces WHERE inode = ?1 AND modified_ns = ?2")?
                .exists(params![inode, identity.modified_ns])?;
            let last = self
                .connection()
                .prepare_cached("SELECT text FROM faces ORDER BY id DESC LIMIT 1")?
                .query_row([], |row| row.get(0))
                .optional()?;
            Ok((ours, last))
        };
        run().map_err(self.database())
    }

    fn remember_face(&self, text: &str, identity: FileIdentity) -> Result<(), StoreError> {
        let run = || -> rusqlite::Result<()> {
            self.connection()
                .prepare_cached("INSERT INTO faces (text, inode, modified_ns) VALUES (?1, ?2, ?3)")?
                .execute(params![text, identity.inode.cast_signed(), identity.modified_ns])?;
            let last = self.connection().last_insert_rowid();
            self.connection().prepare_cached("DELETE FROM faces WHERE id <= ?1")?.execute([last - FACES])?;
            Ok(())
        };
        run().map_err(self.database())
    }
}

/// The ledger that an edited `usage.md` alone tells of: for a look where there is no state yet.
pub fn ledger_of_face(path: &Path, limits: Limits, now: &Now) -> Result<Ledger, UsageFileError> {
    let mut ledger = Ledger::new(limits);
    let read = || Ok::<_, Unread>((text_of(path)?, fs::metadata(path)?));
    match read() {
        Ok((text, metadata)) => {
            let face =
                Face::parse(&text).map_err(|source| UsageFileError::Damaged { path: path.to_owned(), source })?;
            take_in(&mut ledger, &face, &metadata, now);
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

fn take_in(ledger: &mut Ledger, face: &Face, metadata: &fs::Metadata, now: &Now) {
    ledger.clear_window();
    ledger.enter(Entry::settled(0, edited_at(metadata, now), face.minute));
    ledger.replace_day(Amount { tokens: day_tokens(face, now), requests: face.minute.requests }, now);
}

/// When the file was last changed, on the steady clock; at most a day ago.
fn edited_at(metadata: &fs::Metadata, now: &Now) -> Mono {
    let modified = FileIdentity::of(metadata).modified_ns;
    let age = now.wall.timestamp_nanos_opt().map_or(0, |wall| u64::try_from(wall - modified).unwrap_or(0));
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
