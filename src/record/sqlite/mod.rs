//! The store in a file: `SQLite`, shared by the processes of one machine.
//!
//! The file lies in `.promptmill/` beside `usage.md`. Each write is one `BEGIN IMMEDIATE` transaction, so that two processes never decide on the same room;
//! what others have written since is read at its start. A process keeps the running window in memory and reads only what changed.

mod day;
pub(super) mod faces;
mod history;
mod journal;
mod learned;
mod places;
mod private;
mod schema;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

pub use journal::{Found, KeptAnswer, LastRun, RunInfo};

use super::entry::{IllegalStep, Step, next_status};
use super::{Begun, Claim, Ended, Finished, Refusal, Reservation, Settlement, Store, StoreError};
use crate::admit::ledger::{Admission, Amount, Entry, Ledger, Settled, Used, latest_quarter};
use crate::atomic::{FileIdentity, folder_of, make_private_folder};
use crate::clock::{Mono, Now, Quarter, nanos};
use crate::model::{Class, Key, Limits, Status};

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
    run: Option<i64>,
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
        }
    }

    /// The state file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file is where it was opened. One that is not goes on as if nothing had happened, and nobody finds what is noted there.
    pub fn is_there(&self) -> Result<(), StoreError> {
        let there = std::fs::metadata(&self.path).map(|metadata| FileIdentity::of(&metadata).inode);
        // While we have it open, no other file has its inode.
        if there.is_ok_and(|inode| inode == self.inode) {
            Ok(())
        } else {
            Err(StoreError::Gone { path: self.path.clone() })
        }
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
            StoreError::Database { path: path.clone(), source }
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
            StoreError::Database { path: path.clone(), source }
        })
    }

    pub(super) fn ledger_file(&self) -> &Path {
        &self.ledger_file
    }

    pub(super) fn limits(&self) -> &Limits {
        self.ledger.limits()
    }

    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(super) fn database(&self) -> impl Fn(rusqlite::Error) -> StoreError + use<> {
        let path = self.path.clone();
        move |source| StoreError::Database { path: path.clone(), source }
    }
}

impl Store for SqliteStore {
    fn begin(&mut self, claims: &[Claim], now: &dyn Fn() -> Now) -> Result<Begun, StoreError> {
        let run = self.run;
        let boot = self.boot.clone();
        let span_ms = signed(self.ledger.limits().span().as_millis());
        self.write(now, |transaction, ledger, now| {
            let wall_ms = now.wall.timestamp_millis();
            let mut begun = Begun { admitted: Vec::new(), refused: None };
            let entry = last_entry(transaction)? + 1;
            let quarter = Quarter::of(now.wall);
            day::correct(transaction, latest_quarter(now))?;
            let mut total = Amount::default();
            let mut journal = transaction.prepare_cached(
                "INSERT INTO entries (run, prompt, fingerprint, status, attempts, input_tokens, output_tokens, reserved_tokens, bytes, begun_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7, 0, ?8)
                 ON CONFLICT DO UPDATE SET status = ?4, attempts = ?5, reserved_tokens = ?7, begun_ms = ?8",
            )?;
            for claim in claims {
                let [least, tokens] = [claim.least, claim.tokens].map(|tokens| tokens.min(MOST_TOKENS));
                let (admission, tokens) = ledger.reserve(unsigned(entry), least, tokens, now);
                match admission {
                    Admission::Now => {
                        let status = step(transaction, run, &claim.key, Step::Begin)?;
                        journal.execute(params![
                            run, number(&claim.key)?, claim.fingerprint.0, status as i64, claim.attempt,
                            signed(claim.input_tokens), signed(tokens), wall_ms
                        ])?;
                        places::note_before(transaction, run, &claim.key, claim.before)?;
                        total.tokens = total.tokens.saturating_add(tokens);
                        total.requests += 1;
                        begun.admitted.push(Reservation { entry: unsigned(entry), at: now.mono, quarter, tokens });
                    }
                    Admission::NotBefore(wait) => begun.refused = Some(Refusal::NotBefore(wait)),
                    Admission::Never(too_large) => begun.refused = Some(Refusal::Never(too_large)),
                }
                if begun.refused.is_some() {
                    break;
                }
            }
            if total.requests > 0 {
                let rev = next(transaction, "rev")?;
                transaction.prepare_cached("INSERT INTO ledger VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?6, ?2)")?.execute(params![
                    entry, signed(now.mono.0), boot, wall_ms, signed(total.tokens), signed(total.requests), rev
                ])?;
                day::add(transaction, quarter, total)?;
                // Entries that have left every window are of no use; twice the span leaves those be whom another process still settles.
                // Those of this boot are as old as the steady clock says, wherever the wall clock was set.
                let old_ms = (2 * span_ms).max(3_600_000);
                transaction
                    .prepare_cached(
                        "DELETE FROM ledger WHERE id IN (SELECT id FROM ledger WHERE CASE boot WHEN ?1 THEN at < ?2 ELSE wall_ms < ?3 END ORDER BY id LIMIT 64)",
                    )?
                    .execute(params![boot, signed(now.mono.0) - old_ms.saturating_mul(1_000_000), wall_ms - old_ms])?;
            }
            Ok(begun)
        })
    }

