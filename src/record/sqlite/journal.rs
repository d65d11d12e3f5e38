//! The journal between runs: what a run finds at its start, and what it leaves at its end.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use rusqlite::{OptionalExtension, Row, params};

use super::super::StoreError;
use super::super::entry::{LostRequest, Step, next_status};
use super::{SqliteStore, day, illegal, number, places, signed, unsigned};
use crate::clock::Now;
use crate::model::{Before, Class, ContentId, Fingerprint, Key, Known, Status, Usage};

/// How many of the latest answers tell what a model's answers need.
pub(super) const LATEST_ANSWERS: i64 = 256;

/// What a run says of itself.
#[derive(Clone, Debug)]
pub struct RunInfo {
    /// The outputs folder, as an absolute path: what prompts are kept by.
    pub outputs: String,
    /// The model.
    pub model: String,
    /// Whether the stand-in answers.
    pub rehearsal: bool,
    /// The process.
    pub pid: u32,
}

/// What earlier runs left of an outputs folder.
#[derive(Debug, Default)]
pub struct Found {
    /// The last end of each prompt.
    pub known: HashMap<Key, Known>,
    /// Requests that were in flight when their run died.
    pub lost: Vec<LostRequest>,
    /// Answers that could not be written.
    pub kept: Vec<KeptAnswer>,
    /// Output tokens of the model's latest answers.
    pub latest_output_tokens: Vec<u64>,
}

impl Found {
    /// Counts the kept answers as done: a run writes them before it decides what to send, and a plan says so.
    pub fn count_kept_as_done(&mut self) {
        for answer in &self.kept {
            if let Some(known) = self.known.get_mut(&answer.key) {
                *known = known.clone().answered(answer.content());
            }
        }
    }
}

/// An entry whose answer is on disk after all.
struct Recovered<'a> {
    run: i64,
    key: Key,
    from: Status,
    steps: &'a [Step],
    usage: Option<Usage>,
    output: ContentId,
}

/// An answer that a run could not write.
#[derive(Clone, Debug)]
pub struct KeptAnswer {
    run: i64,
    /// Its prompt.
    pub key: Key,
    /// The answer.
    pub text: String,
}

impl KeptAnswer {
    fn content(&self) -> ContentId {
        ContentId::of(self.text.as_bytes())
    }
}

/// The last run of a folder, for `status`.
#[derive(Clone, Debug)]
pub struct LastRun {
    /// The model.
    pub model: String,
    /// Whether the stand-in answered.
    pub rehearsal: bool,
    /// Its process.
    pub pid: u32,
    /// When it started.
    pub started: DateTime<Utc>,
    /// When it ended; `None` while it runs, and for one that died.
    pub ended: Option<DateTime<Utc>>,
    /// Its closing line.
    pub summary: Option<String>,
}

impl SqliteStore {
    /// What earlier runs left of the folder `outputs`, for requests to `model`.
    pub fn find(&self, outputs: &str, model: &str) -> Result<Found, StoreError> {
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
            let latest = latest
                .query_map(params![model, Status::Done as i64, LATEST_ANSWERS], |row| Ok(unsigned(row.get(0)?)))?;
            found.latest_output_tokens = latest.collect::<rusqlite::Result<_>>()?;
            Ok(found)
        };
        run().map_err(self.database())
    }

    /// Starts a run. Call it while the outputs folder is locked: requests of the folder that are still "sending" have lost their run, and are marked so.
    pub fn start_run(&mut self, info: &RunInfo, now: &Now) -> Result<(), StoreError> {
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

    /// Ends the run with its closing line.
    pub fn end_run(&mut self, summary: &str, now: &Now) -> Result<(), StoreError> {
        let run = self.run;
        self.write(&|| *now, |transaction, _, now| {
            transaction.execute(
                "UPDATE runs SET ended_ms = ?2, summary = ?3 WHERE id = ?1",
                params![run, now.wall.timestamp_millis(), summary],
            )?;
            Ok(())
        })
    }

    /// Journals that the answers of lost requests stand on disk after all: their run wrote them and died before it could say so.
    pub fn recover_lost(&mut self, found: &[(LostRequest, Usage, ContentId)], now: &Now) -> Result<(), StoreError> {
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

    /// Journals that a kept answer is written now.
    pub fn recover_kept(&mut self, answer: &KeptAnswer, now: &Now) -> Result<(), StoreError> {
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

    /// Journals that an output which the journal did not know answers `fingerprint`: its history was lost, and the answer is kept.
    pub fn adopt(&mut self, adopted: &[(Key, Fingerprint, u64)], now: &Now) -> Result<(), StoreError> {
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

    /// The last run of the folder `outputs`.
    pub fn last_run(&self, outputs: &str) -> Result<Option<LastRun>, StoreError> {
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
