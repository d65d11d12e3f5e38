//! The limits of servers that earlier runs learned: what the model of a server starts from.

use std::time::Duration;

use rusqlite::{Row, TransactionBehavior, params};

use super::super::endpoint::Endpoint;
use super::super::{Learned, StoreError};
use super::journal::wall;
use super::{SqliteStore, signed, unsigned};
use crate::admit::hint::{LearnedLimit, Source, Unit};
use crate::clock::nanos;

impl Learned for SqliteStore {
    fn learned(&self, endpoint: &Endpoint) -> Result<Vec<LearnedLimit>, StoreError> {
        let text = endpoint.text();
        let all = self.select_learned("WHERE endpoint = ?1", &[&text])?;
        Ok(all.into_iter().map(|(_, limit)| limit).collect())
    }

    fn all_learned(&self) -> Result<Vec<(Endpoint, LearnedLimit)>, StoreError> {
        let mut all = self.select_learned("", &[])?;
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(all)
    }

    fn learn(&mut self, endpoint: &Endpoint, limits: &[LearnedLimit]) -> Result<(), StoreError> {
        let database = self.database();
        let mut run = || {
            let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let text = endpoint.text();
            transaction.execute("DELETE FROM learned WHERE endpoint = ?1", [&text])?;
            for limit in limits.iter().filter(|limit| limit.is_sound()) {
                transaction.execute(
                    "INSERT OR REPLACE INTO learned VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                    params![
                        text,
                        unit_name(limit.unit),
                        limit.group.as_deref().unwrap_or(""),
                        limit.size,
                        signed(nanos(limit.window)),
                        signed(nanos(limit.burst)),
                        source_name(limit.source),
                        limit.learned.timestamp_millis(),
                    ],
                )?;
            }
            transaction.commit()
        };
        run().map_err(database)
    }

    fn forget(&mut self, endpoint: Option<&Endpoint>) -> Result<usize, StoreError> {
        let forgotten = match endpoint {
            Some(endpoint) => self.connection.execute("DELETE FROM learned WHERE endpoint = ?1", [endpoint.text()]),
            None => self.connection.execute("DELETE FROM learned", []),
        };
        forgotten.map_err(self.database())
    }
}

impl SqliteStore {
    fn select_learned(
        &self,
        which: &str,
        of: &[&dyn rusqlite::ToSql],
    ) -> Result<Vec<(Endpoint, LearnedLimit)>, StoreError> {
        let run = || -> rusqlite::Result<_> {
            let mut rows = self.connection.prepare(&format!(
                "SELECT endpoint, unit, grp, size, window_ns, burst_ns, source, learned_ms FROM learned {which} ORDER BY endpoint, unit, window_ns, grp, source",
            ))?;
            let rows =
                rows.query_map(of, |row| Ok(Endpoint::from_text(row.get_ref(0)?.as_str()?).zip(learned(row)?)))?;
            // What another version kept in a form that is not known here is of no use here.
            rows.filter_map(Result::transpose).collect()
        };
        run().map_err(self.database())
    }
}

/// `None` where the row is none of ours.
fn learned(row: &Row<'_>) -> rusqlite::Result<Option<LearnedLimit>> {
    let group: String = row.get(2)?;
    let (unit, source): (String, String) = (row.get(1)?, row.get(6)?);
    let unit = [Unit::Requests, Unit::Tokens, Unit::InFlight].into_iter().find(|known| unit_name(*known) == unit);
    let sources = [Source::Headers, Source::Refusal, Source::Estimate];
    let Some((unit, source)) = unit.zip(sources.into_iter().find(|known| source_name(*known) == source)) else {
        return Ok(None);
    };
    let limit = LearnedLimit {
        unit,
        group: (!group.is_empty()).then_some(group),
        size: row.get(3)?,
        window: Duration::from_nanos(unsigned(row.get(4)?)),
        burst: Duration::from_nanos(unsigned(row.get(5)?)),
        source,
        learned: wall(row.get(7)?),
    };
    Ok(limit.is_sound().then_some(limit))
}