    fn finish(&mut self, finished: &[Finished], now: &Now) -> Result<(), StoreError> {
        let run = self.run;
        let wall_ms = now.wall.timestamp_millis();
        self.write(&|| *now, |transaction, ledger, _| {
            let mut entries: BTreeMap<(u64, Quarter), Change> = BTreeMap::new();
            let mut journal = transaction.prepare_cached(
                "INSERT INTO entries (run, prompt, fingerprint, status, attempts, input_tokens, output_tokens, reserved_tokens, bytes, ended_ms, class, message, finish)
                 VALUES (?1, ?2, ?3, ?4, 0, ?5, ?6, 0, ?7, ?8, ?9, ?10, ?11)
                 ON CONFLICT DO UPDATE SET status = ?4, input_tokens = CASE WHEN ?5 > 0 THEN ?5 ELSE input_tokens END, output_tokens = ?6,
                 bytes = ?7, ended_ms = ?8, class = ?9, message = ?10, finish = ?11",
            )?;
            let replaced: Option<i64> = transaction
                .prepare_cached("SELECT value FROM counters WHERE name = 'replaced'")?
                .query_row([], |row| row.get(0))
                .optional()?;
            for Finished { key, fingerprint, settled, ended } in finished {
                if let Some(Settlement { reservation, used, heard }) = settled {
                    let used = Amount { tokens: used.tokens.min(MOST_TOKENS), ..*used };
                    // Nothing is taken off numbers that a person set, or that start afresh, for what they do not hold.
                    let is_replaced = Some(signed(reservation.entry)) <= replaced;
                    let used = if is_replaced { used.at_least(Amount::request(reservation.tokens)) } else { used };
                    let settled = Settled { reserved: reservation.tokens, used, heard: *heard };
                    ledger.settle(reservation.entry, reservation.at, reservation.quarter, settled);
                    let change = entries.entry((reservation.entry, reservation.quarter)).or_default();
                    change.tokens = change.tokens.saturating_add(signed(used.tokens) - signed(reservation.tokens));
                    change.requests += signed(used.requests) - 1;
                    change.settled += 1;
                    change.heard = change.heard.max(*heard);
                }
                let row = Row::of(ended);
                let status = step(transaction, run, key, row.step)?;
                journal.execute(params![
                    run, number(key)?, fingerprint.0, status as i64, signed(row.input_tokens), signed(row.output_tokens), signed(row.bytes),
                    wall_ms, row.class, row.message, row.finish
                ])?;
                if let Ended::Done { output, .. } = ended {
                    places::note_output(transaction, run, key, *output)?;
                }
                if let Ended::Unwritten { text, .. } = ended {
                    transaction.execute("INSERT OR REPLACE INTO kept VALUES (?1, ?2, ?3)", params![run, number(key)?, text])?;
                }
            }
            if !entries.is_empty() {
                let rev = next(transaction, "rev")?;
                let mut settle = transaction.prepare_cached(
                    "UPDATE ledger SET tokens = min(max(tokens + ?2, 0), 9223372036854775807), requests = max(requests + ?3, 0), rev = ?4, open = max(open - ?5, 0),
                     heard = max(heard, ?6) WHERE id = ?1",
                )?;
                for ((entry, quarter), change) in entries {
                    let entry = signed(entry);
                    settle.execute(params![entry, change.tokens, change.requests, rev, change.settled, signed(change.heard.0)])?;
                    day::settle(transaction, quarter, change.tokens, change.requests)?;
                }
            }
            Ok(())
        })
    }

