//! `usage.md` on disk: what stands there, and what an edit by a person or another program means. A store writes it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::StoreError;
use crate::admit::ledger::{Amount, Entry, Ledger};
use crate::admit::usage_md::{Face, FaceError};
use crate::atomic::{FileIdentity, advice};
use crate::clock::{Mono, Now, nanos};
use crate::model::Limits;
use crate::regular::{self, Unread};

/// The most bytes of `usage.md`, whose six lines have about 200.
const MOST: u64 = 64_000;

/// `usage.md` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UsageFileError {
    /// It is not what it should be.
    #[error(
        "{path} is damaged: {source}. Fix it, or start afresh with --reset-usage (this file is kept beside the new one)"
    )]
    Damaged { path: PathBuf, source: FaceError },
    /// It cannot be read.
    #[error(
        "{path} cannot be read: {source}. Fix it, or start afresh with --reset-usage (this file is kept beside the new one)"
    )]
    Unreadable { path: PathBuf, source: Unread },
    /// It is marked read-only.
    #[error(
        "{path} is read-only, and usage must be written there; make it writable (chmod u+w), or name another ledger with --ledger"
    )]
    ReadOnly { path: PathBuf },
    /// It cannot be written.
    #[error("{path} cannot be written: {source}; {}, or name another ledger with --ledger", advice(source))]
    Unwritable {
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The store behind it cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl UsageFileError {
    /// Whether another process holds the store, so that asking again is all that is to be done.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_busy())
    }
}

/// What was found in `usage.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaceFound {
    /// What was last written, or nothing.
    Ours,
    /// An edit; its numbers hold from now on.
    Edited(Face),
}

/// What stands at `usage.md`.
pub(super) enum Found {
    Nothing,
    /// The writing of this number.
    Ours(i64),
    /// Someone else's file with the numbers that were last noted.
    Unchanged,
    Edit(Edit),
}

/// A `usage.md` that someone else wrote.
pub(super) struct Edit {
    pub(super) face: Face,
    pub(super) identity: FileIdentity,
    pub(super) text: String,
}

/// A noted writing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Writing {
    pub(super) id: i64,
    pub(super) text: String,
}

/// The writings of `usage.md` that a store has noted.
pub(super) trait Writings {
    /// Why they cannot be read.
    type Error;

    /// The writing of this identity.
    fn of(&self, identity: FileIdentity) -> Result<Option<Writing>, Self::Error>;

    /// The newest one.
    fn newest(&self) -> Result<Option<Writing>, Self::Error>;
}

/// Looks whether `usage.md` is one of our writings: the very file, with the very text. A person may set it back to numbers that it had before.
pub(super) fn look<W: Writings>(noted: &W, path: &Path) -> Result<Result<Found, UsageFileError>, W::Error> {
    let unreadable = |source| UsageFileError::Unreadable { path: path.to_owned(), source };
    let identity = match fs::metadata(path) {
        Ok(metadata) => FileIdentity::of(&metadata),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ok(Found::Nothing)),
        Err(error) => return Ok(Err(unreadable(error.into()))),
    };
    let ours = noted.of(identity)?;
    let newest = noted.newest()?;
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

pub(super) fn unwritable(path: &Path) -> impl Fn(io::Error) -> UsageFileError {
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

pub(super) fn text_of(path: &Path) -> Result<String, Unread> {
    let bytes = regular::read(path, MOST)?;
    Ok(String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))?)
}

pub(super) fn take_in(ledger: &mut Ledger, face: &Face, identity: FileIdentity, now: &Now) {
    // The day's requests do not stand there.
    let requests = ledger.used(now).day.requests.max(face.minute.requests);
    ledger.clear_window();
    ledger.enter(Entry::settled(0, edited_at(identity, now), face.minute));
    ledger.replace_day(Amount { tokens: day_tokens(face, now), requests }, now);
}

/// When the file was last changed, on the steady clock; at most a day ago.
pub(super) fn edited_at(identity: FileIdentity, now: &Now) -> Mono {
    let age = now.wall.timestamp_nanos_opt().map_or(0, |wall| u64::try_from(wall - identity.modified_ns).unwrap_or(0));
    Mono(now.mono.0.saturating_sub(age.min(nanos(Duration::from_secs(86_400)))))
}

/// The tokens that count today: none of another day's.
pub(super) fn day_tokens(face: &Face, now: &Now) -> u64 {
    if face.date == now.day.date { face.day_tokens } else { 0 }
}
