//! The store in a file: `SQLite`, shared by the processes of one machine.
//!
//! The file lies in `.promptmill/` beside `usage.md`. Each write is one `BEGIN IMMEDIATE` transaction, so that two processes never decide on the same room;
//! what others have written since is read at its start. A process keeps the running window in memory and reads only what changed.

mod attempts;
mod day;
mod done;
mod faces;
mod follow;
mod formats;
mod items;
mod journal;
mod learned;
mod notes;
mod private;
mod schema;
mod usage_file;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

pub use usage_file::NotedFace;

use super::{AttemptId, Fault, Store, StoreError};
use crate::admit::ledger::Ledger;
use crate::atomic::{FileIdentity, folder_of, make_private_folder};
use crate::clock::Now;
use crate::model::Limits;
use crate::tripwire;
use follow::{Seen, read_changes};

/// The embedded store.
#[derive(Debug)]
pub struct SqliteStore {
    connection: Connection,
    path: PathBuf,
    /// Of the file, 0 where the system has none.
    inode: u64,
    ledger_file: PathBuf,
    boot: String,
    ledger: Ledger,
    seen: Seen,
    run: Option<RunRow>,
    /// The attempts of this process that have not ended.
    flying: HashMap<AttemptId, attempts::Place>,
    /// Attempts of the run.
    attempts: u64,
}

/// The run that goes on, and its outputs folder, by their numbers in the file.
#[derive(Clone, Copy, Debug)]
struct RunRow {
    id: i64,
    out: i64,
}

/// Where the state of the ledger `ledger_file` is kept: `usage.md` -> `.promptmill/usage.db` beside it.
#[must_use]
pub fn state_file(ledger_file: &Path) -> PathBuf {
    let stem = ledger_file.file_stem().unwrap_or_default();
    ledger_file.with_file_name(".promptmill").join(stem).with_extension("db")
}

impl SqliteStore {
    /// Opens the state of `ledger_file`, making it where there is none.
    ///
    /// `boot` names this start of the machine ([`Clock::boot`](crate::clock::Clock::boot)): entries of an earlier one are as old as the wall clock says.
    pub fn open(ledger_file: &Path, limits: Limits, boot: String, now: &Now) -> Result<Self, StoreError> {
        let path = state_file(ledger_file);
        let folder = folder_of(&path);
        make_private_folder(folder).map_err(|source| StoreError::Folder { path: folder.to_owned(), source })?;
        schema::is_there(&path)?;
        for path in [folder, &path] {
            // The mode is a person's wish, also where the system would let us (as root).
            if std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().readonly()) {
                return Err(StoreError::ReadOnly { path: path.to_owned() });
            }
        }
        private::tighten(folder, &path);
        let connection = schema::open(&path)?;
        let mut store = Self::on(connection, path, ledger_file, limits, boot);
        store.read(now)?;
        Ok(store)
    }

    /// Opens the state of `ledger_file` for reading; `None` where there is none.
    pub fn open_to_read(
        ledger_file: &Path,
        limits: Limits,
        boot: String,
        now: &Now,
    ) -> Result<Option<Self>, StoreError> {
        let path = state_file(ledger_file);
        let Some(connection) = schema::open_to_read(&path)? else { return Ok(None) };
        let mut store = Self::on(connection, path, ledger_file, limits, boot);
        store.read(now)?;
        Ok(Some(store))
    }

    fn on(connection: Connection, path: PathBuf, ledger_file: &Path, limits: Limits, boot: String) -> Self {
        let inode = std::fs::metadata(&path).map_or(0, |metadata| FileIdentity::of(&metadata).inode);
        Self {
            connection,
            inode,
            path,
            ledger_file: ledger_file.to_owned(),
            boot,
            ledger: Ledger::new(limits),
            seen: Seen::default(),
            run: None,
            flying: HashMap::new(),
            attempts: 0,
        }
    }

    /// The state file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `work` in one immediate transaction that has read what others wrote. The ledger in memory is handed in, to be changed with the file.
    ///
    /// The time is read when the transaction holds the file: a wait for another process must not make an admission look older than it is.
    fn write<T>(
        &mut self,
        now: &dyn Fn() -> Now,
        work: impl FnOnce(&Transaction<'_>, &mut Ledger, &Now) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let Self { connection, ledger, boot, seen, path, .. } = self;
        let run = || -> rusqlite::Result<T> {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            tripwire::here("transaction");
            let now = now();
            read_changes(&transaction, ledger, boot, seen, &now)?;
            let result = work(&transaction, ledger, &now)?;
            // What is written here is in memory already.
            seen.rev = transaction.query_row("SELECT value FROM counters WHERE name = 'rev'", [], |row| row.get(0))?;
            transaction.commit()?;
            Ok(result)
        };
        run().map_err(|source| {
            // What the memory has of it is not in the file.
            *seen = Seen::nothing();
            database(path, source)
        })
    }

    /// Reads what others wrote.
    fn read(&mut self, now: &Now) -> Result<(), StoreError> {
        let Self { connection, ledger, boot, seen, path, .. } = self;
        let mut run = || {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
            read_changes(&transaction, ledger, boot, seen, now)
        };
        run().map_err(|source| {
            *seen = Seen::nothing();
            database(path, source)
        })
    }

    fn database(&self) -> impl Fn(rusqlite::Error) -> StoreError + use<> {
        let path = self.path.clone();
        move |source| database(&path, source)
    }
}

