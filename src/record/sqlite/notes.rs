//! What a run leaves for people and for later plans: its waits, hints and cuts, and how long its answers took.

use std::time::Duration;

use chrono::{DateTime, Utc};
use rusqlite::{TransactionBehavior, params};

use super::super::{LATEST_ANSWERS, Notes, StoreError};
use super::journal::wall;
use super::{SqliteStore, signed, unsigned};
use crate::model::Status;

impl Notes for SqliteStore {
    fn note(&mut self, events: &[(DateTime<Utc>, String)]) -> Result<(), StoreError> {
        if events.is_empty() {
            return Ok(());
        }
        let (database, run_id) = (self.database(), self.run.map(|run| run.id));
        let mut run = || {
            let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut insert = transaction.prepare_cached("INSERT INTO notes (run, at_ms, event) VALUES (?1, ?2, ?3)")?;
            for (at, event) in events {
                insert.execute(params![run_id, at.timestamp_millis(), event])?;
            }
            drop(insert);
            transaction.commit()
        };
        run().map_err(database)
    }

    fn last_notes(&self, outputs: &str, most: usize) -> Result<Vec<(DateTime<Utc>, String)>, StoreError> {
        let run = || -> rusqlite::Result<Vec<_>> {
            let mut notes = self.connection.prepare(
                "SELECT at_ms, event FROM notes WHERE run = (SELECT max(id) FROM runs WHERE outputs = ?1) ORDER BY id DESC LIMIT ?2",
            )?;
            let notes = notes.query_map(params![outputs, signed(most)], |row| Ok((wall(row.get(0)?), row.get(1)?)))?;
            notes.collect()
        };
        let mut notes = run().map_err(self.database())?;
        notes.reverse();
        Ok(notes)
    }

    fn mean_answer(&self, model: &str, rehearsal: bool) -> Result<Option<Duration>, StoreError> {
        // An answer that a later run found or wrote has no time of its own: it has no `finish`, or ended after its run.
        let mean: Option<f64> = self
            .connection
            .query_row(
                "SELECT avg(max(ended_ms - begun_ms, 0)) FROM (
                   SELECT a.begun_ms, a.ended_ms FROM runs r CROSS JOIN attempts a ON a.id BETWEEN r.id << 32 AND (r.id << 32) + 4294967295
                   WHERE r.model = ?1 AND r.rehearsal = ?2 AND a.status = ?3 AND a.begun_ms IS NOT NULL AND a.finish IS NOT NULL
                   AND (r.ended_ms IS NULL OR a.ended_ms <= r.ended_ms) ORDER BY r.id DESC, a.id DESC LIMIT ?4)",
                params![model, rehearsal, Status::Done as i64, signed(LATEST_ANSWERS)],
                |row| row.get(0),
            )
            .map_err(self.database())?;
        #[expect(clippy::cast_possible_truncation, reason = "a time of answers in milliseconds")]
        Ok(mean.map(|ms| Duration::from_millis(unsigned(ms.round() as i64))))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{at, claim, fresh, info, open};
    use super::*;
    use crate::admit::ledger::Amount;
    use crate::model::{Class, ContentId, FinishReason, Key, Usage};
    use crate::record::{Admissions as _, Ended, Finished, Journal as _, Settlement, Told};

    fn notes(seconds: std::ops::Range<u64>) -> Vec<(DateTime<Utc>, String)> {
        seconds.map(|second| (at(second).wall, format!("note {second}"))).collect()
    }

    #[test]
    fn the_last_notes_of_the_folders_last_run_are_told_in_order() {
        let (_folder, ledger, mut store) = fresh();
        assert_eq!(store.last_notes("out", 3).expect("read"), []);
        store.note(&notes(0..2)).expect("noted");
        store.note(&[]).expect("nothing");
        store.note(&notes(2..5)).expect("noted");
        let mut other = open(&ledger);
        other.start_run(&info("other"), &at(5)).expect("a run");
        other.note(&notes(90..91)).expect("noted");
        assert_eq!(store.last_notes("out", 3).expect("read"), notes(2..5));
        assert_eq!(other.last_notes("out", 30).expect("read"), notes(0..5));
        store.start_run(&info("out"), &at(6)).expect("a run");
        assert_eq!(store.last_notes("out", 3).expect("read"), []);
        store.note(&notes(7..8)).expect("noted");
        assert_eq!(store.last_notes("out", 3).expect("read"), notes(7..8));
        assert_eq!(store.last_notes("nowhere", 3).expect("read"), []);
    }

    /// Sends prompt `prompt` at `begun`, and records its answer `seconds` later.
    fn answer(store: &mut SqliteStore, key: u64, begun: u64, seconds: u64, finish: bool) {
        let claim = claim(key, 5);
        let mut admitted = store.begin(std::slice::from_ref(&claim), &|| at(begun)).expect("begun").admitted;
        let heard = at(begun + seconds);
        let settled = Settlement {
            reservation: admitted.pop().expect("it fits"),
            used: Amount::request(5),
            heard: heard.mono,
            told: Told::default(),
        };
        let ended = if finish {
            Ended::Done { usage: Usage::default(), finish: FinishReason::Complete, output: ContentId::of(b"x") }
        } else {
            Ended::Failed { class: Class::ServerError, message: String::new(), usage: Usage::default() }
        };
        let key = Key::from(key);
        let finished = Finished { key, fingerprint: claim.fingerprint, settled: Some(settled), ended };
        store.finish(&[finished], &heard).expect("finished");
    }

    #[test]
    fn the_mean_is_that_of_the_models_answers() {
        let (_folder, _, mut store) = fresh();
        assert_eq!(store.mean_answer("m", false).expect("read"), None);
        answer(&mut store, 1, 0, 2, true);
        answer(&mut store, 2, 1, 5, true);
        answer(&mut store, 3, 2, 50, false);
        assert_eq!(store.mean_answer("m", false).expect("read"), Some(Duration::from_millis(3_500)));
        assert_eq!(store.mean_answer("m2", false).expect("read"), None);
        assert_eq!(store.mean_answer("m", true).expect("read"), None);
    }

    #[test]
    fn an_answer_that_a_later_run_found_has_no_time() {
        let (_folder, _, mut store) = fresh();
        answer(&mut store, 1, 0, 2, true);
        let _killed = store.begin(&[claim(2, 5)], &|| at(3)).expect("begun");
        let lost = store.find("out", "m").expect("found").lost;
        let recovered: Vec<_> =
            lost.into_iter().map(|request| (request, Usage::default(), ContentId::of(b"abc"))).collect();
        assert_eq!(recovered.len(), 1);
        store.recover_lost(&recovered, &at(9_000)).expect("recovered");
        assert_eq!(store.mean_answer("m", false).expect("read"), Some(Duration::from_secs(2)));
    }
}