    fn used(&mut self, now: &Now) -> Result<Used, StoreError> {
        self.read(now)?;
        Ok(self.ledger.used(now))
    }
}

/// What settlements change of one entry of the ledger.
#[derive(Default)]
struct Change {
    tokens: i64,
    requests: i64,
    /// Requests that are settled.
    settled: i64,
    heard: Mono,
}

/// The columns of an ended attempt.
struct Row<'a> {
    step: Step,
    input_tokens: u64,
    output_tokens: u64,
    bytes: u64,
    class: Option<&'static str>,
    message: Option<&'a str>,
    finish: Option<String>,
}

impl<'a> Row<'a> {
    fn of(ended: &'a Ended) -> Self {
        let empty = Row {
            step: Step::Again,
            input_tokens: 0,
            output_tokens: 0,
            bytes: 0,
            class: None,
            message: None,
            finish: None,
        };
        match ended {
            Ended::Done { usage, finish, output } => Row {
                step: Step::Done,
                input_tokens: usage.input_tokens,
                output_tokens: usage.output_tokens,
                bytes: output.bytes,
                finish: Some(finish.to_string()),
                ..empty
            },
            Ended::Failed { class, message, usage } => Row {
                step: Step::Fail,
                input_tokens: usage.input_tokens,
                output_tokens: usage.output_tokens,
                class: Some(class.word()),
                message: Some(message),
                ..empty
            },
            Ended::Again { class } => Row { class: class.map(Class::word), ..empty },
            Ended::Unwritten { usage, finish, .. } => Row {
                step: Step::Keep,
                input_tokens: usage.input_tokens,
                output_tokens: usage.output_tokens,
                finish: Some(finish.to_string()),
                ..empty
            },
        }
    }
}

/// The status of a prompt's entry after `step`.
fn step(transaction: &Transaction<'_>, run: Option<i64>, key: &Key, step: Step) -> rusqlite::Result<Status> {
    let from: Option<i64> = transaction
        .prepare_cached("SELECT status FROM entries WHERE run = ?1 AND prompt = ?2")?
        .query_row(params![run, number(key)?], |row| row.get(0))
        .optional()?;
    next_status(from.and_then(Status::from_number), step).map_err(illegal)
}

/// A step that cannot follow, as an error of the transaction that it ends.
fn illegal(step: IllegalStep) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(Box::new(step))
}

/// The number of the last entry that was made, 0 where there was none.
fn last_entry(transaction: &Transaction<'_>) -> rusqlite::Result<i64> {
    let last = transaction
        .prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'ledger'")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(last.unwrap_or(0))
}

/// Raises a counter and tells its new value.
fn next(transaction: &Transaction<'_>, counter: &str) -> rusqlite::Result<i64> {
    transaction
        .prepare_cached("UPDATE counters SET value = value + 1 WHERE name = ?1 RETURNING value")?
        .query_row([counter], |row| row.get(0))
}

