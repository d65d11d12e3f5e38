//! The two transactions of a request: the one before it leaves, and the one after its answer is on disk.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, Transaction, params};

use super::super::entry::{IllegalStep, Step, next_status};
use super::super::{
    Admissions, AttemptId, Begun, Claim, Ended, Finished, Refusal, Reservation, Settlement, StoreError,
};
use super::follow::{last_entry, next};
use super::{SqliteStore, day, number, places, signed, unsigned};
use crate::admit::ledger::{Admission, Amount, Settled, Used, latest_quarter};
use crate::clock::{Mono, Now, Quarter};
use crate::model::{Class, Key, Status};

/// Where an attempt that is under way counts in the ledger.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    entry: u64,
    at: Mono,
    quarter: Quarter,
}

/// More tokens than any request has: an amount is cut to this, so that sums stay far below what the file can hold.
const MOST_TOKENS: u64 = 1 << 53;

impl Admissions for SqliteStore {
    fn begin(&mut self, claims: &[Claim], now: &dyn Fn() -> Now) -> Result<Begun, StoreError> {
        let run = self.run;
        let boot = self.boot.clone();
        let span_ms = signed(self.ledger.limits().span().as_millis());
        let first = self.next_attempt;
        let (begun, place) = self.write(now, |transaction, ledger, now| {
            let wall_ms = now.wall.timestamp_millis();
            let mut begun = Begun { admitted: Vec::new(), refused: None };
            let entry = last_entry(transaction)? + 1;
            let quarter = Quarter::of(now.wall);
            day::correct(transaction, latest_quarter(now))?;
            let mut total = Amount::default();
            let mut journal = transaction.prepare_cached(
                "INSERT INTO entries (run, prompt, fingerprint, status, attempts, input_tokens, output_tokens, reserved_tokens, bytes, begun_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7, 0, ?8)
                 ON CONFLICT DO UPDATE SET status = ?4, attempts = ?5, reserved_tokens = ?7, begun_ms = ?8",
            )?;
            for claim in claims {
                let [least, tokens] = [claim.least, claim.tokens].map(|tokens| tokens.min(MOST_TOKENS));
                let (admission, tokens) = ledger.reserve(unsigned(entry), least, tokens, now);
                match admission {
                    Admission::Now => {
                        let status = step(transaction, run, &claim.key, Step::Begin)?;
                        journal.execute(params![
                            run, number(&claim.key)?, claim.fingerprint.0, status as i64, claim.attempt,
                            signed(claim.input_tokens), signed(tokens), wall_ms
                        ])?;
                        places::note_before(transaction, run, &claim.key, claim.before)?;
                        total.tokens = total.tokens.saturating_add(tokens);
                        total.requests += 1;
                        let attempt = AttemptId(first + begun.admitted.len() as u64);
                        begun.admitted.push(Reservation { attempt, tokens });
                    }
                    Admission::NotBefore(wait) => begun.refused = Some(Refusal::NotBefore(wait)),
                    Admission::Never(too_large) => begun.refused = Some(Refusal::Never(too_large)),
                }
                if begun.refused.is_some() {
                    break;
                }
            }
            if total.requests > 0 {
                let rev = next(transaction, "rev")?;
                transaction.prepare_cached("INSERT INTO ledger VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?6, ?2)")?.execute(params![
                    entry, signed(now.mono.0), boot, wall_ms, signed(total.tokens), signed(total.requests), rev
                ])?;
                day::add(transaction, quarter, total)?;
                // Entries that have left every window are of no use; twice the span leaves those be whom another process still settles.
                // Those of this boot are as old as the steady clock says, wherever the wall clock was set.
                let old_ms = (2 * span_ms).max(3_600_000);
                transaction
                    .prepare_cached(
                        "DELETE FROM ledger WHERE id IN (SELECT id FROM ledger WHERE CASE boot WHEN ?1 THEN at < ?2 ELSE wall_ms < ?3 END ORDER BY id LIMIT 64)",
                    )?
                    .execute(params![boot, signed(now.mono.0) - old_ms.saturating_mul(1_000_000), wall_ms - old_ms])?;
            }
            Ok((begun, Place { entry: unsigned(entry), at: now.mono, quarter }))
        })?;
        self.next_attempt += begun.admitted.len() as u64;
        self.flying.extend(begun.admitted.iter().map(|reservation| (reservation.attempt, place)));
        Ok(begun)
    }

