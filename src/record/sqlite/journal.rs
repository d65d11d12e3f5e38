//! The journal between runs: what a run finds at its start, and what it leaves at its end.

use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::super::entry::{LostRequest, Step, next_status};
use super::super::{AttemptId, Found, Journal, KeptAnswer, LATEST_ANSWERS, LastRun, RunInfo, StoreError};
use super::done::SqliteHistory;
use super::items::{self, content, illegal};
use super::{RunRow, SqliteStore, day, signed, unsigned};
use crate::clock::Now;
use crate::model::{Before, ContentId, Fingerprint, Key, Status, Usage};
use crate::plan::History;

impl Journal for SqliteStore {
    fn find(&self, outputs: &str, model: &str) -> Result<Found, StoreError> {
        let run = || -> rusqlite::Result<Found> {
            Ok(Found {
                lost: lost(&self.connection, outputs)?,
                kept: kept(&self.connection, outputs)?,
                latest_output_tokens: latest_output_tokens(&self.connection, model)?,
            })
        };
        run().map_err(self.database())
    }

    fn history(&self, outputs: &str) -> Result<Box<dyn History>, StoreError> {
        Ok(Box::new(SqliteHistory::open(&self.path, outputs)?))
    }

    fn start_run(&mut self, info: &RunInfo, now: &Now) -> Result<(), StoreError> {
        let run = self.write(&|| *now, |transaction, _, now| {
            transaction.execute("INSERT OR IGNORE INTO outs (name) VALUES (?1)", [&info.outputs])?;
            let out = transaction.query_row("SELECT id FROM outs WHERE name = ?1", [&info.outputs], |row| row.get(0))?;
            // Only what was at the server is lost; what any attempt has left without an end is unsettled.
            transaction.execute(
                "UPDATE attempts SET status = ?2 WHERE id IN (SELECT attempt FROM items WHERE out = ?1 AND status IN (1, 2) AND status = ?3)",
                params![out, Status::Lost as i64, Status::Sending as i64],
            )?;
            transaction.execute(
                "UPDATE items SET unsettled = 1, status = CASE status WHEN ?3 THEN ?2 ELSE 0 END WHERE out = ?1 AND status IN (1, 2)",
                params![out, Status::Lost as i64, Status::Sending as i64],
            )?;
            transaction.execute(
                "INSERT INTO runs (outputs, model, rehearsal, pid, started_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![info.outputs, info.model, info.rehearsal, info.pid, now.wall.timestamp_millis()],
            )?;
            let id = transaction.last_insert_rowid();
            day::forget_old(transaction)?;
            Ok(RunRow { id, out })
        })?;
        (self.run, self.attempts) = (Some(run), 0);
        Ok(())
    }

    fn end_run(&mut self, summary: &str, now: &Now) -> Result<(), StoreError> {
        let run = self.run.map(|run| run.id);
        self.write(&|| *now, |transaction, _, now| {
            transaction.execute(
                "UPDATE runs SET ended_ms = ?2, summary = ?3 WHERE id = ?1",
                params![run, now.wall.timestamp_millis(), summary],
            )?;
            Ok(())
        })
    }

    fn recover_lost(&mut self, found: &[(LostRequest, Usage, ContentId)], now: &Now) -> Result<(), StoreError> {
        self.write(&|| *now, |transaction, _, now| {
            for (LostRequest { attempt, key, fingerprint, .. }, usage, output) in found {
                // It is still "sending" where the next run has not started yet.
                next_status(Some(Status::Lost), Step::Recover).map_err(illegal)?;
                let out = answered(transaction, *attempt, *output, now)?;
                transaction.execute(
                    "UPDATE attempts SET input_tokens = ?2, output_tokens = ?3 WHERE id = ?1",
                    params![attempt.number(), signed(usage.input_tokens), signed(usage.output_tokens)],
                )?;
                transaction.execute(
                    "UPDATE items SET status = ?4, unsettled = 0, ended_run = run, ended_by = attempt, ended_status = ?4, fingerprint = ?5,
                     bytes = ?6, hash = ?7 WHERE out = ?1 AND key = ?2 AND attempt = ?3",
                    params![out, key.as_str(), attempt.number(), Status::Done as i64, fingerprint.0, signed(output.bytes), output.hash],
                )?;
            }
            Ok(())
        })
    }

    fn recover_kept(&mut self, answer: &KeptAnswer, now: &Now) -> Result<(), StoreError> {
        let (attempt, output) = (answer.attempt, answer.content());
        self.write(&|| *now, |transaction, _, now| {
            next_status(Some(Status::Unwritten), Step::Recover).map_err(illegal)?;
            let out = answered(transaction, attempt, output, now)?;
            transaction.execute("DELETE FROM answers WHERE attempt = ?1", [attempt.number()])?;
            transaction.execute(
                "UPDATE items SET ended_status = ?4, bytes = ?5, hash = ?6, status = CASE attempt WHEN ended_by THEN ?4 ELSE status END
                 WHERE out = ?1 AND key = ?2 AND ended_by = ?3",
                params![out, answer.key.as_str(), attempt.number(), Status::Done as i64, signed(output.bytes), output.hash],
            )?;
            Ok(())
        })
    }

    fn adopt(&mut self, adopted: &[(Key, Fingerprint, u64)], now: &Now) -> Result<(), StoreError> {
        let run = self.run;
        self.write(&|| *now, |transaction, _, _| {
            let run = items::started(run)?;
            let mut insert = transaction.prepare(
                "INSERT INTO items (out, key, run, status, ended_run, ended_status, fingerprint, bytes) VALUES (?1, ?2, ?3, ?4, ?3, ?4, ?5, ?6)
                 ON CONFLICT DO UPDATE SET run = ?3, status = ?4, unsettled = 0, ended_run = ?3, ended_by = NULL, ended_status = ?4,
                 fingerprint = ?5, bytes = ?6, hash = NULL",
            )?;
            for (key, fingerprint, bytes) in adopted {
                insert.execute(params![run.out, key.as_str(), run.id, Status::Done as i64, fingerprint.0, signed(*bytes)])?;
            }
            Ok(())
        })
    }