impl Store for SqliteStore {
    fn is_there(&self) -> Result<(), StoreError> {
        let there = std::fs::metadata(&self.path).map(|metadata| FileIdentity::of(&metadata).inode);
        // While we have it open, no other file has its inode.
        if there.is_ok_and(|inode| inode == self.inode) {
            Ok(())
        } else {
            Err(StoreError::Gone { path: self.path.clone() })
        }
    }
}

/// What `source` says of the state file `path`.
fn database(path: &Path, source: rusqlite::Error) -> StoreError {
    let fault = match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Fault::Busy,
        Some(ErrorCode::DiskFull) => Fault::Full,
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Fault::Damaged,
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => Fault::ReadOnly,
        _ => Fault::Other,
    };
    StoreError::Database { path: path.to_owned(), fault, source: Box::new(source) }
}

/// `SQLite`'s numbers are signed, and what is added beyond them becomes a float there: each sum is cut to the largest.
fn signed(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// What the tests of this folder share.
#[cfg(test)]
mod tests {
    use super::super::{Claim, Journal as _, RunInfo};
    use super::*;
    use crate::clock::{Day, Mono};
    use crate::model::{Before, Fingerprint, Key};
    use chrono::{DateTime, TimeDelta, Utc};

    /// The clocks `seconds` after the start.
    pub(super) fn at(seconds: u64) -> Now {
        let start: DateTime<Utc> = "2026-11-22T12:00:00Z".parse().expect("a date");
        let wall = start + TimeDelta::seconds(signed(seconds));
        Now { mono: Mono((seconds + 100_000) * 1_000_000_000), wall, day: Day::of(wall, &Utc) }
    }

    pub(super) fn info(outputs: &str) -> RunInfo {
        RunInfo { outputs: outputs.to_owned(), model: "m".to_owned(), rehearsal: false, pid: 1 }
    }

    pub(super) fn claim(key: u64, tokens: u64) -> Claim {
        Claim {
            key: Key::from(key),
            fingerprint: Fingerprint([3; 16]),
            attempt: 1,
            input_tokens: 1,
            tokens,
            least: tokens,
            before: Before::Nothing,
        }
    }

    pub(super) fn open(ledger: &Path) -> SqliteStore {
        SqliteStore::open(ledger, Limits::default(), "boot".to_owned(), &at(0)).expect("the store opens")
    }

    /// A folder, its `usage.md`, and a store with a run of the outputs folder `out`.
    pub(super) fn fresh() -> (tempfile::TempDir, PathBuf, SqliteStore) {
        let folder = tempfile::tempdir().expect("a folder");
        let ledger = folder.path().join("usage.md");
        let mut store = open(&ledger);
        store.start_run(&info("out"), &at(0)).expect("a run");
        (folder, ledger, store)
    }
}