    fn finish(&mut self, finished: &[Finished], now: &Now) -> Result<(), StoreError> {
        let run = self.run;
        let wall_ms = now.wall.timestamp_millis();
        let mut flying = std::mem::take(&mut self.flying);
        let recorded = self.write(&|| *now, |transaction, ledger, _| {
            let mut entries: BTreeMap<(u64, Quarter), Change> = BTreeMap::new();
            let mut journal = transaction.prepare_cached(
                "INSERT INTO entries (run, prompt, fingerprint, status, attempts, input_tokens, output_tokens, reserved_tokens, bytes, ended_ms, class, message, finish)
                 VALUES (?1, ?2, ?3, ?4, 0, ?5, ?6, 0, ?7, ?8, ?9, ?10, ?11)
                 ON CONFLICT DO UPDATE SET status = ?4, input_tokens = CASE WHEN ?5 > 0 THEN ?5 ELSE input_tokens END, output_tokens = ?6,
                 bytes = ?7, ended_ms = ?8, class = ?9, message = ?10, finish = ?11",
            )?;
            let replaced: Option<i64> = transaction
                .prepare_cached("SELECT value FROM counters WHERE name = 'replaced'")?
                .query_row([], |row| row.get(0))
                .optional()?;
            for Finished { key, fingerprint, settled, ended } in finished {
                if let Some(Settlement { reservation, used, heard }) = settled {
                    let Place { entry, at, quarter } =
                        *flying.get(&reservation.attempt).ok_or(rusqlite::Error::QueryReturnedNoRows)?;
                    let used = Amount { tokens: used.tokens.min(MOST_TOKENS), ..*used };
                    // Nothing is taken off numbers that a person set, or that start afresh, for what they do not hold.
                    let is_replaced = Some(signed(entry)) <= replaced;
                    let used = if is_replaced { used.at_least(Amount::request(reservation.tokens)) } else { used };
                    let settled = Settled { reserved: reservation.tokens, used, heard: *heard };
                    ledger.settle(entry, at, quarter, settled);
                    let change = entries.entry((entry, quarter)).or_default();
                    change.tokens = change.tokens.saturating_add(signed(used.tokens) - signed(reservation.tokens));
                    change.requests += signed(used.requests) - 1;
                    change.settled += 1;
                    change.heard = change.heard.max(*heard);
                }
                let row = Row::of(ended);
                let status = step(transaction, run, key, row.step)?;
                journal.execute(params![
                    run, number(key)?, fingerprint.0, status as i64, signed(row.input_tokens), signed(row.output_tokens), signed(row.bytes),
                    wall_ms, row.class, row.message, row.finish
                ])?;
                if let Ended::Done { output, .. } = ended {
                    places::note_output(transaction, run, key, *output)?;
                }
                if let Ended::Unwritten { text, .. } = ended {
                    transaction.execute("INSERT OR REPLACE INTO kept VALUES (?1, ?2, ?3)", params![run, number(key)?, text])?;
                }
            }
            if !entries.is_empty() {
                let rev = next(transaction, "rev")?;
                let mut settle = transaction.prepare_cached(
                    "UPDATE ledger SET tokens = min(max(tokens + ?2, 0), 9223372036854775807), requests = max(requests + ?3, 0), rev = ?4, open = max(open - ?5, 0),
                     heard = max(heard, ?6) WHERE id = ?1",
                )?;
                for ((entry, quarter), change) in entries {
                    let entry = signed(entry);
                    settle.execute(params![entry, change.tokens, change.requests, rev, change.settled, signed(change.heard.0)])?;
                    day::settle(transaction, quarter, change.tokens, change.requests)?;
                }
            }
            Ok(())
        });
        if recorded.is_ok() {
            for settled in finished.iter().filter_map(|end| end.settled.as_ref()) {
                flying.remove(&settled.reservation.attempt);
            }
        }
        self.flying = flying;
        recorded
    }