    fn last_run(&self, outputs: &str) -> Result<Option<LastRun>, StoreError> {
        self.connection
            .query_row(
                "SELECT model, rehearsal, pid, started_ms, ended_ms, summary FROM runs WHERE outputs = ?1 ORDER BY id DESC LIMIT 1",
                [outputs],
                |row| {
                    let ended: Option<i64> = row.get(4)?;
                    Ok(LastRun {
                        model: row.get(0)?,
                        rehearsal: row.get(1)?,
                        pid: row.get(2)?,
                        started: wall(row.get(3)?),
                        ended: ended.map(wall),
                        summary: row.get(5)?,
                    })
                },
            )
            .optional()
            .map_err(self.database())
    }
}

/// Journals that the answer of an attempt is on disk after all. Says which outputs folder it is of.
fn answered(
    transaction: &Transaction<'_>,
    attempt: AttemptId,
    output: ContentId,
    now: &Now,
) -> rusqlite::Result<Option<i64>> {
    transaction.execute(
        "UPDATE attempts SET status = ?2, ended_ms = ?3, bytes = ?4, hash = ?5 WHERE id = ?1",
        params![attempt.number(), Status::Done as i64, now.wall.timestamp_millis(), signed(output.bytes), output.hash],
    )?;
    let out = "SELECT o.id FROM runs r JOIN outs o ON o.name = r.outputs WHERE r.id = ?1";
    transaction.query_row(out, [attempt.run()], |row| row.get(0)).optional()
}

/// Requests that were in flight when their run died.
fn lost(connection: &Connection, outputs: &str) -> rusqlite::Result<Vec<LostRequest>> {
    let mut lost = connection.prepare(
        "SELECT i.attempt, i.key, a.fingerprint, a.counted_tokens, a.reserved_tokens, r.rehearsal, a.before_bytes, a.before_hash
         FROM outs o JOIN items i ON i.out = o.id JOIN attempts a ON a.id = i.attempt JOIN runs r ON r.id = i.run
         WHERE o.name = ?1 AND i.status IN (1, 2) AND i.status = ?2",
    )?;
    let lost = lost.query_map(params![outputs, Status::Sending as i64], |row| {
        let noted: Option<i64> = row.get(6)?;
        Ok(LostRequest {
            attempt: AttemptId::from_number(row.get(0)?),
            key: row.get_ref(1)?.as_str()?.into(),
            fingerprint: Fingerprint(row.get(2)?),
            input_tokens: unsigned(row.get(3)?),
            reserved_tokens: unsigned(row.get(4)?),
            rehearsal: row.get(5)?,
            before: match content(row, 6)? {
                Some(content) => Before::Output(content),
                None if noted.is_some() => Before::Nothing,
                None => Before::Unknown,
            },
            earlier: Vec::new(),
        })
    })?;
    let mut lost = lost.collect::<rusqlite::Result<Vec<_>>>()?;
    for request in &mut lost {
        request.earlier = seen_before(connection, request.attempt)?;
    }
    Ok(lost)
}

/// What the attempts before this one, in earlier runs, have seen and written at their output's place.
fn seen_before(connection: &Connection, attempt: AttemptId) -> rusqlite::Result<Vec<ContentId>> {
    let mut seen = Vec::new();
    let mut before = connection.prepare_cached(
        "WITH RECURSIVE chain (id) AS (
           SELECT previous FROM attempts WHERE id = ?1 UNION ALL SELECT a.previous FROM attempts a JOIN chain c ON a.id = c.id)
         SELECT a.before_bytes, a.before_hash, a.bytes, a.hash FROM chain c JOIN attempts a ON a.id = c.id WHERE a.id < ?2",
    )?;
    let mut rows = before.query([attempt.number(), AttemptId::of(attempt.run(), 0).number()])?;
    while let Some(row) = rows.next()? {
        seen.extend(content(row, 0)?.into_iter().chain(content(row, 2)?));
    }
    Ok(seen)
}

fn kept(connection: &Connection, outputs: &str) -> rusqlite::Result<Vec<KeptAnswer>> {
    let mut kept = connection.prepare(
        "SELECT w.attempt, a.key, w.text FROM answers w JOIN attempts a ON a.id = w.attempt JOIN runs r ON r.id = a.run
         WHERE r.outputs = ?1 ORDER BY w.attempt",
    )?;
    kept.query_map([outputs], |row| {
        let attempt = AttemptId::from_number(row.get(0)?);
        Ok(KeptAnswer { attempt, key: row.get_ref(1)?.as_str()?.into(), text: row.get(2)? })
    })?
    .collect()
}

fn latest_output_tokens(connection: &Connection, model: &str) -> rusqlite::Result<Vec<u64>> {
    let mut latest = connection.prepare(
        "SELECT a.output_tokens FROM runs r CROSS JOIN attempts a ON a.id BETWEEN r.id << 32 AND (r.id << 32) + 4294967295
         WHERE r.model = ?1 AND a.status = ?2 AND a.number > 0 ORDER BY r.id DESC, a.id DESC LIMIT ?3",
    )?;
    let most = signed(LATEST_ANSWERS);
    latest.query_map(params![model, Status::Done as i64, most], |row| Ok(unsigned(row.get(0)?)))?.collect()
}

pub(super) fn wall(ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(ms).unwrap_or_default()
}
