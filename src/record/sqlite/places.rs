//! What stood at an output's place when its request left, and what was written there: evidence of what an output on disk is.

use std::collections::{HashMap, HashSet};

use rusqlite::{Connection, Row, Transaction, params};

use super::super::Found;
use super::{number, signed, unsigned};
use crate::model::{Before, ContentId, Key};

/// Notes what stands where the answer of `prompt` is to be, in the transaction that begins its first attempt.
pub(super) fn note_before(
    transaction: &Transaction<'_>,
    run: Option<i64>,
    key: &Key,
    before: Before,
) -> rusqlite::Result<()> {
    let (bytes, hash) = match before {
        Before::Nothing => (0, None),
        Before::Output(content) => (signed(content.bytes), Some(content.hash)),
        Before::Unknown => return Ok(()),
    };
    // Between the attempts of a run nothing is written there.
    transaction
        .prepare_cached("INSERT INTO places (run, prompt, before_bytes, before_hash) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING")?
        .execute(params![run, number(key)?, bytes, hash])?;
    Ok(())
}

/// Notes what was written for `prompt`, in the transaction that says that it is done.
pub(super) fn note_output(
    transaction: &Transaction<'_>,
    run: Option<i64>,
    key: &Key,
    output: ContentId,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO places (run, prompt, hash) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET hash = ?3",
        )?
        .execute(params![run, number(key)?, output.hash])?;
    Ok(())
}

/// Reads what is needed of it: nothing where every attempt has an end.
pub(super) fn read(connection: &Connection, outputs: &str, found: &mut Found) -> rusqlite::Result<()> {
    let unsettled: HashSet<Key> =
        found.known.iter().filter(|(_, known)| known.unsettled).map(|(key, _)| key.clone()).collect();
    if found.lost.is_empty() && unsettled.is_empty() {
        return Ok(());
    }
    let lost: HashMap<Key, usize> =
        found.lost.iter().enumerate().map(|(place, request)| (request.key.clone(), place)).collect();
    let mut places = connection.prepare(
        "SELECT p.run, p.prompt, p.before_bytes, p.before_hash, e.bytes, p.hash FROM runs r JOIN places p ON p.run = r.id
         JOIN entries e ON e.run = p.run AND e.prompt = p.prompt WHERE r.outputs = ?1",
    )?;
    let mut rows = places.query([outputs])?;
    while let Some(row) = rows.next()? {
        let run: i64 = row.get(0)?;
        let key = super::key(row, 1)?;
        let output = content(row, 4)?;
        if let Some(known) = found.known.get_mut(&key).filter(|known| known.run == run) {
            known.output = output;
        }
        let Some(&place) = lost.get(&key) else { continue };
        let request = &mut found.lost[place];
        let before = content(row, 2)?;
        if request.run == run {
            let noted: Option<i64> = row.get(2)?;
            request.before = match before {
                Some(content) => Before::Output(content),
                None if noted.is_some() => Before::Nothing,
                None => Before::Unknown,
            };
        } else {
            request.earlier.extend(output.into_iter().chain(before));
        }
    }
    Ok(())
}

/// The content whose length is in this column, and its hash in the next; `None` where there is none.
fn content(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<ContentId>> {
    let hash: Option<[u8; 16]> = row.get(column + 1)?;
    let Some(hash) = hash else { return Ok(None) };
    Ok(Some(ContentId { bytes: unsigned(row.get(column)?), hash }))
}
