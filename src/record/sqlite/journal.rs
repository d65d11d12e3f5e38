//! The journal between runs: what a run finds at its start, and what it leaves at its end.

use chrono::{DateTime, Utc};
use rusqlite::{OptionalExtension, Row, params};

use super::super::done::Remembered;
use super::super::entry::{LostRequest, Step, next_status};
use super::super::{Found, Journal, KeptAnswer, LATEST_ANSWERS, LastRun, RunInfo, StoreError};
use super::attempts::illegal;
use super::{SqliteStore, day, number, places, signed, unsigned};
use crate::clock::Now;
use crate::model::{Before, Class, ContentId, Fingerprint, Key, Known, Status, Usage};
use crate::plan::History;

/// An entry whose answer is on disk after all.
struct Recovered<'a> {
    run: i64,
    key: Key,
    from: Status,
    steps: &'a [Step],
    usage: Option<Usage>,
    output: ContentId,
}

impl Journal for SqliteStore {
    fn find(&self, outputs: &str, model: &str) -> Result<Found, StoreError> {
        let run = || -> rusqlite::Result<Found> {
            let mut found = Found::default();
            let mut entries = self.connection.prepare(
                "SELECT e.run, e.prompt, e.fingerprint, e.status, e.bytes, e.input_tokens, e.output_tokens, e.reserved_tokens, r.rehearsal
                 FROM runs r JOIN entries e ON e.run = r.id WHERE r.outputs = ?1 AND e.class IS NOT ?2 ORDER BY e.run",
            )?;
            // What stood in an output's place says nothing of its prompt: what is known of that stays known.
            let mut rows = entries.query([outputs, Class::OutputBlocked.word()])?;
            while let Some(row) = rows.next()? {
                let key = super::key(row, 1)?;
                let fingerprint = Fingerprint(row.get(2)?);
                match Status::from_number(row.get(3)?) {
                    Some(status @ (Status::Done | Status::Failed | Status::Unwritten)) => {
                        found.known.insert(key, known(row, fingerprint, status)?);
                    }
                    Some(status @ (Status::Sending | Status::Waiting | Status::Lost)) => {
                        if let Some(known) = found.known.get_mut(&key) {
                            known.unsettled = true;
                        }
                        if status == Status::Sending {
                            found.lost.push(lost(row, key, fingerprint)?);
                        }
                    }
                    None => {}
                }
            }
            places::read(&self.connection, outputs, &mut found)?;
            let mut kept = self.connection.prepare("SELECT k.run, k.prompt, k.text FROM kept k JOIN runs r ON r.id = k.run WHERE r.outputs = ?1 ORDER BY k.run")?;
            let kept = kept.query_map([outputs], |row| {
                Ok(KeptAnswer { run: row.get(0)?, key: super::key(row, 1)?, text: row.get(2)? })
            })?;
            found.kept = kept.collect::<rusqlite::Result<_>>()?;
            let mut latest = self.connection.prepare(
                "SELECT e.output_tokens FROM runs r JOIN entries e ON e.run = r.id WHERE r.model = ?1 AND e.status = ?2 ORDER BY e.run DESC LIMIT ?3",
            )?;
            let latest = latest.query_map(params![model, Status::Done as i64, signed(LATEST_ANSWERS)], |row| {
                Ok(unsigned(row.get(0)?))
            })?;
            found.latest_output_tokens = latest.collect::<rusqlite::Result<_>>()?;
            Ok(found)
        };
        run().map_err(self.database())
    }

    fn history(&self, outputs: &str) -> Result<Box<dyn History>, StoreError> {
        Ok(Box::new(Remembered(self.find(outputs, "")?.known)))
    }

    fn start_run(&mut self, info: &RunInfo, now: &Now) -> Result<(), StoreError> {
        let run = self.write(&|| *now, |transaction, _, now| {
            transaction.execute(
                "UPDATE entries SET status = ?1 WHERE status = ?2 AND run IN (SELECT id FROM runs WHERE outputs = ?3)",
                params![Status::Lost as i64, Status::Sending as i64, info.outputs],
            )?;
            transaction.execute(
                "INSERT INTO runs (outputs, model, rehearsal, pid, started_ms) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![info.outputs, info.model, info.rehearsal, info.pid, now.wall.timestamp_millis()],
            )?;
            let run = transaction.last_insert_rowid();
            day::forget_old(transaction)?;
            Ok(run)
        })?;
        self.run = Some(run);
        Ok(())
    }

