//! The writings of `usage.md` that are noted, by which an edit is told from them, and what an edit does to the ledger.
//!
//! A writing is noted before it is placed, and placed only as long as it is the newest one. So what stands there is the newest that was placed, and
//! those noted before it never come again: they are forgotten. A person's edit that was taken in is noted too.

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::super::StoreError;
use super::super::usage_file::{Writing, Writings};
use super::follow::{last_entry, next};
use super::{SqliteStore, day, signed};
use crate::admit::ledger::{Amount, Ledger};
use crate::atomic::FileIdentity;
use crate::clock::{Mono, Now, Quarter};

impl Writings for Connection {
    type Error = rusqlite::Error;

    fn of(&self, identity: FileIdentity) -> rusqlite::Result<Option<Writing>> {
        self.prepare_cached(
            "SELECT id, text FROM faces WHERE inode = ?1 AND modified_ns = ?2 ORDER BY id DESC LIMIT 1",
        )?
        .query_row(params![identity.inode.cast_signed(), identity.modified_ns], writing)
        .optional()
    }

    fn newest(&self) -> rusqlite::Result<Option<Writing>> {
        self.prepare_cached("SELECT id, text FROM faces ORDER BY id DESC LIMIT 1")?.query_row([], writing).optional()
    }
}

fn writing(row: &rusqlite::Row<'_>) -> rusqlite::Result<Writing> {
    Ok(Writing { id: row.get(0)?, text: row.get(1)? })
}

/// Notes a writing.
pub(super) fn note(transaction: &Transaction<'_>, text: &str, identity: FileIdentity) -> rusqlite::Result<i64> {
    transaction
        .prepare_cached("INSERT INTO faces (text, inode, modified_ns) VALUES (?1, ?2, ?3)")?
        .execute(params![text, identity.inode.cast_signed(), identity.modified_ns])?;
    Ok(transaction.last_insert_rowid())
}

/// Forgets the writings before the one that stands there.
pub(super) fn forget_before(transaction: &Transaction<'_>, stands: i64) -> rusqlite::Result<()> {
    transaction.prepare_cached("DELETE FROM faces WHERE id < ?1")?.execute([stands]).map(drop)
}

/// What takes the place of all that is used up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Replacement {
    /// The window's amount,
    pub(super) minute: Amount,
    /// which counts from this moment.
    pub(super) at: Mono,
    pub(super) day_tokens: u64,
    /// Whether it is a fresh start. The day's requests do not stand in `usage.md`: an edit leaves them as they are, a fresh start empties them too,
    /// and all other days.
    pub(super) fresh: bool,
}

impl Replacement {
    /// Puts it in its place.
    pub(super) fn put(
        self,
        transaction: &Transaction<'_>,
        ledger: &mut Ledger,
        boot: &str,
        now: &Now,
    ) -> rusqlite::Result<()> {
        let Self { minute, at, day_tokens, fresh } = self;
        transaction.execute("DELETE FROM ledger", [])?;
        // Reservations up to here are no part of the new amounts.
        transaction.execute(
            "INSERT INTO counters VALUES ('replaced', ?1) ON CONFLICT DO UPDATE SET value = ?1",
            [last_entry(transaction)?],
        )?;
        let rev = next(transaction, "rev")?;
        next(transaction, "epoch")?;
        if minute != Amount::default() {
            let wall_ms = now.wall.timestamp_millis() - signed(at.until(now.mono).as_millis());
            transaction.execute(
                "INSERT INTO ledger (at, boot, wall_ms, tokens, requests, rev, open, heard) VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?1)",
                params![signed(at.0), boot, wall_ms, signed(minute.tokens), signed(minute.requests), rev],
            )?;
        }
        let requests = if fresh { 0 } else { ledger.used(now).day.requests }.max(minute.requests);
        let from = if fresh { i64::MIN } else { Quarter::of(now.day.starts).0 };
        transaction.execute("DELETE FROM quarters WHERE quarter >= ?1", [from])?;
        day::add(transaction, Quarter::of(now.wall), Amount { tokens: day_tokens, requests })
    }
}

impl SqliteStore {
    /// Runs `work` in one immediate transaction: no other process notes or places a writing meanwhile.
    pub(super) fn alone<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let database = self.database();
        let run = || {
            let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let result = work(&transaction)?;
            transaction.commit()?;
            Ok(result)
        };
        run().map_err(database)
    }

    /// The same, where a [`Replacement`] may take the place of what is used up.
    pub(super) fn replacing<T>(
        &mut self,
        now: &Now,
        work: impl FnOnce(&Transaction<'_>, &mut Ledger, &str) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let boot = self.boot.clone();
        let result = self.write(&|| *now, |transaction, ledger, _| work(transaction, ledger, &boot))?;
        self.read(now)?;
        Ok(result)
    }
}
