//! The journal's rows: an item for each prompt of an outputs folder, which says where it stands, and an attempt for each of its requests, which nothing
//! overwrites.

use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::super::entry::{IllegalStep, Step, next_status};
use super::super::{AttemptId, Claim, Ended};
use super::{RunRow, signed, unsigned};
use crate::clock::{Mono, Now};
use crate::model::{Before, Class, ContentId, Fingerprint, Key, Status, Usage};

/// Journals that an attempt is about to leave.
pub(super) fn begin(
    transaction: &Transaction<'_>,
    run: RunRow,
    attempt: AttemptId,
    claim: &Claim,
    reserved_tokens: u64,
    wall_ms: i64,
) -> rusqlite::Result<()> {
    let (status, previous) = step(transaction, run, &claim.key, Step::Begin)?;
    let (before_bytes, before_hash) = match claim.before {
        Before::Nothing => (Some(0), None),
        Before::Output(content) => (Some(signed(content.bytes)), Some(content.hash)),
        Before::Unknown => (None, None),
    };
    transaction
        .prepare_cached(
            "INSERT INTO attempts (id, key, number, previous, fingerprint, status, begun_ms, counted_tokens, reserved_tokens, before_bytes, before_hash)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?
        .execute(params![
            attempt.number(),
            claim.key.as_str(),
            claim.attempt,
            previous,
            claim.fingerprint.0,
            status as i64,
            wall_ms,
            signed(claim.input_tokens),
            signed(reserved_tokens),
            before_bytes,
            before_hash
        ])?;
    enter(transaction, run, &claim.key, status, attempt)
}

/// Says of a prompt's item which attempt is its last, and where that stands.
fn enter(
    transaction: &Transaction<'_>,
    run: RunRow,
    key: &Key,
    status: Status,
    attempt: AttemptId,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO items (out, key, run, status, attempt) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO UPDATE SET run = ?3, status = ?4, attempt = ?5",
        )?
        .execute(params![run.out, key.as_str(), run.id, status as i64, attempt.number()])?;
    Ok(())
}

/// The end of an attempt, as it is journalled.
pub(super) struct End<'a> {
    pub(super) run: RunRow,
    pub(super) key: &'a Key,
    pub(super) fingerprint: Fingerprint,
    pub(super) ended: &'a Ended,
    pub(super) now: &'a Now,
}

/// The columns of an end.
struct Columns<'a> {
    step: Step,
    usage: Usage,
    class: Option<Class>,
    message: Option<&'a str>,
    finish: Option<String>,
    output: Option<ContentId>,
    text: Option<&'a str>,
}

impl<'a> Columns<'a> {
    fn of(ended: &'a Ended) -> Self {
        let nothing = Columns {
            step: Step::Again,
            usage: Usage::default(),
            class: None,
            message: None,
            finish: None,
            output: None,
            text: None,
        };
        match ended {
            Ended::Done { usage, finish, output } => {
                let (finish, output) = (Some(finish.to_string()), Some(*output));
                Columns { step: Step::Done, usage: *usage, finish, output, ..nothing }
            }
            Ended::Failed { class, message, usage } => {
                Columns { step: Step::Fail, usage: *usage, class: Some(*class), message: Some(message), ..nothing }
            }
            Ended::Again { class } => Columns { class: *class, ..nothing },
            Ended::Unwritten { usage, finish, text } => Columns {
                step: Step::Keep,
                usage: *usage,
                finish: Some(finish.to_string()),
                text: Some(text),
                ..nothing
            },
        }
    }
}