    fn used(&mut self, now: &Now) -> Result<Used, StoreError> {
        self.read(now)?;
        Ok(self.ledger.used(now))
    }

    fn recent(&mut self, now: &Now) -> Result<Vec<(Mono, Amount)>, StoreError> {
        self.read(now)?;
        self.ledger.used(now);
        Ok(self.ledger.recent().collect())
    }
}

/// What settlements change of one entry of the ledger.
#[derive(Default)]
struct Change {
    tokens: i64,
    requests: i64,
    /// Requests that are settled.
    settled: i64,
    heard: Mono,
}

/// The columns of an ended attempt.
struct Row<'a> {
    step: Step,
    input_tokens: u64,
    output_tokens: u64,
    bytes: u64,
    class: Option<&'static str>,
    message: Option<&'a str>,
    finish: Option<String>,
}

impl<'a> Row<'a> {
    fn of(ended: &'a Ended) -> Self {
        let empty = Row {
            step: Step::Again,
            input_tokens: 0,
            output_tokens: 0,
            bytes: 0,
            class: None,
            message: None,
            finish: None,
        };
        match ended {
            Ended::Done { usage, finish, output } => Row {
                step: Step::Done,
                input_tokens: usage.input_tokens,
                output_tokens: usage.output_tokens,
                bytes: output.bytes,
                finish: Some(finish.to_string()),
                ..empty
            },
            Ended::Failed { class, message, usage } => Row {
                step: Step::Fail,
                input_tokens: usage.input_tokens,
                output_tokens: usage.output_tokens,
                class: Some(class.word()),
                message: Some(message),
                ..empty
            },
            Ended::Again { class } => Row { class: class.map(Class::word), ..empty },
            Ended::Unwritten { usage, finish, .. } => Row {
                step: Step::Keep,
                input_tokens: usage.input_tokens,
                output_tokens: usage.output_tokens,
                finish: Some(finish.to_string()),
                ..empty
            },
        }
    }
}

/// The status of a prompt's entry after `step`.
fn step(transaction: &Transaction<'_>, run: Option<i64>, key: &Key, step: Step) -> rusqlite::Result<Status> {
    let from: Option<i64> = transaction
        .prepare_cached("SELECT status FROM entries WHERE run = ?1 AND prompt = ?2")?
        .query_row(params![run, number(key)?], |row| row.get(0))
        .optional()?;
    next_status(from.and_then(Status::from_number), step).map_err(illegal)
}

/// A step that cannot follow, as an error of the transaction that it ends.
pub(super) fn illegal(step: IllegalStep) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(Box::new(step))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{at, claim, fresh, info, open};
    use super::*;
    use crate::record::Journal as _;

    #[test]
    fn the_recent_amounts_are_those_of_all_processes_in_the_window() {
        let (_folder, ledger, mut one) = fresh();
        let mut other = open(&ledger);
        other.start_run(&info("other"), &at(0)).expect("a run");
        let _ = one.begin(&[claim(1, 10), claim(2, 20)], &|| at(1)).expect("begun");
        let _ = other.begin(&[claim(1, 5)], &|| at(2)).expect("begun");
        let expected = [(at(1).mono, Amount { tokens: 30, requests: 2 }), (at(2).mono, Amount::request(5))];
        assert_eq!(one.recent(&at(3)).expect("read"), expected);
        assert_eq!(one.recent(&at(62)).expect("read"), expected[1..]);
        assert_eq!(one.recent(&at(70)).expect("read"), []);
    }
}
