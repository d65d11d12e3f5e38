//! What is known of the prompts of an outputs folder: all at once as a set of what is done, or one by one.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::super::StoreError;
use super::items::content;
use super::{database, schema, unsigned};
use crate::model::{Fingerprint, Key, Known, Status, Usage};
use crate::plan::{DoneSet, History, HistoryError};

/// What [`known`] reads.
const KNOWN: &str = "SELECT i.key, i.ended_run, i.fingerprint, i.ended_status, i.bytes, i.hash, i.unsettled OR i.status IN (1, 2), r.rehearsal,
    a.input_tokens, a.output_tokens, a.cached_tokens, a.reasoning_tokens FROM outs o JOIN items i ON i.out = o.id JOIN runs r ON r.id = i.ended_run
    LEFT JOIN attempts a ON a.id = i.ended_by WHERE o.name = ?1";

/// The history of an outputs folder, on a connection of its own.
pub(super) struct SqliteHistory {
    connection: Connection,
    path: PathBuf,
    outputs: String,
}

impl SqliteHistory {
    pub(super) fn open(path: &Path, outputs: &str) -> Result<Self, StoreError> {
        let connection = schema::open_to_read(path)?.ok_or_else(|| StoreError::Gone { path: path.to_owned() })?;
        Ok(Self { connection, path: path.to_owned(), outputs: outputs.to_owned() })
    }
}

impl History for SqliteHistory {
    fn done(&mut self, rehearsal: bool) -> Result<DoneSet, HistoryError> {
        let run = || -> rusqlite::Result<DoneSet> {
            let mut items = self.connection.prepare(
                "SELECT i.key, i.fingerprint, i.bytes FROM outs o JOIN items i ON i.out = o.id JOIN runs r ON r.id = i.ended_run
                 WHERE o.name = ?1 AND i.ended_status = ?2 AND NOT i.unsettled AND i.status NOT IN (1, 2) AND r.rehearsal = ?3",
            )?;
            let items = items.query_map(params![self.outputs, Status::Done as i64, rehearsal], |row| {
                Ok((row.get::<_, String>(0)?, Fingerprint(row.get(1)?), unsigned(row.get(2)?)))
            })?;
            let mut wrong = Ok(());
            let done = DoneSet::of(items.map_while(|item| item.map_err(|error| wrong = Err(error)).ok()));
            wrong.map(|()| done)
        };
        Ok(run().map_err(|source| database(&self.path, source))?)
    }

    fn known(&mut self, keys: &[Key]) -> Result<Vec<Option<Known>>, HistoryError> {
        let run = || -> rusqlite::Result<Vec<Option<Known>>> {
            let mut item = self.connection.prepare_cached(&format!("{KNOWN} AND i.key = ?2"))?;
            let mut known = |key: &Key| item.query_row(params![self.outputs, key.as_str()], known).optional();
            keys.iter().map(|key| Ok(known(key)?.flatten())).collect()
        };
        Ok(run().map_err(|source| database(&self.path, source))?)
    }
}

/// `None` where the row is of a status that another version has.
fn known(row: &Row<'_>) -> rusqlite::Result<Option<Known>> {
    let Some(status) = Status::from_number(row.get(3)?) else { return Ok(None) };
    let tokens = |column| row.get::<_, Option<i64>>(column).map(|tokens| tokens.map_or(0, unsigned));
    Ok(Some(Known {
        run: row.get(1)?,
        fingerprint: Fingerprint(row.get(2)?),
        status,
        bytes: unsigned(row.get(4)?),
        unsettled: row.get(6)?,
        output: content(row, 4)?,
        rehearsal: row.get(7)?,
        usage: Usage {
            input_tokens: tokens(8)?,
            output_tokens: tokens(9)?,
            cached_tokens: tokens(10)?,
            reasoning_tokens: tokens(11)?,
        },
    }))
}