/// The file's word, which stays whatever the type is called.
fn unit_name(unit: Unit) -> &'static str {
    match unit {
        Unit::Requests => "requests",
        Unit::Tokens => "tokens",
        Unit::InFlight => "in_flight",
    }
}

/// The same of a source.
fn source_name(source: Source) -> &'static str {
    match source {
        Source::Headers => "headers",
        Source::Refusal => "refusal",
        Source::Estimate => "estimate",
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{at, fresh, open};
    use super::*;
    use crate::record::endpoint::endpoint;

    fn limit(unit: Unit, size: f64, source: Source) -> LearnedLimit {
        LearnedLimit {
            unit,
            group: None,
            size,
            window: Duration::from_secs(60),
            burst: Duration::from_secs(1),
            source,
            learned: at(3).wall,
        }
    }

    #[test]
    fn what_is_learned_survives_a_restart_and_is_replaced_as_a_whole() {
        let (_folder, ledger, mut store) = fresh();
        let (here, there) = (endpoint("https://a.test", None, "m"), endpoint("https://b.test", None, "m"));
        let plain = limit(Unit::Requests, 500.0, Source::Headers);
        let group = LearnedLimit { group: Some("project".to_owned()), ..plain.clone() };
        let refusal = LearnedLimit { source: Source::Refusal, ..plain.clone() };
        let tokens = limit(Unit::Tokens, 0.1, Source::Estimate);
        let nothing = limit(Unit::Tokens, 0.0, Source::Headers);
        let of_day = LearnedLimit { window: Duration::from_secs(86_400), ..plain.clone() };
        let all = [plain.clone(), group, refusal, of_day, tokens.clone()];
        store.learn(&here, &all).expect("learned");
        store.learn(&there, &[nothing, tokens.clone()]).expect("learned");

        drop(store);
        let mut store = open(&ledger);
        let kept = store.learned(&here).expect("read");
        assert_eq!(kept.len(), all.len());
        assert!(all.iter().all(|limit| kept.contains(limit)), "{kept:?}");
        assert_eq!(store.learned(&there).expect("read"), std::slice::from_ref(&tokens));
        assert_eq!(store.learned(&endpoint("https://a.test", None, "m2")).expect("read"), []);
        let endpoints: Vec<_> = store.all_learned().expect("read").into_iter().map(|(endpoint, _)| endpoint).collect();
        assert_eq!(endpoints, [vec![here.clone(); 5], vec![there.clone()]].concat());

        let newer = LearnedLimit { size: 400.0, learned: at(9).wall, ..plain };
        store.learn(&here, std::slice::from_ref(&newer)).expect("learned");
        assert_eq!(store.learned(&here).expect("read"), [newer]);
        assert_eq!(store.forget(Some(&here)).expect("forgotten"), 1);
        assert_eq!(store.forget(Some(&here)).expect("forgotten"), 0);
        assert_eq!(store.learned(&there).expect("read"), [tokens]);
        assert_eq!(store.forget(None).expect("forgotten"), 1);
        assert_eq!(store.all_learned().expect("read"), []);
    }

    #[test]
    fn rows_of_another_version_are_passed_over() {
        let (_folder, _, mut store) = fresh();
        let here = endpoint("https://a.test", None, "m");
        store.learn(&here, &[limit(Unit::Tokens, 7.0, Source::Headers)]).expect("learned");
        let copy = "INSERT INTO learned SELECT";
        for (what, row) in [
            ("a unit", "endpoint, 'images', grp, size, window_ns, burst_ns, source, learned_ms"),
            ("a source", "endpoint, unit, grp, size, window_ns, burst_ns, 'hearsay', learned_ms"),
            ("an endpoint", "'x', unit, grp, size, window_ns, burst_ns, source, learned_ms"),
            ("a window", "endpoint, unit, grp, size, 0, burst_ns, source, learned_ms"),
        ] {
            store
                .connection
                .execute(&format!("{copy} {row} FROM learned WHERE unit = 'tokens' LIMIT 1"), [])
                .expect(what);
        }
        assert_eq!(store.all_learned().expect("read").len(), 1);
    }
}
