//! The two transactions of a request: the one before it leaves, and the one after its answer is on disk.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, params};

use super::super::{Admissions, AttemptId, Begun, Claim, Finished, Refusal, Reservation, Settlement, StoreError};
use super::follow::{last_entry, next};
use super::items::{self, End};
use super::{SqliteStore, day, signed, unsigned};
use crate::admit::ledger::{Admission, Amount, Settled, Used, latest_quarter};
use crate::clock::{Mono, Now, Quarter};

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
        let (run, mut attempts) = (self.run, self.attempts);
        let boot = self.boot.clone();
        let span_ms = signed(self.ledger.limits().span().as_millis());
        let (begun, place) = self.write(now, |transaction, ledger, now| {
            let run = items::started(run)?;
            let wall_ms = now.wall.timestamp_millis();
            let mut begun = Begun { admitted: Vec::new(), refused: None };
            let entry = last_entry(transaction)? + 1;
            let quarter = Quarter::of(now.wall);
            day::correct(transaction, latest_quarter(now))?;
            let mut total = Amount::default();
            for claim in claims {
                let [least, tokens] = [claim.least, claim.tokens].map(|tokens| tokens.min(MOST_TOKENS));
                let (admission, tokens) = ledger.reserve(unsigned(entry), least, tokens, now);
                match admission {
                    Admission::Now => {
                        let attempt = AttemptId::of(run.id, attempts);
                        attempts += 1;
                        items::begin(transaction, run, attempt, claim, tokens, wall_ms)?;
                        total.tokens = total.tokens.saturating_add(tokens);
                        total.requests += 1;
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
        self.attempts += begun.admitted.len() as u64;
        self.flying.extend(begun.admitted.iter().map(|reservation| (reservation.attempt, place)));
        Ok(begun)
    }

    fn finish(&mut self, finished: &[Finished], now: &Now) -> Result<(), StoreError> {
        let (run, mut attempts) = (self.run, self.attempts);
        let mut flying = std::mem::take(&mut self.flying);
        let recorded = self.write(&|| *now, |transaction, ledger, _| {
            let mut entries: BTreeMap<(u64, Quarter), Change> = BTreeMap::new();
            let run = items::started(run)?;
            let replaced: Option<i64> = transaction
                .prepare_cached("SELECT value FROM counters WHERE name = 'replaced'")?
                .query_row([], |row| row.get(0))
                .optional()?;
            for Finished { key, fingerprint, settled, ended } in finished {
                let end = End { run, key, fingerprint: *fingerprint, ended, now };
                let Some(Settlement { reservation, used, heard, told }) = settled else {
                    end.record_unsent(transaction, AttemptId::of(run.id, attempts))?;
                    attempts += 1;
                    continue;
                };
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
                end.record(transaction, reservation.attempt, *heard, told)?;
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
            Ok(attempts)
        });
        if let Ok(attempts) = recorded {
            self.attempts = attempts;
            for settled in finished.iter().filter_map(|end| end.settled.as_ref()) {
                flying.remove(&settled.reservation.attempt);
            }
        }
        self.flying = flying;
        recorded.map(drop)
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
