//! What is remembered: the ledger's entries and the journal of prompts, behind one trait.
//!
//! A request goes through the store twice. [`Store::begin`] reserves its tokens and journals "sending" before it leaves;
//! [`Store::finish`] journals its end and settles the reservation after the answer is on disk. Each is one transaction for many requests.
//! The machine that asks never sees how it is kept: [`sqlite`] keeps it in a file that several processes share, [`memory`] in a value that a
//! simulation can crash.

pub mod endpoint;
pub mod entry;
pub mod memory;
pub mod sqlite;
mod usage_file;

pub use endpoint::{Endpoint, endpoint};
pub use usage_file::{FaceFound, NotedFace, UsageFileError, ledger_of_face};

use crate::admit::ledger::{Amount, Used, Wait};
use crate::clock::{Mono, Now, Quarter};
use crate::model::{Before, Class, ContentId, Fingerprint, FinishReason, Key, TooLarge, Usage};

/// One request that wants to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its prompt.
    pub key: Key,
    /// What would be sent.
    pub fingerprint: Fingerprint,
    /// Which attempt this is, from 1; attempts that were throttled count here too.
    pub attempt: u32,
    /// Input tokens, counted.
    pub input_tokens: u64,
    /// Input and expected output tokens: what is reserved, where there is room for it.
    pub tokens: u64,
    /// What is reserved at the least; at most `tokens`, and less only where these are an estimate.
    pub least: u64,
    /// What stands at its output's place.
    pub before: Before,
}

/// An admitted request's place in the ledger. It is given back with [`Finished`]; one that never is stays counted as spent.
#[must_use = "a reservation that is not finished stays counted as spent"]
#[derive(Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The ledger's entry.
    pub(crate) entry: u64,
    /// When it was admitted.
    pub(crate) at: Mono,
    /// The quarter of an hour whose day it counts in.
    pub(crate) quarter: Quarter,
    /// Tokens reserved.
    pub(crate) tokens: u64,
}

impl Reservation {
    /// Tokens reserved.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// When it was admitted.
    #[must_use]
    pub fn at(&self) -> Mono {
        self.at
    }
}

/// The answer to [`Store::begin`].
#[derive(Debug, PartialEq, Eq)]
pub struct Begun {
    /// Reservations for the first claims, in their order.
    pub admitted: Vec<Reservation>,
    /// Why the next claim was not admitted; `None` where all were.
    pub refused: Option<Refusal>,
}

/// Why a claim was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It may be asked for again then.
    NotBefore(Wait),
    /// It never fits.
    Never(TooLarge),
}

/// A reservation with what the request really used.
#[derive(Debug, PartialEq, Eq)]
pub struct Settlement {
    /// Its place in the ledger.
    pub reservation: Reservation,
    /// What it used: one request with its input and output tokens, or nothing where it never left.
    pub used: Amount,
    /// When its answer, or its failure, came.
    pub heard: Mono,
}

/// The end of one attempt, or of a prompt that was never sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Finished {
    /// Its prompt.
    pub key: Key,
    /// What would have been sent.
    pub fingerprint: Fingerprint,
    /// What becomes of its reservation; `None` for a prompt that was never sent.
    pub settled: Option<Settlement>,
    /// How it ended.
    pub ended: Ended,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The answer is on disk.
    Done {
        /// What the API reports, or what was counted where it reports nothing.
        usage: Usage,
        /// Whether the answer is whole.
        finish: FinishReason,
        /// The output.
        output: ContentId,
    },
    /// It failed for good.
    Failed {
        /// The error class.
        class: Class,
        /// What happened.
        message: String,
        /// Tokens that were billed all the same.
        usage: Usage,
    },
    /// It is to be sent again, in this run or a later one.
    Again {
        /// The error class; `None` where the request never left.
        class: Option<Class>,
    },
    /// The answer came and could not be written: the store keeps its text until a later run writes it.
    Unwritten {
        /// What it cost.
        usage: Usage,
        /// Whether the answer is whole.
        finish: FinishReason,
        /// The answer.
        text: String,
    },
}

/// The ledger and the journal.
pub trait Store {
    /// Admits the first of `claims` that fit, in order, up to the first that does not, and journals them as being sent.
    ///
    /// One durable transaction. Dies before it: nothing has happened. Dies after it: the requests count as spent, and the journal says that they
    /// were in flight, and what stood where their answers are to be. `now` is asked once, when the store is held against others.
    fn begin(&mut self, claims: &[Claim], now: &dyn Fn() -> Now) -> Result<Begun, StoreError>;

    /// Journals how attempts ended and settles their reservations. The answers of those done are on disk already.
    ///
    /// One durable transaction. Dies before it: the attempts still count as in flight, with what was reserved. Dies after it: nothing is to be
    /// done again. Fails: as if it had died before it, and it may be tried again.
    fn finish(&mut self, finished: &[Finished], now: &Now) -> Result<(), StoreError>;

    /// What is used up at `now`, by all who share the store.
    fn used(&mut self, now: &Now) -> Result<Used, StoreError>;
}

/// The store cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder of the state file cannot be made.
    #[error(
        "cannot make the state folder {path}: {source}; make room for it there, or name another place with --ledger"
    )]
    Folder {
        /// The folder.
        path: std::path::PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Something else has the state file's name. What a link leads to is not ours to make tables in.
    #[error("the state file {path} is {what}, not a regular file; take it away, or name another place with --ledger")]
    Irregular {
        /// The file.
        path: std::path::PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// The state folder or file is marked read-only.
    #[error(
        "{path} is read-only, and promptmill must write there; make it writable (chmod u+w), or name another place with --ledger"
    )]
    ReadOnly {
        /// The folder or file.
        path: std::path::PathBuf,
    },
    /// The database answers with an error.
    #[error("the state file {path} cannot be used: {source}{}", hint(source))]
    Database {
        /// The file.
        path: std::path::PathBuf,
        /// What `SQLite` says.
        source: rusqlite::Error,
    },
    /// The database is not where it was opened.
    #[error(
        "the state file {path} is gone: it was moved or deleted while the run went on. Put it back if you can, and run again: answers in the outputs folder stay"
    )]
    Gone {
        /// Where it was.
        path: std::path::PathBuf,
    },
    /// The database was made by a later version.
    #[error(
        "the state file {path} was made by a newer promptmill (format {found}, this one supports {known}); use that one, or name another ledger with --ledger"
    )]
    Newer {
        /// The file.
        path: std::path::PathBuf,
        /// Its format.
        found: i64,
        /// Ours.
        known: i64,
    },
}

fn hint(error: &rusqlite::Error) -> &'static str {
    use rusqlite::ErrorCode;
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "; free some space",
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            "; it is damaged: move it away to start with an empty history (answers stay where they are)"
        }
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            "; make its folder writable, or name another place with --ledger"
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => "; another program holds it, and must end first",
        _ => "",
    }
}