/// How far the memory has followed the file.
#[derive(Debug, Default)]
struct Seen {
    /// Changes of `ledger` up to this one are in memory.
    rev: i64,
    epoch: i64,
    /// `SQLite`'s own count of other connections' commits; unchanged means that nothing is to be read.
    version: Option<i64>,
    /// The first quarter of an hour that is in memory.
    since: Option<Quarter>,
}

impl Seen {
    /// All is to be read anew: no file has this epoch.
    fn nothing() -> Self {
        Self { epoch: -1, ..Self::default() }
    }
}

/// Brings the ledger in memory up to the file.
fn read_changes(
    transaction: &Transaction<'_>,
    ledger: &mut Ledger,
    boot: &str,
    seen: &mut Seen,
    now: &Now,
) -> rusqlite::Result<()> {
    let version: i64 = transaction.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?;
    let counter = |name: &str| -> rusqlite::Result<i64> {
        transaction.prepare_cached("SELECT value FROM counters WHERE name = ?1")?.query_row([name], |row| row.get(0))
    };
    let epoch = counter("epoch")?;
    let day = Quarter::of(now.day.starts);
    // Our own commits leave SQLite's count alone.
    if seen.version == Some(version) && seen.epoch == epoch && seen.since.is_some_and(|since| since <= day) {
        return Ok(());
    }
    seen.version = Some(version);
    if seen.epoch != epoch {
        seen.epoch = epoch;
        seen.rev = 0;
        ledger.clear_window();
    }
    let mut rows = transaction.prepare_cached(
        "SELECT id, at, boot, wall_ms, tokens, requests, rev, open, heard FROM ledger WHERE rev > ?1",
    )?;
    let mut rows = rows.query([seen.rev])?;
    while let Some(row) = rows.next()? {
        let (at, open, heard) = if row.get_ref(2)?.as_str()? == boot {
            (Mono(unsigned(row.get(1)?)), unsigned(row.get(7)?), Mono(unsigned(row.get(8)?)))
        } else {
            // Worked out anew from the wall clock, the moment may be a little different from the last time. When it was heard of is not
            // known in our time: it counts as open, which is the longest.
            ledger.remove(unsigned(row.get(0)?));
            let at = before(now, row.get(3)?);
            (at, 1, at)
        };
        let amount = Amount { tokens: unsigned(row.get(4)?), requests: unsigned(row.get(5)?) };
        seen.rev = (seen.rev).max(row.get(6)?);
        if at.plus(ledger.limits().span()) > now.mono {
            ledger.enter(Entry { id: unsigned(row.get(0)?), at, amount, open, heard });
        }
    }
    seen.since = Some(day);
    ledger.set_quarters(day::read(transaction, day)?);
    Ok(())
}

/// When a moment of the wall clock was on the steady one: for what happened before the machine was started.
///
/// A moment that the wall clock has not reached (it was set back) counts as now: it stays counted for a whole window, and no longer.
fn before(now: &Now, wall_ms: i64) -> Mono {
    let then = DateTime::<Utc>::from_timestamp_millis(wall_ms).unwrap_or(now.wall);
    let age = (now.wall - then).to_std().unwrap_or_default();
    Mono(now.mono.0.saturating_sub(nanos(age)))
}

/// More tokens than any request has: an amount is cut to this, so that sums stay far below what the file can hold.
const MOST_TOKENS: u64 = 1 << 53;

/// `SQLite`'s numbers are signed, and what is added beyond them becomes a float there: each sum is cut to the largest.
fn signed(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// The number by which the file knows the prompt `key`.
fn number(key: &Key) -> rusqlite::Result<i64> {
    key.as_str().parse().map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

/// The key of the prompt whose number is in this column.
fn key(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Key> {
    Ok(Key::from(unsigned(row.get(column)?)))
}

/// What the tests of this folder share.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Day;
    use crate::model::{Before, Fingerprint, Key};
    use chrono::TimeDelta;

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