    fn end_run(&mut self, summary: &str, now: &Now) -> Result<(), StoreError> {
        let run = self.run;
        self.write(&|| *now, |transaction, _, now| {
            transaction.execute(
                "UPDATE runs SET ended_ms = ?2, summary = ?3 WHERE id = ?1",
                params![run, now.wall.timestamp_millis(), summary],
            )?;
            Ok(())
        })
    }

    fn recover_lost(&mut self, found: &[(LostRequest, Usage, ContentId)], now: &Now) -> Result<(), StoreError> {
        let recovered = found.iter().map(|(request, usage, output)| Recovered {
            run: request.run,
            key: request.key.clone(),
            steps: &[Step::Lose, Step::Recover],
            from: Status::Sending,
            usage: Some(*usage),
            output: *output,
        });
        self.recover(recovered, now)
    }

    fn recover_kept(&mut self, answer: &KeptAnswer, now: &Now) -> Result<(), StoreError> {
        let recovered = Recovered {
            run: answer.run,
            key: answer.key.clone(),
            steps: &[Step::Recover],
            from: Status::Unwritten,
            usage: None,
            output: answer.content(),
        };
        self.recover([recovered].into_iter(), now)
    }

    fn adopt(&mut self, adopted: &[(Key, Fingerprint, u64)], now: &Now) -> Result<(), StoreError> {
        let run = self.run;
        self.write(&|| *now, |transaction, _, now| {
            let mut insert = transaction.prepare(
                "INSERT INTO entries (run, prompt, fingerprint, status, attempts, input_tokens, output_tokens, reserved_tokens, bytes, ended_ms)
                 VALUES (?1, ?2, ?3, ?4, 0, 0, 0, 0, ?5, ?6)",
            )?;
            for (key, fingerprint, bytes) in adopted {
                insert.execute(params![run, number(key)?, fingerprint.0, Status::Done as i64, signed(*bytes), now.wall.timestamp_millis()])?;
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

impl SqliteStore {
    fn recover<'a>(&mut self, recovered: impl Iterator<Item = Recovered<'a>>, now: &Now) -> Result<(), StoreError> {
        self.write(&|| *now, |transaction, _, now| {
            for Recovered { run, key, steps, from, usage, output } in recovered {
                let mut status = from;
                for step in steps {
                    status = next_status(Some(status), *step).map_err(illegal)?;
                }
                transaction.execute(
                    "UPDATE entries SET status = ?3, bytes = ?4, ended_ms = ?5, input_tokens = coalesce(?6, input_tokens),
                     output_tokens = coalesce(?7, output_tokens) WHERE run = ?1 AND prompt = ?2",
                    params![
                        run,
                        number(&key)?,
                        status as i64,
                        signed(output.bytes),
                        now.wall.timestamp_millis(),
                        usage.map(|usage| signed(usage.input_tokens)),
                        usage.map(|usage| signed(usage.output_tokens))
                    ],
                )?;
                places::note_output(transaction, Some(run), &key, output)?;
                transaction.execute("DELETE FROM kept WHERE run = ?1 AND prompt = ?2", params![run, number(&key)?])?;
            }
            Ok(())
        })
    }
}

fn known(row: &Row<'_>, fingerprint: Fingerprint, status: Status) -> rusqlite::Result<Known> {
    let usage = Usage { input_tokens: unsigned(row.get(5)?), output_tokens: unsigned(row.get(6)?) };
    Ok(Known {
        run: row.get(0)?,
        fingerprint,
        status,
        bytes: unsigned(row.get(4)?),
        unsettled: false,
        output: None,
        rehearsal: row.get(8)?,
        usage,
    })
}

fn lost(row: &Row<'_>, key: Key, fingerprint: Fingerprint) -> rusqlite::Result<LostRequest> {
    Ok(LostRequest {
        run: row.get(0)?,
        key,
        fingerprint,
        input_tokens: unsigned(row.get(5)?),
        reserved_tokens: unsigned(row.get(7)?),
        rehearsal: row.get(8)?,
        before: Before::Unknown,
        earlier: Vec::new(),
    })
}

pub(super) fn wall(ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(ms).unwrap_or_default()
}
