//! How the ledger in memory follows the file: a process reads only what others have changed.

use chrono::{DateTime, Utc};
use rusqlite::{OptionalExtension, Transaction};

use super::{day, unsigned};
use crate::admit::ledger::{Amount, Entry, Ledger};
use crate::clock::{Mono, Now, Quarter, nanos};

/// The number of the last entry that was made, 0 where there was none.
pub(super) fn last_entry(transaction: &Transaction<'_>) -> rusqlite::Result<i64> {
    let last = transaction
        .prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'ledger'")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(last.unwrap_or(0))
}

/// Raises a counter and tells its new value.
pub(super) fn next(transaction: &Transaction<'_>, counter: &str) -> rusqlite::Result<i64> {
    transaction
        .prepare_cached("UPDATE counters SET value = value + 1 WHERE name = ?1 RETURNING value")?
        .query_row([counter], |row| row.get(0))
}

/// How far the memory has followed the file.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Changes of `ledger` up to this one are in memory.
    pub(super) rev: i64,
    epoch: i64,
    /// `SQLite`'s own count of other connections' commits; unchanged means that nothing is to be read.
    version: Option<i64>,
    /// The first quarter of an hour that is in memory.
    since: Option<Quarter>,
}

impl Seen {
    /// All is to be read anew: no file has this epoch.
    pub(super) fn nothing() -> Self {
        Self { epoch: -1, ..Self::default() }
    }
}

/// Brings the ledger in memory up to the file.
pub(super) fn read_changes(
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