impl End<'_> {
    /// Journals the end of an attempt whose answer, or failure, was `heard`.
    pub(super) fn record(
        &self,
        transaction: &Transaction<'_>,
        attempt: AttemptId,
        heard: Mono,
    ) -> rusqlite::Result<()> {
        let columns = Columns::of(self.ended);
        let (status, _) = step(transaction, self.run, self.key, columns.step)?;
        let age = signed(heard.until(self.now.mono).as_millis());
        self.write(transaction, attempt, status, &columns, Some(self.now.wall.timestamp_millis() - age))
    }

    /// Journals the end of a prompt that is not sent, or not again: as an attempt without a beginning.
    pub(super) fn record_unsent(&self, transaction: &Transaction<'_>, attempt: AttemptId) -> rusqlite::Result<()> {
        let columns = Columns::of(self.ended);
        let (status, previous) = step(transaction, self.run, self.key, columns.step)?;
        transaction
            .prepare_cached(
                "INSERT INTO attempts (id, key, number, previous, fingerprint, status, counted_tokens, reserved_tokens)
                 VALUES (?1, ?2, 0, ?3, ?4, ?5, 0, 0)",
            )?
            .execute(params![attempt.number(), self.key.as_str(), previous, self.fingerprint.0, status as i64])?;
        enter(transaction, self.run, self.key, status, attempt)?;
        self.write(transaction, attempt, status, &columns, None)
    }

    fn write(
        &self,
        transaction: &Transaction<'_>,
        attempt: AttemptId,
        status: Status,
        columns: &Columns<'_>,
        heard_ms: Option<i64>,
    ) -> rusqlite::Result<()> {
        let Columns { usage, class, message, finish, output, text, step } = columns;
        let bytes = output.map_or(0, |output| signed(output.bytes));
        let hash = output.map(|output| output.hash);
        transaction
            .prepare_cached(
                "UPDATE attempts SET status = ?2, heard_ms = ?3, ended_ms = ?4, input_tokens = ?5, output_tokens = ?6,
                 class = ?7, message = ?8, finish = ?9, bytes = ?10, hash = ?11 WHERE id = ?1",
            )?
            .execute(params![
                attempt.number(),
                status as i64,
                heard_ms,
                self.now.wall.timestamp_millis(),
                signed(usage.input_tokens),
                signed(usage.output_tokens),
                class.map(Class::word),
                message,
                finish,
                bytes,
                hash
            ])?;
        if let Some(text) = text {
            transaction.execute("INSERT INTO answers VALUES (?1, ?2)", params![attempt.number(), text])?;
        }
        // What stood in an output's place says nothing of its prompt: what is known of that stays known.
        if *step == Step::Again || *class == Some(Class::OutputBlocked) {
            transaction
                .prepare_cached("UPDATE items SET status = ?3 WHERE out = ?1 AND key = ?2")?
                .execute(params![self.run.out, self.key.as_str(), status as i64])?;
        } else {
            transaction
                .prepare_cached(
                    "UPDATE items SET status = ?3, unsettled = 0, ended_run = ?4, ended_by = ?5, ended_status = ?3, fingerprint = ?6,
                     bytes = ?7, hash = ?8 WHERE out = ?1 AND key = ?2",
                )?
                .execute(params![
                    self.run.out,
                    self.key.as_str(),
                    status as i64,
                    self.run.id,
                    attempt.number(),
                    self.fingerprint.0,
                    bytes,
                    hash
                ])?;
        }
        Ok(())
    }
}

/// Where a prompt stands after `step`, and its last attempt before that, of this run or an earlier one.
fn step(transaction: &Transaction<'_>, run: RunRow, key: &Key, step: Step) -> rusqlite::Result<(Status, Option<i64>)> {
    let item: Option<(i64, i64, Option<i64>)> = transaction
        .prepare_cached("SELECT run, status, attempt FROM items WHERE out = ?1 AND key = ?2")?
        .query_row(params![run.out, key.as_str()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let from = item.filter(|(of, ..)| *of == run.id).and_then(|(_, status, _)| Status::from_number(status));
    let status = next_status(from, step).map_err(illegal)?;
    Ok((status, item.and_then(|(.., attempt)| attempt)))
}

/// The run that goes on; an error where none was started.
pub(super) fn started(run: Option<RunRow>) -> rusqlite::Result<RunRow> {
    run.ok_or_else(|| rusqlite::Error::ToSqlConversionFailure("no run was started".into()))
}

/// A step that cannot follow, as an error of the transaction that it ends.
pub(super) fn illegal(step: IllegalStep) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(Box::new(step))
}

/// The content whose length is in this column, and its hash in the next; `None` where there is none.
pub(super) fn content(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<ContentId>> {
    let hash: Option<[u8; 16]> = row.get(column + 1)?;
    let Some(hash) = hash else { return Ok(None) };
    Ok(Some(ContentId { bytes: unsigned(row.get(column)?), hash }))
}
