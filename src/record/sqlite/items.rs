//! The journal's rows: an item for each prompt of an outputs folder, which says where it stands, and an attempt for each of its requests, which nothing
//! overwrites.

use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::super::entry::{IllegalStep, Step, next_status};
use super::super::{AttemptId, Claim, Ended, Told};
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
        told: &Told,
    ) -> rusqlite::Result<()> {
        let columns = Columns::of(self.ended);
        let (status, _) = step(transaction, self.run, self.key, columns.step)?;
        let age = signed(heard.until(self.now.mono).as_millis());
        self.write(transaction, attempt, status, &columns, Some((self.now.wall.timestamp_millis() - age, told)))
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
        heard: Option<(i64, &Told)>,
    ) -> rusqlite::Result<()> {
        let Columns { usage, class, message, finish, output, text, step } = columns;
        let bytes = output.map_or(0, |output| signed(output.bytes));
        let hash = output.map(|output| output.hash);
        let told = heard.map(|(_, told)| told);
        transaction
            .prepare_cached(
                "UPDATE attempts SET status = ?2, heard_ms = ?3, ended_ms = ?4, input_tokens = ?5, output_tokens = ?6,
                 class = ?7, message = ?8, finish = ?9, bytes = ?10, hash = ?11, cached_tokens = ?12, reasoning_tokens = ?13,
                 model = ?14, wait_ms = ?15, hints = ?16 WHERE id = ?1",
            )?
            .execute(params![
                attempt.number(),
                status as i64,
                heard.map(|(ms, _)| ms),
                self.now.wall.timestamp_millis(),
                signed(usage.input_tokens),
                signed(usage.output_tokens),
                class.map(Class::word),
                message,
                finish,
                bytes,
                hash,
                signed(usage.cached_tokens),
                signed(usage.reasoning_tokens),
                told.and_then(|told| told.model.as_deref()),
                told.and_then(|told| told.wait).map(|wait| signed(wait.as_millis())),
                told.and_then(|told| told.hints.as_deref())
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rusqlite::types::Value::{Blob, Integer, Null, Text};

    use super::super::tests::{at, claim, fresh, info};
    use crate::admit::ledger::Amount;
    use crate::model::{Class, ContentId, FinishReason, Key, Usage};
    use crate::record::{Admissions as _, Claim, Ended, Finished, Journal as _, Reservation, Settlement, Told};

    fn end(reservation: Reservation, ended: Ended, told: Told) -> Finished {
        let claim = claim(7, 5);
        let settled = Settlement { reservation, used: Amount::request(5), heard: at(2).mono, told };
        Finished { key: claim.key, fingerprint: claim.fingerprint, settled: Some(settled), ended }
    }

    #[test]
    fn each_attempt_is_a_row_of_its_own_that_the_next_one_leaves_alone() {
        let (_folder, _, mut store) = fresh();
        let begin = |store: &mut super::super::SqliteStore, attempt, seconds| {
            let claim = Claim { attempt, ..claim(7, 5) };
            store.begin(&[claim], &|| at(seconds)).expect("begun").admitted.pop().expect("it fits")
        };
        let first = begin(&mut store, 1, 0);
        let hints = Some("requests 0/5 refused".to_owned());
        let told = Told { model: None, wait: Some(Duration::from_millis(1_500)), hints };
        store.finish(&[end(first, Ended::Again { class: Some(Class::RateLimited) }, told)], &at(3)).expect("finished");
        let second = begin(&mut store, 2, 5);
        let usage = Usage { input_tokens: 4, output_tokens: 3, cached_tokens: 2, reasoning_tokens: 1 };
        let output = ContentId::of(b"an answer");
        let done = Ended::Done { usage, finish: FinishReason::Complete, output };
        let told = Told { model: Some("m-2026".to_owned()), ..Told::default() };
        store.finish(&[end(second, done, told)], &at(6)).expect("finished");
        store.start_run(&info("out"), &at(7)).expect("a run");
        let _flying = begin(&mut store, 1, 8);
        let mut rows = store
            .connection
            .prepare("SELECT run, number, status, class, wait_ms, hints, model, cached_tokens, reasoning_tokens, hash FROM attempts ORDER BY id")
            .expect("a query");
        let mut told = |column: usize| -> Vec<rusqlite::types::Value> {
            rows.query_map([], |row| row.get(column)).expect("rows").map(|value| value.expect("a value")).collect()
        };
        assert_eq!([told(0), told(1), told(2)].map(|values| values.len()), [3; 3]);
        assert_eq!(told(0), [Integer(1), Integer(1), Integer(2)]);
        assert_eq!(told(1), [Integer(1), Integer(2), Integer(1)]);
        assert_eq!(told(2), [Integer(2), Integer(3), Integer(1)]);
        assert_eq!(told(3), [Text("rate_limited".to_owned()), Null, Null]);
        assert_eq!(told(4), [Integer(1_500), Null, Null]);
        assert_eq!(told(5), [Text("requests 0/5 refused".to_owned()), Null, Null]);
        assert_eq!(told(6), [Null, Text("m-2026".to_owned()), Null]);
        assert_eq!([told(7), told(8)], [[Integer(0), Integer(2), Integer(0)], [Integer(0), Integer(1), Integer(0)]]);
        assert_eq!(told(9), [Null, Blob(output.hash.to_vec()), Null]);
        drop(rows);
        let known = store.history("out").expect("a history").known(&[Key::from(7)]).expect("read").pop().flatten();
        let known = known.expect("it was answered");
        assert!(known.usage == usage && known.unsettled && known.output == Some(output), "{known:?}");
    }
}
