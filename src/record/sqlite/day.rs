//! The use of days, by the quarter of an hour.

use std::collections::BTreeMap;

use rusqlite::{Connection, Transaction, params};

use super::{signed, unsigned};
use crate::admit::ledger::Amount;
use crate::clock::Quarter;

/// So many quarters are kept, the latest: those of ten days without a pause, and those of weeks with less.
const KEPT: i64 = 1_000;

/// What was used in each quarter since `first`.
pub(super) fn read(connection: &Connection, first: Quarter) -> rusqlite::Result<BTreeMap<Quarter, Amount>> {
    connection
        .prepare_cached("SELECT quarter, tokens, requests FROM quarters WHERE quarter >= ?1")?
        .query_map([first.0], |row| {
            Ok((Quarter(row.get(0)?), Amount { tokens: unsigned(row.get(1)?), requests: unsigned(row.get(2)?) }))
        })?
        .collect()
}

/// Adds to what was used in a quarter.
pub(super) fn add(transaction: &Transaction<'_>, quarter: Quarter, amount: Amount) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("INSERT INTO quarters VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET tokens = min(tokens + ?2, 9223372036854775807), requests = requests + ?3")?
        .execute(params![quarter.0, signed(amount.tokens), signed(amount.requests)])?;
    Ok(())
}

/// Changes what was used in a quarter. From one that is gone nothing is taken, as its numbers were replaced; what is more than was reserved counts.
pub(super) fn settle(
    transaction: &Transaction<'_>,
    quarter: Quarter,
    tokens: i64,
    requests: i64,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO quarters VALUES (?1, max(?2, 0), max(?3, 0))
             ON CONFLICT DO UPDATE SET tokens = min(max(tokens + ?2, 0), 9223372036854775807), requests = max(requests + ?3, 0)",
        )?
        .execute(params![quarter.0, tokens, requests])?;
    Ok(())
}

/// What is noted for later quarters than `latest` counts in that one.
pub(super) fn correct(transaction: &Transaction<'_>, latest: Quarter) -> rusqlite::Result<()> {
    let wrong = read(transaction, Quarter(latest.0 + 1))?;
    if wrong.is_empty() {
        return Ok(());
    }
    transaction.execute("DELETE FROM quarters WHERE quarter > ?1", [latest.0])?;
    for amount in wrong.into_values() {
        add(transaction, latest, amount)?;
    }
    Ok(())
}

/// Removes what no day counts any more. It goes by number, not by time: a clock that is wrong makes nothing old.
pub(super) fn forget_old(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute(
        "DELETE FROM quarters WHERE quarter <= (SELECT quarter FROM quarters ORDER BY quarter DESC LIMIT 1 OFFSET ?1)",
        [KEPT],
    )?;
    Ok(())
}
